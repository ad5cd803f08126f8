"""Which tutors a refresh takes: the others go on while one who breaks it is searched for."""

from datetime import UTC, datetime, timedelta
from math import log2

from hypothesis import given
from hypothesis import strategies as st

from tutor_pipeline.sources.changes.batching import MAX_ATTEMPTS, PATIENCE, Waiting, choose

NOW = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def search(tutors, poisonous):
    """Batches until the poisonous are set aside and the others are settled: their sizes."""
    attempts = dict.fromkeys(tutors, 0)
    aside = set()
    sizes = []
    while attempts:
        batch, is_alone = choose([Waiting(*each, NOW, None) for each in attempts.items()], NOW)
        taken = {each.tutor_id for each in batch}
        assert taken, "something is always taken"
        assert is_alone == (len(taken) == 1 and attempts[batch[0].tutor_id] >= MAX_ATTEMPTS)
        sizes.append(len(taken))
        for tutor in taken:
            attempts[tutor] += 1
        if not taken & poisonous:
            attempts = {tutor: n for tutor, n in attempts.items() if tutor not in taken}
        elif is_alone:
            aside |= taken
            attempts = {tutor: n for tutor, n in attempts.items() if tutor not in taken}
    assert aside == poisonous
    return sizes


@given(st.sets(st.text(max_size=8), min_size=1, max_size=60), st.data())
def test_those_who_break_a_batch_are_found_and_nobody_else_is_set_aside(tutors, data):
    poisonous = data.draw(st.sets(st.sampled_from(sorted(tutors)), max_size=5))
    sizes = search(tutors, poisonous)
    # Ids whose hashes begin alike share some parts more.
    assert len(sizes) <= MAX_ATTEMPTS + len(poisonous) * (4 * log2(len(tutors)) + 20)


def test_one_of_a_thousand_is_found_in_about_twenty_batches():
    tutors = [f"T{number:04}" for number in range(1000)]
    for number in range(0, 1000, 37):
        sizes = search(tutors, {f"T{number:04}"})
        assert sizes[:3] == [1000] * 3
        assert len(sizes) <= 3 + 2 * (log2(1000) + 9)


def test_a_batch_that_nobody_breaks_is_taken_once():
    assert search(["T1", "T2", "T3"], set()) == [3]


def waiting(tutor_id, attempts=0, age=SECOND, retry=None):
    return Waiting(tutor_id, attempts, NOW - age, None if retry is None else NOW + retry)


def chosen(*tutors):
    batch, is_alone = choose(tutors, NOW)
    return " ".join(each.tutor_id for each in batch), is_alone


def test_the_others_go_first_but_not_for_ever():
    fresh, suspect = waiting("fresh", 2), waiting("suspect", MAX_ATTEMPTS)
    due, aside = waiting("due", 9, retry=-SECOND), waiting("aside", 9, retry=SECOND)
    assert chosen(aside, due, suspect, fresh) == ("fresh", False)
    assert chosen(aside, due, suspect) == ("suspect", True)
    assert chosen(aside, due) == ("due", True)
    assert chosen(aside) == chosen() == ("", False)
    assert chosen(waiting("due now", 9, retry=0 * SECOND)) == ("due now", True)
    tired = waiting("tired", MAX_ATTEMPTS, PATIENCE + SECOND)
    assert chosen(aside, due, tired, fresh) == ("tired", True)
    overdue = waiting("overdue", 9, retry=-PATIENCE - SECOND)
    assert chosen(aside, overdue, due, fresh) == ("overdue", True)
    old = waiting("old", 2, 100 * PATIENCE)
    assert chosen(old, suspect) == ("old", False)
