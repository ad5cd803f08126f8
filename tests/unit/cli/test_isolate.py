"""Halving a batch finds those that break it, and the others are done once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutor_pipeline.cli.failing_tutors import find_failing
from tutor_pipeline.core.errors import TutorPipelineError

ITEMS = [f"T{number:02}" for number in range(20)]


def run(items, bad):
    done = []

    def attempt(batch):
        if found := bad & set(batch):
            return f"{len(found)} bad"
        done.extend(batch)
        return None

    return find_failing(items, attempt), done


def test_nothing_broken_is_one_attempt():
    assert run(ITEMS, set()) == ({}, ITEMS)


@given(st.integers(1, 20), st.sets(st.sampled_from(ITEMS), max_size=6))
def test_the_broken_are_found_and_the_others_done_once(size, bad):
    broken, done = run(ITEMS[:size], bad)
    assert list(broken) == [item for item in ITEMS[:size] if item in bad]
    assert set(broken.values()) <= {"1 bad"}
    assert sorted(done) == [item for item in ITEMS[:size] if item not in bad]


def test_the_first_few_broken_stop_none_of_ten_thousand():
    items = [f"T{number:05}" for number in range(10_000)]
    broken, done = run(items, set(items[:3]))
    assert list(broken) == items[:3]
    assert len(done) == 9_997


def test_what_fails_without_any_tutor_is_no_tutors_fault():
    attempts = []

    def attempt(batch):
        attempts.append(len(batch))
        return "permission denied"

    items = [f"T{number:05}" for number in range(10_000)]
    with pytest.raises(TutorPipelineError, match=r"no tutor is the cause.*permission denied"):
        find_failing(items, attempt)
    assert attempts == [10_000, 0]
