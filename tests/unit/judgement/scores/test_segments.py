"""Segments: every boundary just under, at and just over it, and the hysteresis."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutor_pipeline.judgement.scores import segments
from tutor_pipeline.judgement.scores.segments import StudentSegment, TutorSegment, of_student

CHURNING, AT_RISK, STAR, HEALTHY = TutorSegment
CHURNED, INFERRED, S_AT_RISK, THRIVING, S_HEALTHY = StudentSegment
A_HAIR = 1e-6  # scores have six digits
BURNOUTS = st.integers(0, 1_000_000).map(lambda millionths: millionths / 1_000_000)
HEALTHS = st.integers(0, 100_000_000).map(lambda millionths: millionths / 1_000_000)


def of_tutor(burnout, health, previous=None, star_evidence=1.0):
    return segments.of_tutor(burnout, health, previous, star_evidence)


@pytest.mark.parametrize(
    ("burnout", "health", "expected"),
    [
        (0.7, 70, AT_RISK),
        (0.7 + A_HAIR, 70, CHURNING),
        (0.4, 70, HEALTHY),
        (0.4 + A_HAIR, 70, AT_RISK),
        (0.1, 40 - A_HAIR, CHURNING),
        (0.1, 40, AT_RISK),
        (0.1, 60 - A_HAIR, AT_RISK),
        (0.1, 60, HEALTHY),
        (0.2 - A_HAIR, 81, STAR),
        (0.2, 81, HEALTHY),
        (0.1, 80, HEALTHY),
        (0.1, 80 + A_HAIR, STAR),
        # The first that matches: a healthy score does not outweigh burnout, nor the reverse.
        (0.9, 95, CHURNING),
        (0.5, 95, AT_RISK),
        (0.0, 10, CHURNING),
        (None, 90, None),
        (0.1, None, None),
    ],
)
def test_the_plain_boundaries(burnout, health, expected):
    assert of_tutor(burnout, health) == expected


@pytest.mark.parametrize(
    ("previous", "burnout", "health", "expected"),
    [
        # Into a worse segment: more than five points beyond the boundary.
        (HEALTHY, 0.45, 70, HEALTHY),
        (HEALTHY, 0.45 + A_HAIR, 70, AT_RISK),
        (HEALTHY, 0.1, 55, HEALTHY),
        (HEALTHY, 0.1, 55 - A_HAIR, AT_RISK),
        (AT_RISK, 0.75, 70, AT_RISK),
        (AT_RISK, 0.75 + A_HAIR, 70, CHURNING),
        (AT_RISK, 0.1, 35, AT_RISK),
        (AT_RISK, 0.1, 35 - A_HAIR, CHURNING),
        (HEALTHY, 0.75, 70, AT_RISK),
        (HEALTHY, 0.75 + A_HAIR, 70, CHURNING),
        (STAR, 0.25, 90, STAR),
        (STAR, 0.25 + A_HAIR, 90, HEALTHY),
        (STAR, 0.1, 75, STAR),
        (STAR, 0.1, 75 - A_HAIR, HEALTHY),
        # Out of it again: the same on the other side, in burnout and health both.
        (CHURNING, 0.65, 90, CHURNING),
        (CHURNING, 0.65 - A_HAIR, 90, AT_RISK),
        (CHURNING, 0.1, 45, CHURNING),
        (CHURNING, 0.1, 45 + A_HAIR, AT_RISK),
        (CHURNING, 0.35, 90, AT_RISK),
        (CHURNING, 0.35 - A_HAIR, 70, HEALTHY),
        (AT_RISK, 0.35, 90, AT_RISK),
        (AT_RISK, 0.35 - A_HAIR, 70, HEALTHY),
        (AT_RISK, 0.1, 65, AT_RISK),
        (AT_RISK, 0.1, 65 + A_HAIR, HEALTHY),
        (HEALTHY, 0.15, 90, HEALTHY),
        (HEALTHY, 0.15 - A_HAIR, 90, STAR),
        (HEALTHY, 0.1, 85, HEALTHY),
        (HEALTHY, 0.1, 85 + A_HAIR, STAR),
        # Over several at once.
        (CHURNING, 0.0, 100, STAR),
        (STAR, 1.0, 100, CHURNING),
        (STAR, 0.0, 0, CHURNING),
        (AT_RISK, None, 70, None),
    ],
)
def test_the_boundaries_from_a_segment(previous, burnout, health, expected):
    assert of_tutor(burnout, health, previous) == expected


@pytest.mark.parametrize(
    ("previous", "evidence", "expected"),
    [
        (None, 1.0, STAR),
        (None, 0.99, HEALTHY),
        (None, None, HEALTHY),
        (STAR, 0.95, STAR),
        (STAR, 0.94, HEALTHY),
        (STAR, None, HEALTHY),
        (HEALTHY, 0.99, HEALTHY),
        (HEALTHY, 1.0, STAR),
        (CHURNING, 1.0, STAR),
    ],
)
def test_a_star_rests_on_evidence(previous, evidence, expected):
    assert of_tutor(0.05, 95, previous, evidence) == expected


def test_without_evidence_nobody_is_a_star():
    assert segments.of_tutor(0.05, 95) == HEALTHY


@pytest.mark.parametrize(
    ("health", "status", "previous", "expected"),
    [
        (95, "churned", THRIVING, CHURNED),
        (None, "churned", None, CHURNED),
        (60 - A_HAIR, "active", None, S_AT_RISK),
        (60, "active", None, S_HEALTHY),
        (80, "active", None, S_HEALTHY),
        (80 + A_HAIR, "active", None, THRIVING),
        (None, "active", THRIVING, None),
        # Health makes nobody churned, whether the platform says something or not.
        (5, "active", None, S_AT_RISK),
        (5, None, None, S_AT_RISK),
        (5, None, CHURNED, S_AT_RISK),
        (55, "active", S_HEALTHY, S_HEALTHY),
        (55 - A_HAIR, "active", S_HEALTHY, S_AT_RISK),
        (65, "active", S_AT_RISK, S_AT_RISK),
        (65 + A_HAIR, "active", S_AT_RISK, S_HEALTHY),
        (75, "active", THRIVING, THRIVING),
        (75 - A_HAIR, "active", THRIVING, S_HEALTHY),
        (85, "active", S_HEALTHY, S_HEALTHY),
        (85 + A_HAIR, "active", S_HEALTHY, THRIVING),
        # Somebody who came back is judged anew, from the far side of the boundaries.
        (65, "active", CHURNED, S_AT_RISK),
        (90, "active", CHURNED, THRIVING),
        (65, None, INFERRED, S_AT_RISK),
        (65 + A_HAIR, None, INFERRED, S_HEALTHY),
    ],
)
def test_students(health, status, previous, expected):
    assert of_student(health, status, previous) == expected


@pytest.mark.parametrize("previous", [None, *StudentSegment])
def test_who_is_taken_to_have_left_is_called_so_unless_the_platform_knows(previous):
    for health in (None, 5, 95):
        assert of_student(health, None, previous, is_churn_inferred=True) == INFERRED
        assert of_student(health, "active", previous, is_churn_inferred=True) == INFERRED
        assert of_student(health, "churned", previous, is_churn_inferred=True) == CHURNED
    assert INFERRED == "churned (inferred)"


@given(
    start=st.sampled_from([None, *TutorSegment]),
    boundary=st.sampled_from([0.2, 0.4, 0.7]),
    offsets=st.lists(st.integers(-50_000, 50_000), min_size=2, max_size=12),
    health=st.sampled_from([95.0, 70.0, 50.0]),
)
def test_within_five_points_of_a_boundary_of_burnout_nobody_flaps(start, boundary, offsets, health):
    segment, seen = start, []
    for offset in offsets:
        segment = of_tutor(round(boundary + offset / 1_000_000, 6), health, segment)
        seen.append(segment)
    assert len(set(seen)) == 1  # after the first, every segment is the same


@given(
    start=st.sampled_from([None, *TutorSegment]),
    boundary=st.sampled_from([40, 60, 80]),
    offsets=st.lists(st.integers(-5_000_000, 5_000_000), min_size=2, max_size=12),
    burnout=st.sampled_from([0.05, 0.3, 0.55]),
)
def test_within_five_points_of_a_boundary_of_health_nobody_flaps(start, boundary, offsets, burnout):
    segment, seen = start, []
    for offset in offsets:
        segment = of_tutor(burnout, round(boundary + offset / 1_000_000, 6), segment)
        seen.append(segment)
    assert len(set(seen)) == 1


@given(start=st.sampled_from(TutorSegment), burnout=BURNOUTS, health=HEALTHS)
def test_the_same_values_again_change_nothing(start, burnout, health):
    once = of_tutor(burnout, health, start)
    assert of_tutor(burnout, health, once) == once


@given(start=st.sampled_from(TutorSegment), burnout=BURNOUTS, health=HEALTHS)
def test_far_from_every_boundary_the_past_does_not_count(start, burnout, health):
    """No segment holds anybody for ever: its hold ends five points from the boundary."""
    far = all(abs(burnout - limit) > 0.05 + A_HAIR for limit in (0.2, 0.4, 0.7)) and all(
        abs(health - limit) > 5 + A_HAIR for limit in (40, 60, 80)
    )
    if far:
        assert of_tutor(burnout, health, start) == of_tutor(burnout, health)


@pytest.mark.parametrize("start", TutorSegment)
@pytest.mark.parametrize("end", TutorSegment)
def test_from_every_segment_every_other_is_reached(start, end):
    inside = {
        CHURNING: (0.9, 20),
        AT_RISK: (0.55, 70),
        HEALTHY: (0.3, 72),
        STAR: (0.05, 95),
    }
    assert of_tutor(*inside[end], start) == end
