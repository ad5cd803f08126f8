"""After any sequence of scoped refreshes the tables equal a full rebuild at the same as-of."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

AS_OF = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)
TUTORS = [f"t{number}" for number in range(5)]
TABLES = {
    "{staging}.session_rows": "session_id",
    "{marts}.fct_sessions": "session_id",
    "{marts}.dim_tutors": "tutor_id",
    "{marts}.dim_students": "student_id",
    "{intermediate}.int_tutor_days": "tutor_id, session_on",
    "{marts}.tutor_aggregates": "tutor_id",
    "{marts}.tutor_performance_snapshots": "tutor_id, snapshot_date, period_type",
    "{marts}.platform_metrics": "metric_date",
    "{marts}.tutor_scoreboard": "tutor_id",
    "{marts}.recent_sessions": "session_id",
}
SNAPSHOT_DAYS = (date(2026, 1, 15), date(2026, 3, 17))

operations = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("add", "edit", "move", "unassign", "delete", "feedback", "break", "repeat"),
                *("empty", "excuse", "excuse", "excuse"),
            ]
        ),
        st.integers(0, 2**32),
    ),
    min_size=1,
    max_size=12,
)


def state(bench: Any) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, in order of the key (and all columns, where keys repeat)."""
    return {
        table: bench.rows(f"select * from {table} as r order by {key}, r::text")
        for table, key in TABLES.items()
    }


def change(bench: Any, rng: random.Random, operation: str, random_session: Callable) -> set[str]:
    """Do something to the platform; the tutors it concerns, before and after."""
    if operation in {"add", "break", "repeat"}:
        row = random_session(rng, [*TUTORS, "unheard of"])
        taken = bench.rows("select id from {platform}.sessions order by id limit 1")
        if operation == "repeat" and taken and rng.random() < 0.5:
            row["id"] = taken[0]["id"]
        if operation == "break":
            row |= rng.choice(
                [{"status": "gone"}, {"overall_session_score": 11}, {"tutor_id": None}]
            )
        bench.insert("sessions", [row])
        if operation == "repeat":
            row |= rng.choice([{}, {"status": "cancelled"}, {"tutor_id": "t0"}])
            bench.insert("sessions", [row])
        return {row["tutor_id"]}
    rows = bench.rows("select id, tutor_id from {platform}.sessions order by id, tutor_id")
    if not rows:
        return set()
    session, tutor = rng.choice([(row["id"], row["tutor_id"]) for row in rows])
    if operation == "empty":
        bench.execute("delete from {platform}.sessions where tutor_id = %s", tutor)
        return {tutor}
    touched = bench.rows("select tutor_id from {platform}.sessions where id = %s", session)
    tutors = {row["tutor_id"] for row in touched}
    if operation == "excuse":
        bench.excuse(rng, session, rng.choice(sorted(map(str, tutors))), AS_OF)
    elif operation == "delete":
        bench.execute("delete from {platform}.sessions where id = %s", session)
    elif operation == "feedback":
        bench.execute("delete from {platform}.session_feedback where session_id = %s", session)
        bench.add(
            "session_feedback", session_id=session, student_satisfaction_rating=rng.choice([1, 5])
        )
    elif operation == "edit":
        bench.execute(
            "update {platform}.sessions set status = %s, student_id = %s,"
            " scheduled_start = scheduled_start + make_interval(days => %s) where id = %s",
            *(rng.choice(["completed", "cancelled", "rescheduled", "scheduled"]), "p1"),
            *(rng.choice([0, -1, -40, 9]), session),
        )
    else:
        target = None if operation == "unassign" else rng.choice(TUTORS)
        bench.execute("update {platform}.sessions set tutor_id = %s where id = %s", target, session)
        tutors.add(target)
    return tutors


def start_over(bench: Any, rng: random.Random) -> None:
    """Empty the platform and fill it with random sessions."""
    bench.execute(
        "truncate {platform}.sessions, {platform}.session_feedback,"
        " {platform}.session_audio_metrics, {platform}.session_transcript_metrics,"
        " {platform}.session_video_metrics, {ops}.refresh_runs, {ops}.session_excuses"
    )
    bench.fill(rng, TUTORS, 60)


def check_scoped_equals_full(bench: Any, seed: int, batches: list, random_session: Any) -> None:
    rng = random.Random(seed)
    start_over(bench, rng)
    bench.refresh(days=SNAPSHOT_DAYS, command="run")
    for batch in batches:
        tutors: set[str | None] = set()
        for operation, salt in batch:
            tutors |= change(bench, random.Random(salt), operation, random_session)
        bench.refresh(tutors=sorted(tutor for tutor in tutors if tutor is not None))
    check_rebuilding_changes_nothing(bench, AS_OF)


def check_rebuilding_changes_nothing(bench: Any, as_of: datetime) -> None:
    patched = state(bench)
    bench.refresh(as_of, select=["*", "--full-refresh"])
    rebuilt = state(bench)
    for table in TABLES:
        assert patched[table] == rebuilt[table], table


@pytest.fixture(scope="module")
def roster(bench: Any) -> Any:
    """The platform with its tutors, and without keys on sessions: ids may repeat or be missing."""
    bench.insert("tutors", [{"user_id": tutor} for tutor in [*TUTORS, "idle"]])
    bench.execute("alter table {platform}.sessions drop constraint sessions_pkey")
    bench.execute("alter table {platform}.sessions alter tutor_id drop not null")
    return bench


@settings(
    max_examples=1,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(seed=st.integers(0, 1000), batches=st.lists(operations, min_size=2, max_size=2))
def test_scoped_refreshes_equal_a_full_rebuild(
    roster: Any, random_session: Any, seed: int, batches: list
) -> None:
    check_scoped_equals_full(roster, seed, batches, random_session)


@pytest.mark.long
@pytest.mark.timeout(1800)
@settings(max_examples=12, database=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10**6), batches=st.lists(operations, min_size=1, max_size=4))
def test_scoped_refreshes_equal_a_full_rebuild_at_length(
    roster: Any, random_session: Any, seed: int, batches: list
) -> None:
    check_scoped_equals_full(roster, seed, batches, random_session)


@pytest.mark.parametrize(
    ("came", "change"),
    [
        pytest.param(
            "cancelled",
            "insert into {platform}.sessions"
            " (id, tutor_id, status, rescheduled_by, scheduled_start)"
            " values ('first', 't1', 'rescheduled', 'tutor', '2026-03-15 10:00+00')",
            id="the first reschedule of the platform",
        ),
        pytest.param(
            "rescheduled",
            "select 1",
            id="a reschedule of another tutor came of age",
            marks=pytest.mark.long,
        ),
        pytest.param(
            "cancelled",
            "alter table {marts}.tutor_aggregates drop column late_rate_30d cascade",
            id="a wide row of an older version",
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_scoped_refresh_that_concerns_everybody_is_as_of_one_moment(
    roster: Any, came: str, change: str
) -> None:
    """What came between the moments counts for the tutors out of scope too."""
    start_over(roster, random.Random(3))
    roster.execute("update {platform}.sessions set rescheduled_by = null")
    roster.add(
        "sessions", id="between", tutor_id="t0", status=came, student_id="p1",
        rescheduled_by="tutor" if came == "rescheduled" else None,
        scheduled_start=AS_OF + timedelta(hours=1),
    )  # fmt: skip
    roster.refresh(AS_OF, days=SNAPSHOT_DAYS)
    roster.execute(change)
    later = AS_OF + timedelta(hours=2)
    roster.refresh(later, tutors=["t1"])
    check_rebuilding_changes_nothing(roster, later)
