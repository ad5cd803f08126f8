"""Halving a batch finds those that break it, and the others are done once."""

from hypothesis import given
from hypothesis import strategies as st

from tutor_pipeline.cli.isolate import HOPELESS_AFTER, isolate

ITEMS = [f"T{number:02}" for number in range(20)]


def run(items, bad):
    done = []

    def attempt(batch):
        if found := bad & set(batch):
            return f"{len(found)} bad"
        done.extend(batch)
        return None

    return isolate(items, attempt), done


def test_nothing_broken_is_one_attempt():
    assert run(ITEMS, set()) == ({}, ITEMS)


@given(st.integers(1, 20), st.sets(st.sampled_from(ITEMS), max_size=2))
def test_the_broken_are_found_and_the_others_done_once_in_order(size, bad):
    broken, done = run(ITEMS[:size], bad)
    assert list(broken) == [item for item in ITEMS[:size] if item in bad]
    assert done == [item for item in ITEMS[:size] if item not in bad]


def test_when_nothing_works_it_gives_up_soon():
    attempts = []

    def attempt(batch):
        attempts.append(batch)
        return "the server is gone"

    broken = isolate(ITEMS, attempt)
    assert list(broken) == ITEMS
    assert len(attempts) < 10
    alone = [message for message in broken.values() if not message.startswith("not tried")]
    assert len(alone) == HOPELESS_AFTER


def test_many_broken_among_some_that_work_are_all_found():
    bad = set(ITEMS[1:])
    broken, done = run(ITEMS, bad)
    assert (set(broken), done) == (bad, ["T00"])
