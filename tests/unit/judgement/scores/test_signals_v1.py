"""The literal rule, on cases worked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutor_pipeline.judgement.scores import signals
from tutor_pipeline.judgement.scores.score import Level, Status, Target
from tutor_pipeline.judgement.scores.signals import PROFILE_RATE, READS

STEADY = {
    "tutor_id": "T1",
    "sessions_7d": 3,
    "sessions_30d": 12,
    "sessions_90d": 36,
    "avg_rating_7d": 4.4,
    "avg_rating_7d_n": 5,
    "avg_rating_30d": 4.4,
    "avg_engagement_30d": 6.0,
    "avg_engagement_30d_n": 9,
    "reschedule_rate_30d": 0.1,
    "reschedule_rate_30d_n": 12,
    "tutor_reschedules_30d": 1,
    "first_session_avg_rating_90d": 4.0,
    "first_session_avg_rating_90d_n": 4,
    "no_show_tutor_30d": 0,
    "no_show_tutor_30d_n": 12,
}
ALL_BAD = {
    "avg_rating_7d": 3.0,
    "avg_engagement_30d": 4.0,
    "reschedule_rate_30d": 0.5,
    "first_session_avg_rating_90d": 2.0,
    "no_show_tutor_30d": 3,
    "sessions_7d": 1,
}
NOTHING = dict.fromkeys(READS) | {
    "tutor_id": "T1",
    "sessions_7d": 0,
    "sessions_30d": 0,
    "sessions_90d": 0,
    "avg_rating_7d_n": 0,
    "no_show_tutor_30d": 0,
}


def of(**changed):
    (score,) = signals.score([STEADY | changed])
    return score


def fired(**changed):
    return [reason.code for reason in of(**changed).reasons]


@pytest.mark.parametrize(
    ("changed", "codes"),
    [
        ({}, []),
        # Ratings: 4.4 - 0.3 = 4.1 is no decline, whatever floats make of it.
        ({"avg_rating_7d": 4.11}, []),
        ({"avg_rating_7d": 4.1}, []),
        ({"avg_rating_7d": 4.4 - 0.1 - 0.1 - 0.1}, []),
        ({"avg_rating_7d": 4.09}, ["rating_trend_down"]),
        ({"avg_rating_7d": 4.9}, []),
        ({"avg_rating_7d": None}, []),
        ({"avg_rating_7d": 1.0, "avg_rating_30d": None}, []),
        ({"avg_engagement_30d": 5.51}, []),
        ({"avg_engagement_30d": 5.5}, []),
        ({"avg_engagement_30d": 5.49}, ["low_engagement"]),
        ({"avg_engagement_30d": None}, []),
        ({"reschedule_rate_30d": 0.14}, []),
        ({"reschedule_rate_30d": 3 / 20}, []),
        ({"reschedule_rate_30d": 0.16}, ["high_reschedule_rate"]),
        ({"reschedule_rate_30d": None}, []),
        ({"first_session_avg_rating_90d": 3.51}, []),
        ({"first_session_avg_rating_90d": 3.5}, []),
        ({"first_session_avg_rating_90d": 3.49}, ["poor_first_sessions"]),
        ({"first_session_avg_rating_90d": None}, []),
        ({"no_show_tutor_30d": 1}, []),
        ({"no_show_tutor_30d": 2}, []),
        ({"no_show_tutor_30d": 3}, ["no_shows"]),
        ({"no_show_tutor_30d": None}, []),
        # Activity: a quarter of 12 is 3, of 13 it is 3.25.
        ({"sessions_7d": 4}, []),
        ({"sessions_7d": 2}, ["declining_activity"]),
        ({"sessions_30d": 13}, ["declining_activity"]),
        ({"sessions_7d": 0, "sessions_30d": 0}, []),
        ({"sessions_7d": 0, "sessions_30d": 1}, ["declining_activity"]),
    ],
)
def test_each_signal_under_at_and_over_its_threshold(changed, codes):
    assert fired(**changed) == codes


@pytest.mark.parametrize(
    ("bad", "score", "level"),
    [
        ("", 0.0, Level.LOW),
        ("avg_engagement_30d", 0.12, Level.LOW),
        ("first_session_avg_rating_90d", 0.24, Level.LOW),
        ("avg_rating_7d avg_engagement_30d", 0.24, Level.LOW),
        ("first_session_avg_rating_90d sessions_7d", 0.36, Level.MEDIUM),
        ("avg_rating_7d avg_engagement_30d no_show_tutor_30d sessions_7d", 0.48, Level.MEDIUM),
        ("first_session_avg_rating_90d avg_rating_7d no_show_tutor_30d sessions_7d", 0.6, "High"),
        (" ".join(ALL_BAD), 0.84, Level.HIGH),
    ],
)
def test_points_add_up_and_poor_first_sessions_count_twice(bad, score, level):
    found = of(**{name: ALL_BAD[name] for name in bad.split()})
    assert (found.score, found.level, found.status) == (score, level, Status.OK)
    assert len(found.reasons) == len(bad.split())


def test_what_an_administrator_reads():
    found = of(**ALL_BAD)
    assert [(each.label, each.value, each.reference, each.n) for each in found.reasons] == [
        ("First sessions are rated 2.0 on average, under 3.5", 2.0, 3.5, 4),
        ("1 session in 7 days, under a quarter of the 12 of 30 days", 1, 3.0, 12),
        ("50 % of the sessions of 30 days were rescheduled by the tutor, over 15 %", 0.5, 0.15, 12),
        ("Engagement is 4.0 on average, under 5.5", 4.0, 5.5, 9),
        ("3 no-shows in 30 days, more than 2", 3, 2, 12),
        ("Ratings fell from 4.4 to 3.0", 3.0, 4.4, 5),
    ]
    assert (found.subject_id, found.scorer, found.version) == ("T1", "signals_v1", "2")
    assert (found.target, found.horizon_days) == (Target.TUTOR_RISK, 30)
    assert not found.is_probability


def test_the_profiles_rate_stands_in_only_without_any_source_of_reschedules():
    without_source = {"reschedule_rate_30d": None, "tutor_reschedules_30d": None}
    (reason,) = of(**without_source, **{PROFILE_RATE: 0.2}).reasons
    assert (reason.code, reason.value, reason.n) == ("high_reschedule_rate", 0.2, None)
    assert "according to the profile" in reason.label
    assert fired(**without_source, **{PROFILE_RATE: 0.15}) == []
    assert fired(**without_source, **{PROFILE_RATE: None}) == []
    assert fired(reschedule_rate_30d=None, **{PROFILE_RATE: 0.9}, tutor_reschedules_30d=0) == []
    assert fired(**{PROFILE_RATE: 0.9}) == []


def test_a_tutor_of_whom_nothing_is_known_has_no_score():
    (found,) = signals.score([NOTHING])
    assert (found.score, found.level, found.reasons) == (None, None, ())
    assert found.status is Status.INSUFFICIENT_DATA


@pytest.mark.parametrize(
    "known", [{"sessions_90d": 1}, {"avg_engagement_30d": 9.0}, {PROFILE_RATE: 0.0}]
)
def test_a_tutor_of_whom_anything_is_known_has_one(known):
    (found,) = signals.score([NOTHING | known])
    assert (found.score, found.level, found.status) == (0.0, Level.LOW, Status.OK)


def test_a_missing_column_is_an_error_and_a_null_is_not():
    with pytest.raises(KeyError, match="sessions_7d"):
        signals.score([{name: value for name, value in STEADY.items() if name != "sessions_7d"}])


def maybe(values):
    return st.none() | values


@st.composite
def rows_of_a_platform(draw):
    """Counts that can be: a session of 7 days is one of 30 and of 90, and no-shows are sessions."""
    week = draw(st.integers(0, 40))
    month = week + draw(st.integers(0, 160))
    quarter = month + draw(st.integers(0, 400))
    return {
        "tutor_id": draw(st.text(min_size=1, max_size=4)),
        "sessions_7d": week,
        "sessions_30d": month,
        "sessions_90d": quarter,
        **_average(draw, "avg_rating_7d", 1, 5, week),
        "avg_rating_30d": draw(maybe(st.floats(1, 5))) if month else None,
        **_average(draw, "avg_engagement_30d", 0, 10, month),
        "reschedule_rate_30d": draw(maybe(st.floats(0, 1))) if month else None,
        "reschedule_rate_30d_n": month,
        "tutor_reschedules_30d": draw(maybe(st.integers(0, month))),
        **_average(draw, "first_session_avg_rating_90d", 1, 5, quarter),
        "no_show_tutor_30d": draw(maybe(st.integers(0, min(month, 9)))),
        "no_show_tutor_30d_n": month,
    }


def _average(draw, name, least, most, sessions):
    """An average and what it is over; over nothing there is none."""
    n = draw(st.integers(0, sessions))
    return {name: draw(st.floats(least, most)) if n else None, f"{name}_n": n}


ROWS = rows_of_a_platform()
WORSE = {
    "avg_rating_7d": -0.5,
    "avg_engagement_30d": -1.0,
    "reschedule_rate_30d": 0.2,
    "first_session_avg_rating_90d": -1.0,
    "no_show_tutor_30d": 2,
    "sessions_7d": -1,
}


@given(st.lists(ROWS, max_size=5))
def test_contributions_are_positive_and_add_up_to_the_score(rows):
    for found in signals.score(rows):
        assert all(reason.contribution > 0 for reason in found.reasons)
        total = round(sum(reason.contribution for reason in found.reasons), 6)
        assert total == (found.score or 0) <= signals.CAP
        assert found.level in (None, Level.LOW) or found.reasons


@given(ROWS, st.sampled_from(sorted(WORSE)))
def test_what_gets_worse_never_lowers_the_score(row, name):
    (before,) = signals.score([row])
    # No tutor has fewer sessions than none.
    if row[name] is not None and row[name] + WORSE[name] >= 0 and before.score is not None:
        (after,) = signals.score([row | {name: row[name] + WORSE[name]}])
        assert after.score >= before.score


@given(st.lists(ROWS, max_size=5))
def test_the_order_of_the_rows_decides_nothing(rows):
    assert list(map(repr, signals.score(rows))) == list(map(repr, signals.score(rows[::-1])))[::-1]


def test_noise_in_the_last_digits_changes_not_a_byte():
    assert repr(of(avg_rating_7d=3.9)) == repr(of(avg_rating_7d=3.9 + 1e-12))
    assert of(avg_rating_7d=3.9).input_hash != of(avg_rating_7d=3.8).input_hash
