"""Which sessions there are: when, by whom, with which student, and how they ended.

Belongs here: the timetable, statuses, latent quality, numbers of sessions.
Does not belong here: who is with whom (students.py, replacements.py), what is measured
(measurements.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tutor_pipeline.sources.synthetic.burnout import HiddenDays, joined_on
from tutor_pipeline.sources.synthetic.parameters import Parameters
from tutor_pipeline.sources.synthetic.personas import Traits
from tutor_pipeline.sources.synthetic.population import Array, pick, stream
from tutor_pipeline.sources.synthetic.replacements import (
    Replacements,
    draw_replacements,
    students_of,
)
from tutor_pipeline.sources.synthetic.statuses import (
    CANCELLED,
    COMPLETED,
    NO_SHOW_STUDENT,
    NO_SHOW_TUTOR,
    RESCHEDULED,
    SCHEDULED,
)
from tutor_pipeline.sources.synthetic.students import (
    FIRST_SESSION,
    NOT_LEFT,
    SCHEDULING,
    Encounters,
    Students,
    accompany,
    settle,
)

AHEAD_DAYS = 7  # sessions are booked this far beyond the end
WEEKEND_LOAD = 0.70
WEEKS_SPREAD = 0.08  # standard deviation of the logarithm of the platform's weekly demand
TUTORS_WEEKS_SPREAD = 0.25  # of a tutor's weekly demand, relative to the mean
LONGEST_LEAD = 21  # days; a tutor who leaves has no bookings beyond them
FRIDAY, SATURDAY = 4, 5

# Hours of the day (UTC) at which sessions start. Tutors with several sessions a day take different
# hours, so the share of mornings falls from 37 % here to 35 %.
HOURS = np.arange(8, 22)
HOUR_SHARES = np.array([8, 10, 10, 9, 5, 5, 6, 7, 8, 8, 8, 7, 5, 4]) / 100
MINUTES, MINUTE_SHARES = np.array([0, 15, 30, 45]), (0.6, 0.1, 0.2, 0.1)

DURATIONS, DURATION_SHARES = np.array([30, 60, 90]), (0.15, 0.75, 0.10)

NO_SHOW_STUDENT_SHARE = 0.018
CANCELLED_SHARE = 0.03
STUDENT_RESCHEDULE_SHARE = 0.0018  # of sessions: 1.8 % of all reschedules

CONNECTIONS = ("Excellent", "Good", "Fair", "Poor")
CONNECTION_SHARES = {
    "weekday": (0.60, 0.30, 0.08, 0.02),
    "evening": (0.50, 0.30, 0.15, 0.05),
    "weekend": (0.65, 0.28, 0.06, 0.01),
}
CONNECTION_STARS = np.array([0.0, -0.1, -0.3, -0.6])
CONNECTION_TROUBLE = np.array([0.75, 1.1, 1.9, 3.2])  # factor on the odds of technical issues

FIRST_SHARE = 0.15
# The other first sessions repeat one that fell through, or belong to tutors without students.
BEGINS_SHARE = 0.86 * FIRST_SHARE
RATING_MEAN, RATING_SPREAD = 4.1, 0.6
POOR_RATING = 3.5
BURNOUT_TOLL = 2.0  # standard deviations of quality lost from no burnout to full burnout

# Chance that a student leaves after the first session; for later sessions see students.py.
LEAVES_AFTER_POOR_FIRST, LEAVES_AFTER_FIRST = 0.66, 0.10
LEAVES_AFTER_FIRST_FELL_THROUGH = 0.20


@dataclass(frozen=True, slots=True)
class Timetable:
    """One entry per session, ordered by time. Indices point into tutors, pairs and students.

    `goodness` is the latent quality in standard deviations, `stars` the rating it deserves. Both
    are set in every row, but have a meaning only where the session took place.
    """

    tutor: Array
    day: Array  # from the start of the window; later than its end where booked ahead
    minute: Array  # of the day
    duration: Array  # minutes
    status: Array  # index into STATUSES
    by_student: Array  # True where the student asked for the reschedule
    connection: Array  # index into CONNECTIONS
    technical: Array
    goodness: Array
    stars: Array
    pair: Array
    number: Array  # completed sessions of the pair before this one, plus 1
    student: Array
    lead: Array  # minutes from the booking to the start
    given_up: Array  # True for bookings of a tutor who left before the session

    @property
    def is_first(self) -> Array:
        """True for first sessions of a pair."""
        return np.asarray(self.number == 1)

    @property
    def completed(self) -> Array:
        """True for completed sessions."""
        return np.asarray(self.status == COMPLETED)

    def start_minute(self) -> Array:
        """Returns minutes from the start of the window."""
        return self.day * 1440 + self.minute


@dataclass(frozen=True, slots=True)
class Pairs:
    """Tutor-student pairs. `number_before` sessions took place before the window."""

    tutor: Array
    student: Array
    number_before: Array


@dataclass(frozen=True, slots=True)
class _Bookings:
    """Booked sessions, by time: the columns of the same names of `Timetable`."""

    tutor: Array
    day: Array
    minute: Array
    lead: Array
    given_up: Array


@dataclass(frozen=True, slots=True)
class _Outcomes:
    """How booked sessions ended, and what their quality is made of."""

    status: Array
    by_student: Array
    connection: Array
    technical: Array
    opens: Array  # True for sessions that begin a pair
    mood: Array
    noise: Array


def hold_sessions(
    parameters: Parameters, traits: Traits, hidden: HiddenDays
) -> tuple[Timetable, Pairs, Students, Replacements]:
    """Returns all sessions of the window, those booked ahead, and whom they are with."""
    seed = parameters.seed
    tutor, day = _calendar(parameters, traits, hidden)
    rng = stream(seed, "timetable")
    booked = _book(rng, hidden, tutor, day)
    tutor, day, size = booked.tutor, booked.day, len(booked.tutor)
    held = _hold(rng, parameters, traits, hidden, booked)
    courses = accompany(
        seed, len(traits.months), _encounters(traits, booked, held), parameters.knobs
    )
    seen, pair = np.unique(courses.pair, return_inverse=True)
    pair_tutor, starts_pair = courses.tutor[seen], courses.begins
    number_before = rng.geometric(0.12, len(pair_tutor))
    number_before[pair[starts_pair]] = 0
    number_before[joined_on(traits.months, parameters.days)[pair_tutor] > 0] = 0
    number = _numbers(pair, held.status, number_before)
    goodness, stars = quality(traits, tutor, held.mood, held.connection, number == 1, held.noise)

    start = day * 1440 + booked.minute
    replaced = draw_replacements(
        rng, pair, pair_tutor, start, held.status, booked.given_up, starts_pair
    )
    student_of_pair = students_of(pair, len(pair_tutor), replaced)
    timetable = Timetable(
        tutor=tutor,
        day=day,
        minute=booked.minute,
        duration=DURATIONS[pick(rng, DURATION_SHARES, size)],
        status=held.status,
        by_student=held.by_student,
        connection=held.connection,
        technical=held.technical,
        goodness=goodness,
        stars=stars,
        pair=pair,
        number=number,
        student=student_of_pair[pair],
        lead=booked.lead,
        given_up=booked.given_up,
    )
    students = settle(seed, courses, timetable.student, day, parameters.days)
    return timetable, Pairs(pair_tutor, student_of_pair, number_before), students, replaced


def _book(rng: np.random.Generator, hidden: HiddenDays, tutor: Array, day: Array) -> _Bookings:
    """Draws times and leads. Drops sessions that nobody had booked before their tutor left."""
    minute = _times(rng, tutor, day)
    lead = booking_lead(rng, len(tutor))
    # What had been booked before the tutor left is cancelled.
    given_up = day >= hidden.left_on[tutor]
    known = ~given_up | (day * 1440 + minute - lead < hidden.left_on[tutor] * 1440)
    order = np.flatnonzero(known)[np.lexsort((tutor[known], minute[known], day[known]))]
    return _Bookings(tutor[order], day[order], minute[order], lead[order], given_up[order])


def _hold(
    rng: np.random.Generator,
    parameters: Parameters,
    traits: Traits,
    hidden: HiddenDays,
    booked: _Bookings,
) -> _Outcomes:
    """Draws how sessions end. Those after the window's end are scheduled."""
    tutor, day, given_up = booked.tutor, booked.day, booked.given_up
    weekday = weekdays(parameters, day)
    known_day = np.minimum(day, parameters.days - 1)
    burnout = hidden.burnout[tutor, known_day]
    spirits = hidden.spirits[tutor, known_day]
    status, by_student = _statuses(rng, traits, tutor, weekday, burnout, day >= parameters.days)
    connection, technical = connections(rng, traits, tutor, weekday, booked.minute)
    return _Outcomes(
        status=np.where(given_up, CANCELLED, status),
        by_student=by_student & ~given_up,
        connection=connection,
        technical=technical,
        opens=(rng.random(len(tutor)) < BEGINS_SHARE) & ~given_up,
        mood=moods(traits, tutor, burnout, spirits),
        noise=rng.normal(size=(2, len(tutor))),
    )


def _encounters(traits: Traits, booked: _Bookings, held: _Outcomes) -> Encounters:
    """Returns what students see of the sessions, each taken as if it were the pair's first."""
    status = held.status
    is_first = np.ones(len(status), dtype=bool)
    goodness, stars = quality(
        traits, booked.tutor, held.mood, held.connection, is_first, held.noise
    )
    cause_when_held = np.where(stars < POOR_RATING, FIRST_SESSION, NOT_LEFT)
    return Encounters(
        tutor=booked.tutor,
        happened=(status != SCHEDULED) & ~booked.given_up,
        completed=status == COMPLETED,
        troubled=(status == NO_SHOW_TUTOR) | ((status == RESCHEDULED) & ~held.by_student),
        goodness=goodness,
        is_opening=held.opens,
        first_cause=np.where(status != COMPLETED, SCHEDULING, cause_when_held),
        leaves_first=leaving_shares(status, stars),
    )


def weekdays(parameters: Parameters, day: Array) -> Array:
    """Returns the weekday (Monday 0) of days counted from the start of the window."""
    return (parameters.end.weekday() + day - (parameters.days - 1)) % 7


def load_of_days(parameters: Parameters, day: Array) -> Array:
    """Returns the load of days counted from the start of the window; 1 on ordinary days."""
    origin = np.datetime64(parameters.end) - np.timedelta64(parameters.days - 1, "D")
    return parameters.knobs.load_on(origin + day.astype("m8[D]"))


def booking_lead(rng: np.random.Generator, size: int) -> Array:
    """Draws how many minutes before its start each session was booked."""
    return np.round((rng.gamma(2.0, 40.0, size) + 6) * 60).astype(np.int64)


def demand(traits: Traits, burnout: Array) -> Array:
    """Returns the tutors' demand relative to each other. `burnout` is tutors x days."""
    return np.asarray(traits.activity[:, None] * (1 - 0.6 * np.clip(burnout - 0.3, 0, None)))


def moods(traits: Traits, tutor: Array, burnout: Array, spirits: Array) -> Array:
    """Returns the shift of a session's quality by the tutor's state, in standard deviations."""
    return np.asarray(spirits - BURNOUT_TOLL * (burnout - traits.risk[tutor]))


def leaving_shares(status: Array, stars: Array) -> Array:
    """Returns the chance (0 to 1) that a pair's first session is its last."""
    leaves = np.where(stars < POOR_RATING, LEAVES_AFTER_POOR_FIRST, LEAVES_AFTER_FIRST)
    return np.where(status == COMPLETED, leaves, LEAVES_AFTER_FIRST_FELL_THROUGH)


def _calendar(parameters: Parameters, traits: Traits, hidden: HiddenDays) -> tuple[Array, Array]:
    """Draws tutor and day of every session: exactly days x sessions_per_day in the window, plus
    those that leavers would have had in the weeks after leaving.
    """
    rng = stream(parameters.seed, "calendar")
    days = np.arange(parameters.days + AHEAD_DAYS)
    weekend = weekdays(parameters, days) >= SATURDAY
    past, total = days < parameters.days, parameters.days * parameters.sessions_per_day
    week = (days + weekdays(parameters, days[:1])) // 7
    of_week = np.exp(rng.normal(0, WEEKS_SPREAD, week[-1] + 1))[week]
    for part in (weekend, ~weekend):  # weekends keep their share, whichever weeks are busy
        of_week[part] /= of_week[part & past].mean() if (part & past).any() else 1.0
    load = np.where(weekend, WEEKEND_LOAD, 1.0) * of_week * load_of_days(parameters, days)
    per_day = np.zeros(len(days), dtype=np.int64)
    edges = np.round(np.cumsum(load[past]) / load[past].sum() * total).astype(np.int64)
    per_day[past] = np.diff(edges, prepend=0)
    # Bookings thin out with the distance.
    booked = np.linspace(0.8, 0.2, AHEAD_DAYS)
    per_day[~past] = np.round(parameters.sessions_per_day * load[~past] * booked)

    joined = joined_on(traits.months, parameters.days)
    # The demand for a tutor who has left is that of the last day.
    last = np.clip(hidden.left_on, 1, parameters.days)[:, None] - 1
    burnout = np.take_along_axis(hidden.burnout, np.minimum(days, last), axis=1)
    weight = demand(traits, burnout)
    evenness = TUTORS_WEEKS_SPREAD**-2
    weight *= rng.gamma(evenness, 1 / evenness, (len(weight), week[-1] + 1))[:, week]
    # Weekend-only tutors give as many sessions on two days as others on seven.
    weekend_only = traits.has("weekend_only")[:, None]
    wanted = weight * np.where(weekend_only, np.where(weekend, 5.0, 0.0), 1.0)
    here = (days >= joined[:, None]) & (days < hidden.left_on[:, None])
    weight = np.where(here, wanted, 0.0)
    nobody = weight.sum(axis=0) == 0
    weight[:, nobody] = here[:, nobody]
    per_day[weight.sum(axis=0) == 0] = 0
    share = weight / np.maximum(weight.sum(axis=0), 1e-12)
    counts = np.array(
        [rng.multinomial(count, share[:, day]) if count else np.zeros(len(share), dtype=np.int64)
         for day, count in enumerate(per_day)]
    )  # fmt: skip
    # Tutors who left had bookings ahead like all others.
    leaver, after = _after_leaving(hidden.left_on, parameters.days)
    usual = parameters.sessions_per_day * load[after] / load[past].mean()
    rest = weight.sum(axis=0)[after]
    wish = wanted[leaver, after]
    counts[after, leaver] = rng.poisson(usual * wish / np.maximum(rest + wish, 1e-12))
    day, tutor = np.nonzero(counts)
    repeats = counts[day, tutor]
    return np.repeat(tutor, repeats), np.repeat(day, repeats)


def _after_leaving(left_on: Array, days: int) -> tuple[Array, Array]:
    """Returns tutor and day of the weeks after each departure, up to the end of the window."""
    leaver = np.flatnonzero((left_on > 0) & (left_on < days))
    tutor = np.repeat(leaver, LONGEST_LEAD)
    day = left_on[tutor] + np.tile(np.arange(LONGEST_LEAD), len(leaver))
    return tutor[day < days], day[day < days]


def _times(rng: np.random.Generator, tutor: Array, day: Array) -> Array:
    """Draws minutes of the day. A tutor's sessions of a day take different hours if possible."""
    new_cell = np.ones(len(tutor), dtype=bool)
    new_cell[1:] = (np.diff(tutor) != 0) | (np.diff(day) != 0)
    cell = np.cumsum(new_cell) - 1
    within = np.arange(len(tutor)) - np.flatnonzero(new_cell)[cell]
    # Weighted draws without replacement: Gumbel noise on the logarithm of the weights.
    keys = np.log(HOUR_SHARES) + rng.gumbel(size=(int(cell[-1]) + 1, len(HOURS)))
    hours = HOURS[np.argsort(-keys, axis=1)]
    minute = MINUTES[pick(rng, MINUTE_SHARES, len(tutor))]
    return np.asarray(hours[cell, within % len(HOURS)] * 60 + minute)


def _statuses(
    rng: np.random.Generator,
    traits: Traits,
    tutor: Array,
    weekday: Array,
    burnout: Array,
    ahead: Array,
) -> tuple[Array, Array]:
    """Draws the status of every session, and whether the student asked for a reschedule."""
    moved = rng.random(len(tutor)) < reschedule_shares(traits, tutor, weekday, burnout)
    status, by_student = outcomes(rng, traits, tutor, burnout, moved)
    return np.where(ahead, SCHEDULED, status), by_student


def reschedule_shares(traits: Traits, tutor: Array, weekday: Array, burnout: Array) -> Array:
    """Returns the chance (0 to 1) that the tutor moves each session."""
    reschedule = traits.reschedules[tutor]
    # Tutors with this pattern move most of their Friday sessions and few others.
    fridays = traits.has("reschedules_on_fridays")[tutor]
    on_day = np.where(weekday == FRIDAY, 0.60, 0.72 * reschedule)
    return np.where(fridays, on_day, reschedule) * _strain(traits, tutor, burnout)


def outcomes(
    rng: np.random.Generator, traits: Traits, tutor: Array, burnout: Array, moved: Array
) -> tuple[Array, Array]:
    """Draws the status of each session, given those `moved` by the tutor, and whether the student
    moved it.
    """
    shares = np.stack(
        [
            traits.no_shows[tutor] * _strain(traits, tutor, burnout),
            np.full(len(tutor), NO_SHOW_STUDENT_SHARE),
            np.full(len(tutor), CANCELLED_SHARE),
            np.full(len(tutor), STUDENT_RESCHEDULE_SHARE),
        ]
    )
    outcome = (rng.random(len(tutor)) >= np.cumsum(shares, axis=0)).sum(axis=0)
    codes = np.array([NO_SHOW_TUTOR, NO_SHOW_STUDENT, CANCELLED, RESCHEDULED, COMPLETED])
    status = np.where(moved, RESCHEDULED, codes[outcome])
    return status, ~moved & (status == RESCHEDULED)


def _strain(traits: Traits, tutor: Array, burnout: Array) -> Array:
    """Returns the factor by which burnout raises the chance that a session fails."""
    return np.asarray(np.exp(1.2 * (burnout - traits.risk[tutor])))


def connections(
    rng: np.random.Generator, traits: Traits, tutor: Array, weekday: Array, minute: Array
) -> tuple[Array, Array]:
    """Draws connection quality by time of the week, and technical issues by connection."""
    drawn = rng.random(len(tutor))
    evening = (minute >= 18 * 60) & (minute < 21 * 60)
    when = np.where(weekday >= SATURDAY, 2, np.where(evening, 1, 0))
    edges = np.cumsum(np.array(list(CONNECTION_SHARES.values())), axis=1)[when]
    connection = (drawn[:, None] >= edges[:, :3]).sum(axis=1)
    trouble = traits.technical[tutor] * CONNECTION_TROUBLE[connection]
    return connection, rng.random(len(tutor)) < trouble


def quality(
    traits: Traits, tutor: Array, mood: Array, connection: Array, first: Array, noise: Array
) -> tuple[Array, Array]:
    """Returns latent quality in standard deviations, and the stars a student would give (1-5).

    `noise` is standard normal, 2 x sessions: the part that all observations share, and the part
    of the stars alone.
    """
    deserved = traits.rating[tutor] + CONNECTION_STARS[connection]
    # The best tutors vary least.
    steady = np.clip(5.3 - traits.rating[tutor], 0.3, 1.0)
    goodness = (deserved - RATING_MEAN) / RATING_SPREAD + mood + 0.42 * steady * noise[0]
    stars = RATING_MEAN + RATING_SPREAD * (goodness + 0.52 * steady * noise[1])
    # Students who do not know the tutor yet give fewer stars for the same lesson.
    stars = stars - np.where(first, traits.first_rating_drop[tutor], 0.0)
    return goodness, np.round(np.clip(stars, 1.0, 5.0), 1)


def _numbers(pair: Array, status: Array, number_before: Array) -> Array:
    """Returns the completed sessions of the pair before each session, plus 1."""
    order = np.argsort(pair, kind="stable")
    done = (status[order] == COMPLETED).astype(np.int64)
    before = np.cumsum(done) - done
    first_row = np.searchsorted(pair[order], pair[order])
    number = np.empty(len(pair), dtype=np.int64)
    number[order] = 1 + before - before[first_row] + number_before[pair[order]]
    return number
