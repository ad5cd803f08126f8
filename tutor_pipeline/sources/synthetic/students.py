"""With whom each session is: students come, stay with their tutor or leave, each for a cause.

Belongs here: tutor-student pairs from session to session, and what makes students leave.
Does not belong here: when sessions are and how they end (sessions.py), profiles (people.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tutor_pipeline.sources.synthetic.population import Array, stream
from tutor_pipeline.sources.synthetic.worlds import ORDINARY, World

PAIR_TURNOVER = 0.20  # the chance that a session is with the newest student, not an older one
EARLIER_PAIRS = 3  # students whom a tutor already has when the window opens
MOST_KEPT = 24  # students a tutor keeps in mind; the oldest of more is not booked any more
LASTING = 0.25  # weight of the latest session in what a student thinks of them all

# Why students leave, and the rate per session at which they do: of those with the greatest trouble
# with times, of those who think of their lessons as average, of those for whom every session must
# be discounted, of all.
CAUSES = ("first_session", "scheduling", "engagement", "price", "outside")
FIRST_SESSION, SCHEDULING, ENGAGEMENT, PRICE, OUTSIDE = range(len(CAUSES))
RATES = {SCHEDULING: 0.13, ENGAGEMENT: 0.0078, PRICE: 0.078, OUTSIDE: 0.0026}
LAST_DAYS = (3, 15)  # from the last session to the day of leaving, the second excluded
# Of those who stay away: so many days and, mostly, some more.
ABSENT_DAYS, MORE_ABSENT_DAYS, MORE_ABSENT_SHAPE = 15, 31, (1, 6)
BOREDOM = 1.8  # the rate grows by exp(1.8) per standard deviation of quality missing,
MOST_BOREDOM = 2.0  # to exp(2): a bad week does not empty a tutor's books
NOT_LEFT = -1


@dataclass(frozen=True, slots=True)
class Encounters:
    """What students see of a session; one entry per session, those of a tutor in order of time."""

    tutor: Array
    happened: Array  # False for what is only booked
    completed: Array
    troubled: Array  # the tutor moved or missed it
    goodness: Array  # quality in standard deviations
    is_opening: Array  # for a new student
    first_cause: Array  # of leaving after it, had it been the first
    leaves_first: Array  # the chance of leaving after it, had it been the first


@dataclass(frozen=True, slots=True)
class Courses:
    """Tutor-student pairs: `pair` and `begins` by session, the others by pair."""

    pair: Array
    begins: Array  # True for the first session of a pair that began in the window
    tutor: Array
    bargain: Array  # share of the student's sessions that must be discounted
    trouble: Array  # with times, 0-1, as the student saw it at last
    regard: Array  # for the lessons, standard deviations of quality, at last
    cause: Array  # index into CAUSES, NOT_LEFT for those who did not leave after their last session
    absent: Array  # True for those who left by staying away


@dataclass(frozen=True, slots=True)
class Students:
    """By student, of the pair that they were in at last: as in Courses, and the day of leaving
    from the start of the window. Who has not left by its end has the cause NOT_LEFT."""

    bargain: Array
    trouble: Array
    regard: Array
    cause: Array
    left_on: Array


def accompany(seed: int, tutors: int, met: Encounters, world: World = ORDINARY) -> Courses:
    """Go through the sessions of all tutors at once, the n-th of each at a time.

    A session is with a new student, or with one of the tutor's own, the newer the likelier. After
    it the student may leave: competing risks, each growing with what the student went through.
    Others leave by staying away: for the same causes, but whatever the last session was like.
    """
    rng = stream(seed, "students")
    size = len(met.tutor)
    most = tutors * EARLIER_PAIRS + size
    back = rng.geometric(PAIR_TURNOVER, size)
    patience, attachment = rng.exponential(1.0, (2, size))
    first_patience, lot = rng.random((2, size))
    bargain = rng.beta(1, 6, most)
    trouble, regard = np.zeros((2, most))
    cause = np.full(most, NOT_LEFT, dtype=np.int64)
    absent = np.zeros(most, dtype=bool)
    pair_tutor = np.empty(most, dtype=np.int64)
    pair_tutor[: tutors * EARLIER_PAIRS] = np.repeat(np.arange(tutors), EARLIER_PAIRS)
    pair, begins = np.empty(size, dtype=np.int64), met.is_opening.copy()

    # The tutor's own students, newest first.
    places = np.arange(MOST_KEPT)
    own = np.zeros((tutors, MOST_KEPT), dtype=np.int64)
    own[:, :EARLIER_PAIRS] = np.arange(tutors * EARLIER_PAIRS).reshape(tutors, EARLIER_PAIRS)
    amount = np.full(tutors, EARLIER_PAIRS)
    known = tutors * EARLIER_PAIRS

    for rows in _turns(met.tutor):
        who = met.tutor[rows]
        has = amount[who]
        new = begins[rows] | (has == 0)
        place = np.where(new, 0, np.minimum(back[rows], has) - 1)
        # Make room for the new ones at the front.
        held = own[who[:, None], np.maximum(places - new[:, None], 0)]
        has = np.minimum(has + new, MOST_KEPT)
        count = int(new.sum())
        held[new, 0] = np.arange(known, known + count)
        pair_tutor[known : known + count] = who[new]
        known += count
        with_whom = held[np.arange(len(rows)), place]
        pair[rows], begins[rows] = with_whom, new

        done, seen = met.completed[rows], met.happened[rows]
        earlier = _risks(trouble, regard, bargain, with_whom)
        trouble[with_whom] += LASTING * np.where(seen, met.troubled[rows] - trouble[with_whom], 0.0)
        regard[with_whom] += LASTING * np.where(done, met.goodness[rows] - regard[with_whom], 0.0)
        risks = _risks(trouble, regard, bargain, with_whom)
        at_once = seen & np.where(
            new,
            first_patience[rows] < world.leaving_at_once * met.leaves_first[rows],
            patience[rows] < world.leaving_at_once * risks[-1],
        )
        drifts = ~new & (attachment[rows] < world.drifting_away * earlier[-1])
        drifts &= seen & ~at_once
        leaves = at_once | drifts
        risks = np.where(drifts, earlier, risks)
        drawn = SCHEDULING + (lot[rows] * risks[-1] >= risks).sum(axis=0)
        at_first = new & (met.first_cause[rows] != NOT_LEFT)
        cause[with_whom[leaves]] = np.where(at_first, met.first_cause[rows], drawn)[leaves]
        absent[with_whom[drifts]] = True
        gone = leaves[:, None] & (places >= place[:, None])
        own[who] = held[np.arange(len(rows))[:, None], np.minimum(places + gone, MOST_KEPT - 1)]
        amount[who] = has - leaves
    return Courses(
        pair=pair,
        begins=begins,
        tutor=pair_tutor[:known],
        bargain=bargain[:known],
        trouble=trouble[:known],
        regard=regard[:known],
        cause=cause[:known],
        absent=absent[:known],
    )


def _risks(trouble: Array, regard: Array, bargain: Array, pair: Array) -> Array:
    """Rates of leaving per session for each cause after the first, added up."""
    return np.cumsum(
        [
            RATES[SCHEDULING] * trouble[pair],
            RATES[ENGAGEMENT] * np.exp(np.minimum(-BOREDOM * regard[pair], MOST_BOREDOM)),
            RATES[PRICE] * bargain[pair],
            np.full(len(pair), RATES[OUTSIDE]),
        ],
        axis=0,
    )


def settle(seed: int, courses: Courses, student: Array, day: Array, days: int) -> Students:
    """Who has left by the end of a window of `days` days. `student` and `day` are by session,
    in order of time."""
    rng = stream(seed, "leaving")
    size = int(student.max()) + 1
    latest, last_day = np.empty((2, size), dtype=np.int64)
    latest[student], last_day[student] = courses.pair, day  # the last session's stay
    more = rng.beta(*MORE_ABSENT_SHAPE, size) * MORE_ABSENT_DAYS
    away = ABSENT_DAYS + more.astype(np.int64)
    wait = np.where(courses.absent[latest], away, rng.integers(*LAST_DAYS, size))
    left_on = last_day + wait
    return Students(
        bargain=courses.bargain[latest],
        trouble=courses.trouble[latest],
        regard=courses.regard[latest],
        cause=np.where(left_on < days, courses.cause[latest], NOT_LEFT),
        left_on=left_on,
    )


def _turns(tutor: Array) -> list[Array]:
    """The rows of every tutor's first session, then those of every second one, and so on."""
    order = np.argsort(tutor, kind="stable")
    owner = tutor[order]
    turn = np.arange(len(owner)) - np.searchsorted(owner, owner)
    by_turn = np.argsort(turn, kind="stable")
    return np.split(order[by_turn], np.flatnonzero(np.diff(turn[by_turn])) + 1)
