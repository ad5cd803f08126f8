"""What is usual among tutors, and how surely one of them is beyond it."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutor_pipeline.judgement.rules import usual
from tutor_pipeline.judgement.rules.usual import Unusual, Usual, Value, fit, look

RATE = Unusual("no_shows", "sessions", True, times=1.5)
SHARE = Unusual("share", "sessions", False, times=1.5)
LOWER = Unusual("score", "scored", False, by=-0.5, scatter="sd")
CHANGE = Unusual("change", "scored", False, by=-0.5, scatter="sd", means=2)

COUNTS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 60)).map(lambda p: (min(p), p[1])),
    min_size=7,
    max_size=40,
)


def rates(pairs, **more):
    return [Value(float(k), n, **more) for k, n in pairs]


def usual_crowd(n=100, rate=0.1, sessions=20, seed=0):
    """Tutors without differences beyond chance."""
    rng = np.random.default_rng(seed)
    return [(int(k), sessions) for k in rng.binomial(sessions, rate, n)]


def test_somebody_who_does_it_far_more_often_is_unusual():
    crowd = usual_crowd()
    found = fit(RATE, rates([*crowd, (14, 20)]))
    seen = look(RATE, found, 14, 20)
    assert seen.now == "14 of 20"
    assert seen.others == "1 of 9"
    assert seen.usual == pytest.approx(sum(k for k, _ in crowd) / 2000)
    assert seen.probability > 0.99
    assert seen.opens(RATE, found)


def test_where_everybody_does_it_as_often_it_is_usual():
    found = fit(RATE, rates([(14, 20)] * 50))
    seen = look(RATE, found, 14, 20)
    assert seen.others == "7 of 10"
    assert not seen.opens(RATE, found)
    assert not seen.stays(RATE, found)


def test_the_probability_is_that_of_draws():
    """By hand: the observed spread of the others' rates, without the tutor's own sessions."""
    crowd = usual_crowd(40, 0.2, 15)
    own = (7, 12)
    found = fit(RATE, rates([*crowd, own]))
    k, n = (np.array(each, dtype=float) for each in zip(*crowd, strict=True))
    mean = (k.sum() + 0.5) / (n.sum() + 1)
    spread = (n * (k / n - mean) ** 2).sum() / n.sum()
    alike = mean * (1 - mean) / spread - 1
    draws = np.random.default_rng(1).beta(
        mean * alike + own[0], (1 - mean) * alike + own[1] - own[0], 400_000
    )
    seen = look(RATE, found, *own)
    assert seen.probability == pytest.approx((draws > 1.5 * mean).mean(), abs=0.003)
    assert seen.surely == pytest.approx(np.quantile(draws, 0.05), abs=0.003)


def test_the_probability_of_an_average_is_that_of_draws():
    rng = np.random.default_rng(3)
    crowd = [Value(float(x), 10, 1.2) for x in rng.normal(7.5, 0.4, 60)]
    own = Value(5.5, 8, 1.2)
    found = fit(LOWER, [*crowd, own])
    others = np.array([each.value for each in crowd])
    mean, between, chance = others.mean(), others.var(), 1.2**2 / 8
    weight = between / (between + chance)
    draws = rng.normal(mean + weight * (own.value - mean), math.sqrt(weight * chance), 400_000)
    seen = look(LOWER, found, own.value, own.sessions)
    assert seen.probability == pytest.approx((draws < mean - 0.5).mean(), abs=0.003)
    assert (seen.now, seen.others) == ("5.5", "7.5")


def test_a_change_is_of_two_averages_and_surer_with_more_sessions():
    crowd = [Value(change, 10, 1.0) for change in np.linspace(-0.9, 1.1, 41)]
    few, many = (look(CHANGE, fit(CHANGE, [*crowd, Value(-2.6, n, 1.0)]), -2.6, n) for n in (3, 30))
    assert few.probability < 0.95 < many.probability
    assert (many.now, many.others) == ("-2.6", "+0.1")


@settings(max_examples=60)
@given(COUNTS, st.randoms(use_true_random=False))
def test_the_order_of_the_tutors_decides_nothing(pairs, random):
    values = rates(pairs, is_candidate=True)
    shuffled = list(values)
    random.shuffle(shuffled)
    assert fit(RATE, values) == fit(RATE, shuffled)


@settings(max_examples=60)
@given(COUNTS)
def test_stored_it_is_read_back_exactly(pairs):
    found = fit(RATE, rates(pairs, is_candidate=True, is_open=True))
    assert Usual.from_json(json.loads(json.dumps(found.to_json()))) == found


@settings(max_examples=60)
@given(COUNTS, st.integers(1, 40))
def test_more_of_the_same_sessions_is_never_less_unusual(pairs, sessions):
    """What the tutor has done does not count among the others', however much it was."""
    others = rates(pairs)
    seen = [
        look(RATE, fit(RATE, [*others, Value(float(k), sessions)]), k, sessions).probability
        for k in range(sessions + 1)
    ]
    assert all(less <= more + 1e-6 for less, more in pairwise(seen))


@settings(max_examples=60)
@given(COUNTS, st.integers(0, 30), st.integers(1, 30))
def test_a_probability_is_one_whatever_the_platform(pairs, k, sessions):
    """Also for a tutor who was not part of the fit."""
    found = fit(RATE, rates(pairs))
    seen = look(RATE, found, min(k, sessions), sessions)
    assert seen.probability is None or 0 <= seen.probability <= 1
    assert seen.surely is None or 0 <= seen.surely <= 1


@pytest.mark.parametrize("others", [0, 1, 4])
def test_with_too_few_others_nothing_is_known_and_the_threshold_counts_alone(others):
    found = fit(RATE, rates([(0, 20)] * others + [(9, 20)]))
    seen = look(RATE, found, 9, 20)
    assert (seen.others, seen.probability) == ("not known yet", None)
    assert seen.opens(RATE, found)
    assert seen.stays(RATE, found)


def test_with_just_enough_others_there_is_a_comparison():
    found = fit(RATE, rates([(0, 20)] * usual.FEWEST_OTHERS + [(9, 20)]))
    seen = look(RATE, found, 9, 20)
    assert seen.others == "none of 100"
    assert seen.probability is not None
    assert seen.surely is not None


def test_of_an_average_whose_scatter_is_not_known_the_threshold_counts_alone():
    found = fit(LOWER, [Value(7.0, 10)] * 20 + [Value(2.0, 10)])
    seen = look(LOWER, found, 2.0, 10)
    assert seen.opens(LOWER, found)
    assert seen.others == "7.0"


def test_nobody_else_ever_is_told_as_none():
    found = fit(RATE, rates([(0, 20)] * 30 + [(5, 20)]))
    seen = look(RATE, found, 5, 20)
    assert seen.others == "none of 600"
    assert seen.opens(RATE, found)


def test_a_share_is_as_many_sessions():
    crowd = usual_crowd()
    by_count = fit(RATE, rates([*crowd, (15, 20)]))
    by_share = fit(SHARE, [Value(k / n, n) for k, n in [*crowd, (15, 20)]])
    assert look(SHARE, by_share, 0.75, 20) == look(RATE, by_count, 15, 20)


def test_a_rate_that_cannot_be_half_as_much_again_is_judged_by_what_did_not_happen():
    rng = np.random.default_rng(5)
    crowd = [(int(k), 40) for k in rng.binomial(40, 0.7, 60)]
    found = fit(RATE, rates([*crowd, (60, 60)]))
    assert look(RATE, found, 60, 60).opens(RATE, found)
    assert not look(RATE, found, 44, 60).opens(RATE, found)


def test_a_rule_lists_only_the_furthest_out():
    asked = Unusual("no_shows", "sessions", True, times=1.5, most=0.02)
    crowd = usual_crowd(141, 0.02, 60)
    bad = [(20 + n, 60) for n in range(9)]
    found = fit(asked, rates([*crowd, *bad], is_candidate=True))
    opens = [k for k, n in bad if look(asked, found, k, n).opens(asked, found)]
    stays = [k for k, n in bad if look(asked, found, k, n).stays(asked, found)]
    assert opens == [26, 27, 28]  # 2 % of 150
    assert stays == [23, 24, 25, 26, 27, 28]  # twice as many
    assert all(look(asked, found, k, n).probability > 0.95 for k, n in bad)


def test_who_is_level_with_the_last_is_listed_too():
    crowd = usual_crowd(48, 0.02, 20)
    bad = [(8, 20), (8, 20)]
    found = fit(RATE, rates([*crowd, *bad], is_candidate=True))
    assert all(look(RATE, found, k, n).opens(RATE, found) for k, n in bad)
    assert not look(RATE, found, 7, 20).opens(RATE, found)


def test_of_a_small_platform_one_is_listed_all_the_same():
    found = fit(RATE, rates([*usual_crowd(20, 0.02, 60), (30, 60)], is_candidate=True))
    assert look(RATE, found, 30, 60).opens(RATE, found)


@pytest.mark.parametrize(("candidates", "is_cut"), [(2, False), (3, True)])
def test_as_many_as_are_listed_leave_room_for_who_comes_next(candidates, is_cut):
    asked = Unusual("no_shows", "sessions", True, times=1.5, most=0.02)
    crowd = usual_crowd(100 - candidates)
    found = fit(asked, [*rates(crowd), *rates([(14, 20)] * candidates, is_candidate=True)])
    assert (found.opens_from is not None) == is_cut


def test_of_those_listed_at_most_one_in_ten_may_be_chance():
    """Open alerts stay at 80 %; if there are many, the least certain ones close."""
    asked = Unusual("no_shows", "sessions", True, times=1.5, most=0.5)
    crowd = usual_crowd(60, 0.1, 30)
    open_ = [(k, 30) for k in (9, 9, 9, 9, 14)]
    values = [*rates(crowd), *rates(open_, is_candidate=True, is_open=True)]
    found = fit(asked, values)
    listed = [
        seen.probability for k, n in open_ if (seen := look(asked, found, k, n)).stays(asked, found)
    ]
    assert found.certain > 0
    assert 1 - np.mean(listed) <= usual.MOST_IN_VAIN
    assert listed


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ([(1, 16)] * 10, "1 of 16"),
        ([(3, 20)] * 10, "1 of 7"),
        ([(8, 20)] * 10, "4 of 10"),
        ([(20, 20)] * 10, "10 of 10"),
        ([(1, 1000)] * 3 + [(0, 1000)] * 10, "1 of 4,333"),
    ],
)
def test_rates_are_told_as_people_tell_them(others, words):
    found = fit(RATE, rates([*others, (3, 8)]))
    assert look(RATE, found, 3, 8).others == words


def test_where_all_are_alike_chance_lists_hardly_anybody():
    """Over a hundred platforms of alike tutors, under 1 % of them reach what a rule asks."""
    asked = Unusual("no_shows", "sessions", True, times=1.5)
    listed = tutors = 0
    for seed in range(100):
        crowd = usual_crowd(100, 0.1, 13, seed)
        found = fit(asked, rates(crowd, is_candidate=True))
        tutors += len(crowd)
        listed += sum(k >= 5 and look(asked, found, k, n).opens(asked, found) for k, n in crowd)
    assert listed < 0.002 * tutors


@pytest.mark.parametrize(
    ("value", "means", "told"),
    [(-0.04, 2, "0.0"), (0.04, 2, "0.0"), (-0.06, 2, "-0.1"), (1.0, 2, "+1.0"), (7.8, 1, "7.8")],
)
def test_averages_are_told_without_a_minus_of_nothing(value, means, told):
    asked = replace(CHANGE, means=means)
    found = fit(asked, [Value(value, 10, 1.0)] * 10)
    assert look(asked, found, value, 10).others == told
