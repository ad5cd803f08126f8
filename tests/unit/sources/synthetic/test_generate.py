"""The generated rows are the same every time, and fit together."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date, timedelta

import numpy as np
import pytest

from tutor_pipeline.sources.synthetic import Parameters, Population, generate
from tutor_pipeline.sources.synthetic.population import (
    MISSING_INTEGER,
    Array,
    Columns,
    is_missing,
    make_ids,
    row_count,
)

END = date(2026, 11, 19)
MIDNIGHT = np.datetime64("2026-11-20", "us")  # after the last day


@pytest.fixture(scope="module")
def population() -> Population:
    return generate(Parameters(end=END))


@pytest.fixture(scope="module")
def sessions(population: Population) -> Columns:
    return population.platform["sessions"]


def given_up(population: Population) -> Array:
    """True for sessions that were booked with a tutor who had left by then."""
    sessions, truth = population.platform["sessions"], population.truth["tutors"]
    left_on = truth["left_on"][np.searchsorted(truth["tutor_id"], sessions["tutor_id"])]
    return np.asarray(sessions["scheduled_start"] >= left_on)


def test_same_arguments_same_bytes(population: Population) -> None:
    assert generate(Parameters(end=END)).fingerprint() == population.fingerprint()


@pytest.mark.usefixtures("starts_something")
def test_same_bytes_in_a_fresh_process(population: Population) -> None:
    code = (
        "from datetime import date\n"
        "from tutor_pipeline.sources.synthetic import Parameters, generate\n"
        "print(generate(Parameters(end=date(2026, 11, 19))).fingerprint())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == population.fingerprint()


@pytest.mark.parametrize("other", [{"seed": 8}, {"tutors": 151}, {"end": END + timedelta(days=1)}])
def test_other_arguments_other_bytes(population: Population, other: dict[str, object]) -> None:
    changed = generate(Parameters(**({"end": END} | other)))  # type: ignore[arg-type]
    assert changed.fingerprint() != population.fingerprint()


def test_a_fingerprint_sees_one_changed_value(population: Population) -> None:
    before = population.fingerprint()
    ratio = population.platform["session_audio_metrics"]["tutor_talk_ratio"]
    kept, ratio[0] = ratio[0], 0.123456
    changed = population.fingerprint()
    ratio[0] = kept
    assert changed != before == population.fingerprint()


def test_switches_drop_their_tables_and_nothing_else(population: Population) -> None:
    bare = generate(
        Parameters(end=END, engagement_events=False, interventions=False, experiments=False)
    )
    dropped = {"engagement_events", "interventions", "experiments", "experiment_assignments"}
    assert population.platform.keys() - bare.platform.keys() == dropped
    for table, columns in bare.platform.items():
        for name, values in columns.items():
            assert values.tobytes() == population.platform[table][name].tobytes(), (table, name)
    assert "experiment_effects" not in bare.truth


@pytest.mark.parametrize(
    ("preset", "sessions_until_the_end", "tutors"),
    [("dev", 1_008, 25), ("production", 22_500, 150)],
)
def test_presets_have_their_size(preset: str, sessions_until_the_end: int, tutors: int) -> None:
    made = generate(Parameters.preset(preset, END))
    past = made.platform["sessions"]["scheduled_start"] < MIDNIGHT
    assert (past & ~given_up(made)).sum() == sessions_until_the_end
    assert row_count(made.platform["tutors"]) == tutors


@pytest.mark.parametrize(
    ("tutors", "days", "per_day"), [(1, 1, 1), (1, 40, 2), (3, 2, 60), (300, 1, 1), (7, 200, 3)]
)
def test_odd_sizes_work(tutors: int, days: int, per_day: int) -> None:
    for seed in range(4):
        made = generate(
            Parameters(end=END, tutors=tutors, days=days, sessions_per_day=per_day, seed=seed)
        )
        past = made.platform["sessions"]["scheduled_start"] < MIDNIGHT
        assert 0 < (past & ~given_up(made)).sum() <= days * per_day
        assert row_count(made.platform["tutors"]) == tutors


REFERENCES = [
    ("sessions", "tutor_id", "tutors", "user_id"),
    ("sessions", "student_id", "students", "user_id"),
    ("sessions", "subject_id", "subjects", "id"),
    ("tutors", "user_id", "users", "id"),
    ("students", "user_id", "users", "id"),
    ("student_churn_reasons", "student_id", "students", "user_id"),
    ("tutor_subjects", "subject_id", "subjects", "id"),
    ("student_progress", "student_id", "students", "user_id"),
    ("interventions", "experiment_id", "experiments", "experiment_id"),
    ("experiment_assignments", "experiment_id", "experiments", "experiment_id"),
    *[
        (table, "tutor_id", "tutors", "user_id")
        for table in (
            "tutor_subjects",
            "tutor_certifications",
            "student_progress",
            "tutor_availability",
            "engagement_events",
            "interventions",
            "experiment_assignments",
        )
    ],
    *[
        (table, "session_id", "sessions", "id")
        for table in (
            "session_audio_metrics",
            "session_video_metrics",
            "session_screen_metrics",
            "session_transcript_metrics",
            "session_feedback",
            "session_feedback_tags",
            "session_transcript_highlights",
            "session_billing",
        )
    ],
]


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda r: f"{r[0]}.{r[1]}")
def test_references_hold(population: Population, reference: tuple[str, str, str, str]) -> None:
    table, column, target, key = reference
    values = population.platform[table][column]
    values = values[~is_missing(values)]
    assert len(values)
    assert np.isin(values, population.platform[target][key]).all()


@pytest.mark.parametrize("seed", [7, 8])
def test_columns_of_a_table_have_one_length_and_a_kind(seed: int) -> None:
    made = generate(Parameters.preset("dev", END, seed=seed))
    for tables in (made.platform, made.truth):
        for name, columns in tables.items():
            lengths = {len(values) for values in columns.values()}
            assert len(lengths) == 1, name
            kinds = {values.dtype.str.lstrip("<|")[:2] for values in columns.values()}
            assert {kind[0] if kind[0] == "S" else kind for kind in kinds} <= {
                "S", "i4", "i1", "f8", "M8",
            }, name  # fmt: skip


def test_nothing_has_happened_after_the_end(population: Population, sessions: Columns) -> None:
    ahead = sessions["scheduled_start"] >= MIDNIGHT
    assert ahead.any()
    assert (sessions["scheduled_start"][ahead] < MIDNIGHT + np.timedelta64(7, "D")).all()
    assert set(sessions["status"][ahead]) == {b"scheduled"}
    assert b"scheduled" not in set(sessions["status"][~ahead])
    happened = [
        ("sessions", ("actual_start", "completed_at", "created_at", "updated_at")),
        ("session_feedback", ("submitted_at",)),
        ("engagement_events", ("occurred_at",)),
        ("interventions", ("sent_at", "opened_at", "clicked_at", "responded_at")),
        ("experiment_assignments", ("assigned_at", "exposed_at", "converted_at")),
        ("tutors", ("last_login",)),
        ("users", ("created_at",)),
    ]
    for table, columns in happened:
        for column in columns:
            values = population.platform[table][column]
            assert (values[~is_missing(values)] < MIDNIGHT).all(), (table, column)


def test_what_a_session_has_fits_its_status(population: Population, sessions: Columns) -> None:
    completed = sessions["status"] == b"completed"
    for column in ("completed_at", "actual_duration", "connection_quality", "technical_issues"):
        assert (is_missing(sessions[column]) == ~completed).all(), column
    assert is_missing(sessions["overall_session_score"][~completed]).all()
    assert 0 < is_missing(sessions["overall_session_score"][completed]).mean() < 0.15
    moved = sessions["status"] == b"rescheduled"
    assert (is_missing(sessions["rescheduled_by"]) == ~moved).all()
    assert (sessions["tutor_showed_up"][sessions["status"] == b"no_show_tutor"] == 0).all()
    assert (sessions["student_showed_up"][sessions["status"] == b"no_show_student"] == 0).all()
    ids = sessions["id"][completed]
    for table in ("session_audio_metrics", "session_feedback", "session_billing"):
        assert np.isin(population.platform[table]["session_id"], ids).all(), table
    assert (sessions["created_at"] <= sessions["scheduled_start"]).all()
    known = ~is_missing(sessions["actual_start"])
    assert (sessions["completed_at"] > sessions["actual_start"])[known].all()


def test_session_numbers_count_the_completed_sessions_of_a_pair(sessions: Columns) -> None:
    done: dict[tuple[bytes, bytes], int] = {}
    began: dict[tuple[bytes, bytes], int] = {}
    for tutor, student, status, number, is_first in zip(
        *(
            sessions[column].tolist()
            for column in (
                "tutor_id",
                "student_id",
                "status",
                "session_number",
                "is_first_session",
            )
        ),
        strict=True,
    ):
        pair = tutor, student
        earlier = done.get(pair, 0)
        assert number == began.setdefault(pair, number) + earlier
        assert is_first == (number == 1)
        done[pair] = earlier + (status == b"completed")
    continued = sum(count > 1 for count in done.values())
    assert continued > 0.4 * len(done)


def test_nobody_teaches_before_joining_or_after_leaving(
    population: Population, sessions: Columns
) -> None:
    tutors, truth = population.platform["tutors"], population.truth["tutors"]
    tutor = np.searchsorted(tutors["user_id"], sessions["tutor_id"])
    joined, left_on = tutors["member_since"][tutor], truth["left_on"][tutor]
    assert (sessions["scheduled_start"] >= joined).all()
    after = given_up(population)
    assert set(sessions["status"][after]) == {b"cancelled"}
    assert (sessions["created_at"][after] < left_on[after]).all()
    assert ((tutors["active_status"] == 1) == np.isnat(truth["left_on"])).all()


def test_what_leavers_leave_behind_is_called_off_when_they_go(
    population: Population, sessions: Columns
) -> None:
    after = given_up(population)
    truth = population.truth["tutors"]
    left_on = truth["left_on"][np.searchsorted(truth["tutor_id"], sessions["tutor_id"])]
    assert after.sum() > 5
    called_off = sessions["updated_at"][after]
    assert (called_off.astype("M8[D]") == left_on[after]).all()
    assert (called_off > sessions["created_at"][after]).all()
    assert (called_off < sessions["scheduled_start"][after]).all()
    # They are nobody's last session: whoever had one stays, or has left before.
    gone = population.platform["students"]["churned_date"]
    student = np.searchsorted(
        population.platform["students"]["user_id"], sessions["student_id"][after]
    )
    assert not (gone[student] <= sessions["scheduled_start"][after]).any()


def test_who_is_there_reports_the_coming_week(population: Population) -> None:
    offers, truth = population.platform["tutor_availability"], population.truth["tutors"]
    coming = offers["week_start"] > np.datetime64(END)
    assert set(offers["tutor_id"][coming]) == set(truth["tutor_id"][np.isnat(truth["left_on"])])
    left_on = truth["left_on"][np.searchsorted(truth["tutor_id"], offers["tutor_id"])]
    assert not (offers["week_start"] >= left_on).any()


@pytest.mark.slow
def test_bookings_ahead_do_not_tell_who_will_leave() -> None:
    """As of each of the last five days before leaving: as many as those who stay have."""
    made = generate(
        Parameters(end=END, tutors=1500, sessions_per_day=3000, engagement_events=False)
    )
    sessions, truth = made.platform["sessions"], made.truth["tutors"]
    tutor = np.searchsorted(truth["tutor_id"], sessions["tutor_id"])
    start = np.datetime64(END) - np.timedelta64(89, "D")
    leaver = truth["left_on"] >= start + 40
    leaver &= truth["left_on"] <= np.datetime64(END) - 7
    joined = made.platform["tutors"]["member_since"]
    stays = np.isnat(truth["left_on"]) & (joined < start)

    def booked(day: Array) -> Array:
        """What every tutor had booked on `day` (one per tutor) for the week after it, and the
        sessions of the four weeks before."""
        made_by = sessions["created_at"].astype("M8[D]") <= day[tutor]
        ahead = (sessions["scheduled_start"].astype("M8[D]") - day[tutor]).astype(np.int64)
        coming = np.bincount(tutor[made_by & (ahead > 0) & (ahead <= 7)], minlength=len(day))
        before = np.bincount(tutor[(ahead <= 0) & (ahead > -28)], minlength=len(day))
        return np.stack([coming, before])

    day = np.where(leaver, truth["left_on"], np.datetime64(END) - 20).astype("M8[D]")
    for earlier in range(1, 6):
        coming, before = booked(day - earlier)
        usual = coming[stays].sum() / before[stays].sum()
        assert coming[leaver].sum() / before[leaver].sum() == pytest.approx(usual, rel=0.15)


def test_truth_covers_every_day_a_tutor_was_there(population: Population) -> None:
    days, tutors = population.truth["tutor_days"], population.truth["tutors"]
    assert ((days["burnout"] >= 0.6) == (days["is_at_risk"] == 1)).all()
    assert ((days["burnout"] >= 0) & (days["burnout"] <= 1)).all()
    counted = dict(zip(*np.unique(days["tutor_id"], return_counts=True), strict=True))
    start, after = np.datetime64(END) - np.timedelta64(89, "D"), np.datetime64(END) + 1
    joined = population.platform["tutors"]["member_since"]
    for tutor, since, left in zip(tutors["tutor_id"], joined, tutors["left_on"], strict=True):
        until = after if np.isnat(left) else left
        assert counted.get(tutor, 0) == max((until - max(start, since + 1)).astype(int), 0)
    assert (joined > start).any()
    causes = tutors["leave_cause"][~np.isnat(tutors["left_on"])]
    assert 0.15 <= (causes == b"outside").mean() <= 0.35


def test_replaced_students_really_change_their_tutor(
    population: Population, sessions: Columns
) -> None:
    truth = population.truth["tutor_replacements"]
    assert row_count(truth) > 20
    rows: dict[bytes, list[tuple[bytes, bytes]]] = {}
    for student, tutor, status in zip(
        sessions["student_id"].tolist(),
        sessions["tutor_id"].tolist(),
        sessions["status"].tolist(),
        strict=True,
    ):
        rows.setdefault(student, []).append((tutor, status))
    for student, old, new, after_no_show in zip(
        *(
            truth[column].tolist()
            for column in ("student_id", "from_tutor_id", "to_tutor_id", "is_after_no_show")
        ),
        strict=True,
    ):
        tutors = [tutor for tutor, _ in rows[student]]
        change = tutors.index(new)
        assert set(tutors[:change]) == {old}
        assert set(tutors[change:]) == {new}
        assert (rows[student][change - 1][1] == b"no_show_tutor") == bool(after_no_show)


def test_events_are_json_in_order_of_time(population: Population) -> None:
    events = population.platform["engagement_events"]
    assert (np.diff(events["occurred_at"]) >= np.timedelta64(0, "us")).all()
    for text in events["event_data"][::97].tolist():
        assert isinstance(json.loads(text), dict)
    assert len(np.unique(events["event_id"])) == row_count(events)


def test_logins_are_two_to_five_a_week_and_mostly_before_sessions() -> None:
    made = generate(Parameters(end=END, tutors=400, sessions_per_day=160)).platform
    events, tutors = made["engagement_events"], made["tutors"]
    logins = events["event_type"] == b"login"
    veterans = (tutors["months_experience"] > 3) & (tutors["active_status"] == 1)
    names, counts = np.unique(events["tutor_id"][logins], return_counts=True)
    weekly = counts[np.isin(names, tutors["user_id"][veterans])] / (90 / 7)
    assert 2.0 < weekly.mean() < 4.5
    related = np.strings.find(events["event_data"][logins], b"correlated_session") >= 0
    assert 0.55 < related.mean() < 0.65


def test_interventions_succeed_are_read_or_are_ignored() -> None:
    made = generate(Parameters(end=END, tutors=1500, sessions_per_day=300)).platform
    sent = made["interventions"]
    settled = sent["sent_at"] < MIDNIGHT - np.timedelta64(5, "D")
    status = sent["status"][settled]
    assert len(status) > 1000
    shares = [(status == known).mean() for known in (b"responded", b"opened", b"delivered")]
    assert shares == pytest.approx([0.60, 0.15, 0.25], abs=0.04)
    lift = sent["engagement_after"] - sent["engagement_before"]
    answered = sent["status"] == b"responded"
    assert np.nanmean(lift[answered]) > np.nanmean(lift[~answered]) + 0.4


def test_assignment_hangs_on_experiment_and_tutor_alone() -> None:
    def arms(**changes: int) -> dict[tuple[bytes, bytes], bytes]:
        table = generate(Parameters(end=END, **changes)).platform["experiment_assignments"]
        keys = zip(table["experiment_id"].tolist(), table["tutor_id"].tolist(), strict=True)
        return dict(zip(keys, table["variant"].tolist(), strict=True))

    one, other = arms(seed=1), arms(seed=2, tutors=200)
    shared = one.keys() & other.keys()
    assert len(shared) > 200
    assert all(one[key] == other[key] for key in shared)
    assert len(set(one.values())) > 5


@pytest.mark.parametrize(
    ("numbers", "highest", "expected"),
    [
        ([1, 9999], 9999, [b"T0001", b"T9999"]),
        ([1, 10_000], 10_000, [b"T00001", b"T10000"]),
        ([], 0, []),
    ],
)
def test_ids_grow_when_they_must(numbers: list[int], highest: int, expected: list[bytes]) -> None:
    made = make_ids("T", np.array(numbers, dtype=np.int64), 4, highest)
    assert made.tolist() == expected


def test_missing_values_are_told_from_empty_looking_ones() -> None:
    assert is_missing(np.array([0, MISSING_INTEGER], dtype=np.int32)).tolist() == [False, True]
    assert is_missing(np.array([0, 1, -1], dtype=np.int8)).tolist() == [False, False, True]
    assert is_missing(np.array([0.0, np.nan])).tolist() == [False, True]
    assert is_missing(np.array([b"", b" "])).tolist() == [True, False]
    assert is_missing(np.array(["NaT", "2026-01-01"], dtype="M8[D]")).tolist() == [True, False]
    with pytest.raises(TypeError, match="no convention"):
        is_missing(np.array(["text"]))
