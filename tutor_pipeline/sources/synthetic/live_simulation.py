"""Simulates a live platform: the transactions that it commits from now on. Pure.

Belongs here: who teaches when, and what is recorded late, corrected, deleted or moved. The same
cast, plan and start give the same events.
Does not belong here: the clock and the database (live_player.py), what a session looks like
(sessions.py, observations.py).
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from typing import Any

import numpy as np

from tutor_pipeline.sources.synthetic.live_events import (
    BURST_SECONDS,
    Cast,
    Event,
    Kind,
    Pair,
    Plan,
    Verb,
    Write,
)
from tutor_pipeline.sources.synthetic.measurements import measure
from tutor_pipeline.sources.synthetic.names import FIRST_NAMES, GRADE_LEVELS, LAST_NAMES
from tutor_pipeline.sources.synthetic.observations import (
    START_KNOWN_SHARE,
    Moments,
    punctuality,
    record,
)
from tutor_pipeline.sources.synthetic.personas import Traits
from tutor_pipeline.sources.synthetic.population import (
    Array,
    Columns,
    blank,
    concat,
    make_ids,
    pick,
    stream,
)
from tutor_pipeline.sources.synthetic.profiles import (
    GRADE_SHARES,
    MOST_SUBJECTS,
    SUBJECT_CHOICE,
    People,
)
from tutor_pipeline.sources.synthetic.rows import plain
from tutor_pipeline.sources.synthetic.sessions import (
    BEGINS_SHARE,
    DURATION_SHARES,
    DURATIONS,
    Timetable,
    booking_lead,
    connections,
    demand,
    leaving_shares,
    moods,
    outcomes,
    quality,
    reschedule_shares,
)
from tutor_pipeline.sources.synthetic.statuses import (
    COMPLETED,
    NO_SHOW_STUDENT,
    NO_SHOW_TUTOR,
    STATUSES,
)
from tutor_pipeline.sources.synthetic.students import PAIR_TURNOVER

MOST_PAIRS = 12  # students remembered per tutor; older ones would rarely be drawn

_CHUNK = 64  # sessions drawn at a time
# Every session is drawn as on a Wednesday at noon: a seed gives the same events at any time.
_WEEKDAY, _MINUTE = 2, 12 * 60
_RETURNING_SHARE = 0.75  # of sessions with known students are followed by another one
_POOR_RUN = 3  # poor first sessions in a row with one tutor, before the next tutor's turn
_POOR_GOODNESS, _POOR_STARS, _POOR_SCORE = -2.5, (1.5, 2.5), (3.0, 5.0)

_METRICS = ("session_audio_metrics", "session_video_metrics", "session_screen_metrics",
            "session_transcript_metrics", "session_transcript_highlights",
            "session_billing")  # fmt: skip
_FEEDBACK = ("session_feedback", "session_feedback_tags")
_WRITTEN_AT = {"session_audio_metrics": "created_at", "session_billing": "billed_at",
               "session_feedback": "submitted_at"}  # fmt: skip


def simulate(cast: Cast, plan: Plan, start: datetime) -> Iterator[Event]:
    """Yields events in the order in which they begin; without end unless the plan's rate is 0.

    Who teaches when, how a session ends and how it is changed depend only on the seed and the
    tutors. `start` shifts all timestamps and is part of the ids: two simulations share no id.
    """
    simulation = _Simulation(cast, plan, start)
    waiting: list[tuple[float, int, Event]] = []
    number = count()
    for times in arrivals(plan):
        for event in simulation.teach(times):
            heappush(waiting, (event.at, next(number), event))
        # Sessions drawn later end later: every event up to the last of these times is final.
        while waiting and waiting[0][0] <= times[-1]:
            yield heappop(waiting)[-1]
    while waiting:
        yield heappop(waiting)[-1]


def arrivals(plan: Plan) -> Iterator[Array]:
    """Yields chunks of the times at which sessions end: seconds after the start, ascending."""
    rng = stream(plan.seed, "simulated arrivals")
    burst = np.sort(rng.uniform(0, BURST_SECONDS, plan.burst))
    for first in range(0, plan.burst, _CHUNK):
        yield burst[first : first + _CHUNK]
    last = BURST_SECONDS if plan.burst else 0.0
    while plan.per_second:
        times = last + np.cumsum(rng.exponential(1 / plan.per_second, _CHUNK))
        last = times[-1]
        yield times


@dataclass(frozen=True, slots=True)
class _Meeting:
    """The pair of a session, its number within the pair, and whether the student is new."""

    pair: Pair
    number: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class _Aftermath:
    """What follows each session. Times are seconds after the start."""

    names: Array  # of a new student: indices into FIRST_NAMES and LAST_NAMES
    held_for: Array
    metrics_follow: Array  # in a transaction of their own
    metrics_at: Array
    feedback_at: Array
    fate: Array  # index into _FATES; a larger number: the session stays as it is
    fate_at: Array
    drift: Array  # of a corrected score
    days: Array  # by which a session moves
    other_tutor: Array  # to whom a session moves


class _Simulation:
    """State from session to session: the pairs, and the counters that make ids."""

    def __init__(self, cast: Cast, plan: Plan, start: datetime) -> None:
        rng = stream(plan.seed, "simulated tutors")
        self._cast, self._plan = cast, plan
        self._start = np.datetime64(start.astimezone(UTC).replace(tzinfo=None), "us")
        self._tag = f"{int(start.timestamp() * 1000):x}-"
        weight = demand(cast.traits, cast.burnout[:, None])[:, 0]
        self._demand = weight / weight.sum()
        self._turns = rng.permutation(len(cast.tutor_ids))
        self._pairs = [deque(map(replace, pairs), MOST_PAIRS) for pairs in cast.pairs]
        self._tutor_ids = _bytes(cast.tutor_ids)
        self._chunks = self._sessions = self._poor = self._students = 0

    def teach(self, times: Array) -> list[Event]:
        """Returns the events of the sessions that end at these times."""
        # Observations need a varying number of draws, so they have a random stream of their own.
        self._chunks += 1
        rng = stream(self._plan.seed, f"simulated sessions {self._chunks}")
        size = len(times)
        poor = rng.random(size) < self._plan.poor_firsts
        nth_poor = self._poor + np.cumsum(poor) - 1
        self._poor += int(poor.sum())
        tutor = rng.choice(len(self._demand), size, p=self._demand)
        tutor = np.where(poor, self._turns[nth_poor // _POOR_RUN % len(self._turns)], tutor)
        timetable, meetings, keeps = self._timetable(rng, tutor, poor)

        observed = stream(self._plan.seed, f"simulated observations {self._chunks}")
        moment = self._start + np.round(times * 1e6).astype("m8[us]")
        numbers = np.arange(self._sessions + 1, self._sessions + size + 1)
        self._sessions += size
        ids = make_ids(f"S{self._tag}", numbers, 6, self._sessions)
        tables = self._record(observed, timetable, meetings, moment, ids, poor, keeps)

        then = self._aftermath(rng, times, tutor)
        rows = _by_session(tables, ids)
        events = []
        for i, of_session in enumerate(rows):
            (session,) = of_session["sessions"]
            who = (session["tutor_id"], session["id"])
            metrics_at = then.metrics_at[i] if then.metrics_follow[i] else times[i]
            for table, column in _WRITTEN_AT.items():
                when = then.feedback_at[i] if table in _FEEDBACK else metrics_at
                for row in of_session[table]:
                    row[column] = self._moment(when)
            opening = [Write(Verb.INSERT, "sessions", session)]
            if meetings[i].is_new:
                opening[:0] = self._enrol(meetings[i].pair, then.names[i], session["updated_at"])
            metrics = _inserts(of_session, _METRICS)
            if not then.metrics_follow[i]:
                opening += metrics
            details: dict[str, Any] = {"status": session["status"]}
            if poor[i]:
                details["poor_first"] = int(nth_poor[i]) % _POOR_RUN + 1
            held_for = float(then.held_for[i])
            events.append(
                Event(float(times[i]), Kind.SESSION, *who, tuple(opening), details, held_for)
            )
            if then.metrics_follow[i] and metrics:
                at = float(metrics_at)
                events.append(Event(at, Kind.METRICS, *who, tuple(metrics), {}))
            fate = None if poor[i] or then.fate[i] >= len(_FATES) else _FATES[then.fate[i]]
            # Feedback on a deleted session would belong to no session.
            feedback = _inserts(of_session, _FEEDBACK)
            if feedback and fate is not Kind.DELETION:
                at = float(then.feedback_at[i])
                events.append(Event(at, Kind.FEEDBACK, *who, tuple(feedback), {}))
            if fate is not None:
                events += self._change(fate, session, then, i)
        return events

    def _aftermath(self, rng: np.random.Generator, times: Array, tutor: Array) -> _Aftermath:
        habits, size, tutors = self._plan.habits, len(times), len(self._demand)
        names = rng.integers(0, (len(FIRST_NAMES), len(LAST_NAMES)), (size, 2))
        held_for = np.where(rng.random(size) < habits.held, habits.held_for.draw(rng, size), 0)
        metrics_follow = rng.random(size) >= habits.metrics_at_once
        metrics_delay = np.where(metrics_follow, habits.metrics_delay.draw(rng, size), 0)
        metrics_at = times + held_for + metrics_delay
        shares = (habits.corrected, habits.deleted, habits.moved_to_tutor, habits.moved_to_day)
        return _Aftermath(
            names=names,
            held_for=held_for,
            metrics_follow=metrics_follow,
            metrics_at=metrics_at,
            feedback_at=times + held_for + habits.feedback_delay.draw(rng, size),
            fate=np.searchsorted(np.cumsum(shares), rng.random(size), side="right"),
            fate_at=metrics_at + habits.fate_delay.draw(rng, size),
            drift=rng.normal(0, 1.2, size),
            days=rng.integers(1, habits.farthest_move + 1, size),
            other_tutor=(tutor + rng.integers(1, max(tutors, 2), size)) % tutors,
        )

    def _timetable(
        self, rng: np.random.Generator, tutor: Array, poor: Array
    ) -> tuple[Timetable, list[_Meeting], Array]:
        """Returns the sessions, their pairs, and whether each pair meets again."""
        traits, size = self._cast.traits, len(tutor)
        burnout, spirits = self._cast.burnout[tutor], self._cast.spirits[tutor]
        weekday, minute = np.full(size, _WEEKDAY), np.full(size, _MINUTE)
        share = reschedule_shares(traits, tutor, weekday, burnout)
        moved = (rng.random(size) < share) & ~poor
        status, by_student = outcomes(rng, traits, tutor, burnout, moved)
        status, by_student = np.where(poor, COMPLETED, status), by_student & ~poor
        connection, technical = connections(rng, traits, tutor, weekday, minute)
        begins = (rng.random(size) < BEGINS_SHARE) | poor
        mood, noise = moods(traits, tutor, burnout, spirits), rng.normal(size=(2, size))
        _, stars = quality(traits, tutor, mood, connection, begins, noise)
        stays = (rng.random(size) >= leaving_shares(status, stars)) & ~poor
        returns = rng.random(size) < _RETURNING_SHARE

        back = rng.geometric(PAIR_TURNOVER, size)
        choice = pick(rng, SUBJECT_CHOICE, size)
        grade = pick(rng, GRADE_SHARES, size)
        bargain = rng.beta(1, 6, size)
        meetings = [
            self._meet(
                int(tutor[i]), bool(begins[i]), int(back[i]), bool(stays[i]),
                bool(status[i] == COMPLETED), int(choice[i]), int(grade[i]), float(bargain[i]),
            )
            for i in range(size)
        ]  # fmt: skip
        number = np.array([meeting.number for meeting in meetings])
        goodness, stars = quality(traits, tutor, mood, connection, number == 1, noise)
        timetable = Timetable(
            tutor=tutor,
            day=np.zeros(size, dtype=np.int64),
            minute=minute,
            duration=DURATIONS[pick(rng, DURATION_SHARES, size)],
            status=status,
            by_student=by_student,
            connection=connection,
            technical=technical,
            goodness=np.where(poor, _POOR_GOODNESS, goodness),
            stars=np.where(poor, np.round(rng.uniform(*_POOR_STARS, size), 1), stars),
            pair=np.arange(size),
            number=number,
            student=np.arange(size),
            lead=booking_lead(rng, size),
            given_up=np.zeros(size, dtype=bool),
        )
        return timetable, meetings, np.where(number == 1, stays, returns)

    def _meet(
        self,
        tutor: int,
        begins: bool,
        back: int,
        stays: bool,
        completed: bool,
        choice: int,
        grade: int,
        bargain: float,
    ) -> _Meeting:
        """Draws the student: a new one, or one of the tutor's own, the newest most often."""
        mine = self._pairs[tutor]
        is_new = begins or not mine
        if is_new:
            self._students += 1
            taught = self._cast.subjects[tutor]
            subject = taught[choice % len(taught)] if taught else ("", "")
            student_id = f"ST{self._tag}{self._students:06d}"
            pair = Pair(student_id, 0, *subject, GRADE_LEVELS[grade], bargain)
            if stays:
                mine.append(pair)
        else:
            pair = mine[-min(back, len(mine))]
        number = pair.held + 1
        pair.held += completed
        return _Meeting(pair, number, is_new)

    def _record(
        self,
        rng: np.random.Generator,
        timetable: Timetable,
        meetings: Sequence[_Meeting],
        moment: Array,
        ids: Array,
        poor: Array,
        keeps: Array,
    ) -> dict[str, Columns]:
        """Returns the platform's tables about sessions that end at `moment`."""
        traits, size = self._cast.traits, len(ids)
        pairs = [meeting.pair for meeting in meetings]
        people = People(
            tutor_ids=self._tutor_ids,
            student_ids=_bytes([pair.student_id for pair in pairs]),
            hourly_rate=self._cast.hourly_rate,
            subjects_of_tutor=np.empty((0, MOST_SUBJECTS)),  # `record` does not read it
            subject_of_pair=np.arange(size),
            subject_ids=_bytes([pair.subject_id for pair in pairs]),
            subject_names=_bytes([pair.subject for pair in pairs]),
            grade_of_student=_bytes([pair.grade_level for pair in pairs]),
            bargain_of_student=np.array([pair.bargain for pair in pairs]),
        )
        late, lasted = punctuality(rng, traits, timetable)
        begun = moment - lasted.astype("m8[m]")
        held = timetable.completed
        missed = np.isin(timetable.status, (NO_SHOW_TUTOR, NO_SHOW_STUDENT))
        waited = np.where(missed, 20, 0).astype("m8[m]")
        # Sessions are called off at the last moment: changes in the future are found only later.
        scheduled = np.where(held, begun - late, moment - waited)
        moments = Moments(
            scheduled=scheduled,
            actual=blank(begun, ~held | (rng.random(size) >= START_KNOWN_SHARE)),
            completed=blank(moment, ~held),
            created=scheduled - timetable.lead.astype("m8[m]"),
            updated=moment,
            actual_minutes=blank(lasted, ~held),
        )
        latents = measure(rng, traits, timetable)
        poor_score = np.round(rng.uniform(*_POOR_SCORE, size), 2)
        tables = record(rng, traits, timetable, people, latents, moments, ids, keeps)
        tables["sessions"]["overall_session_score"][poor] = poor_score[poor]
        highlights = tables["session_transcript_highlights"]
        highlighted = {"id": concat(b"H", highlights["session_id"])}
        return tables | {"session_transcript_highlights": {**highlights, **highlighted}}

    def _moment(self, at: float) -> datetime:
        found: datetime = (self._start + np.timedelta64(round(at * 1e6), "us")).item()
        return found.replace(tzinfo=UTC)

    def _enrol(self, pair: Pair, name: Array, now: datetime) -> list[Write]:
        """Returns the statements that add a new student."""
        first, last = FIRST_NAMES[name[0]], LAST_NAMES[name[1]]
        user = {
            "id": pair.student_id,
            "name": f"{first} {last}",
            "email": f"{first}.{last}.{pair.student_id}@example.org".lower(),
            "role": "student",
            "created_at": now,
        }
        student = {
            "user_id": pair.student_id,
            "enrolled_since": now.date(),
            "grade_level": pair.grade_level,
            "status": "active",
        }
        return [Write(Verb.INSERT, "users", user), Write(Verb.INSERT, "students", student)]

    def _change(
        self, kind: Kind, session: Mapping[str, Any], then: _Aftermath, i: int
    ) -> list[Event]:
        """Returns the later change of a session; none where `kind` does not apply to it."""
        at, days = float(then.fate_at[i]), timedelta(int(then.days[i]))
        other_tutor = self._cast.tutor_ids[then.other_tutor[i]]
        tutor_id, values = session["tutor_id"], dict[str, Any]()
        details: Mapping[str, Any] = values
        completed = session["status"] == STATUSES[COMPLETED]
        missed = session["status"] in (STATUSES[NO_SHOW_TUTOR], STATUSES[NO_SHOW_STUDENT])
        match kind:
            case Kind.DELETION:
                tables = ("sessions", *_METRICS, *_FEEDBACK)
                gone = tuple(Write(Verb.DELETE, table) for table in tables)
                return [Event(at, kind, tutor_id, session["id"], gone, {})]
            case Kind.CORRECTION if completed:
                score = session["overall_session_score"]
                score = (7.0 if score is None else score) + float(then.drift[i])
                values["overall_session_score"] = round(min(max(score, 0.0), 10.0), 2)
            case Kind.CORRECTION if missed:
                values |= {
                    "status": "cancelled", "tutor_showed_up": None, "student_showed_up": None,
                }  # fmt: skip
            case Kind.MOVED_TO_TUTOR if other_tutor != tutor_id:
                values |= {"tutor_id": other_tutor, "session_number": 1, "is_first_session": True}
                details = {**values, "from_tutor_id": tutor_id}
                tutor_id = other_tutor
            case Kind.MOVED_TO_DAY if completed or missed:
                values |= {
                    column: session[column] - days
                    for column in ("scheduled_start", "actual_start", "completed_at")
                    if session[column] is not None
                }
            case Kind.MOVED_TO_DAY:
                values |= {
                    "scheduled_start": session["scheduled_start"] + days,
                    "status": "scheduled", "rescheduled_by": None, "reschedule_reason": None,
                }  # fmt: skip
            case _:
                return []
        update = Write(Verb.UPDATE, "sessions", {**values, "updated_at": self._moment(at)})
        return [Event(at, kind, tutor_id, session["id"], (update,), details)]


_FATES = (Kind.CORRECTION, Kind.DELETION, Kind.MOVED_TO_TUTOR, Kind.MOVED_TO_DAY)


def _inserts(rows: Mapping[str, list[dict[str, Any]]], tables: Sequence[str]) -> list[Write]:
    return [Write(Verb.INSERT, table, row) for table in tables for row in rows[table]]


def _by_session(
    tables: Mapping[str, Columns], ids: Array
) -> list[defaultdict[str, list[dict[str, Any]]]]:
    """Returns, per session in the order of `ids`, its rows by table."""
    place = {value.decode(): i for i, value in enumerate(ids.tolist())}
    found: list[defaultdict[str, list[dict[str, Any]]]] = [defaultdict(list) for _ in place]
    for table, columns in tables.items():
        key = "id" if table == "sessions" else "session_id"
        for values in zip(*map(plain, columns.values()), strict=True):
            row = dict(zip(columns, values, strict=True))
            found[place[row[key]]][table].append(row)
    return found


def _bytes(values: Sequence[str]) -> Array:
    """Returns texts as an array of bytes, as the generator's functions take them."""
    return np.array([value.encode() for value in values])


def traits_of(traits: Traits, rows: Array) -> Traits:
    """Returns the traits of some tutors only."""
    return Traits(*(getattr(traits, entry.name)[rows] for entry in fields(traits)))
