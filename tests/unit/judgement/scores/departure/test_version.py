"""A version is JSON: what is stored scores as what was learned."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.judgement.scores.departure.conftest import YEARLY
from tests.unit.judgement.scores.departure.frames import CODES, outcomes, rows_of, signs
from tutor_pipeline.judgement.scores.departure import learning, scorer
from tutor_pipeline.judgement.scores.departure.reference import Reference
from tutor_pipeline.judgement.scores.departure.tutors import TUTORS
from tutor_pipeline.judgement.scores.departure.version import (
    Version,
    contributions,
    interval,
    log_odds,
    probability,
)


@settings(max_examples=30)
@given(
    rows=st.integers(0, 60),
    seed=st.integers(0, 999),
    departures=st.integers(0, 30),
    known=st.frozensets(st.sampled_from(CODES)),
)
def test_json_gives_back_the_same_version(rows, seed, departures, known):
    z = signs(rows, seed, known)
    version = learning.learn(TUTORS, z, known, outcomes(z, np.arange(rows) < departures), YEARLY)
    text = version.to_json()
    assert Version.from_json(TUTORS, text) == version
    # As jsonb gives it: any order of keys.
    stored = json.loads(text)
    assert Version.from_json(TUTORS, dict(reversed(stored.items()))) == version
    assert Version.from_json(TUTORS, stored).to_json() == text


@pytest.mark.parametrize("departures", [0, 40])
def test_a_stored_version_scores_the_same_byte_for_byte(ordinary, departures):
    left = np.arange(300) < departures
    learned = learning.learn(
        TUTORS, ordinary.z, ordinary.reference.known, outcomes(ordinary.z, left), YEARLY
    )
    stored = Version.from_json(TUTORS, json.loads(learned.to_json()))
    usual = Reference.from_json(TUTORS, json.loads(json.dumps(ordinary.reference.to_json())))
    again = scorer.score(rows_of(ordinary.columns), usual, stored, "1.1")
    assert repr(again) == repr(ordinary.scores(learned))


def test_contributions_and_the_intercept_are_the_log_odds(ordinary):
    summed = contributions(ordinary.version, ordinary.z).sum(axis=1) + ordinary.version.intercept
    assert summed == pytest.approx(log_odds(ordinary.version, ordinary.z))


def test_the_interval_is_what_draws_from_the_posterior_say(ordinary):
    left = np.arange(300) < 25
    known = ordinary.reference.known
    version = learning.learn(TUTORS, ordinary.z, known, outcomes(ordinary.z, left), YEARLY)
    at = np.array([version.intercept, version.multiplier, *version.deviations])
    drawn = np.random.default_rng(0).multivariate_normal(
        at, np.array(version.covariance) / 100, 4000
    )
    places = [CODES.index(code) for code in version.signals]
    z = ordinary.z[::30, places]
    odds = drawn[:, :1] + drawn[:, 1:2] * ((np.array(version.weights) + drawn[:, 2:]) @ z.T)
    center = log_odds(version, ordinary.z[::30])
    lower, upper = interval(version, ordinary.z[::30], center)
    # A tenth of the spread, where log odds are as good as linear in the parameters.
    spread = 10 * odds.std(axis=0) * 1.6449
    assert np.log(upper / (1 - upper)) == pytest.approx(center + spread, abs=0.15)
    assert np.log(lower / (1 - lower)) == pytest.approx(center - spread, abs=0.15)


def test_a_probability_has_six_digits_and_no_overflow():
    found = probability(np.array([-1e9, 0.0, 1e9, 0.1234567891]))
    assert found.tolist() == [0.0, 0.5, 1.0, 0.530825]


def test_known_are_the_signs_that_are_worth_something(ordinary):
    assert ordinary.version.known == ordinary.reference.known
    two = frozenset({"hours", "logins"})
    assert learning.learn(TUTORS, ordinary.z, two, learning.nothing(TUTORS), YEARLY).known == two
