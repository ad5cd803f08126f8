"""The signals that chance doesn't explain: minimum counts, edges by arithmetic, and laws."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from tutor_pipeline.scores.score import Level, Status
from tutor_pipeline.scores.shrinkage import USUAL, MeanPrior, RatePrior
from tutor_pipeline.scores.signals import POINTS, score_v2

PRIORS = replace(USUAL, version=3)
STEADY = {
    "tutor_id": "T1",
    "sessions_7d": 7,
    "sessions_30d": 30,
    "sessions_90d": 90,
    "avg_rating_7d": 4.4,
    "avg_rating_7d_n": 6,
    "avg_rating_30d": 4.4,
    "avg_engagement_30d": 6.0,
    "avg_engagement_30d_n": 21,
    "reschedule_rate_30d": 0.1,
    "tutor_reschedules_30d": 3,
    "first_session_avg_rating_90d": 4.0,
    "first_session_avg_rating_90d_n": 4,
    "no_show_tutor_30d": 0,
}
BAD = {
    "avg_rating_7d": 2.0,
    "avg_engagement_30d": 3.0,
    "tutor_reschedules_30d": 15,
    "first_session_avg_rating_90d": 1.5,
    "no_show_tutor_30d": 9,
    "sessions_7d": 1,
}
CODES = {
    "avg_rating_7d": "rating_trend_down",
    "avg_engagement_30d": "low_engagement",
    "tutor_reschedules_30d": "high_reschedule_rate",
    "first_session_avg_rating_90d": "poor_first_sessions",
    "no_show_tutor_30d": "no_shows",
    "sessions_7d": "declining_activity",
}


def of(priors=PRIORS, **changed):
    (score,) = score_v2([STEADY | changed], priors)
    return score


def fired(**changed):
    return {reason.code for reason in of(**changed).reasons if reason.contribution}


def unknown(**changed):
    return {reason.code for reason in of(**changed).reasons if not reason.contribution}


def test_a_steady_tutor_gives_no_reason():
    found = of()
    assert (found.score, found.level, found.reasons) == (0.0, Level.LOW, ())
    assert (found.scorer, found.version, found.is_probability) == ("signals_v2", "3", False)


@pytest.mark.parametrize("name", BAD)
def test_each_signal_alone(name):
    (reason,) = of(**{name: BAD[name]}).reasons
    assert reason.code == CODES[name]
    assert reason.contribution == 0.12 * POINTS[reason.code]
    assert None not in (reason.value, reason.reference, reason.n)


def test_all_signals_together_are_high():
    found = of(**BAD)
    assert (found.score, found.level) == (0.84, Level.HIGH)
    assert found.reasons[0].code == "poor_first_sessions"


@pytest.mark.parametrize(
    ("sessions_7d", "sessions_30d", "fires"),
    [
        # P(X <= 0 | 10, 7/30) = (23/30)^10 = 0.070; of 11: 0.054; of 12: 0.041.
        (0, 10, False),
        (0, 11, False),
        (0, 12, True),
        (1, 12, False),
        # v1 says that 149 of 600 are a decline; 140 would be usual.
        (149, 600, False),
        (110, 600, True),
    ],
)
def test_activity_falls_only_where_chance_is_under_5_percent(sessions_7d, sessions_30d, fires):
    codes = fired(sessions_7d=sessions_7d, sessions_30d=sessions_30d, tutor_reschedules_30d=0)
    assert ("declining_activity" in codes) == fires


@pytest.mark.parametrize(
    ("name", "usual"),
    [
        ("tutor_reschedules_30d", PRIORS.reschedule_rate.mean),
        ("no_show_tutor_30d", PRIORS.no_show_rate.mean),
        ("sessions_7d", 7 / 30),
    ],
)
def test_a_signal_fires_for_at_most_5_percent_of_those_who_are_as_is_usual(name, usual):
    """Exactly: each possible count, weighted by how likely it is."""
    for sessions in (12, 20, 30, 60, 150, 600):
        counts = np.arange(sessions + 1)
        table = [STEADY | {"sessions_30d": sessions, name: count} for count in counts.tolist()]
        fires = [
            any(each.code == CODES[name] and each.contribution for each in score.reasons)
            for score in score_v2(table, PRIORS)
        ]
        assert any(fires)
        assert binom.pmf(counts, sessions, usual)[fires].sum() <= 0.05


def test_three_no_shows_are_much_of_12_sessions_and_little_of_150():
    assert "no_shows" in fired(no_show_tutor_30d=3, sessions_30d=12)
    assert "no_shows" not in fired(no_show_tutor_30d=3, sessions_30d=150, sessions_7d=35)


def test_a_rate_is_judged_by_its_beta_posterior():
    # Prior Beta(1, 1). 0 of 10 gives Beta(1, 11): P(rate > 0.15) = 0.85^11 = 0.167. 2 of 10 gives
    # Beta(3, 9): P = P(at most 2 of 11 at 0.15) = 0.779.
    flat = replace(PRIORS, reschedule_rate=RatePrior(0.5, 2.0))
    codes = {r.code for r in of(flat, sessions_30d=10, tutor_reschedules_30d=0).reasons}
    assert "high_reschedule_rate" not in codes
    (reason,) = of(flat, sessions_30d=10, sessions_7d=3, tutor_reschedules_30d=2).reasons
    assert reason.label == (
        "2 of 10 sessions rescheduled by the tutor (20 %): 78 % likely to be over 15 % in the"
        " long run"
    )
    assert (reason.value, reason.reference, reason.n) == (0.2, 0.15, 10)


def test_a_mean_is_judged_by_its_normal_posterior():
    # Prior mean 6.5 worth 10 sessions, sd 1; 5.0 in 10 sessions: posterior 5.75 sd 0.22 -> 13 %
    # under 5.5. 4.4: posterior 5.45 -> 59 %. 4.3: 5.4 -> 67 %.
    priors = replace(PRIORS, engagement=MeanPrior(6.5, 10.0, 1.0))
    for mean, label in ((5.0, None), (4.4, None), (4.3, "67 % likely")):
        reasons = of(priors, avg_engagement_30d=mean, avg_engagement_30d_n=10).reasons
        assert [label in reason.label for reason in reasons] == ([] if label is None else [True])


def test_a_tutor_better_than_usual_does_not_seem_to_fall():
    assert fired(avg_rating_7d=4.9, avg_rating_30d=4.95) == set()
    assert fired(avg_rating_7d=3.0, avg_rating_30d=3.0) == set()
    assert fired(avg_rating_7d=4.3, avg_rating_30d=4.95) == {"rating_trend_down"}


@pytest.mark.parametrize(
    ("changed", "codes"),
    [
        ({"avg_rating_7d_n": 5}, set()),
        ({"avg_rating_7d_n": 4}, {"rating_trend_down"}),
        ({"avg_rating_7d": None, "avg_rating_7d_n": 0}, {"rating_trend_down"}),
        ({"first_session_avg_rating_90d_n": 3}, set()),
        ({"first_session_avg_rating_90d_n": 2}, {"poor_first_sessions"}),
        (
            {"first_session_avg_rating_90d": None, "first_session_avg_rating_90d_n": 0},
            {"poor_first_sessions"},
        ),
        ({"sessions_30d": 10, "sessions_7d": 2, "tutor_reschedules_30d": 1}, set()),
        (
            {"sessions_30d": 9, "sessions_7d": 2, "tutor_reschedules_30d": 1},
            {"low_engagement", "high_reschedule_rate", "no_shows", "declining_activity"},
        ),
        ({"avg_engagement_30d": None, "avg_engagement_30d_n": 0}, {"low_engagement"}),
        (
            {"reschedule_rate_30d": None, "tutor_reschedules_30d": None},
            {"high_reschedule_rate"},
        ),
    ],
)
def test_under_its_minimum_count_a_signal_is_unknown(changed, codes):
    assert unknown(**changed) == codes
    assert fired(**changed) == set()


@pytest.mark.parametrize("name", BAD)
def test_an_unknown_signal_never_fires_however_bad(name):
    scarce = {"avg_rating_7d_n": 4, "first_session_avg_rating_90d_n": 2, "sessions_30d": 9}
    assert fired(**scarce, **{name: BAD[name]}) == set()


def test_an_unknown_signal_says_what_is_missing():
    labels = {reason.code: reason.label for reason in of(
        avg_rating_7d_n=2, first_session_avg_rating_90d_n=1, tutor_reschedules_30d=None,
        avg_engagement_30d=None,
    ).reasons}  # fmt: skip
    assert labels == {
        "rating_trend_down": "Rating trend: unknown, 2 ratings in 7 days, at least 5 are needed",
        "poor_first_sessions":
            "First sessions: unknown, 1 rated in 90 days, at least 3 are needed",
        "high_reschedule_rate": "Reschedules: unknown, the platform does not record them",
        "low_engagement": "Engagement: unknown, no session of 30 days has a score",
    }  # fmt: skip


def test_all_unknown_is_no_score():
    found = of(sessions_30d=9, avg_rating_7d_n=4, first_session_avg_rating_90d_n=2)
    assert (found.score, found.level, found.status) == (None, None, Status.INSUFFICIENT_DATA)
    assert len(found.reasons) == 6


def test_nobody_is_no_error():
    assert score_v2([], PRIORS) == []


def maybe(values):
    return st.none() | values


@st.composite
def rows(draw):
    sessions = draw(st.integers(0, 200))
    rated = draw(st.integers(0, 40))
    return {
        "tutor_id": draw(st.text(min_size=1, max_size=4)),
        "sessions_7d": draw(st.integers(0, sessions)),
        "sessions_30d": sessions,
        "sessions_90d": sessions,
        "avg_rating_7d": draw(maybe(st.floats(1, 5))),
        "avg_rating_7d_n": rated,
        "avg_rating_30d": draw(maybe(st.floats(1, 5))),
        "avg_engagement_30d": draw(maybe(st.floats(0, 10))),
        "avg_engagement_30d_n": draw(st.integers(0, sessions)),
        "reschedule_rate_30d": None,
        "tutor_reschedules_30d": draw(maybe(st.integers(0, sessions))),
        "first_session_avg_rating_90d": draw(maybe(st.floats(1, 5))),
        "first_session_avg_rating_90d_n": draw(st.integers(0, 20)),
        "no_show_tutor_30d": draw(st.integers(0, sessions)),
    }


@given(st.lists(rows(), max_size=5))
def test_contributions_are_never_negative_and_add_up_to_the_score(table):
    for found in score_v2(table, PRIORS):
        assert all(reason.contribution >= 0 for reason in found.reasons)
        total = round(sum(reason.contribution for reason in found.reasons), 6)
        assert total == (found.score or 0)
        assert found.level in (None, Level.LOW) or found.reasons[0].contribution
        assert (found.score is None) == (found.status is Status.INSUFFICIENT_DATA)


@given(st.lists(rows(), max_size=12))
def test_a_tutors_score_does_not_depend_on_the_others(table):
    together = list(map(repr, score_v2(table, PRIORS)))
    assert together == [repr(each) for row in table for each in score_v2([row], PRIORS)]
    assert together == list(map(repr, score_v2(table[::-1], PRIORS)))[::-1]


@given(rows(), st.sampled_from(sorted(BAD)))
def test_what_gets_worse_never_lowers_the_score(row, name):
    step = {"tutor_reschedules_30d": 1, "no_show_tutor_30d": 1, "sessions_7d": -1}.get(name, -0.5)
    (before,) = score_v2([row], PRIORS)
    worse = None if row[name] is None else row[name] + step
    if worse is None or before.score is None or not 0 <= worse <= max(10, row["sessions_30d"]):
        return
    if name in ("tutor_reschedules_30d", "no_show_tutor_30d") and worse > row["sessions_30d"]:
        return
    (after,) = score_v2([row | {name: worse}], PRIORS)
    assert after.score >= before.score
