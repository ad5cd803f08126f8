"""A learned version is used only when it has earned it; otherwise the champion stands in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tutor_pipeline.scores.evaluation import Sample
from tutor_pipeline.scores.promotion import MIN_LEAVERS, Fold, decide, fallback
from tutor_pipeline.scores.score import Level, Reason, Score, Status, Target


def fold(seed, *, skill=1.5, stretch=1.0, tutors=800) -> Fold:
    """Outcomes of known log odds; the model knows them (stretched), the champion a shadow."""
    rng = np.random.default_rng(seed)
    odds = -3 + skill * rng.normal(size=tutors)
    labels = rng.random(tutors) < 1 / (1 + np.exp(-odds))
    return Fold(
        Sample(np.arange(tutors), np.full(tutors, seed), labels),
        model=1 / (1 + np.exp(-(stretch * (odds + 3) - 3))),
        champion=odds + rng.normal(0, 4, tutors),
    )


def verdict(folds, leavers=MIN_LEAVERS):
    return decide(folds, leavers, "signals_v2", replicates=100)


def test_promoted_when_everything_holds():
    found = verdict([fold(1), fold(2), fold(3)])
    assert found.is_promoted
    assert found.reason.startswith("Promoted: 50 tutors left in training")
    assert all(each.lower > 0 for each in found.gains)
    assert found.metrics()["training_leavers"] == 50


def test_49_leavers_are_too_few():
    found = verdict([fold(1), fold(2), fold(3)], leavers=49)
    assert not found.is_promoted
    assert found.reason == (
        "Not promoted, signals_v2 stands in: 49 tutors left in training (50 are needed)"
    )


def test_better_in_two_folds_only_is_not_enough():
    same = fold(3)
    found = verdict([fold(1), fold(2), replace(same, champion=same.model)])
    assert not found.is_promoted
    assert "in 2 of 3 time folds" in found.reason
    assert not verdict([fold(1), fold(2)]).is_promoted


@pytest.mark.parametrize("stretch", [0.5, 2.5])
def test_ranking_well_with_wrong_probabilities_is_not_enough(stretch):
    found = verdict([fold(n, stretch=stretch) for n in (1, 2, 3)])
    assert all(each.lower > 0 for each in found.gains)
    assert not found.is_promoted
    assert "the calibration slope is" in found.reason


def test_a_gain_that_may_be_luck_is_none():
    found = verdict([fold(n, tutors=40) for n in (1, 2, 3)])
    assert not found.is_promoted


def test_without_a_test_nothing_is_promoted():
    found = verdict([], leavers=500)
    assert not found.is_promoted
    assert "gains unknown" in found.reason


def test_the_champion_stands_in_under_the_models_name():
    of_champion = Score(
        subject_id="T1",
        scorer="signals_v2",
        version="3",
        target=Target.TUTOR_RISK,
        horizon_days=30,
        score=0.36,
        is_probability=False,
        level=Level.MEDIUM,
        reasons=(Reason("no_shows", "3 no-shows", 3.0, 2.0, 20, 0.12),),
        status=Status.OK,
        input_hash="abc",
    )
    unknown = replace(
        of_champion,
        score=None,
        level=None,
        reasons=(),
        status=Status.INSUFFICIENT_DATA,
        input_hash="def",
    )
    first, second = fallback(
        [of_champion, unknown], "model_departure", "4", Target.TUTOR_DEPARTURE, 30
    )
    assert (first.scorer, first.version, first.target) == (
        "model_departure",
        "4",
        Target.TUTOR_DEPARTURE,
    )
    assert first.status is Status.FALLBACK
    assert not first.is_probability
    assert (first.score, first.level, first.reasons) == (0.36, Level.MEDIUM, of_champion.reasons)
    assert second.status is Status.INSUFFICIENT_DATA
    assert len({first.input_hash, second.input_hash, "abc", "def"}) == 4
