"""Priors: fitted where there is something to fit, usual where not, stored and read back exactly."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutor_pipeline.scores.shrinkage import (
    FEW_TUTORS,
    RARE,
    READS,
    SMALLEST_SD,
    STRENGTH,
    USUAL,
    MeanPrior,
    Priors,
    RatePrior,
    fit_priors,
)

NOTHING = dict.fromkeys(READS)
RATES = st.builds(RatePrior, st.floats(0.001, 0.999), st.floats(2, 200))
MEANS = st.builds(MeanPrior, st.floats(1, 10), st.floats(2, 200), st.floats(0.1, 3))


def platform(seed, tutors, sessions=40, rate_strength=16.0, between=0.3):
    """Rows of tutors with levels of their own: rates of 10 % and 2 %, ratings, engagement."""
    rng = np.random.default_rng(seed)
    rows = []
    for n in rng.integers(sessions // 2, sessions * 2, tutors):
        week, of_month = max(n // 4, 1), n - max(n // 4, 1)
        ratings = rng.normal(rng.normal(4.1, between), 0.5, n)
        level = rng.normal(6.3, 0.8)
        last, before = rng.normal(level, 1.4, week), rng.normal(level, 1.4, of_month)
        rows.append(
            {
                "sessions_30d": int(n),
                "tutor_reschedules_30d": int(
                    rng.binomial(n, rng.beta(0.1 * rate_strength, 0.9 * rate_strength))
                ),
                "no_show_tutor_30d": int(rng.binomial(n, 0.02)),
                "avg_rating_30d": float(ratings.mean()),
                "avg_rating_30d_n": int(n),
                "rating_volatility_30d": float(ratings.std(ddof=1)),
                "avg_engagement_7d": float(last.mean()),
                "avg_engagement_7d_n": int(week),
                "avg_engagement_30d": float(np.concatenate([last, before]).mean()),
                "avg_engagement_30d_n": int(n),
                "first_session_avg_rating_90d": None,
                "first_session_avg_rating_90d_n": 0,
            }
        )
    return rows


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_fit_finds_what_the_tutors_were_drawn_from(seed):
    priors = fit_priors(platform(seed, 2000), version=4)
    assert (priors.version, priors.tutors) == (4, 2000)
    assert priors.reschedule_rate.mean == pytest.approx(0.10, abs=0.01)
    assert priors.reschedule_rate.strength == pytest.approx(16, rel=0.25)
    assert priors.no_show_rate.mean == pytest.approx(0.02, abs=0.004)
    assert priors.rating.mean == pytest.approx(4.1, abs=0.03)
    assert priors.rating.within_sd == pytest.approx(0.5, abs=0.01)
    assert priors.rating.strength == pytest.approx((0.5 / 0.3) ** 2, rel=0.15)
    assert priors.engagement.mean == pytest.approx(6.3, abs=0.06)
    assert priors.engagement.within_sd == pytest.approx(1.4, abs=0.1)
    assert priors.engagement.strength == pytest.approx((1.4 / 0.8) ** 2, rel=0.25)
    assert priors.first_rating == USUAL.first_rating  # nobody's were rated


def test_tutors_who_do_not_differ_make_the_strongest_prior():
    rows = [NOTHING | {"sessions_30d": 20, "tutor_reschedules_30d": 2, "no_show_tutor_30d": 0}] * 30
    priors = fit_priors(rows, version=1)
    assert priors.reschedule_rate == RatePrior(0.1, STRENGTH[1])
    assert priors.no_show_rate == RatePrior(RARE, STRENGTH[1])


def test_ratings_that_never_scatter_prove_nothing():
    rows = [
        NOTHING | {"avg_rating_30d": 5.0, "avg_rating_30d_n": 9, "rating_volatility_30d": 0.0}
    ] * 30
    assert fit_priors(rows, version=1).rating == MeanPrior(5.0, STRENGTH[1], SMALLEST_SD)


def test_tutors_unlike_each_other_make_the_weakest_prior():
    rows = [
        NOTHING | {"sessions_30d": 20, "tutor_reschedules_30d": 20 * (i % 2)} for i in range(30)
    ]
    assert fit_priors(rows, version=1).reschedule_rate.strength == STRENGTH[0]


def test_a_few_tutors_make_no_prior():
    few = fit_priors(platform(1, FEW_TUTORS - 1), version=1)
    assert few == Priors(1, FEW_TUTORS - 1, *(getattr(USUAL, name) for name in NAMES))
    enough = fit_priors(platform(1, FEW_TUTORS), version=1)
    assert enough.reschedule_rate != USUAL.reschedule_rate
    assert enough.rating != USUAL.rating
    nothing = fit_priors([NOTHING] * 50, version=1)
    assert nothing == Priors(1, 50, *(getattr(USUAL, name) for name in NAMES))


NAMES = ("reschedule_rate", "no_show_rate", "rating", "engagement", "first_rating")


@pytest.mark.parametrize("sessions", [1, 2])
def test_one_session_each_is_no_error(sessions):
    rows = [NOTHING | {"sessions_30d": sessions, "tutor_reschedules_30d": i % 2} for i in range(20)]
    prior = fit_priors(rows, version=1).reschedule_rate
    assert STRENGTH[0] <= prior.strength <= STRENGTH[1]
    assert 0 < prior.mean < 1


def test_the_order_of_the_tutors_decides_nothing():
    rows = platform(5, 200)
    shuffled = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))]
    assert repr(fit_priors(rows, 1)) == repr(fit_priors(shuffled, 1))


@given(st.builds(Priors, st.integers(1, 99), st.integers(0, 99), RATES, RATES, MEANS, MEANS, MEANS))
def test_a_version_is_read_back_exactly(priors):
    assert Priors.from_json(json.loads(json.dumps(priors.to_json()))) == priors


def test_what_is_no_version_is_refused():
    stored = USUAL.to_json()
    with pytest.raises(KeyError):
        Priors.from_json({name: value for name, value in stored.items() if name != "rating"})
    with pytest.raises(TypeError):
        Priors.from_json({**stored, "mood": 1})


@given(RATES, st.integers(0, 200), st.integers(0, 200), st.floats(0.01, 0.5))
def test_more_events_make_a_high_rate_likelier(prior, events, more, threshold):
    sessions = np.array([float(events + more)])
    fewer = prior.probability_above(np.array([float(events)]), sessions, threshold)
    many = prior.probability_above(np.array([float(events + more)]), sessions, threshold)
    assert 0 <= fewer <= many <= 1


def test_many_observations_speak_for_themselves_and_few_for_the_platform():
    prior = MeanPrior(6.3, 3.0, 1.4)
    n = np.array([1.0, 10_000.0])
    likely = prior.probability_below(np.array([5.0, 5.0]), n, 5.5, prior.mean)
    assert likely[0] < 0.5
    assert likely[1] > 0.99
