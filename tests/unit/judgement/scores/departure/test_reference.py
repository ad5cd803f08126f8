"""What is usual on a platform: the same whatever the order, and for any platform."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.judgement.scores.departure.frames import (
    AVAILABILITY,
    CODES,
    READS,
    RECENT,
    SIGNS,
    only,
    people,
    rank_correlation,
    rows_of,
    unknown,
)
from tutor_pipeline.judgement.scores.departure import measures, reference
from tutor_pipeline.judgement.scores.departure.reference import (
    HIGHEST,
    LOWEST,
    Reference,
    standardise,
)
from tutor_pipeline.judgement.scores.departure.signs import Kind
from tutor_pipeline.judgement.scores.departure.tutors import TUTORS, evidence


def z_of(columns, code, usual=None):
    return standardise(columns, usual or reference.fit(TUTORS, columns)).z[:, CODES.index(code)]


@pytest.mark.slow
@settings(max_examples=40)
@given(tutors=st.integers(1, 80), seed=st.integers(0, 999), weekly=st.sampled_from([0.3, 3, 20]))
def test_the_order_of_tutors_decides_nothing(tutors, seed, weekly):
    columns = people(tutors, seed, weekly=weekly)
    order = np.random.default_rng(seed).permutation(tutors)
    assert reference.fit(TUTORS, only(columns, order)) == reference.fit(TUTORS, columns)


def test_the_order_of_tutors_decides_nothing_even_unrounded(monkeypatch):
    monkeypatch.setattr(reference, "_DIGITS", 18)
    for module in (evidence, measures):
        monkeypatch.setattr(module, "rounded", float)
    columns = people(400, 16)
    fitted = reference.fit(TUTORS, columns)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(400)
        assert reference.fit(TUTORS, only(columns, order)) == fitted


@settings(max_examples=30)
@given(
    tutors=st.integers(0, 60),
    seed=st.integers(0, 999),
    missing=st.frozensets(st.sampled_from(READS), max_size=12),
)
def test_json_gives_back_the_same_reference(tutors, seed, missing):
    fitted = reference.fit(TUTORS, unknown(people(tutors, seed), missing))
    stored = json.loads(json.dumps(fitted.to_json(), sort_keys=True, allow_nan=False))
    assert Reference.from_json(TUTORS, stored) == fitted


def test_rows_say_what_columns_say():
    columns = unknown(people(20), ["hours_this_week"])
    read = measures.columns_of(rows_of(columns), READS)
    assert read.keys() == columns.keys()
    assert all(np.array_equal(read[name], columns[name], equal_nan=True) for name in columns)


@pytest.mark.slow
@settings(max_examples=60)
@given(
    tutors=st.integers(1, 30),
    seed=st.integers(0, 999),
    cells=st.lists(
        st.tuples(
            st.sampled_from([name for name in READS if name != "days_seen" and name[-2:] != "_n"]),
            st.integers(0, 29),
            st.sampled_from([np.nan, 0.0, 1.0, 1e6]),
        ),
        max_size=40,
    ),
)
def test_signs_are_finite_and_cut_whatever_the_columns_hold(tutors, seed, cells):
    columns = people(tutors, seed)
    for name, place, value in cells:
        columns[name][place % tutors] = value
    found = standardise(columns, reference.fit(TUTORS, columns))
    assert np.isfinite(found.z).all()
    assert found.z.min() >= LOWEST and found.z.max() <= HIGHEST
    assert (found.z[~found.known] == 0).all()


@pytest.mark.parametrize("code", ["pace_14d", "hours", "logins", "reply", "score", "booked_ahead"])
def test_who_does_less_than_before_stands_out(code):
    columns = people(200, 4, fall=np.where(np.arange(200) < 20, 0.7, 0.0))
    z = z_of(columns, code)
    assert z[:20].mean() > z[20:].mean() + 0.5


def test_what_everybody_changed_by_is_not_a_change():
    columns = people(300, 5, weekly=8)
    halved = columns | {name: columns[name] / 2 for name in RECENT}
    for code in ("pace_14d", "hours", "logins", "earnings"):
        before, after = z_of(columns, code), z_of(halved, code)
        assert abs(after.mean() - before.mean()) < 0.25, code
        assert rank_correlation(before, after) > 0.97, code
        blamed = z_of(halved, code, reference.fit(TUTORS, columns))
        assert blamed.mean() > 0.6, "by the yardstick of before, everybody stands out"


def test_what_is_known_from_little_is_drawn_to_the_center():
    columns = people(200, 6)
    for name, much, little in (("starts_known_28d", 40, 2), ("starts_known_before", 80, 4)):
        columns[name][:2] = much, little
    columns["lates_28d"][:2] = 20, 1
    columns["lates_before"][:2] = 40, 2
    often, twice = z_of(columns, "lateness_level")[:2]
    assert often > 2 * twice > 0


def test_the_long_silent_are_not_what_is_usual():
    columns = people(100, 7)
    silent = people(40, 8, weekly=0.2)
    silent["days_since_completed"][:] = 46
    silent["days_since_completed"][:5] = np.nan
    both = {name: np.concatenate([columns[name], silent[name]]) for name in columns}
    assert reference.fit(TUTORS, both) == reference.fit(TUTORS, columns)
    silent["days_since_completed"][:] = 45
    both = {name: np.concatenate([columns[name], silent[name]]) for name in columns}
    assert reference.fit(TUTORS, both).size == 140


@pytest.mark.parametrize("tutors", [0, 1, 2, 3])
def test_of_few_tutors_there_is_a_yardstick_too(tutors):
    columns = people(tutors, 9)
    fitted = reference.fit(TUTORS, columns)
    assert fitted.size == tutors
    assert fitted.known == (frozenset() if not tutors else frozenset(fitted.yardsticks))
    for code, yardstick in fitted.yardsticks.items():
        # Ten usual tutors are among them: a spread is near the natural one.
        assert yardstick.spread > 0.3 * SIGNS[code].natural
    assert np.isfinite(standardise(people(5, 1), fitted).z).all()


def test_a_sign_that_never_varies_says_nothing():
    columns = people(50, 10)
    columns["hours_this_week"][:] = columns["hours_next_week"][:] = 10.0
    columns["usual_hours"][:] = 10.0
    assert np.abs(z_of(columns, "hours")).max() < 1e-8
    assert np.abs(z_of(columns, "hours_level")).max() < 1e-8


def test_a_platform_without_a_table_has_no_such_signs():
    fitted = reference.fit(TUTORS, unknown(people(50, 11), AVAILABILITY))
    gone = {code for code in CODES if SIGNS[code].group == "availability"}
    assert not fitted.known & gone
    assert fitted.known | gone == set(CODES)
    found = standardise(people(5), fitted)
    assert not found.known[:, [CODES.index(code) for code in gone]].any()


def test_what_never_happens_is_not_known_to_be_recorded():
    columns = people(50, 12)
    columns["no_shows_28d"][:] = columns["no_shows_before"][:] = 0
    columns["login_days_14d"][:] = columns["login_days_before"][:] = 0
    columns["booked_ahead"][:] = 0
    known = reference.fit(TUTORS, columns).known
    assert not known & {"no_shows", "no_shows_level", "logins", "booked_ahead"}
    assert "pace_14d" in known


def test_where_bookings_are_unclear_nothing_is_said_of_them():
    columns = people(50, 13)
    columns["booked_unclear"] = columns["booked_ahead"] * 0.2
    assert "booked_ahead" in reference.fit(TUTORS, columns).known
    columns["booked_unclear"] = columns["booked_ahead"] * 0.5
    assert "booked_ahead" not in reference.fit(TUTORS, columns).known


def test_who_has_unclear_bookings_is_not_among_those_who_show_what_is_usual():
    columns = people(50, 13)
    columns["booked_ahead"][0], columns["booked_unclear"][0] = 0, 40
    others = only(columns, np.arange(1, 50))
    assert measures.booked_share(columns) == measures.booked_share(others) is not None


def test_a_few_who_leave_do_not_stretch_the_yardstick():
    calm = people(200, 14)
    wild = {name: column.copy() for name, column in calm.items()}
    wild["hours_this_week"][:8] = wild["hours_next_week"][:8] = 0.0
    before, after = (reference.fit(TUTORS, each).yardsticks["hours"] for each in (calm, wild))
    assert after.spread < 1.35 * before.spread
    assert z_of(wild, "hours")[:8].min() > 2


def test_a_newcomer_has_no_own_past():
    columns = people(30, 15)
    columns["days_seen"][0] = 20
    known = standardise(columns, reference.fit(TUTORS, columns)).known[0]
    changes = {"pace_7d", "pace_14d", "pace_28d", "gap", "logins", "earnings"}
    assert not known[[CODES.index(code) for code in changes]].any()
    assert all(SIGNS[code].kind is Kind.CHANGE for code in changes)
    assert known[CODES.index("pace_level")]
