"""Who counts as having left, and what is learned from."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.judgement.scores.departure.frames import CODES, names_of, people, unknown
from tutor_pipeline.judgement.scores.departure import learning, outcomes
from tutor_pipeline.judgement.scores.departure.forecast import HORIZON_DAYS
from tutor_pipeline.judgement.scores.departure.outcomes import (
    Week,
    gather,
    leaves,
    matured,
    standard,
)
from tutor_pipeline.judgement.scores.departure.tutors import TUTORS

DAY = date(2026, 3, 2)


def left_after(days: int) -> date:
    """What departures say of whoever completed the last session so many days after DAY."""
    return DAY + timedelta(days=days + 1)


@pytest.mark.parametrize(
    ("last_session", "left"), [(-40, True), (0, True), (29, True), (30, True), (31, False)]
)
def test_who_completes_no_session_after_the_horizon_has_left(last_session, left):
    assert leaves(DAY, left_after(last_session)) is left


def test_an_active_tutor_has_not_left():
    assert leaves(DAY, None) is False


@given(st.integers(-100, 100), st.integers(0, 90))
def test_who_has_left_by_a_day_has_left_by_every_later_one(last_session, later):
    if leaves(DAY, left_after(last_session)):
        assert leaves(DAY + timedelta(days=later), left_after(last_session))


def week(day=DAY, tutors=12, seed=0, **columns):
    found = people(tutors, seed) | columns
    return standard(TUTORS, Week(day, names_of(found), found))


def test_a_week_counts_once_its_horizon_has_passed():
    weeks = [week(DAY - timedelta(days=7 * back)) for back in (2, 1, 0)]
    departures = {"T00003": left_after(30), "T00004": left_after(31)}
    last = DAY + timedelta(days=HORIZON_DAYS)
    found = matured(weeks, departures, last)
    assert [each.day for each, _ in found] == [each.day for each in weeks]
    assert [np.flatnonzero(left).tolist() for _, left in found] == [[], [], [3]]
    assert len(matured(weeks, departures, last - timedelta(days=1))) == 2
    assert matured(weeks, departures, weeks[0].day) == []


def test_a_silent_tutor_is_asked_about_and_not_learned_from():
    gaps = np.full(12, 2.0)
    gaps[:3] = 30
    asked = week(days_since_completed=gaps)
    known = gather(TUTORS, [(asked, np.arange(12) < 5)], DAY + timedelta(days=60))
    assert len(asked.z) == 12
    assert asked.is_there.tolist() == [False] * 3 + [True] * 9
    assert np.array_equal(known.z, asked.z[3:])
    assert known.left.tolist() == [True] * 2 + [False] * 7
    assert known.departures == 2
    assert (known.learned_from, known.learned_until) == ("2026-03-02", "2026-03-02")
    assert known.known_on == "2026-05-01"


@pytest.mark.parametrize(
    ("sessions", "gap", "is_silent"),
    [
        pytest.param(56, 4, False, id="daily, and no less than four days"),
        pytest.param(56, 5, True, id="daily"),
        pytest.param(14, 8, False, id="every fourth day, twice as long"),
        pytest.param(14, 9, True, id="every fourth day, longer"),
        pytest.param(2, 14, False, id="rarely, and no more than two weeks"),
        pytest.param(2, 15, True, id="rarely"),
        pytest.param(0, 5, True, id="without a past, as if often"),
        pytest.param(56, np.nan, True, id="no session in sight"),
    ],
)
def test_silence_is_measured_by_the_own_gaps(sessions, gap, is_silent):
    columns = people(1)
    columns["completed_before_14d"][:] = sessions
    columns["days_since_completed"][:] = gap
    assert bool(TUTORS.silence(columns)[0] > 1) is is_silent


def test_a_newcomer_is_silent_after_few_days():
    columns = people(1)
    columns["days_seen"][:] = 10
    columns["days_since_completed"][:] = 4
    assert TUTORS.silence(columns)[0] <= 1
    columns["days_since_completed"][:] = 5
    assert TUTORS.silence(columns)[0] > 1


def test_a_tutor_counts_as_one_departure_over_all_weeks():
    weeks = [week(DAY + timedelta(days=7 * n), seed=n) for n in range(3)]
    quiet = [
        (
            standard(
                TUTORS,
                Week(each.day, each.ids, people(12, n) | {"days_since_completed": np.ones(12)}),
            ),
            np.arange(12) < 2,
        )
        for n, each in enumerate(weeks)
    ]
    known = gather(TUTORS, quiet, DAY + timedelta(days=90))
    assert len(known.z) == 36
    assert known.left.sum() == 6
    assert known.departures == 2


def test_of_no_week_nothing_is_learned():
    known = gather(TUTORS, [], DAY)
    assert known.z.shape == (0, len(CODES))
    assert known.departures == learning.nothing(TUTORS).departures == 0
    assert known.learned_from is None


def test_a_past_week_is_measured_by_its_own_day():
    calm = week(seed=3)
    everybody = people(12, 3)
    halved = everybody | {
        name: everybody[name] / 2 for name in ("hours_this_week", "hours_next_week", "usual_hours")
    }
    assert (
        outcomes.standard(TUTORS, Week(DAY, names_of(halved), halved)).reference != calm.reference
    )


def test_some_of_a_week_keep_their_signs():
    whole = week(tutors=20)
    some = whole.only([4, 1])
    assert some.ids == ["T00004", "T00001"]
    assert np.array_equal(some.z, whole.z[[4, 1]])
    assert np.array_equal(some.silence, whole.silence[[4, 1]])


def test_of_whom_nothing_is_known_a_week_can_be_made():
    nothing = unknown(people(3))
    nothing["days_seen"] = np.full(3, 100.0)
    assert not standard(TUTORS, Week(DAY, names_of(nothing), nothing)).z.any()
