"""What the desk says, without a database."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutor_pipeline.desk.words import falls_below_on, why_set_aside

TODAY = date(2026, 12, 1)


def sessions(*ages):
    return [{"session_on": TODAY - timedelta(days=age)} for age in ages]


def reading(value, threshold, metric="tutor_reschedules_30d"):
    return {metric: {"value": value, "threshold": threshold}}


@given(st.lists(st.integers(0, 29), min_size=1, max_size=12), st.integers(1, 5))
def test_on_that_day_the_count_is_below_and_the_day_before_it_is_not(ages, threshold):
    ages.sort()
    if len(ages) < threshold:
        return
    counted = sessions(*ages)
    found = falls_below_on(reading(len(ages), threshold), counted[:5], TODAY)

    def count(day):
        first = day - timedelta(days=30)
        return sum(first < each["session_on"] <= day for each in counted)

    assert found is not None
    assert count(found) < threshold <= count(found - timedelta(days=1))


@pytest.mark.parametrize(
    ("metrics", "ages"),
    [
        ({}, (1, 2)),
        (reading(3, 3, "low_score_streak"), (1, 2, 3)),
        (reading(-3.1, -2.5, "score_change_14d"), (1, 2, 3)),
        (reading("High", "High", "tutor_risk.level"), (1, 2)),
        (reading(True, True, "is_high_reschedule_30d"), (1,)),
        (reading(6, 6), (1, 2, 3, 4, 5)),
        (reading(4, 3), (1, 2, 3)),  # one of the evidence is gone
        (reading(3, 3), (1, 2, 40)),  # it has fallen already
    ],
)
def test_what_is_not_known_is_not_said(metrics, ages):
    assert falls_below_on(metrics, sessions(*ages), TODAY) is None


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("unknown_tutor", "About a tutor who has not come yet"),
        ("tutor_id_missing", "Tutor id is missing"),
        ("hourly_rate_out_of_range", "Hourly rate is out of range"),
        ("status_unknown_value", "Status has a value that is not known"),
        ("timestamp_two_readings", "Timestamp can be read in two ways"),
        ("data_missing", "Data is missing"),
        ("something_else", "Something else"),
    ],
)
def test_why_an_event_is_set_aside_is_said_in_words(reason, says):
    assert why_set_aside(reason) == says
