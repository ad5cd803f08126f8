"""What is known of students: every column from rows, today and as of past weeks."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from statistics import fmean, median
from typing import Any

import pytest

from tutor_pipeline.judgement.scores import refinement, weighted
from tutor_pipeline.metrics.catalogue import metric_columns

AS_OF = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)  # a Wednesday
MODELS = ("+student_aggregates", "+student_aggregates_history")
Row = Mapping[str, Any]


@pytest.fixture(scope="module")
def filled(bench: Any) -> Any:
    """Six students with random sessions, some that left or are new; and one case per column."""
    rng = random.Random(5)
    ids = bench.fill(rng, [f"t{number}" for number in range(4)], 700)
    starts = {
        row["id"]: row["scheduled_start"]
        for row in bench.rows("select id, scheduled_start from {platform}.sessions")
    }
    # Billed at once, or so late that some weeks don't know it yet.
    billed = [{"session_id": id_, "amount": 40, "tier": "standard",
               "is_discounted": rng.random() < 0.3, "refunded_amount": 0, "is_disputed": False,
               "billed_at": starts[id_] + timedelta(days=rng.choice([0, 0, 0, 16]))}
              for id_ in ids if rng.random() < 0.6]  # fmt: skip
    bench.insert("session_billing", billed)
    profiles: list[tuple[str, str | None, date | None, date | None]] = [
        ("p0", "active", date(2025, 9, 1), None),
        ("p1", "churned", date(2025, 9, 1), date(2026, 2, 8)),  # a Sunday
        ("p2", "paused", None, None),
        ("p3", "churned", None, None),  # nobody knows when
        ("p4", "churned", date(2026, 1, 18), date(2026, 4, 1)),  # later than AS_OF
        ("new", "active", date(2026, 3, 10), None),
        ("idle", "active", date(2025, 9, 1), None),
        *((name, "active", None, None) for name in ("edges", "falls", "few")),
        *((name, None, None, None) for name in ("silent 45", "silent 50")),
    ]
    bench.insert(
        "students",
        [
            {"user_id": id_, "status": status, "enrolled_since": since, "churned_date": left}
            for id_, status, since, left in profiles
        ],
    )
    edge_cases(bench)
    bench.refresh(AS_OF, select=MODELS)
    return bench


def edge_cases(bench: Any) -> None:
    """Sessions on the first and last day of each window, and the day before."""

    def session(student: str, tutor: str, days: int, engagement: float | None = None, /,
                status: str = "completed", **values: Any) -> None:  # fmt: skip
        id_ = f"{student}-{days}"
        bench.add(
            "sessions", id=id_, student_id=student, tutor_id=tutor, status=status,
            scheduled_start=AS_OF - timedelta(days=days), **values,
        )  # fmt: skip
        if engagement is not None:
            bench.add("session_audio_metrics", session_id=id_, student_engagement_score=engagement)

    session("edges", "t3", 90, overall_session_score=1)
    session("edges", "t1", 89, overall_session_score=6)
    session("edges", "t2", 30, status="no_show_tutor", tutor_showed_up=False)
    session("edges", "t1", 29, overall_session_score=9)
    session("edges", "t2", 0, status="rescheduled", rescheduled_by="tutor")
    session("edges", "t0", -1, status="scheduled")
    for days, engagement in ((59, 9), (45, 8), (30, 7), (29, 5), (15, 5.5), (0, 4.5)):
        session("falls", "t1", days, engagement)
    session("falls", "t1", 60, 1)
    for silent in (45, 50):  # nobody says whether these two have left
        for days in (0, 5, 17):
            session(f"silent {silent}", "t1", silent + days)
    for days, engagement in ((59, 9), (45, 8), (30, 7), (29, 5), (0, 4.5)):
        session("few", "t1", days, engagement)
    session("few", "t1", -1, 1)


def of(bench: Any, student: str) -> dict[str, Any]:
    row: dict[str, Any] = bench.row(
        "select * from {marts}.student_aggregates where student_id = %s", student
    )
    return row


def test_the_edges_of_windows(filled: Any) -> None:
    row = of(filled, "edges")
    assert (row["as_of"], row["as_of_date"]) == (AS_OF, AS_OF.date())
    assert (row["sessions_all"], row["sessions_completed_all"]) == (5, 3)
    assert (row["sessions_90d"], row["sessions_completed_30d"]) == (4, 1)
    assert (row["avg_session_score_90d"], row["scored_sessions_90d"]) == (7.5, 2)
    assert (row["first_session_satisfaction"], row["poor_first_session"]) == (1, True)
    assert (row["last_session_at"], row["days_since_last_session"]) == (
        AS_OF - timedelta(days=29),
        29,
    )
    assert (row["tutor_ids"], row["last_tutor_id"]) == (["t2", "t1"], "t2")
    assert row["distinct_tutors_all"] == 3
    assert (row["reschedules_and_no_shows_90d"], row["scheduling_issue_rate_90d"]) == (2, 0.5)
    # No session of it has a bill.
    assert row["discounted_sessions_90d"] is row["discount_share_90d"] is None
    assert row["discount_share_90d_n"] == 0


def test_the_fall_of_engagement_needs_three_sessions_on_either_side(filled: Any) -> None:
    row = of(filled, "falls")
    assert (row["avg_engagement_30d"], row["avg_engagement_30d_n"]) == (5, 3)
    assert (row["avg_engagement_prior_30d"], row["avg_engagement_prior_30d_n"]) == (8, 3)
    assert row["engagement_fall_30d"] == 3
    row = of(filled, "few")
    assert (row["avg_engagement_30d_n"], row["avg_engagement_prior_30d_n"]) == (2, 3)
    assert (row["avg_engagement_30d"], row["engagement_fall_30d"]) == (4.75, None)


def test_nothing_is_null_and_not_zero(filled: Any) -> None:
    row = of(filled, "idle")
    counts = {name for name, value in row.items() if value == 0}
    assert counts == {
        "sessions_all", "sessions_completed_all", "sessions_completed_30d", "sessions_90d",
        "scored_sessions_90d", "distinct_tutors_all", "avg_engagement_30d_n",
        "avg_engagement_prior_30d_n", "reschedules_and_no_shows_90d", "discount_share_90d_n",
        "usual_gap_days_n", "is_churn_inferred",
    }  # fmt: skip
    assert {name for name, value in row.items() if value is None} == set(row) - counts - {
        "student_id", "as_of", "as_of_date", "status", "enrolled_since", "tutor_ids",
        "usual_gap_days",
    }  # fmt: skip
    assert row["tutor_ids"] == []


def test_status_is_that_of_the_moment(filled: Any) -> None:
    known = {
        row["student_id"]: (row["status"], row["churned_date"])
        for row in filled.rows("select * from {marts}.student_aggregates")
    }
    assert known["p1"] == ("churned", date(2026, 2, 8))
    assert known["p4"] == ("active", None)  # leaves in two weeks
    assert known["p3"] == ("churned", None)
    assert known["p2"] == ("paused", None)


def test_every_column_equals_what_a_loop_over_the_sessions_finds(filled: Any) -> None:
    students = filled.rows("select * from {marts}.dim_students")
    sessions = filled.rows("select * from {marts}.fct_sessions where student_id is not null")
    now = filled.rows("select * from {marts}.student_aggregates")
    assert {row["student_id"] for row in now} == {row["student_id"] for row in students}
    assert list(metric_columns()["student_aggregates"]) == list(now[0])
    for row in now:
        assert row == expected(row, students, sessions)
    past = filled.rows("select * from {marts}.student_aggregates_history")
    assert list(metric_columns()["student_aggregates_history"]) == list(past[0])
    for row in past:
        assert row == expected(row, students, sessions)
    silent = [name for name in past[0] if all(row[name] in (None, 0, []) for row in past)]
    assert silent == ["churned_date"]  # nobody who had left is there


def is_later(recorded: datetime | None, moment: datetime) -> bool:
    return recorded is not None and recorded > moment


def as_recorded_by(moment: datetime, session: Row) -> dict[str, Any]:
    """The session without what was recorded of it later."""
    known = dict(session)
    if is_later(session["billed_at"], moment):
        known["is_discounted"] = None
    if is_later(session["audio_created_at"], moment):
        known["student_engagement_score"] = None
    if is_later(session["feedback_submitted_at"], moment) and (
        session["overall_session_score"] is None
    ):
        known["session_score"] = None
    return known


def gaps(sessions: Sequence[Row], student: str, row: Row) -> list[int]:
    """Days between the completed sessions of a student, up to the moment of a row."""
    days = sorted(
        each["session_on"]
        for each in sessions
        if each["student_id"] == student
        and each["status"] == "completed"
        and each["scheduled_start"] <= row["as_of"]
    )
    return [(later - earlier).days for earlier, later in pairwise(days)]


def usual_gap(row: Row, students: Sequence[Row], sessions: Sequence[Row]) -> float | None:
    """The own mean gap, or that of the others where there are not two yet."""
    own = gaps(sessions, row["student_id"], row)
    every = [gaps(sessions, each["student_id"], row) for each in students]
    means = [fmean(found) for found in every if len(found) >= 2]
    return fmean(own) if len(own) >= 2 else median(means) if means else None


def expected(row: Row, students: Sequence[Row], sessions: Sequence[Row]) -> dict[str, Any]:
    """The row of this student and moment, from the sessions one by one."""
    (student,) = (each for each in students if each["student_id"] == row["student_id"])
    day, moment = row["as_of_date"], row["as_of"]
    known = sorted(
        (
            as_recorded_by(moment, each)
            for each in sessions
            if each["student_id"] == row["student_id"]
            and each["status"] not in ("scheduled", "in_progress")
            and each["scheduled_start"] <= moment
        ),
        key=lambda each: (each["scheduled_start"], each["tutor_id"], each["session_id"]),
    )
    completed = [each for each in known if each["status"] == "completed"]

    def window(rows: Sequence[Row], first: int, end: int) -> list[Row]:
        return [each for each in rows if first <= (day - each["session_on"]).days < end]

    def mean(rows: Sequence[Row], column: str) -> tuple[Any, int]:
        values = [each[column] for each in rows if each[column] is not None]
        return (pytest.approx(fmean(values), abs=1e-6) if values else None), len(values)

    recent = window(known, 0, 90)
    first = completed[0] if completed else None
    satisfaction = None
    if first:
        given = first["student_satisfaction"]
        satisfaction = first["session_score"] if given is None else given
        if is_later(first["feedback_submitted_at"], moment):
            satisfaction = None
    score, score_n = mean(window(completed, 0, 90), "session_score")
    engaged, engaged_n = mean(window(completed, 0, 30), "student_engagement_score")
    before, before_n = mean(window(completed, 30, 60), "student_engagement_score")
    issues = [
        each
        for each in recent
        if each["status"] in ("rescheduled", "no_show_tutor", "no_show_student")
    ]
    are_known = all(each["status"] != "not_held" for each in recent)
    bills = [each["is_discounted"] for each in recent if each["is_discounted"] is not None]
    left = student["churned_date"]
    gap = usual_gap(row, students, sessions)
    return {
        "student_id": row["student_id"],
        "as_of": moment,
        "as_of_date": day,
        "status": "active" if left and left > day else student["status"],
        "churned_date": left if left and left <= day else None,
        "enrolled_since": student["enrolled_since"],
        "tutor_ids": newest_first(recent),
        "last_tutor_id": known[-1]["tutor_id"] if known else None,
        "sessions_all": len(known),
        "sessions_completed_all": len(completed),
        "sessions_completed_30d": len(window(completed, 0, 30)),
        "sessions_90d": len(recent),
        "days_since_last_session": (day - completed[-1]["session_on"]).days if completed else None,
        "last_session_at": completed[-1]["scheduled_start"] if completed else None,
        "first_session_satisfaction": satisfaction,
        "poor_first_session": None if satisfaction is None else satisfaction < 6,
        "avg_session_score_90d": score,
        "scored_sessions_90d": score_n,
        "distinct_tutors_all": len({each["tutor_id"] for each in known}),
        "avg_engagement_30d": engaged,
        "avg_engagement_30d_n": engaged_n,
        "avg_engagement_prior_30d": before,
        "avg_engagement_prior_30d_n": before_n,
        "engagement_fall_30d": (
            pytest.approx(before.expected - engaged.expected, abs=2e-6)
            if min(engaged_n, before_n) >= 3
            else None
        ),
        "reschedules_and_no_shows_90d": len(issues) if are_known else None,
        "scheduling_issue_rate_90d": len(issues) / len(recent) if recent and are_known else None,
        "discounted_sessions_90d": sum(bills) if bills else None,
        "discount_share_90d": sum(bills) / len(bills) if bills else None,
        "discount_share_90d_n": len(bills),
        "usual_gap_days": None if gap is None else pytest.approx(gap),
        "usual_gap_days_n": len(gaps(sessions, row["student_id"], row)),
        "is_churn_inferred": student["status"] is None
        and gap is not None
        and bool(completed)
        and (day - completed[-1]["session_on"]).days > max(45, 3 * gap),
    }


def newest_first(sessions: Sequence[Row]) -> list[str]:
    last = {each["tutor_id"]: each["scheduled_start"] for each in sessions}
    return sorted(last, key=lambda tutor: (-last[tutor].timestamp(), tutor))


def test_the_weeks_and_the_students_of_the_history(filled: Any) -> None:
    (first,) = filled.row(
        "select min(session_on) from {marts}.fct_sessions"
        " where student_id is not null and status not in ('scheduled', 'in_progress')"
    ).values()
    sunday = first + timedelta(days=6 - first.weekday(), weeks=5)
    weeks = {}
    for row in filled.rows("select * from {marts}.student_aggregates_history"):
        weeks.setdefault(row["as_of_date"], set()).add(row["student_id"])
        assert row["as_of"] == datetime.combine(row["as_of_date"], datetime.max.time(), tzinfo=UTC)
    assert sorted(weeks) == [
        sunday + timedelta(weeks=week) for week in range((date(2026, 3, 15) - sunday).days // 7 + 1)
    ]
    assert max(weeks) == date(2026, 3, 15)

    def weeks_of(student: str) -> list[date]:
        return sorted(week for week, students in weeks.items() if student in students)

    assert weeks_of("idle") == weeks_of("p0") == sorted(weeks)
    assert weeks_of("p1")[-1] == date(2026, 2, 1)  # left on a Sunday: that one is without it
    assert weeks_of("p4") == sorted(weeks)  # its sessions began before it enrolled
    assert weeks_of("p3") == []
    assert weeks_of("new") == [date(2026, 3, 15)]


def test_rows_to_refine_weights_from_are_of_weeks_whose_outcome_is_known(filled: Any) -> None:
    until = AS_OF.date()
    rows = filled.rows(refinement.OUTCOMES.replace("%(known_until)s", f"date '{until}'"))
    assert rows[0].keys() == {*refinement.READS}
    assert filled.row("select * from {marts}.student_aggregates limit 1").keys() >= {
        *weighted.READS
    }
    assert max(row["as_of_date"] for row in rows) == date(2026, 2, 15)
    left = {(row["student_id"], row["as_of_date"]) for row in rows if row["has_churned"]}
    assert left == {
        ("p1", date(2026, 1, 11) + timedelta(weeks=week))
        for week in range(4)  # of 8 February: 28, 21, 14 and 7 days before
    }


@pytest.mark.usefixtures("as_it_was")
def test_what_comes_later_changes_nothing_of_the_past(filled: Any) -> None:
    query = (
        "select * from {marts}.student_aggregates_history where as_of_date <= '2026-02-15'"
        " order by student_id, as_of_date"
    )
    before = filled.rows(query)
    filled.execute("delete from {platform}.sessions where scheduled_start >= '2026-02-16'")
    filled.execute(
        "update {platform}.students set status = 'active', churned_date = null"
        " where churned_date > '2026-02-15'"
    )
    filled.refresh(AS_OF, select=MODELS)
    assert filled.rows(query) == before
    filled.execute("drop table {platform}.session_billing")
    filled.refresh(AS_OF, select=MODELS)
    assert {
        (row["discount_share_90d"], row["discounted_sessions_90d"])
        for row in filled.rows("select * from {marts}.student_aggregates_history")
    } == {(None, None)}


@pytest.mark.parametrize(("day", "weeks"), [(date(2026, 2, 15), 52), (date(2025, 2, 15), 0)])
@pytest.mark.usefixtures("as_it_was")
def test_at_most_a_year_of_weeks(
    platform_warehouse: Any, bench: Any, day: date, weeks: int, filled: Callable[..., Any]
) -> None:
    bench.execute("truncate {platform}.sessions cascade")
    bench.add(
        "sessions", id="old", student_id="p0", tutor_id="t0", status="completed",
        scheduled_start=datetime(2025, 1, 14, 12, tzinfo=UTC),
    )  # fmt: skip
    # The last full week ends with the Sunday whose end the refresh is as of.
    moment = datetime.combine(day, datetime.max.time(), tzinfo=UTC)
    bench.refresh(moment, select=MODELS)
    found = bench.row(
        "select count(*) as weeks, max(as_of_date) as last from {marts}.student_aggregates_history"
        " where student_id = 'p0'"
    )
    assert found == {"weeks": weeks, "last": day if weeks else None}
