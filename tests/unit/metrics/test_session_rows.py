"""Each incoming session is either clean or carries the reasons why it is not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

AS_OF = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)
START = AS_OF - timedelta(days=2)
ENDLESS = "".join(map(str, range(2_000)))
"""More than an index of PostgreSQL takes, even compressed."""


@pytest.fixture(scope="module")
def rows(bench: Any) -> dict[str, list[dict[str, Any]]]:
    """session_rows by session id, of a platform without keys and with every kind of bad row."""
    bench.insert("tutors", [{"user_id": "t1"}, {"user_id": "t2"}])
    bench.execute(
        "insert into {platform}.users (id, role) values ('t3', 'tutor'), ('p1','student')"
    )
    bench.execute("alter table {platform}.sessions drop constraint sessions_pkey")
    for column in ("id", "tutor_id", "scheduled_start", "status"):
        bench.execute(f"alter table {{platform}}.sessions alter {column} drop not null")
    bench.execute(
        "alter table {platform}.sessions alter overall_session_score type double precision,"
        " alter scheduled_duration type numeric, alter technical_issues type text"
    )
    bench.execute("alter table {platform}.session_feedback drop constraint session_feedback_pkey")

    def session(identity: str | None, **values: Any) -> None:
        usual = {"tutor_id": "t1", "scheduled_start": START, "status": "completed"}
        bench.add("sessions", id=identity, **usual | values)

    session("good", overall_session_score=10, tutor_showed_up=True)
    session("by a user", tutor_id="t3")
    session("of a student", student_id="p1")
    session("far future", scheduled_start=datetime(2199, 12, 31, 23, tzinfo=UTC))
    session("long ago", scheduled_start=datetime(1900, 1, 1, tzinfo=UTC))
    session("blank", technical_issues=" ")
    session("yes", technical_issues=" Yes")
    session(None)
    session("no tutor", tutor_id=None)
    session("no start", scheduled_start=None)
    session("no status", status=None)
    session("bad status", status="Completed")
    session("endless", scheduled_start="infinity")
    session("never", scheduled_start=datetime(9999, 12, 31, tzinfo=UTC))
    session("year one", scheduled_start=datetime(1, 1, 1, tzinfo=UTC))
    session("bad tutor", tutor_id="nobody")
    session("a student", tutor_id="p1")
    session("bad student", student_id="nobody")
    session("a tutor", student_id="t3")
    session("perhaps", technical_issues="perhaps")
    session(ENDLESS)
    session("of an endless tutor", tutor_id=ENDLESS)
    session("for an endless student", student_id=ENDLESS)
    session("score", overall_session_score=10.01)
    session("nan", overall_session_score="nan")
    session("endless score", overall_session_score="infinity")
    session("huge", scheduled_duration=10**30)
    session("negative", scheduled_duration=-1)
    session("absent tutor", tutor_showed_up=False)
    session("rated", status="cancelled")
    session("satisfied", status="no_show_student")
    session("talk")
    session("several", status="no_show_tutor", connection_quality="bad", scheduled_duration=-5)
    for status in ("completed", "completed", "cancelled"):
        session("twice", status=status, updated_at=START)
    session("two tutors", tutor_id="t1", updated_at=START)
    session("two tutors", tutor_id="t2", updated_at=START + timedelta(hours=1))
    session("one undated", tutor_id="t1", updated_at=None)
    session("one undated", tutor_id="t2", updated_at=START)
    bench.add("session_feedback", session_id="rated", student_satisfaction_rating=4)
    bench.add("session_feedback", session_id="satisfied", satisfaction_score=9)
    bench.add("session_feedback", session_id="several", student_satisfaction_rating=6)
    for hours, rating in ((1, 2), (3, 5), (2, 3)):
        bench.add(
            "session_feedback", session_id="good", student_satisfaction_rating=rating,
            submitted_at=START + timedelta(hours=hours),
        )  # fmt: skip
    bench.add("session_audio_metrics", session_id="talk", tutor_talk_ratio=1.2)
    bench.refresh(AS_OF)
    found: dict[str, list[dict[str, Any]]] = {}
    for row in bench.rows(
        "select session_id, tutor_id, quarantine_reasons, payload, row_key,"
        " student_satisfaction_rating from {staging}.session_rows"
    ):
        found.setdefault(row["session_id"], []).append(row)
    return found


@pytest.mark.parametrize(
    "session", ["good", "by a user", "of a student", "far future", "long ago", "blank", "yes"]
)
def test_a_clean_row_has_no_reasons_and_no_payload(rows: Any, session: str) -> None:
    (row,) = rows[session]
    assert (row["quarantine_reasons"], row["payload"], row["row_key"]) == ([], None, None)


@pytest.mark.parametrize(
    ("session", "reasons"),
    [
        (None, ["id_missing"]),
        ("no tutor", ["tutor_id_missing"]),
        ("no start", ["scheduled_start_missing"]),
        ("no status", ["status_missing"]),
        ("bad status", ["status_unknown_value"]),
        ("endless", ["scheduled_start_out_of_range"]),
        ("never", ["scheduled_start_out_of_range"]),
        ("year one", ["scheduled_start_out_of_range"]),
        ("bad tutor", ["unknown_tutor"]),
        ("a student", ["unknown_tutor"]),
        ("bad student", ["unknown_student"]),
        ("a tutor", ["unknown_student"]),
        ("perhaps", ["technical_issues_unknown_value"]),
        (ENDLESS, ["id_out_of_range"]),
        ("of an endless tutor", ["tutor_id_out_of_range", "unknown_tutor"]),
        ("for an endless student", ["student_id_out_of_range", "unknown_student"]),
        ("score", ["overall_session_score_out_of_range"]),
        ("nan", ["overall_session_score_out_of_range"]),
        ("endless score", ["overall_session_score_out_of_range"]),
        ("huge", ["scheduled_duration_out_of_range"]),
        ("negative", ["scheduled_duration_out_of_range"]),
        ("absent tutor", ["completed_without_tutor"]),
        ("rated", ["rating_without_completion"]),
        ("satisfied", ["rating_without_completion"]),
        ("talk", ["tutor_talk_ratio_out_of_range"]),
        (
            "several",
            [
                "scheduled_duration_out_of_range",
                "connection_quality_unknown_value",
                "student_satisfaction_rating_out_of_range",
                "rating_without_completion",
            ],
        ),
    ],
)
def test_a_bad_row_says_why(rows: Any, session: str | None, reasons: list[str]) -> None:
    (row,) = rows[session]
    assert row["quarantine_reasons"] == reasons
    assert row["payload"].get("session_id") == session
    assert row["row_key"].endswith("#1")


@pytest.mark.parametrize(
    ("session", "given"),
    [
        ("huge", {"scheduled_duration": 10**30}),
        ("nan", {"overall_session_score": "NaN"}),
        ("perhaps", {"technical_issues": "perhaps"}),
        ("of an endless tutor", {"tutor_id": ENDLESS}),
        ("rated", {"student_satisfaction_rating": 4}),
        ("never", {"scheduled_start": "9999-12-31T00:00:00+00:00"}),
    ],
)
def test_the_payload_is_what_the_platform_gave(rows: Any, session: str, given: Any) -> None:
    (row,) = rows[session]
    usual = {"session_id": session, "tutor_id": "t1", "status": "completed"}
    payload = row["payload"]
    assert {name: payload[name] for name in given} == given
    assert payload.keys() == {*usual, *given, "scheduled_start"}


def test_of_rows_with_one_id_one_is_clean(rows: Any) -> None:
    reasons = sorted(row["quarantine_reasons"] for row in rows["twice"])
    assert reasons == [[], ["duplicate_id"], ["duplicate_id"]]
    assert len({row["row_key"] for row in rows["twice"]}) == 3


@pytest.mark.parametrize("session", ["two tutors", "one undated"])
def test_the_newest_row_of_an_id_is_the_clean_one_across_tutors(rows: Any, session: str) -> None:
    labels = {row["tutor_id"]: row["quarantine_reasons"] for row in rows[session]}
    assert labels == {"t1": ["duplicate_id"], "t2": []}


def test_a_refresh_of_one_tutor_settles_who_keeps_an_id_that_others_share(
    bench: Any, rows: Any
) -> None:
    bench.add(
        "sessions", id="two tutors", tutor_id="t3", status="completed", scheduled_start=START,
        updated_at=START + timedelta(hours=2),
    )  # fmt: skip
    bench.refresh(AS_OF, tutors=["t3"])
    labelled = bench.rows(
        "select tutor_id, quarantine_reasons from {staging}.session_rows"
        " where session_id = 'two tutors'"
    )
    assert {row["tutor_id"]: row["quarantine_reasons"] for row in labelled} == {
        "t1": ["duplicate_id"],
        "t2": ["duplicate_id"],
        "t3": [],
    }
    clean = bench.rows("select tutor_id from {marts}.fct_sessions where session_id = 'two tutors'")
    assert [row["tutor_id"] for row in clean] == ["t3"]


def test_equal_payloads_are_numbered(bench: Any, rows: Any) -> None:
    values = {"tutor_id": "nobody", "scheduled_start": START, "status": "gone"}
    bench.insert("sessions", [{"id": None, **values}] * 3)
    bench.refresh(AS_OF, tutors=["nobody"])
    keys = [
        row["row_key"].split("#")
        for row in bench.rows(
            "select row_key from {staging}.session_rows"
            " where session_id is null and tutor_id = 'nobody' order by row_key"
        )
    ]
    assert [number for _, number in keys] == ["1", "2", "3"]
    assert len({digest for digest, _ in keys}) == 1


def test_the_newest_of_several_feedback_rows_counts(rows: Any) -> None:
    assert rows["good"][0]["student_satisfaction_rating"] == 5


def test_every_row_is_in_exactly_one_place(bench: Any, rows: Any) -> None:
    counts = bench.row(
        "select (select count(*) from {platform}.sessions) as incoming,"
        " (select count(*) from {marts}.fct_sessions) as clean,"
        " (select count(*) from {staging}.session_rows where quarantine_reasons <> '{{}}') as bad"
    )
    assert counts["incoming"] == counts["clean"] + counts["bad"]


@pytest.fixture(autouse=True)
def _in_order(rows: Any) -> Iterator[None]:
    yield
