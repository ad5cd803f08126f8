"""The sequence of simulated transactions: always the same, in order, and as often as it should."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import islice, takewhile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.sources.synthetic import Parameters
from tutor_pipeline.sources.synthetic.burnout import live_through
from tutor_pipeline.sources.synthetic.live_events import (
    Cast,
    Event,
    Habits,
    Kind,
    Pair,
    Plan,
    Verb,
)
from tutor_pipeline.sources.synthetic.live_simulation import (
    MOST_PAIRS,
    _Simulation,
    arrivals,
    simulate,
)
from tutor_pipeline.sources.synthetic.personas import draw_traits

START = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
DAILY = 10_000 / 86_400
FOLLOWS = {Kind.METRICS, Kind.FEEDBACK}


def make_cast(tutors: int = 40, students: int = 2) -> Cast:
    parameters = Parameters(end=date(2026, 11, 19), tutors=tutors)
    traits = draw_traits(parameters.seed, tutors)
    hidden = live_through(parameters.seed, traits, parameters.days)
    return Cast(
        tutor_ids=tuple(f"T{n:04d}" for n in range(tutors)),
        traits=traits,
        burnout=hidden.burnout[:, -1],
        spirits=hidden.spirits[:, -1],
        hourly_rate=np.full(tutors, 40.0),
        subjects=((("SUB001", "Math"), ("SUB002", "English")), *((),) * (tutors - 1)),
        pairs=tuple(
            tuple(Pair(f"ST{n}-{m}", 3, "SUB001", "Math", "Adult", 0.1) for m in range(students))
            for n in range(tutors)
        ),
    )


CAST = make_cast()


def sessions(plan: Plan, number: int, cast: Cast = CAST) -> list[Event]:
    """Events until so many sessions have ended."""
    found: list[Event] = []
    seen = 0
    for event in simulate(cast, plan, START):
        seen += event.kind is Kind.SESSION
        if seen > number:
            break
        found.append(event)
    return found


def row(event: Event, table: str = "sessions") -> dict[str, object]:
    """The values that an event writes to a table."""
    (found,) = [dict(write.values) for write in event.writes if write.table == table]
    return found


@pytest.fixture(scope="module")
def many() -> list[Event]:
    return sessions(Plan(DAILY), 6_000)


def test_same_arguments_same_events() -> None:
    plan = Plan(DAILY, burst=100, poor_firsts=0.2)
    assert sessions(plan, 400) == sessions(plan, 400)
    assert sessions(plan, 400) != sessions(replace(plan, seed=8), 400)


def test_another_start_or_other_students_change_nothing_of_who_does_what_when() -> None:
    def outline(events: list[Event]) -> list[tuple[object, ...]]:
        return [(event.at, event.kind, event.tutor_id, event.held_for) for event in events]

    plan = Plan(DAILY)
    here = sessions(plan, 500)
    later = list(islice(simulate(CAST, plan, START + timedelta(days=3, hours=7)), len(here)))
    assert outline(later) == outline(here)
    assert {e.session_id for e in later}.isdisjoint(e.session_id for e in here)
    strangers = list(islice(simulate(make_cast(students=0), plan, START), len(here)))
    assert outline(strangers) == outline(here)


@pytest.mark.parametrize("per_second", [DAILY, 10 * DAILY, 3.0])
def test_sessions_come_at_the_rate(per_second: float) -> None:
    times = np.concatenate(list(islice(arrivals(Plan(per_second)), 100)))
    gaps = np.diff(times)
    assert abs(gaps.mean() * per_second - 1) < 5 / np.sqrt(len(gaps))
    assert abs(gaps.std() * per_second - 1) < 0.1  # exponential: as wide as its mean
    assert (gaps > 0).all()


def test_a_burst_comes_within_the_first_minute_and_then_the_steady_rate() -> None:
    times = np.concatenate(list(islice(arrivals(Plan(DAILY, burst=500)), 20)))
    assert (times[:500] < 60).all()
    assert (times[500:] > 60).all()
    assert (np.diff(times) >= 0).all()
    assert sum(e.kind is Kind.SESSION for e in simulate(CAST, Plan(0, burst=500), START)) == 500


def test_shares_are_those_of_the_habits(many: list[Event]) -> None:
    habits = Habits()
    opening = [event for event in many if event.kind is Kind.SESSION]
    total = len(opening)

    def assert_share(found: float, of: float, wanted: float, slack: float = 0.0) -> None:
        assert abs(found / of - wanted) < 5 * np.sqrt(wanted * (1 - wanted) / of) + slack

    assert_share(sum(event.held_for > 0 for event in opening), total, habits.held)
    kinds = Counter(event.kind for event in many)
    # What is still to come of the last sessions is missing.
    assert_share(kinds[Kind.DELETION], total, habits.deleted, 0.001)
    assert_share(kinds[Kind.MOVED_TO_TUTOR], total, habits.moved_to_tutor, 0.001)
    assert_share(kinds[Kind.MOVED_TO_DAY], total, habits.moved_to_day, 0.001)
    completed = [event for event in opening if event.details["status"] == "completed"]
    assert_share(kinds[Kind.CORRECTION], len(completed), habits.corrected, 0.005)
    at_once = sum(any(w.table == "session_billing" for w in event.writes) for event in completed)
    assert_share(at_once, len(completed), habits.metrics_at_once)
    assert_share(kinds[Kind.FEEDBACK], len(completed), 0.60, 0.01)


def test_values_are_the_generators(many: list[Event]) -> None:
    rows = [row(event) for event in many if event.kind is Kind.SESSION]
    statuses = Counter(row["status"] for row in rows)
    assert 0.80 < statuses["completed"] / len(rows) < 0.92
    assert {"rescheduled", "cancelled", "no_show_tutor", "no_show_student"} <= statuses.keys()
    completed = [row for row in rows if row["status"] == "completed"]
    first = [row["session_number"] == 1 for row in completed]
    assert 0.12 < np.mean(first) < 0.18
    assert [row["is_first_session"] for row in completed] == first
    ratings = [
        row(event, "session_feedback")["student_satisfaction_rating"]
        for event in many
        if event.kind is Kind.FEEDBACK
    ]
    assert abs(np.mean(ratings) - 4.1) < 0.15  # type: ignore[arg-type]


def test_session_numbers_count_what_the_pair_completed(many: list[Event]) -> None:
    held = {pair.student_id: pair.held for pairs in CAST.pairs for pair in pairs}
    held = defaultdict(int, held)
    again = 0
    for event in sorted(many, key=lambda e: e.session_id):
        if event.kind is not Kind.SESSION:
            continue
        session = row(event)
        student = str(session["student_id"])
        assert session["session_number"] == held[student] + 1
        again += student in held and student.startswith("ST1")
        held[student] += session["status"] == "completed"
    assert again > 1_000  # with students who came while it ran


def assert_in_order(events: list[Event]) -> None:
    """Nothing comes before its session is committed, or after it was deleted."""
    assert [event.at for event in events] == sorted(event.at for event in events)
    committed: dict[str, float] = {}
    gone: set[str] = set()
    seen: set[tuple[str, Kind]] = set()
    for event in events:
        assert (event.session_id, event.kind) not in seen
        seen.add((event.session_id, event.kind))
        assert event.session_id not in gone
        if event.kind is Kind.SESSION:
            committed[event.session_id] = event.at + event.held_for
        else:
            assert event.at >= committed[event.session_id]
            assert event.held_for == 0
        gone |= {event.session_id} if event.kind is Kind.DELETION else set()
        now = START + timedelta(seconds=event.at + 1e-6)
        for write in event.writes:
            for column in ("updated_at", "created_at", "submitted_at", "billed_at"):
                assert write.values.get(column, now) <= now, (event.kind, write.table, column)
            if write.verb is Verb.INSERT and write.table == "sessions":
                assert write.values["scheduled_start"] <= now


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**63 - 1),
    burst=st.integers(0, 200),
    per_second=st.sampled_from([1 / 86_400, DAILY, 1.0, 100.0]),
    poor_firsts=st.sampled_from([0.0, 0.3, 1.0]),
    tutors=st.sampled_from([1, 2, 40]),
)
def test_any_sequence_is_in_order(
    seed: int, burst: int, per_second: float, poor_firsts: float, tutors: int
) -> None:
    habits = Habits(corrected=0.25, deleted=0.25, moved_to_tutor=0.25, moved_to_day=0.2, held=0.3)
    plan = Plan(per_second, burst, seed, poor_firsts, habits)
    events = list(islice(simulate(make_cast(tutors), plan, START), 400))
    assert len(events) == 400
    assert_in_order(events)
    for event in events:
        if event.kind is Kind.MOVED_TO_TUTOR:
            assert event.tutor_id == event.details["tutor_id"] != event.details["from_tutor_id"]


def test_poor_first_sessions_come_in_runs_with_one_tutor_and_stay_as_they_are() -> None:
    events = sessions(Plan(DAILY, poor_firsts=0.25), 2_000)
    poor = [event for event in events if "poor_first" in event.details]
    assert abs(len(poor) / 2_000 - 0.25) < 0.05
    for event in poor:
        session = row(event)
        assert session["status"] == "completed"
        assert session["session_number"] == 1
        assert 3 <= session["overall_session_score"] <= 5  # type: ignore[operator]
    assert [event.details["poor_first"] for event in poor[:7]] == [1, 2, 3, 1, 2, 3, 1]
    by_run = [{e.tutor_id for e in poor[n : n + 3]} for n in range(0, len(poor) - 2, 3)]
    assert all(len(tutors) == 1 for tutors in by_run)
    assert len(set.union(*by_run[:40])) == 40  # every tutor has a turn before any has a second
    others = {event.session_id for event in events if event.kind not in {Kind.SESSION, *FOLLOWS}}
    assert others.isdisjoint(event.session_id for event in poor)


@pytest.mark.slow
def test_what_is_remembered_does_not_grow() -> None:
    plan = Plan(10 * DAILY, poor_firsts=0.1)
    simulation = _Simulation(CAST, plan, START)
    for times in islice(arrivals(plan), 80):
        simulation.teach(times)
        assert max(map(len, simulation._pairs)) <= MOST_PAIRS
    # What waits is what may still follow: a session's last event is within its longest delays.
    habits = plan.habits
    longest = max(
        habits.held_for.most + habits.feedback_delay.most,
        habits.held_for.most + habits.metrics_delay.most + habits.fate_delay.most,
    )
    began: dict[str, float] = {}
    hours = takewhile(lambda event: event.at < 7_200, simulate(CAST, plan, START))
    for event in hours:
        assert event.at - began.setdefault(event.session_id, event.at) <= longest


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"per_second": 101.0}, "--rate must be 0 or between 1/day and 100/s"),
        ({"per_second": 1e-6}, "--rate must be 0 or between"),
        ({"per_second": 0.0}, "nothing to simulate"),
        ({"burst": -1}, "--burst is -1"),
        ({"seed": -1}, "--seed is -1"),
        ({"poor_firsts": 1.5}, r"--poor-firsts is 1\.5"),
        ({"poor_firsts": float("nan")}, "--poor-firsts is nan"),
    ],
)
def test_impossible_plans_are_refused_with_a_sentence(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Plan(**({"per_second": 1.0} | wrong))  # type: ignore[arg-type]
