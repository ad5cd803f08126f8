"""What of students may tell that they leave, against plain Python over the sessions."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from statistics import fmean
from typing import Any

import pytest

from tutor_pipeline.judgement.scores.departure.forecast import ASKED_SILENCE_DAYS
from tutor_pipeline.judgement.scores.departure.students.evidence import EVENTS, MARKS, READS
from tutor_pipeline.metrics.catalogue import metric_columns

AS_OF = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)  # a Wednesday
NEWEST = date(2026, 3, 15)  # the Sunday before
MODELS = ("+student_evidence", "+student_evidence_history", "student_aggregates_history")
STUDENTS = [f"p{number}" for number in range(8)]
STATUSES = [
    *["completed"] * 8,
    *("cancelled", "rescheduled", "no_show_tutor", "no_show_student", "not_held"),
]
KINDS = {
    "moved": "rescheduled",
    "cancelled": "cancelled",
    "missed": "no_show_student",
    "missed_by_tutor": "no_show_tutor",
}
SPANS = {"28d": (0, 4), "before": (4, 12)}
Row = Mapping[str, Any]


@pytest.fixture(scope="module")
def filled(bench: Any) -> Any:
    """Students with sessions of half a year, some of them recorded late, or billed later."""
    rng = random.Random(11)
    sessions: list[dict[str, Any]] = []
    feedback, audio, bills = [], [], []
    for student in STUDENTS:
        for _ in range(45):
            age = rng.choice([0, 6, 7, 13, 14, 27, 28, 55, 83, 84]) + rng.randint(-12, 90)
            start = AS_OF.replace(hour=rng.randint(0, 23)) - timedelta(days=age)
            id_ = f"s{len(sessions):04d}"
            status = "scheduled" if start > AS_OF else rng.choice(STATUSES)
            booked = start - timedelta(days=rng.choice([0, 3, 10, 20]))
            sessions.append(
                {
                    "id": id_,
                    "student_id": student,
                    "tutor_id": rng.choice(["t0", "t0", "t0", "t1", "t2"]),
                    "status": status,
                    "scheduled_start": start,
                    "created_at": rng.choice([None, booked, booked, start + timedelta(days=9)]),
                    "overall_session_score": rng.choice([None, 4.5, 8.25]),
                }
            )
            if status != "completed" or rng.random() < 0.2:
                continue
            later = start + timedelta(days=rng.choice([0, 0, 1, 16]))
            feedback.append(
                {
                    "session_id": id_,
                    "satisfaction_score": rng.choice([None, 3.0, 9.0]),
                    "student_satisfaction_rating": rng.choice([2, 4.5]),
                    "submitted_at": later,
                }
            )
            audio.append({"session_id": id_, "student_engagement_score": 5.5, "created_at": later})
            bills.append(
                {
                    "session_id": id_,
                    "amount": rng.choice([30, 45]),
                    "is_discounted": rng.choice([None, True, False]),
                    "billed_at": rng.choice([None, later]),
                }
            )
    bench.insert("sessions", sessions)
    bench.insert("session_feedback", feedback)
    bench.insert("session_audio_metrics", audio)
    bench.insert("session_billing", bills)
    profiles: list[tuple[str, str, date | None, date | None]] = [
        ("p0", "active", date(2025, 9, 1), None),
        ("p1", "churned", None, date(2026, 2, 15)),  # a Sunday
        ("p2", "churned", None, None),  # nobody knows when
        ("p3", "churned", None, date(2026, 4, 20)),
        ("p4", "active", date(2026, 3, 1), None),
        *((name, "active", None, None) for name in STUDENTS[5:]),
    ]
    bench.insert(
        "students",
        [
            {"user_id": id_, "status": status, "enrolled_since": since, "churned_date": left}
            for id_, status, since, left in profiles
        ],
    )
    bench.refresh(AS_OF, select=MODELS)
    return bench


def rows(bench: Any, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = bench.rows(
        f"select * from {{marts}}.{table} order by as_of_date, student_id"
    )
    return found


def expected(bench: Any, row: Row, sessions: Sequence[Row]) -> dict[str, Any]:
    """The evidence of this student and day, session by session."""
    day, moment = row["as_of_date"], row["as_of"]
    own = [each for each in sessions if each["student_id"] == row["student_id"]]

    def known_on(session: Row, *moments: str) -> date:
        told = (session[each] for each in ("created_at", *moments))
        return max([session["session_on"], *(each.date() for each in told if each is not None)])

    past = sorted(
        (
            each
            for each in own
            if each["status"] not in ("scheduled", "in_progress")
            and each["scheduled_start"] <= moment
            and known_on(each) <= day
        ),
        key=lambda each: (each["scheduled_start"], each["tutor_id"], each["session_id"]),
    )
    done = [each for each in past if each["status"] == "completed"]

    def within(found: Sequence[Row], weeks: tuple[int, int], *moments: str) -> list[Row]:
        return [
            each
            for each in found
            if weeks[0] <= (day - known_on(each, *moments)).days // 7 < weeks[1]
            and known_on(each, *moments) <= day
        ]

    def mean(values: Sequence[Any]) -> Any:
        return pytest.approx(fmean(values), abs=1e-9) if values else None

    met: set[str] = set()
    news = []
    for each in past:
        if met and each["tutor_id"] not in met:
            news.append(each)
        met.add(each["tutor_id"])
    first = done[0] if done else None
    said = None
    if first is not None and known_on(first, "feedback_submitted_at") <= day:
        given = first["student_satisfaction"]
        said = first["session_score"] if given is None else given
    counts: dict[str, Any] = {
        f"completed_{name}": len(within(done, weeks))
        for name, weeks in {
            **{"14d": (0, 2), "28d": (0, 4)},
            **{"before_14d": (2, 10), "before_28d": (4, 12)},
        }.items()
    }
    for name, weeks in SPANS.items():
        recent = within(past, weeks)
        counts[f"sessions_{name}"] = len(recent)
        for event, status in KINDS.items():
            found = [each["status"] for each in recent]
            # Beside one of which nobody says why it was not held, nobody knows.
            is_known = event == "moved" or "not_held" not in found
            counts[f"{event}_{name}"] = found.count(status) if is_known else None
        counts[f"new_tutors_{name}"] = len(within(news, weeks))
        for mark, column, moment_of in (
            ("satisfaction", "student_satisfaction", "feedback_submitted_at"),
            ("engagement", "student_engagement_score", "audio_created_at"),
        ):
            marks = [
                float(each[column])
                for each in within(done, weeks, moment_of)
                if each[column] is not None
            ]
            counts |= {f"{mark}_{name}": mean(marks), f"{mark}_{name}_n": len(marks)}
        scores = [
            float(each["session_score"])
            for each in done
            if each["session_score"] is not None
            and within(
                [each],
                weeks,
                *(["feedback_submitted_at"] if each["overall_session_score"] is None else []),
            )
        ]
        counts |= {f"score_{name}": mean(scores), f"score_{name}_n": len(scores)}
        billed = within(done, weeks, "billed_at")
        discounts = [each["is_discounted"] for each in billed if each["is_discounted"] is not None]
        paid = [float(each["billed_amount"]) for each in billed if each["billed_amount"]]
        counts |= {
            f"billed_{name}": len(discounts),
            f"discounted_{name}": sum(discounts),
            f"price_{name}": mean(paid),
            f"price_{name}_n": len(paid),
        }
    coming = [
        each
        for each in own
        if each["scheduled_start"] > moment and each["session_on"] <= day + timedelta(days=14)
    ]
    return {
        "days_since_completed": (day - max(each["session_on"] for each in done)).days,
        "completed_all": len(done),
        "first_satisfaction": None if said is None else pytest.approx(float(said)),
        "booked_ahead": sum(
            each["created_at"] is not None and each["created_at"] <= moment for each in coming
        ),
        "booked_unclear": sum(each["created_at"] is None for each in coming),
        **counts,
    }


@pytest.mark.parametrize("table", ["student_evidence", "student_evidence_history"])
def test_every_column_equals_what_a_loop_over_the_sessions_finds(filled: Any, table: str) -> None:
    sessions = filled.rows("select * from {marts}.fct_sessions where student_id is not null")
    found = rows(filled, table)
    assert len(found) > 4
    for row in found:
        wanted = expected(filled, row, sessions)
        assert {name: row[name] for name in wanted} == wanted, (row["student_id"], row["as_of"])
        assert 0 <= row["days_since_completed"] <= ASKED_SILENCE_DAYS
        assert wanted.keys() | {"days_seen"} == set(READS)
    # What is asked about does happen here.
    if table.endswith("history"):
        for name in (*(f"{event}_28d" for event in EVENTS), *(f"{mark}_28d_n" for mark in MARKS)):
            assert any(row[name] for row in found), name


def test_who_is_asked_about(filled: Any) -> None:
    """Who left since was there before; who left nobody knows when, is never asked about."""
    asked: dict[str, set[date]] = {}
    for row in rows(filled, "student_evidence_history"):
        asked.setdefault(row["student_id"], set()).add(row["as_of_date"])
    assert max(asked["p1"]) == date(2026, 2, 8)
    assert max(asked["p3"]) == max(asked["p0"]) == NEWEST
    assert "p2" not in asked
    assert {each.isoweekday() for days in asked.values() for each in days} == {7}
    now = {row["student_id"] for row in rows(filled, "student_evidence")}
    assert {"p0", "p3"} <= now
    assert not {"p1", "p2"} & now
    # Beside the rows of the other history of students, which is read with it.
    beside = filled.row(
        "select count(*) as alone from {marts}.student_evidence_history as mine"
        " left join {marts}.student_aggregates_history as theirs using (student_id, as_of_date)"
        " where theirs.student_id is null and as_of_date >= ("
        " select min(as_of_date) from {marts}.student_aggregates_history)"
    )
    assert beside == {"alone": 0}


def test_days_seen_are_since_the_student_came(filled: Any) -> None:
    seen = {row["student_id"]: row["days_seen"] for row in rows(filled, "student_evidence")}
    first = filled.row(
        "select min(session_on) as day,"
        " min(session_on) filter (where student_id = 'p4' and status <> 'scheduled') as own"
        " from {marts}.fct_sessions"
    )
    assert seen["p0"] == (AS_OF.date() - first["day"]).days + 1
    assert seen["p4"] == (AS_OF.date() - min(first["own"], date(2026, 3, 1))).days + 1


def test_it_has_the_columns_that_are_read() -> None:
    columns = metric_columns()
    assert set(READS) < columns["student_evidence"].keys()
    assert columns["student_evidence"].keys() == columns["student_evidence_history"].keys()


def test_what_comes_later_changes_nothing_of_the_past(filled: Any) -> None:
    query = (
        "select * from {marts}.student_evidence_history where as_of_date <= '2026-02-08'"
        " order by student_id, as_of_date"
    )
    before = filled.rows(query)
    assert before
    late = "'2026-02-09'"
    filled.execute(f"delete from {{platform}}.sessions where created_at >= {late}")
    filled.execute(
        "delete from {platform}.sessions where created_at is null"
        " and scheduled_start >= '2026-02-23'"
    )
    filled.execute(
        "update {platform}.sessions set status = 'scheduled'"
        f" where scheduled_start >= {late} and status <> 'scheduled'"
    )
    for table, moment in (
        ("session_feedback", "submitted_at"),
        ("session_audio_metrics", "created_at"),
        ("session_billing", "billed_at"),
    ):
        filled.execute(f"delete from {{platform}}.{table} where {moment} >= {late}")
    filled.execute(
        "update {platform}.students set status = 'active', churned_date = null"
        f" where churned_date >= {late}"
    )
    filled.refresh(AS_OF, select=MODELS)
    assert filled.rows(query) == before


def test_tables_that_are_not_there_leave_nothing_known(filled: Any) -> None:
    for table in ("session_billing", "session_audio_metrics", "students"):
        filled.execute(f"drop table {{platform}}.{table} cascade")
    filled.refresh(AS_OF, select=MODELS)
    found = rows(filled, "student_evidence_history")
    # Without a table of students nobody is known to have left.
    assert {row["student_id"] for row in found} == set(STUDENTS)
    assert {(row["price_28d"], row["billed_28d"], row["engagement_28d"]) for row in found} == {
        (None, 0, None)
    }
