"""What departures change, and what they cannot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.judgement.scores.departure.conftest import YEARLY
from tests.unit.judgement.scores.departure.frames import (
    CODES,
    SIGNS,
    drawn,
    outcomes,
    people,
    rank_correlation,
    signs,
    standardised,
)
from tutor_pipeline.judgement.scores import regression
from tutor_pipeline.judgement.scores.departure import learning
from tutor_pipeline.judgement.scores.departure.forecast import HORIZON_DAYS
from tutor_pipeline.judgement.scores.departure.learning import (
    DEVIATION_SD,
    ENOUGH_DEPARTURES,
    FEWEST_HIGH,
    HIGH_TIMES,
    HIGH_TIMES_UNLEARNED,
    INTERCEPT_SD,
    MULTIPLIER_SD,
    RAISED_SHARE,
    RAISED_TIMES,
    STEP_DAYS,
    learn,
    monthly,
    nothing,
)
from tutor_pipeline.judgement.scores.departure.tutors import TUTORS
from tutor_pipeline.judgement.scores.departure.version import interval, log_odds, probability
from tutor_pipeline.judgement.scores.regression import LEAST_MULTIPLIER

pytestmark = pytest.mark.slow

ALL = frozenset(CODES)


def forecasts(version, z):
    return probability(log_odds(version, z))


def high(version, z):
    return int((forecasts(version, z) > version.high_above).sum())


# Whatever the order, whatever the platform ------------------------------------------------------


@settings(max_examples=25)
@given(
    rows=st.integers(1, 120),
    seed=st.integers(0, 999),
    known=st.frozensets(st.sampled_from(CODES), max_size=12),
    share=st.floats(0, 1),
)
def test_the_order_of_rows_decides_nothing(rows, seed, known, share):
    rng = np.random.default_rng(seed)
    z = signs(rows, seed, known)
    whose = rng.integers(0, max(rows // 3, 1), rows)
    left = rng.random(rows) < share
    order, other = rng.permutation(rows), rng.permutation(rows)
    learned = learn(TUTORS, z, known, outcomes(z, left, whose), YEARLY)
    again = learn(TUTORS, z[other], known, outcomes(z[order], left[order], whose[order]), YEARLY)
    assert again.to_json() == learned.to_json()


def test_the_order_of_rows_decides_nothing_even_unrounded(panel, monkeypatch):
    monkeypatch.setattr(learning, "_DIGITS", 18)
    left = np.isin(panel.whose, panel.falling)
    learned = learn(TUTORS, panel.z, ALL, outcomes(panel.z, left, panel.whose), YEARLY)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(panel.z))
        z = panel.z[order]
        again = learn(TUTORS, z, ALL, outcomes(z, left[order], panel.whose[order]), YEARLY)
        assert again.to_json() == learned.to_json()


@pytest.mark.parametrize("departures", [0, 1, 5, 50, 500])
def test_any_number_of_departures_gives_everybody_a_finite_forecast(departures):
    z = signs(600, departures)
    left = np.random.default_rng(departures).permutation(600) < departures
    learned = learn(TUTORS, z, ALL, outcomes(z, left), YEARLY)
    found = forecasts(learned, z)
    lower, upper = interval(learned, z, log_odds(learned, z))
    for each in (found, lower, upper, np.array(learned.coefficients)):
        assert np.isfinite(each).all()
    assert ((lower <= found) & (found <= upper)).all()
    assert ((lower < found) | (found < 1e-5)).all()
    assert learned.departures == departures
    assert learned.is_probability is (departures >= ENOUGH_DEPARTURES)


def test_everybody_leaving_teaches_too():
    z = signs(100)
    learned = learn(TUTORS, z, ALL, outcomes(z, np.ones(100, bool)), YEARLY)
    assert np.isfinite(forecasts(learned, z)).all()
    assert learned.base_rate > monthly(YEARLY)


@pytest.mark.parametrize("tutors", [0, 1, 2, 3, 10])
def test_of_few_tutors_a_version_comes_of_the_priors(make_world, tutors):
    world = make_world(people(tutors, 3))
    base = world.version.base_rate
    assert base == pytest.approx(monthly(YEARLY), rel=1e-3)
    assert world.version.high_above == pytest.approx(HIGH_TIMES_UNLEARNED * base, rel=1e-3)
    assert high(world.version, world.z) == 0
    strangers = make_world(people(200, 4))
    assert forecasts(world.version, strangers.z).max() < 0.5


@pytest.mark.parametrize("differ", [0, 1e-9, 1e-6, 1e-3, 1e-2])
@pytest.mark.parametrize("tutors", [2, 5, 100])
def test_tutors_who_differ_by_a_hair_do_not_make_weights_without_bounds(
    make_world, alike, differ, tutors
):
    rng = np.random.default_rng(tutors)
    columns = {name: np.repeat(column, tutors) for name, column in people(1, 3).items()}
    for name in ("hours_this_week", "usual_hours"):
        columns[name] = columns[name] * (1 + differ * rng.normal(size=tutors))
    version = make_world(columns).version
    assert sum(version.weights) < 5 * sum(alike.version.weights)
    later = forecasts(version, alike.z)
    assert later.min() > 1e-3
    assert later.max() < 0.3
    assert version.high_above > 2 * monthly(YEARLY)


def test_a_platform_without_any_sign_has_a_base_rate_only():
    z = np.zeros((50, len(CODES)))
    for known in (nothing(TUTORS), outcomes(z, np.arange(50) < 5)):
        version = learn(TUTORS, z, frozenset(), known, YEARLY)
        assert len(set(forecasts(version, z).tolist())) == 1
        assert high(version, z) == 0


def test_a_sign_that_never_varies_changes_nothing_of_the_others(panel):
    place = CODES.index("logins")
    still = panel.z.copy()
    still[:, place] = 0
    left = np.isin(panel.whose, panel.falling[::2])
    learned = learn(TUTORS, still, ALL, outcomes(still, left, panel.whose), YEARLY)
    found = learned.coefficients
    assert np.isfinite(found).all()
    assert dict(zip(learned.signals, learned.deviations, strict=True))["logins"] == 0
    without = learn(TUTORS, still, ALL - {"logins"}, outcomes(still, left, panel.whose), YEARLY)
    assert rank_correlation(log_odds(learned, still), log_odds(without, still)) > 0.9999


# Nothing recorded -------------------------------------------------------------------------------


@pytest.mark.parametrize("yearly", [0.02, 0.25, 0.6])
def test_who_cannot_say_who_left_teaches_nothing(panel, yearly):
    silent = learn(
        TUTORS, panel.z, ALL, outcomes(panel.z, np.zeros(1200, bool), panel.whose), yearly
    )
    assert silent == learn(TUTORS, panel.z, ALL, nothing(TUTORS), yearly)
    assert silent.base_rate == pytest.approx(monthly(yearly), rel=1e-3)
    assert not any(silent.deviations)
    assert silent.learned_rows == 0 and silent.learned_from is None


def test_the_yearly_rate_is_that_of_the_horizon():
    assert 1 - (1 - monthly(0.25)) ** (365.25 / 30) == pytest.approx(0.25)


def test_nothing_learned_ranks_by_the_documented_weights(ordinary):
    documented = ordinary.z @ np.array(ordinary.version.weights)
    assert np.std(documented) == pytest.approx(1, abs=1e-6)
    assert rank_correlation(log_odds(ordinary.version, ordinary.z), documented) == pytest.approx(1)


def test_nobody_is_high_where_all_are_alike(alike):
    assert alike.version.agreement == pytest.approx(1, abs=0.2)
    assert high(alike.version, alike.z) == 0


@pytest.mark.parametrize("departures", [1, 5, 10, 20, 80])
def test_departures_at_random_make_nobody_high_where_all_are_alike(departures):
    raised = 0
    for seed in range(4):
        weeks = [people(150, 10 * seed + week, differ=0) for week in range(4)]
        z = np.concatenate([standardised(week) for week in weeks])
        whose = np.tile(np.arange(150), 4)
        gone = np.random.default_rng(seed).permutation(150)[: departures // 2 + 1]
        raised += high(learn(TUTORS, z, ALL, outcomes(z, np.isin(whose, gone), whose), YEARLY), z)
    assert raised <= 0.005 * 4 * 600


# No cliff ---------------------------------------------------------------------------------------


def test_one_departure_more_moves_every_forecast_by_little(panel):
    order = np.random.default_rng(3).permutation(panel.falling)
    before = None
    for departures in range(30):
        version = panel.learned(order[:departures])
        odds, found = log_odds(version, panel.z), forecasts(version, panel.z)
        if before is not None:
            assert rank_correlation(odds, before[0]) > 0.99, departures
            levels = [found > version.high_above, found > version.medium_above]
            changed = [
                int((now != then).sum()) for now, then in zip(levels, before[2], strict=True)
            ]
            assert max(changed) <= 0.03 * len(found), departures
            # The first one says that this platform records departures, and how few they are.
            if departures > 1:
                assert np.abs(found - before[1]).max() < 0.08, departures
                assert np.abs(odds - before[0]).max() < 0.7, departures
        before = odds, found, [found > version.high_above, found > version.medium_above]


def test_the_twentieth_departure_is_no_step(panel):
    order = np.random.default_rng(4).permutation(panel.falling)
    bases = [panel.learned(order[:n]).base_rate for n in range(16, 24)]
    steps = np.diff(bases)
    assert steps.max() < 2 * np.median(steps)


# What departures teach --------------------------------------------------------------------------


def test_departures_of_those_who_fall_raise_the_documented_weights(panel):
    learned = panel.learned(panel.falling)
    assert learned.multiplier > 1.1
    assert high(learned, panel.z) > 0


def test_permuted_departures_leave_the_order_and_make_nobody_high(panel):
    prior = learn(TUTORS, panel.z, ALL, nothing(TUTORS), YEARLY)
    documented = log_odds(prior, panel.z)
    assert high(prior, panel.z) > 0
    correlations = []
    for seed in range(10):
        learned = panel.learned(np.random.default_rng(seed).permutation(300)[:80])
        correlations.append(rank_correlation(log_odds(learned, panel.z), documented))
        assert high(learned, panel.z) == 0, seed
        assert learned.multiplier < 0.5, seed
    # By chance some of them were falling: those are learned from.
    assert np.median(correlations) > 0.99
    assert min(correlations) > 0.95


def test_departures_of_those_who_do_best_do_not_turn_the_order_around(panel):
    prior = learn(TUTORS, panel.z, ALL, nothing(TUTORS), YEARLY)
    order = np.argsort(log_odds(prior, panel.z[:300]))
    learned = panel.learned(order[:60])
    assert learned.multiplier == LEAST_MULTIPLIER
    assert high(learned, panel.z) == 0
    # Single signs may be turned around, where it is them that departures contradict.
    assert max(map(abs, learned.deviations)) < 6 * DEVIATION_SD


@settings(max_examples=15)
@given(seed=st.integers(0, 999), share=st.floats(0.01, 0.9), strength=st.floats(-3, 3))
def test_the_multiplier_is_never_below_its_least(seed, share, strength):
    z = signs(200, seed)
    base = np.log(share / (1 - share))
    odds = base + strength * z.sum(axis=1) / 4
    left = np.random.default_rng(seed).random(200) < 1 / (1 + np.exp(-odds))
    learned = learn(TUTORS, z, ALL, outcomes(z, left), YEARLY)
    assert learned.multiplier >= LEAST_MULTIPLIER


@pytest.mark.parametrize("code", ["hours", "logins", "score", "no_shows"])
def test_departures_that_follow_one_sign_raise_that_one_only(code):
    z = signs(3000, 1)
    left = drawn(z, code, 2.0, -3.0, 2)
    learned, prior = (
        learn(TUTORS, z, ALL, outcomes(z, left), YEARLY),
        learn(TUTORS, z, ALL, nothing(TUTORS), YEARLY),
    )
    documented = np.array(prior.weights)
    raised = dict(zip(CODES, learned.coefficients - documented, strict=True))
    assert raised.pop(code) > 0.7
    assert max(raised.values()) < 0.1
    assert sum(raised.values()) < 0


@pytest.mark.parametrize("code", ["hours", "logins"])
def test_departures_that_contradict_one_sign_lower_that_one(code):
    z = signs(3000, 1)
    left = drawn(z, code, -2.0, -3.0, 2)
    moved = dict(
        zip(CODES, learn(TUTORS, z, ALL, outcomes(z, left), YEARLY).deviations, strict=True)
    )
    assert moved[code] == min(moved.values()) < -0.05


# The posterior ----------------------------------------------------------------------------------


def log_posterior(at, z, left, version, expected, start):
    """As documented, written anew: at = intercept, multiplier, deviations."""
    places = [CODES.index(code) for code in version.signals]
    summed = z[:, places] @ (np.array(version.weights) + at[2:])
    odds = at[0] + at[1] * summed
    likelihood = np.where(left, odds, 0) - np.logaddexp(0, odds)
    return (
        STEP_DAYS / HORIZON_DAYS * likelihood.sum()
        - ((at[0] - start) / INTERCEPT_SD) ** 2 / 2
        - ((at[1] - expected) / MULTIPLIER_SD) ** 2 / 2
        - (at[2:] ** 2).sum() / DEVIATION_SD**2 / 2
    )


def prior_of(z, known, departures):
    """Prior multiplier and intercept, where `departures` are known."""
    version = learn(TUTORS, z, known, nothing(TUTORS), YEARLY)
    trust = version.multiplier
    learned = min(departures / ENOUGH_DEPARTURES, 1.0)
    expected = trust + (1 - trust) * learned
    places = [CODES.index(code) for code in version.signals]
    summed = expected * (z[:, places] @ np.array(version.weights))
    low, high_ = -60.0, 60.0
    for _ in range(200):
        middle = (low + high_) / 2
        mean = np.mean(1 / (1 + np.exp(-middle - summed)))
        low, high_ = (middle, high_) if mean < monthly(YEARLY) else (low, middle)
    return expected, middle


def at_of(version):
    return np.array([version.intercept, version.multiplier, *version.deviations])


@settings(max_examples=20)
@given(
    seed=st.integers(0, 999),
    strength=st.floats(-2, 3),
    base=st.floats(-4, 1),
    known=st.frozensets(st.sampled_from(CODES), min_size=1, max_size=10),
)
def test_the_posterior_mode_is_one(seed, strength, base, known):
    z = signs(300, seed, known)
    left = drawn(z, min(known), strength, base, seed)
    left[0] = True
    version = learn(TUTORS, z, known, outcomes(z, left), YEARLY)
    expected, start = prior_of(z, known, int(left.sum()))
    at, step = at_of(version), 1e-4

    def value(where):
        return log_posterior(where, z, left, version, expected, start)

    for place in range(len(at)):
        up, down = at.copy(), at.copy()
        up[place] += step
        down[place] -= step
        slope = (value(up) - value(down)) / (2 * step)
        if place == 1 and at[1] == LEAST_MULTIPLIER:
            assert slope < 1e-3
        else:
            assert abs(slope) < 1e-3, (place, slope)
    for _ in range(20):
        away = np.random.default_rng(seed).normal(0, 0.05, len(at))
        away[1] = abs(away[1]) if at[1] == LEAST_MULTIPLIER else away[1]
        assert value(at + away) < value(at)


@pytest.mark.parametrize(("strength", "seed"), [(2.0, 0), (0.0, 1), (-2.0, 2)])
def test_a_small_problem_has_the_mode_of_a_grid(strength, seed):
    known = frozenset({"hours"})
    z = signs(40, seed, known)
    left = drawn(z, "hours", strength, -1.0, seed)
    version = learn(TUTORS, z, known, outcomes(z, left), YEARLY)
    expected, start = prior_of(z, known, int(left.sum()))
    x = z[:, CODES.index("hours")]
    center, width = np.array([start, 1.0, 0.0]), np.array([4.0, 1.0, 0.6])
    for _ in range(12):
        axes = [np.linspace(c - w, c + w, 13) for c, w in zip(center, width, strict=True)]
        axes[1] = np.maximum(axes[1], LEAST_MULTIPLIER)
        a, m, d = (each.ravel() for each in np.meshgrid(*axes, indexing="ij"))
        odds = a[:, None] + (m * (version.weights[0] + d))[:, None] * x
        value = (
            STEP_DAYS / HORIZON_DAYS * (odds * left - np.logaddexp(0, odds)).sum(axis=1)
            - ((a - start) / INTERCEPT_SD) ** 2 / 2
            - ((m - expected) / MULTIPLIER_SD) ** 2 / 2
            - (d / DEVIATION_SD) ** 2 / 2
        )
        best = int(value.argmax())
        center, width = np.array([a[best], m[best], d[best]]), width * 0.45
    assert at_of(version) == pytest.approx(center, abs=2e-3)


def test_more_departures_make_narrower_intervals():
    z = signs(6400, 5)
    documented = z @ np.array(learn(TUTORS, z, ALL, nothing(TUTORS), YEARLY).weights)
    left = np.random.default_rng(6).random(6400) < 1 / (1 + np.exp(2.5 - documented))
    widths = []
    for tutors in (0, 100, 400, 1600, 6400):
        learned = learn(TUTORS, z, ALL, outcomes(z[:tutors], left[:tutors]), YEARLY)
        odds = log_odds(learned, z)
        lower, upper = interval(learned, z, odds)
        widths.append(np.median(np.log(upper / (1 - upper)) - np.log(lower / (1 - lower))))
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < widths[0] / 2


def test_calibrated_on_what_it_learned_from():
    z = signs(4000, 7)
    left = drawn(z, "score", 1.0, -2.0, 8)
    learned = learn(TUTORS, z, ALL, outcomes(z, left), YEARLY)
    assert learned.base_rate == pytest.approx(left.mean(), rel=0.03)


# Cut-offs ---------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    rows=st.integers(1, 400), seed=st.integers(0, 999), departures=st.sampled_from([0, 3, 20, 60])
)
def test_high_is_rare_and_far_above_the_base_rate(rows, seed, departures):
    z = signs(rows, seed)
    left = np.arange(rows) < departures
    version = learn(TUTORS, z, ALL, outcomes(z, left), YEARLY)
    found = forecasts(version, z)
    taught = min(version.departures / ENOUGH_DEPARTURES, 1)
    times = HIGH_TIMES_UNLEARNED + (HIGH_TIMES - HIGH_TIMES_UNLEARNED) * taught
    assert times >= 3
    assert (found > version.high_above).sum() <= max(FEWEST_HIGH, int(TUTORS.high_share * rows))
    assert (found > version.medium_above).sum() <= max(FEWEST_HIGH, int(RAISED_SHARE * rows))
    assert version.high_above >= times * version.base_rate - 1e-8
    assert version.medium_above >= RAISED_TIMES * version.base_rate - 1e-8
    assert version.medium_above <= version.high_above
    assert version.base_rate == pytest.approx(found.mean(), abs=1e-8)
    assert version.reference_rows == rows


def test_what_is_learned_says_when_and_from_what(panel):
    learned = panel.learned(panel.falling)
    assert (learned.learned_from, learned.learned_until) == ("2026-01-05", "2026-03-02")
    assert learned.known_on == "2026-04-02"
    assert (learned.departures, learned.learned_rows, learned.reference_rows) == (45, 1200, 1200)
    assert learned.is_probability


def test_learning_is_the_same_in_chunks(panel, monkeypatch):
    whole = panel.learned(panel.falling)
    monkeypatch.setattr(regression, "_CHUNK", 97)
    pieces = panel.learned(panel.falling)
    assert at_of(pieces) == pytest.approx(at_of(whole), abs=1e-6)
    assert replace(pieces, multiplier=0, deviations=(), intercept=0).signals == whole.signals


def test_every_group_agrees_or_not():
    """Signs that fall together count more than the same signs each for itself."""
    apart = signs(500, 9)
    together = np.repeat(apart[:, :1], len(CODES), axis=1)
    alone, joint = (learn(TUTORS, z, ALL, nothing(TUTORS), YEARLY) for z in (apart, together))
    assert alone.agreement == pytest.approx(1, abs=0.2)
    assert joint.agreement > 4
    assert alone.multiplier < joint.multiplier == 1.0
    assert {SIGNS[code].group for code in joint.signals} == {
        signal.group for signal in SIGNS.values()
    }
