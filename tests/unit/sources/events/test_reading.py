"""Reading events: values of each type at their edges, and what an event as a whole says."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutor_pipeline.sources.events.bodies import again, parse
from tutor_pipeline.sources.events.catalogue import EventType, Field, load_types
from tutor_pipeline.sources.events.merging import Version
from tutor_pipeline.sources.events.reading import (
    Change,
    Reading,
    UnknownTypeError,
    read,
    remarks_on,
    value_of,
)
from tutor_pipeline.sources.problems import SUFFIXES, BadValueError

NOW = datetime(2026, 3, 2, 17, 4, tzinfo=UTC)
TYPES = load_types().types


def said(kind: Any, data: Any = None, at: Any = "2026-03-02T16:00:00Z", **more: Any) -> Reading:
    body = {"type": kind, "timestamp": at, "data": data, **more}
    body = {name: each for name, each in body.items() if each is not ...}
    return read(parse(json.dumps(body).encode()), "shop/e1", NOW)


def field(kind: str, name: str) -> Field:
    return TYPES[kind].fields[name]


def value(kind: str, name: str, given: Any) -> Any:
    """What a field becomes; of a bad value its problem, as a set."""
    try:
        return value_of(field(kind, name), given)
    except BadValueError as problem:
        return {str(problem)}


MISSING, UNPARSABLE, OUT, UNKNOWN, TWO = (
    {each} for each in ("missing", "unparsable", "out_of_range", "unknown_value", "two_readings")
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (0, 0), (90, 90), (58.5, 59), (58.49, 58), ("58.5", 59), (" 60 ", 60), ("6e1", 60),
        (-1, OUT), (-0.4, OUT), ("-0", 0), (10**10, OUT), (1e300, OUT), (2e300, OUT),
        ("1e999", OUT),
        ("1e9999", UNPARSABLE), ("", UNPARSABLE), ("x", UNPARSABLE), (True, UNPARSABLE),
        ([], UNPARSABLE), ({}, UNPARSABLE), ("\u0661", UNPARSABLE), ("1_0", UNPARSABLE),
        ("nan", UNPARSABLE), ("inf", UNPARSABLE), ("0x10", UNPARSABLE), ("1,5", UNPARSABLE),
        (None, None),
    ],
)  # fmt: skip
def test_minutes(given: Any, expected: Any) -> None:
    assert value("session.completed", "actual_duration", given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (0, 0), (7, 7), (7.0, 7), ("7", 7), ("+7", 7), ("7.0", 7), (" 7 ", 7),
        (2**31 - 1, 2**31 - 1),
        (7.5, UNPARSABLE), ("7.5", UNPARSABLE), ("7e1", UNPARSABLE), (True, UNPARSABLE),
        (2**31, OUT), ("2147483648", OUT), (10**400, OUT), (1e300, OUT), ("9" * 18, OUT),
        ("9" * 19, UNPARSABLE), (-1, OUT), ("-1", OUT), ("\u0661", UNPARSABLE), ("7-", UNPARSABLE),
        (None, None),
    ],
)  # fmt: skip
def test_whole_numbers(given: Any, expected: Any) -> None:
    assert value("tutor.updated", "months_experience", given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (25, 25), (25.5, 25.5), ("25.50", 25.5), (".5", 0.5), ("5.", 5.0), ("1e2", 100.0), (0, 0),
        (-0.01, OUT), (1e301, OUT), (10**302, OUT), ("1e400", OUT), (True, UNPARSABLE),
        ("25 EUR", UNPARSABLE), ("1,000", UNPARSABLE), ("", UNPARSABLE), ("NaN", UNPARSABLE),
        (None, None),
    ],
)  # fmt: skip
def test_numbers(given: Any, expected: Any) -> None:
    assert value("tutor.updated", "hourly_rate", given) == expected


@pytest.mark.parametrize("given", [999_999.995, 1e6, 1e9, "1000000", 10**20])
def test_a_number_that_a_table_of_ours_does_not_hold(given: Any) -> None:
    data = {"tutor_id": "T1", "hourly_rate": given}
    assert said("tutor.updated", data).reasons == ("hourly_rate_out_of_range",)
    assert said("tutor.updated", {**data, "hourly_rate": "999999.99"}).reasons == ()


def test_what_each_row_must_have_cannot_be_emptied() -> None:
    """Else it would depend on the order of arrival whether the row is there."""
    named = {"session_id": "S1", "scheduled_start": None, "tutor_id": None, "student_id": None}
    assert set(said("session.scheduled", named).reasons) == {
        "scheduled_start_missing", "tutor_id_missing",
    }  # fmt: skip
    assert said("users.upserted", {"id": "U1", "role": None}).reasons == ("role_missing",)
    assert said("users.upserted", {"id": "U1", "name": None}).reasons == ()


@pytest.mark.parametrize(
    ("given", "expected"),
    [(0, 0), (1, 1), (0.5, 0.5), ("0.5", 0.5), (1.0001, OUT), (-0.0001, OUT), (5e-324, 5e-324),
     (100, OUT), ("", UNPARSABLE), (None, None)],
)  # fmt: skip
def test_shares(given: Any, expected: Any) -> None:
    assert value("session.metrics", "tutor_talk_ratio", given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [(True, True), (False, False), (None, None), *((each, UNPARSABLE) for each in (
        0, 1, "true", "false", "", "yes", 1.0, [], {},
    ))],
)  # fmt: skip
def test_booleans(given: Any, expected: Any) -> None:
    assert value("tutor.updated", "active_status", given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2026-03-02T16:00:00Z", "2026-03-02 16:00:00+00:00"),
        ("2026-03-02T16:00:00+02:00", "2026-03-02 14:00:00+00:00"),
        ("2026-03-02 16:00:00.123456+00", "2026-03-02 16:00:00.123456+00:00"),
        ("2026-03-02T16:00", "2026-03-02 16:00:00"),
        ("2026-03-02 16:00 Europe/Zurich", "2026-03-02 15:00:00+00:00"),
        (" 2026-03-02T16:00:00Z ", "2026-03-02 16:00:00+00:00"),
        ("2026-03-02", "2026-03-02 00:00:00"),
        ("1899-12-31T00:00:00Z", OUT), ("2200-01-01T00:00:00Z", OUT), ("9999-12-31T23:59:59Z", OUT),
        ("0001-01-01T00:00:00+14:00", OUT), ("2026-02-29T00:00:00Z", UNPARSABLE),
        ("2026-03-02T25:00:00Z", UNPARSABLE), ("2026-03-02T16:00:00+99:00", UNPARSABLE),
        ("1772470800", TWO), (1772470800, TWO), (1772470800.5, TWO), ("03/04/2026 16:00", TWO),
        ("2026-10-25 02:30 Europe/Zurich", TWO), ("2026-03-29 02:30 Europe/Zurich", UNPARSABLE),
        ("now", UNPARSABLE), ("", UNPARSABLE), (True, UNPARSABLE), ([], UNPARSABLE),
        ("\u0662026-03-02T16:00:00Z", UNPARSABLE), ("infinity", UNPARSABLE), (None, None),
    ],
)  # fmt: skip
def test_moments(given: Any, expected: Any) -> None:
    assert value("session.completed", "actual_start", given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2026-03-02", "2026-03-02"), ("2026-03-02T00:00:00Z", "2026-03-02"),
        ("20260302", "2026-03-02"), ("2026-03-02T00:00:00", "2026-03-02"),
        # Of a moment, the day as it was written.
        ("2026-03-02T16:00:00Z", "2026-03-02"), ("2026-03-02T00:00:00+02:00", "2026-03-02"),
        ("02.03.2026", TWO), (20260302, TWO), ("2026-13-01", UNPARSABLE), ("1899-12-31", OUT),
        (None, None),
    ],
)  # fmt: skip
def test_days(given: Any, expected: Any) -> None:
    assert value("tutor.updated", "member_since", given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("T1", "T1"), (7, "7"), (10**30, "1" + "0" * 30), ("x" * 255, "x" * 255), (" ", " "),
        ("é/%", "é/%"), ("x" * 256, OUT), (10**300, OUT), ("", MISSING), (None, MISSING),
        (True, UNPARSABLE), (7.5, UNPARSABLE), (["T1"], UNPARSABLE), ("a\0b", UNPARSABLE),
        ("\ud800", UNPARSABLE),
    ],
)  # fmt: skip
def test_ids(given: Any, expected: Any) -> None:
    assert value("tutor.updated", "tutor_id", given) == expected


@pytest.mark.parametrize("given", ["x" * 256, "x" * 20_000, 10**300])
def test_ids_of_others_are_as_short(given: Any) -> None:
    """They stand in indexes, too: what waits for whom, and whose an event is."""
    assert value("session.scheduled", "tutor_id", given) == OUT
    assert value("session.scheduled", "student_id", given) == OUT
    assert value("session.scheduled", "session_id", "") == MISSING
    # Some programs write it for none.
    assert value("session.scheduled", "student_id", "") is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [("no_show_tutor", "no_show_tutor"), ("No_Show_Tutor", "no_show_tutor"),
     (" NOT_HELD ", "not_held"), ("completed", UNKNOWN), ("", UNKNOWN), (None, MISSING),
     (1, UNPARSABLE), ("not held", UNKNOWN)],
)  # fmt: skip
def test_enums(given: Any, expected: Any) -> None:
    assert value("session.no_show", "status", given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, {}), ([1], [1]), ("x", "x"), (1.5, 1.5), (False, False), (None, None),
     ({"a": "\0"}, UNPARSABLE), ({"a\0": 1}, UNPARSABLE), ([[{"a": ["\ud800"]}]], UNPARSABLE)],
)  # fmt: skip
def test_json(given: Any, expected: Any) -> None:
    assert value("engagement_events.upserted", "event_data", given) == expected


@pytest.mark.parametrize("given", ["a\0b", "\udfff", 1, True, [], {}])
def test_texts_that_cannot_be_stored(given: Any) -> None:
    assert value("session.feedback", "feedback_text", given) == UNPARSABLE


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.text(max_size=12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["2026-03-02", "2026-03-02T16:00:00Z", "completed", "1e5", "7", "T1"]),
    lambda each: st.lists(each, max_size=3)
    | st.dictionaries(st.text(max_size=4), each, max_size=3),
    max_leaves=5,
)  # fmt: skip


@given(st.data())
def test_whatever_comes_is_a_change_or_has_reasons(data: st.DataObject) -> None:
    """Nothing breaks the reading, and it says the same of what is stored as of what came."""
    kind = data.draw(st.sampled_from(sorted([*TYPES, "session_completed",
                                             "tutor_availability_updated"])))  # fmt: skip
    names = [*(TYPES[kind].fields if kind in TYPES else ("session_id", "started_at", "ended_at"))]
    content = data.draw(st.dictionaries(st.sampled_from([*names, "other", "status"]), ANY) | ANY)
    body = parse(json.dumps(
        {"type": kind, "timestamp": data.draw(st.just("2026-03-02T16:00:00Z") | ANY),
         "data": content}
    ).encode())  # fmt: skip
    reading = read(body, "shop/e1", NOW)
    assert bool(reading.changes) != bool(reading.reasons)
    assert all(
        each in ("data_missing", "nothing_said", "timestamp_ahead")
        or each.endswith(tuple(f"_{suffix}" for suffix in SUFFIXES))
        for each in reading.reasons
    )
    assert len(set(reading.reasons)) == len(reading.reasons)
    assert read(again(body.text), "shop/e1", NOW) == reading
    told = remarks_on(body, "e1", NOW)
    assert told.get("problems", []) == list(reading.reasons)
    assert told.get("ignored", []) == list(reading.ignored)
    json.dumps([dict(change.fields) for change in reading.changes], allow_nan=False)


def test_an_event_says_rows_of_several_tables() -> None:
    reading = said("tutor.updated", {"tutor_id": 7, "name": "Ada", "hourly_rate": "25.50",
                                     "unknown_field": 1})  # fmt: skip
    assert reading.version == Version("2026-03-02T16:00:00.000000", 1, "shop/e1")
    assert reading.changes == (
        Change("tutors", ("7",), {"hourly_rate": 25.5}),
        Change("users", ("7",), {"name": "Ada", "role": "tutor"}),
    )


@pytest.mark.parametrize(
    ("data", "tables"),
    [
        ({"session_id": "S1"}, []),
        ({"session_id": "S1", "empathy_score": 1}, ["session_transcript_metrics"]),
        ({"session_id": "S1", "empathy_score": None}, ["session_transcript_metrics"]),
        ({"session_id": "S1", "tutor_talk_ratio": 0.5, "empathy_score": 1},
         ["session_audio_metrics", "session_transcript_metrics"]),
    ],
)  # fmt: skip
def test_only_what_an_event_says_of_optional_rows(data: Any, tables: list[str]) -> None:
    reading = said("session.metrics", data)
    assert [change.table for change in reading.changes] == tables
    assert reading.reasons == (() if tables else ("nothing_said",))


def test_a_student_who_left_with_and_without_a_reason() -> None:
    assert [each.table for each in said("student.left", {"student_id": "P1"}).changes] == [
        "students"
    ]
    reading = said("student.left", {"student_id": "P1", "reason": "no_progress"})
    assert reading.changes[1] == Change("student_churn_reasons", ("P1", "no_progress"), {})
    assert said("student.left", {"student_id": "P1", "reason": "moved"}).reasons == (
        "reason_unknown_value",
    )


def test_what_a_type_sets_may_be_said_too_but_not_otherwise() -> None:
    named = {"session_id": "S1"}
    assert said("session.cancelled", {**named, "status": "cancelled"}).reasons == ()
    assert said("session.cancelled", {**named, "status": "completed"}).reasons == (
        "status_unknown_value",
    )


def test_a_start_that_is_known_only_by_the_way() -> None:
    start = "2026-03-02T16:00:00Z"
    (change,) = said("session.completed", {"session_id": "S1", "actual_start": start}).changes
    assert change.otherwise == {"scheduled_start": "2026-03-02 16:00:00+00:00"}
    (change,) = said("session.completed", {"session_id": "S1", "actual_start": start,
                                           "scheduled_start": start}).changes  # fmt: skip
    assert change.otherwise == {}
    (change,) = said("session.completed", {"session_id": "S1", "actual_start": None}).changes
    assert change.otherwise == {}


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (..., "timestamp_missing"), (None, "timestamp_missing"), ("", "timestamp_missing"),
        (1772470800, "timestamp_two_readings"), ("1772470800", "timestamp_two_readings"),
        ("soon", "timestamp_unparsable"), (["x"], "timestamp_unparsable"),
        ("1850-01-01T00:00:00Z", "timestamp_out_of_range"),
    ],
)  # fmt: skip
def test_an_event_without_a_time_of_its_own(at: Any, expected: str) -> None:
    reading = said("tutor.updated", {"tutor_id": "T1"}, at)
    assert (reading.version, reading.changes, reading.reasons) == (None, (), (expected,))


def test_the_time_of_an_event_is_in_utc_and_exact() -> None:
    def at(text: str) -> str:
        version = said("tutor.left", {"tutor_id": "T1"}, text).version
        assert version is not None
        return version.at

    assert at("2026-03-02T16:00:00.123456+05:30") == "2026-03-02T10:30:00.123456"
    assert at("2026-03-02T16:00:00") == "2026-03-02T16:00:00.000000"
    assert at("2026-03-02 16:00 Europe/Zurich") == "2026-03-02T15:00:00.000000"


def test_an_event_of_the_future_waits_until_its_time() -> None:
    at = NOW + timedelta(minutes=5)
    assert said("tutor.left", {"tutor_id": "T1"}, at.isoformat()).reasons == ()
    at += timedelta(microseconds=1)
    reading = said("tutor.left", {"tutor_id": "T1"}, at.isoformat())
    assert (reading.reasons, reading.changes) == (("timestamp_ahead",), ())
    assert reading.due_at == at - timedelta(minutes=5)
    body = parse(json.dumps(
        {"type": "tutor.left", "timestamp": at.isoformat(), "data": {"tutor_id": "T1"}}
    ).encode())  # fmt: skip
    assert reading.due_at is not None
    assert read(body, "e", reading.due_at).reasons == ()
    # What is wrong with it as well is told first: waiting would not help.
    assert said("tutor.left", {}, at.isoformat()).due_at is None


@pytest.mark.parametrize("data", [..., None, [], "x", 1])
def test_an_event_without_data(data: Any) -> None:
    assert "data_missing" in said("tutor.left", data).reasons


def test_types_that_are_none() -> None:
    for kind in (None, "", 1, "\0"):
        assert said(kind, {}).reasons == ("type_missing",)
    for kind in ("session.what", "Session.Completed", "tutor.updated ", "users.updated"):
        with pytest.raises(UnknownTypeError):
            said(kind, {})
        body = parse(json.dumps({"type": kind, "timestamp": "x"}).encode())
        assert remarks_on(body, "e", NOW) == {"problems": ["type_unknown"]}
    assert read(parse(b"no"), "e", NOW).reasons == ("malformed_json",)


OLD = {"session_id": "S1", "tutor_id": "T1", "student_id": "P1",
       "started_at": "2026-03-02T15:00:00Z", "ended_at": "2026-03-02T15:50:30Z"}  # fmt: skip


def test_an_older_name_of_a_session_that_took_place() -> None:
    reading = said("session_completed", {**OLD, "rating": 4.5, "score": "7"})
    assert reading.reasons == ()
    assert reading.version is not None
    assert reading.version.rank == TYPES["session.completed"].rank
    session, feedback = reading.changes
    assert session == Change(
        "sessions",
        ("S1",),
        {"tutor_id": "T1", "student_id": "P1", "actual_start": "2026-03-02 15:00:00+00:00",
         "completed_at": "2026-03-02 15:50:30+00:00", "actual_duration": 51,
         "overall_session_score": 7.0, "status": "completed"},
        {"scheduled_start": "2026-03-02 15:00:00+00:00"},
    )  # fmt: skip
    assert feedback == Change("session_feedback", ("S1",), {"student_satisfaction_rating": 4.5})


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"rating": None}, ()), ({"rating": 9}, ("student_satisfaction_rating_out_of_range",)),
        ({"rating": "x", "score": "y"}, ("overall_session_score_unparsable",
                                         "student_satisfaction_rating_unparsable")),
        ({"ended_at": "2026-03-02T14:00:00Z"}, ("actual_duration_out_of_range",)),
        ({"ended_at": "2026-03-02T15:50:30"}, ()), ({"ended_at": None}, ()),
        ({"ended_at": "soon"}, ("completed_at_unparsable",)),
        ({"started_at": 1}, ("actual_start_two_readings",)),
        ({"session_id": None, "rating": 4}, ("session_id_missing",)),
    ],
)  # fmt: skip
def test_an_older_name_with_something_wrong(changed: Any, expected: Any) -> None:
    assert set(said("session_completed", OLD | changed).reasons) == set(expected)


def test_an_older_name_of_hours() -> None:
    data = {"tutor_id": "T1", "week_start": "2026-03-02", "available_hours": 12,
            "instant_book_enabled": True}  # fmt: skip
    assert said("tutor_availability_updated", data) == said("tutor.availability", data)


@pytest.mark.parametrize("kind", TYPES.values(), ids=lambda each: each.name)
def test_each_type_needs_its_keys_and_nothing_else(kind: EventType) -> None:
    missing = {f"{each.name}_missing" for each in kind.fields.values()
               if each.is_key or each.is_required}  # fmt: skip
    assert missing
    assert set(said(kind.name, {}).reasons) == missing
    nulls = said(kind.name, dict.fromkeys(kind.fields)).reasons
    assert missing <= set(nulls)
    assert all(each.endswith("_missing") for each in nulls)


def test_fields_that_nobody_reads_are_named() -> None:
    def ignored(kind: str, data: dict[str, Any]) -> list[str]:
        body = parse(json.dumps({"type": kind, "timestamp": "2026-01-02T03:04:05Z", "data": data})
                     .encode())  # fmt: skip
        return remarks_on(body, "e", NOW).get("ignored", [])

    assert ignored("session.feedback", {"session_id": "S", "rating": 4, "comment": "x"}) == [
        "comment", "rating",
    ]  # fmt: skip
    # What a type sets may be said, too, and an alias has fields of its own.
    assert ignored("session.completed", {"session_id": "S", "status": "completed"}) == []
    assert ignored("session_completed", {"session_id": "S", "started_at": "x", "stars": 1}) == [
        "stars"
    ]
