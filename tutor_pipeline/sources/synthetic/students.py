"""Which student each session is with: students come, stay with a tutor, or leave for a cause.

Belongs here: tutor-student pairs from session to session, and what makes students leave.
Does not belong here: when sessions are and how they end (sessions.py), profiles (profiles.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tutor_pipeline.sources.synthetic.population import Array, stream
from tutor_pipeline.sources.synthetic.worlds import ORDINARY, World

PAIR_TURNOVER = 0.20  # chance that a session is with the newest student, not an older one
EARLIER_PAIRS = 3  # students of each tutor when the window opens
MOST_KEPT = 24  # students per tutor; beyond that, the oldest gets no more sessions
LASTING = 0.25  # weight of the latest session in a student's opinion

# Why students leave, and the rate per session. SCHEDULING: of those with the greatest trouble with
# times. ENGAGEMENT: of those who find their lessons average. PRICE: of those for whom every
# session must be discounted. OUTSIDE: of all.
CAUSES = ("first_session", "scheduling", "engagement", "price", "outside")
FIRST_SESSION, SCHEDULING, ENGAGEMENT, PRICE, OUTSIDE = range(len(CAUSES))
RATES = {SCHEDULING: 0.13, ENGAGEMENT: 0.0078, PRICE: 0.078, OUTSIDE: 0.0026}
LAST_DAYS = (3, 15)  # from the last session to the day of leaving, upper bound excluded
# The same for those who stay away: ABSENT_DAYS plus up to MORE_ABSENT_DAYS, beta-distributed.
ABSENT_DAYS, MORE_ABSENT_DAYS, MORE_ABSENT_SHAPE = 15, 31, (1, 6)
BOREDOM = 1.8  # the rate grows by exp(1.8) per standard deviation of missing quality,
MOST_BOREDOM = 2.0  # up to exp(2): one bad week does not drive all students away
NOT_LEFT = -1


@dataclass(frozen=True, slots=True)
class Encounters:
    """What students see of sessions; one entry per session, ordered by time within a tutor."""

    tutor: Array
    happened: Array  # False for bookings
    completed: Array
    troubled: Array  # the tutor moved or missed it
    goodness: Array  # quality in standard deviations
    is_opening: Array  # for a new student
    first_cause: Array  # of leaving after it, if it is the pair's first
    leaves_first: Array  # chance of leaving after it, if it is the pair's first


@dataclass(frozen=True, slots=True)
class Courses:
    """Tutor-student pairs: `pair` and `begins` by session, the others by pair."""

    pair: Array
    begins: Array  # True for the first session of a pair that began in the window
    tutor: Array
    bargain: Array  # share of the student's sessions that must be discounted
    trouble: Array  # with times, 0-1, after the last session
    regard: Array  # for the lessons, in standard deviations of quality, after the last session
    cause: Array  # index into CAUSES; NOT_LEFT where the student did not leave
    absent: Array  # True for students who left by staying away


@dataclass(frozen=True, slots=True)
class Students:
    """One entry per student, from the student's last pair: as in `Courses`, and the day of leaving
    from the start of the window. Students who have not left by its end have the cause NOT_LEFT.
    """

    bargain: Array
    trouble: Array
    regard: Array
    cause: Array
    left_on: Array


def accompany(seed: int, tutors: int, met: Encounters, world: World = ORDINARY) -> Courses:
    """Follows the students through the sessions of all tutors, the n-th session of each at a time.

    A session is with a new student or with one of the tutor's own, the newest most often. After it
    the student may leave: competing risks, each growing with the student's experience. Others
    leave by staying away: for the same causes, but regardless of the last session.
    """
    rng = stream(seed, "students")
    size = len(met.tutor)
    lots = _Lots.draw(rng, size)
    register = _Register(rng, tutors, size)
    pair, begins = np.empty(size, dtype=np.int64), met.is_opening.copy()
    for rows in _turns(met.tutor):
        who = met.tutor[rows]
        new = begins[rows] | (register.amount[who] == 0)
        held, place = register.seat(who, new, lots.back[rows])
        pair[rows], begins[rows] = held[np.arange(len(rows)), place], new
        leaves = register.experience(met, lots, rows, pair[rows], new, world)
        register.release(who, held, place, leaves)
    return register.courses(pair, begins)


@dataclass(frozen=True, slots=True)
class _Lots:
    """Random draws, one entry per session."""

    back: Array  # which of the tutor's students, 1 = the newest
    patience: Array
    attachment: Array
    first_patience: Array
    cause: Array

    @classmethod
    def draw(cls, rng: np.random.Generator, size: int) -> _Lots:
        """Draws for `size` sessions."""
        back = rng.geometric(PAIR_TURNOVER, size)
        patience, attachment = rng.exponential(1.0, (2, size))
        first_patience, cause = rng.random((2, size))
        return cls(back, patience, attachment, first_patience, cause)


class _Register:
    """The state of all pairs so far. `own` holds each tutor's students, newest first."""

    def __init__(self, rng: np.random.Generator, tutors: int, sessions: int) -> None:
        most = tutors * EARLIER_PAIRS + sessions
        self.bargain = rng.beta(1, 6, most)
        self.trouble, self.regard = np.zeros((2, most))
        self.cause = np.full(most, NOT_LEFT, dtype=np.int64)
        self.absent = np.zeros(most, dtype=bool)
        self.known = tutors * EARLIER_PAIRS
        self.tutor = np.empty(most, dtype=np.int64)
        self.tutor[: self.known] = np.repeat(np.arange(tutors), EARLIER_PAIRS)
        self.own = np.zeros((tutors, MOST_KEPT), dtype=np.int64)
        self.own[:, :EARLIER_PAIRS] = np.arange(self.known).reshape(tutors, EARLIER_PAIRS)
        self.amount = np.full(tutors, EARLIER_PAIRS)
        self._places = np.arange(MOST_KEPT)

    def seat(self, who: Array, new: Array, back: Array) -> tuple[Array, Array]:
        """Returns the students of these tutors, new ones put first, and whose turn it is."""
        has = self.amount[who]
        place = np.where(new, 0, np.minimum(back, has) - 1)
        held = self.own[who[:, None], np.maximum(self._places - new[:, None], 0)]
        self.amount[who] = np.minimum(has + new, MOST_KEPT)
        count = int(new.sum())
        held[new, 0] = np.arange(self.known, self.known + count)
        self.tutor[self.known : self.known + count] = who[new]
        self.known += count
        return held, place

    def experience(
        self, met: Encounters, lots: _Lots, rows: Array, pair: Array, new: Array, world: World
    ) -> Array:
        """Lets the students go through their sessions; True for those who leave afterwards."""
        done, seen = met.completed[rows], met.happened[rows]
        earlier = self._risks(pair)
        self.trouble[pair] += LASTING * np.where(seen, met.troubled[rows] - self.trouble[pair], 0.0)
        self.regard[pair] += LASTING * np.where(done, met.goodness[rows] - self.regard[pair], 0.0)
        risks = self._risks(pair)
        at_once = seen & np.where(
            new,
            lots.first_patience[rows] < world.leaving_at_once * met.leaves_first[rows],
            lots.patience[rows] < world.leaving_at_once * risks[-1],
        )
        drifts = ~new & (lots.attachment[rows] < world.drifting_away * earlier[-1])
        drifts &= seen & ~at_once
        leaves = at_once | drifts
        risks = np.where(drifts, earlier, risks)
        drawn = SCHEDULING + (lots.cause[rows] * risks[-1] >= risks).sum(axis=0)
        at_first = new & (met.first_cause[rows] != NOT_LEFT)
        self.cause[pair[leaves]] = np.where(at_first, met.first_cause[rows], drawn)[leaves]
        self.absent[pair[drifts]] = True
        return np.asarray(leaves)

    def release(self, who: Array, held: Array, place: Array, leaves: Array) -> None:
        """Takes those who leave out of their tutors' students."""
        gone = leaves[:, None] & (self._places >= place[:, None])
        after = np.minimum(self._places + gone, MOST_KEPT - 1)
        self.own[who] = held[np.arange(len(who))[:, None], after]
        self.amount[who] -= leaves

    def courses(self, pair: Array, begins: Array) -> Courses:
        """Returns what became of all pairs. `pair` and `begins` are by session."""
        known = self.known
        return Courses(
            pair=pair,
            begins=begins,
            tutor=self.tutor[:known],
            bargain=self.bargain[:known],
            trouble=self.trouble[:known],
            regard=self.regard[:known],
            cause=self.cause[:known],
            absent=self.absent[:known],
        )

    def _risks(self, pair: Array) -> Array:
        """Returns the rates of leaving per session, cumulated over the causes after the first."""
        boredom = np.exp(np.minimum(-BOREDOM * self.regard[pair], MOST_BOREDOM))
        return np.cumsum(
            [
                RATES[SCHEDULING] * self.trouble[pair],
                RATES[ENGAGEMENT] * boredom,
                RATES[PRICE] * self.bargain[pair],
                np.full(len(pair), RATES[OUTSIDE]),
            ],
            axis=0,
        )


def settle(seed: int, courses: Courses, student: Array, day: Array, days: int) -> Students:
    """Draws who has left by the end of a window of `days` days. `student` and `day` are by session,
    ordered by time.
    """
    rng = stream(seed, "leaving")
    size = int(student.max()) + 1
    latest, last_day = np.empty((2, size), dtype=np.int64)
    latest[student], last_day[student] = courses.pair, day  # the last assignment stays
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
    """Returns the rows of every tutor's first session, then of every second one, and so on."""
    order = np.argsort(tutor, kind="stable")
    owner = tutor[order]
    turn = np.arange(len(owner)) - np.searchsorted(owner, owner)
    by_turn = np.argsort(turn, kind="stable")
    return np.split(order[by_turn], np.flatnonzero(np.diff(turn[by_turn])) + 1)
