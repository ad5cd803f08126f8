"""What happens between the platform and its tutors: logins, messages, interventions, experiments.

Belongs here: engagement events, interventions and their outcome, experiments and assignments.
Does not belong here: the sessions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tutor_pipeline.sources.synthetic.burnout import HiddenDays, joined_on
from tutor_pipeline.sources.synthetic.measurements import Latents
from tutor_pipeline.sources.synthetic.names import EXPERIMENTS, INTERVENTIONS
from tutor_pipeline.sources.synthetic.observations import Moments
from tutor_pipeline.sources.synthetic.parameters import Parameters
from tutor_pipeline.sources.synthetic.personas import Traits
from tutor_pipeline.sources.synthetic.population import (
    MISSING_INTEGER,
    Array,
    Columns,
    blank,
    concat,
    make_ids,
    pick,
    row_count,
    stream,
    text,
)
from tutor_pipeline.sources.synthetic.profiles import People
from tutor_pipeline.sources.synthetic.sessions import Timetable, load_of_days
from tutor_pipeline.sources.synthetic.statuses import SCHEDULED

BEFORE_SESSION_SHARE = 0.60  # of logins, 1 to 4 hours before a session
OTHER_EVENTS_A_WEEK = {
    "profile_updated": 0.05,
    "message_sent": 1.5,
    "coaching_scheduled": 0.04,
    "coaching_attended": 0.03,
}
DEVICES = ("desktop", "tablet", "phone")

INTERVENTIONS_A_MONTH = 0.4  # per tutor
OUTCOME_SHARES = (0.60, 0.15, 0.25)  # answered, opened only, ignored
ANSWERED, OPENED, IGNORED = range(3)
OUTCOME_LIFT = np.array([0.6, 0.2, -0.1])  # of engagement, in points
BEFORE_AFTER_DAYS = 14

ENROLLED_SHARE = 0.60  # of the tutors take part in an experiment
EXPOSED_SHARE, CONVERTED_SHARE = 0.85, 0.25


def log_in(
    parameters: Parameters, traits: Traits, hidden: HiddenDays, timetable: Timetable
) -> tuple[Array, Array, Array]:
    """Returns logins: tutor, minute from the start of the window, session row (-1 = none)."""
    rng = stream(parameters.seed, "logins")
    first, after = _presence(parameters, traits, hidden)
    weeks = np.clip(after - first, 0, None) / 7
    tutor = np.repeat(np.arange(len(weeks)), rng.poisson(traits.logins * weeks))
    size = len(tutor)
    day = first[tutor] + (rng.random(size) * (after - first)[tutor]).astype(np.int64)
    minute = day * 1440 + rng.integers(6 * 60, 23 * 60, size)

    past = np.flatnonzero((timetable.status != SCHEDULED) & ~timetable.given_up)
    past = past[np.argsort(timetable.tutor[past], kind="stable")]
    owned = np.searchsorted(timetable.tutor[past], np.arange(len(weeks) + 1))
    amount = np.diff(owned)[tutor]
    before = (rng.random(size) < BEFORE_SESSION_SHARE) & (amount > 0)
    place = owned[tutor] + (rng.random(size) * amount).astype(np.int64)
    row = np.where(before, past[np.minimum(place, len(past) - 1)], -1)
    lead = rng.integers(60, 241, size)
    minute = np.where(before, timetable.start_minute()[row] - lead, minute)

    tired = hidden.burnout[tutor, np.clip(minute // 1440, 0, parameters.days - 1)]
    stays = rng.random(size) >= np.clip(0.8 * (tired - traits.risk[tutor]), 0, 0.8)
    stays &= minute >= first[tutor] * 1440
    # In holidays tutors log in less often, except before a session.
    load = load_of_days(parameters, minute // 1440)
    stays &= before | (rng.random(size) < load)
    return tutor[stays], minute[stays], row[stays]


def last_logins(parameters: Parameters, tutors: int, logins: tuple[Array, Array, Array]) -> Array:
    """Returns the last login per tutor, M8[us]; NaT without a login in the window."""
    tutor, minute, _ = logins
    last = np.full(tutors, -1)
    np.maximum.at(last, tutor, minute)
    return blank(_moment(parameters, last), last < 0)


def engagement_events(
    parameters: Parameters,
    traits: Traits,
    hidden: HiddenDays,
    timetable: Timetable,
    people: People,
    moments: Moments,
    logins: tuple[Array, Array, Array],
    interventions: Columns | None,
) -> Columns:
    """Returns the event log, ordered by time, up to the end of the last day."""
    rng = stream(parameters.seed, "events")
    parts = [
        _login_events(rng, parameters, timetable, people, logins),
        *_session_events(parameters, timetable, people, moments),
        *_other_events(rng, parameters, traits, hidden, people),
        *(_email_events(interventions) if interventions is not None else ()),
    ]
    when = np.concatenate([part.at for part in parts])
    order = np.argsort(when, kind="stable")
    kinds = np.repeat(text([part.kind for part in parts]), [len(part.at) for part in parts])
    return {
        "event_id": make_ids("EV", np.arange(1, len(when) + 1), 6, len(when)),
        "tutor_id": np.concatenate([part.tutor_id for part in parts])[order],
        "event_type": kinds[order],
        "event_data": np.concatenate([part.data for part in parts])[order],
        "occurred_at": when[order],
    }


@dataclass(frozen=True, slots=True)
class _Events:
    """Engagement events of one kind, one entry per event."""

    kind: str
    tutor_id: Array
    data: Array  # JSON
    at: Array


def _login_events(
    rng: np.random.Generator,
    parameters: Parameters,
    timetable: Timetable,
    people: People,
    logins: tuple[Array, Array, Array],
) -> _Events:
    tutor, minute, row = logins
    device = text(DEVICES)[pick(rng, (0.6, 0.15, 0.25), len(tutor))]
    session_id = _session_ids(timetable)[row]
    related = np.where(row >= 0, concat(b', "correlated_session": "', session_id, b'"'), b"")
    return _Events(
        "login",
        people.tutor_ids[tutor],
        concat(b'{"device": "', device, b'"', related, b"}"),
        _moment(parameters, minute) + rng.integers(0, 60, len(tutor)).astype("m8[s]"),
    )


def _session_events(
    parameters: Parameters, timetable: Timetable, people: People, moments: Moments
) -> Iterator[_Events]:
    """Yields the events of bookings and of completed sessions."""
    ids = _session_ids(timetable)
    origin, end = _moment(parameters, np.array([0, parameters.days * 1440]))
    booked = np.flatnonzero((moments.created >= origin) & (moments.created < end))
    planned = np.datetime_as_string(moments.scheduled[booked].astype("M8[s]")).astype("S19")
    yield _Events(
        "session_scheduled",
        people.tutor_ids[timetable.tutor[booked]],
        concat(b'{"session_id": "', ids[booked], b'", "scheduled_for": "', planned, b'"}'),
        moments.created[booked],
    )
    done = np.flatnonzero(timetable.completed & (moments.completed < end))
    lasted = moments.actual_minutes[done].astype("S4")
    yield _Events(
        "session_completed",
        people.tutor_ids[timetable.tutor[done]],
        concat(b'{"session_id": "', ids[done], b'", "duration_minutes": ', lasted, b"}"),
        moments.completed[done],
    )


def _other_events(
    rng: np.random.Generator,
    parameters: Parameters,
    traits: Traits,
    hidden: HiddenDays,
    people: People,
) -> Iterator[_Events]:
    """Yields the events that have nothing to do with sessions."""
    first, after = _presence(parameters, traits, hidden)
    for kind, per_week in OTHER_EVENTS_A_WEEK.items():
        amount = rng.poisson(per_week * np.clip(after - first, 0, None) / 7)
        tutor = np.repeat(np.arange(len(amount)), amount)
        day = first[tutor] + (rng.random(len(tutor)) * (after - first)[tutor]).astype(np.int64)
        when = _moment(parameters, day * 1440 + rng.integers(7 * 60, 22 * 60, len(tutor)))
        yield _Events(kind, people.tutor_ids[tutor], np.full(len(tutor), b"{}"), when)


def _email_events(interventions: Columns) -> Iterator[_Events]:
    """Yields the events of opened and clicked messages."""
    for kind, column in (("email_opened", "opened_at"), ("email_clicked", "clicked_at")):
        rows = np.flatnonzero(~np.isnat(interventions[column]))
        data = concat(b'{"intervention_id": "', interventions["intervention_id"][rows], b'"}')
        yield _Events(kind, interventions["tutor_id"][rows], data, interventions[column][rows])


def _session_ids(timetable: Timetable) -> Array:
    return make_ids("S", np.arange(1, len(timetable.tutor) + 1), 6, len(timetable.tutor))


def experiments(
    parameters: Parameters, traits: Traits, hidden: HiddenDays, people: People
) -> tuple[dict[str, Columns], Columns]:
    """Returns experiments with their assignments, and the truth: the effect of every variant.

    Enrolment and variant depend only on a hash of experiment and tutor: they are the same in every
    run.
    """
    rng = stream(parameters.seed, "experiments")
    presence = _presence(parameters, traits, hidden)
    rows: list[dict[str, Any]] = []
    assigned: list[Columns] = []
    effects: list[tuple[str, str, float]] = []
    for place, (identity, name, hypothesis, metric, kind, variants) in enumerate(EXPERIMENTS):
        start = parameters.days * place // (len(EXPERIMENTS) + 1)
        over = place < 2  # the first two have ended by now
        stop = min(start + max(parameters.days // 3, 1), parameters.days - 1)
        assignments = _assignments(rng, parameters, people, presence, identity, variants, start)
        assigned.append(assignments)
        effects += [(identity, label, lift) for label, lift in variants.items()]
        best = max(variants, key=lambda label: variants[label])
        rows.append(
            {
                "experiment_id": identity,
                "name": name,
                "hypothesis": hypothesis,
                "description": f"Testing whether this holds: {hypothesis.lower()}.",
                "variants": json.dumps(list(variants)),
                "target_segment": json.dumps({"intervention_type": kind}),
                "primary_metric": metric,
                "secondary_metrics": json.dumps({"retention": True}),
                "start_date": start * 1440,
                "end_date": stop * 1440 if over else None,
                "status": "completed" if over else "active",
                "sample_size": row_count(assignments),
                "significance": 0.03 if over else None,
                "winner": best if over else "",
            }
        )
    truth = {
        "experiment_id": text([identity for identity, _, _ in effects]),
        "variant": text([label for _, label, _ in effects]),
        "effect": np.array([lift for _, _, lift in effects]),
    }
    joined = {key: np.concatenate([part[key] for part in assigned]) for key in assigned[0]}
    table = {
        column: _experiment_column(parameters, column, [row[column] for row in rows])
        for column in rows[0]
    }
    return {"experiments": table, "experiment_assignments": joined}, truth


def _assignments(
    rng: np.random.Generator,
    parameters: Parameters,
    people: People,
    presence: tuple[Array, Array],
    identity: str,
    variants: Mapping[str, float],
    start: int,
) -> Columns:
    """Returns who takes part in an experiment that starts on day `start`, and what they did."""
    first, after = presence
    digests = [
        hashlib.sha256(f"{identity}:{tutor.decode()}".encode()).digest()
        for tutor in people.tutor_ids
    ]
    enrolled = np.array([digest[0] < ENROLLED_SHARE * 256 for digest in digests])
    variant = np.array([int.from_bytes(digest[1:9], "big") % len(variants) for digest in digests])
    tutors = np.flatnonzero(enrolled & (first <= start) & (after > start))
    arm = variant[tutors]
    effect = np.array(list(variants.values()))[arm]
    size = len(tutors)
    minute = start * 1440 + rng.integers(8 * 60, 18 * 60, size)
    exposed = minute + rng.integers(60, 2 * 1440, size)
    converted = exposed + rng.integers(60, 5 * 1440, size)
    seen = (rng.random(size) < EXPOSED_SHARE) & (exposed < parameters.days * 1440)
    acted = seen & (rng.random(size) < CONVERTED_SHARE + effect)
    acted &= converted < parameters.days * 1440
    value = np.round(rng.normal(0.10, 0.10, size) + effect, 4)
    return {
        "experiment_id": np.full(size, identity.encode()),
        "tutor_id": people.tutor_ids[tutors],
        "variant": text(list(variants))[arm],
        "assigned_at": _moment(parameters, minute),
        "exposed_at": blank(_moment(parameters, exposed), ~seen),
        "converted_at": blank(_moment(parameters, converted), ~acted),
        "conversion_value": blank(value, ~acted),
    }


def _experiment_column(parameters: Parameters, column: str, values: list[Any]) -> Array:
    """Returns a column of the experiments table; None among minutes becomes NULL."""
    match column:
        case "start_date" | "end_date":
            known = np.array([0 if value is None else value for value in values])
            absent = np.array([value is None for value in values])
            return blank(_moment(parameters, known), absent)
        case "sample_size":
            return np.array(values, dtype=np.int32)
        case "significance":
            return np.array(values, dtype=np.float64)
        case _:
            return text(values)


@dataclass(frozen=True, slots=True)
class _Course:
    """What became of each intervention. Times are minutes from the start of the window."""

    outcome: Array  # index into OUTCOME_SHARES
    delivered: Array
    opened: Array
    clicked: Array
    responded: Array
    has_opened: Array
    has_clicked: Array
    has_responded: Array


def intervene(
    parameters: Parameters,
    traits: Traits,
    hidden: HiddenDays,
    timetable: Timetable,
    people: People,
    latents: Latents,
    assignments: Columns | None,
) -> Columns:
    """Returns messages to tutors, the burned-out ones first of all, and what became of them."""
    rng = stream(parameters.seed, "interventions")
    first, after = _presence(parameters, traits, hidden)
    tutors, days = len(traits.months), parameters.days
    wanted = np.where(after > first, 0.1 + hidden.burnout.mean(axis=1), 0.0)
    size = round(INTERVENTIONS_A_MONTH * tutors * days / 30) if wanted.any() else 0
    tutor = pick(rng, list(np.where(wanted.any(), wanted, 1.0)), size)
    day = first[tutor] + (rng.random(size) * (after - first)[tutor]).astype(np.int64)
    sent = day * 1440 + rng.integers(8 * 60, 18 * 60, size)
    order = np.argsort(sent, kind="stable")
    tutor, day, sent = tutor[order], day[order], sent[order]
    kind = rng.integers(0, len(INTERVENTIONS), size)
    course = _course(rng, sent, days * 1440)
    state = np.select([course.has_responded, course.has_opened], [2, 1], default=0)

    measured = day + BEFORE_AFTER_DAYS <= days
    sessions_before, sessions_after = _sessions_around(timetable, tutors, days, tutor, day)
    usual = np.bincount(timetable.tutor, latents.engagement, minlength=tutors) / np.maximum(
        np.bincount(timetable.tutor, minlength=tutors), 1
    )
    before = np.clip(usual[tutor] + rng.normal(0, 0.5, size), 0, 10)
    lifted = np.clip(before + OUTCOME_LIFT[course.outcome] + rng.normal(0, 0.3, size), 0, 10)

    names = list(INTERVENTIONS)
    experiment, variant = _experiments_of(parameters, people, tutor, kind, sent, assignments)
    return {
        "intervention_id": make_ids("INT", np.arange(1, size + 1), 4, size),
        "tutor_id": people.tutor_ids[tutor],
        "intervention_type": text(names)[kind],
        "channel": text(["email", "in_app"])[pick(rng, (0.8, 0.2), size)],
        "subject": text([subject for subject, _ in INTERVENTIONS.values()])[kind],
        "content": text([words for _, words in INTERVENTIONS.values()])[kind],
        "template_id": text([f"template_{name}_001" for name in names])[kind],
        "experiment_id": experiment,
        "experiment_variant": variant,
        "sent_at": _moment(parameters, sent),
        "delivered_at": _moment(parameters, course.delivered),
        "opened_at": blank(_moment(parameters, course.opened), ~course.has_opened),
        "clicked_at": blank(_moment(parameters, course.clicked), ~course.has_clicked),
        "responded_at": blank(_moment(parameters, course.responded), ~course.has_responded),
        "status": text(["delivered", "opened", "responded"])[state],
        "engagement_before": np.round(before, 2),
        "engagement_after": blank(np.round(lifted, 2), ~measured),
        "sessions_before_count": sessions_before.astype(np.int32),
        "sessions_after_count": np.where(measured, sessions_after, MISSING_INTEGER).astype(
            np.int32
        ),
    }


def _course(rng: np.random.Generator, sent: Array, end: int) -> _Course:
    """Draws when each message is delivered, opened, clicked and answered, up to minute `end`."""
    size = len(sent)
    outcome = pick(rng, OUTCOME_SHARES, size)
    delivered = sent + rng.integers(1, 30, size)
    opened = delivered + rng.integers(20, 2 * 1440, size)
    clicked = opened + rng.integers(1, 30, size)
    responded = clicked + rng.integers(10, 1440, size)
    return _Course(
        outcome=outcome,
        delivered=delivered,
        opened=opened,
        clicked=clicked,
        responded=responded,
        has_opened=(outcome != IGNORED) & (opened < end),
        has_clicked=(outcome == ANSWERED) & (clicked < end),
        has_responded=(outcome == ANSWERED) & (responded < end),
    )


def _sessions_around(
    timetable: Timetable, tutors: int, days: int, tutor: Array, day: Array
) -> tuple[Array, Array]:
    """Returns how many sessions a tutor had in the days before and after a day."""
    held = np.zeros((tutors, days + 1), dtype=np.int64)
    rows = (timetable.day < days) & ~timetable.given_up
    np.add.at(held, (timetable.tutor[rows], timetable.day[rows] + 1), 1)
    held = np.cumsum(held, axis=1)
    earlier, later = np.maximum(day - BEFORE_AFTER_DAYS, 0), day + BEFORE_AFTER_DAYS
    before = held[tutor, day] - held[tutor, earlier]
    after = held[tutor, np.minimum(later, days)] - held[tutor, day]
    return before, after


def _experiments_of(
    parameters: Parameters,
    people: People,
    tutor: Array,
    kind: Array,
    sent: Array,
    assignments: Columns | None,
) -> tuple[Array, Array]:
    """Returns the experiment and variant of each intervention, b"" where it has none."""
    names = list(INTERVENTIONS)
    experiment_of = {names.index(row[4]): row[0].encode() for row in EXPERIMENTS}
    arms: dict[tuple[bytes, bytes], tuple[bytes, Any]] = {}
    if assignments is not None:
        for row in range(row_count(assignments)):
            key = assignments["experiment_id"][row], assignments["tutor_id"][row]
            arms[key] = assignments["variant"][row], assignments["assigned_at"][row]
    sent_at = _moment(parameters, sent)
    found = []
    for place, who in enumerate(people.tutor_ids[tutor]):
        experiment = experiment_of[int(kind[place])]
        variant, since = arms.get((experiment, who), (b"", sent_at[place]))
        part = variant and since <= sent_at[place]
        found.append((experiment, variant) if part else (b"", b""))
    return (
        np.array([experiment for experiment, _ in found], dtype="S8"),
        np.array([variant for _, variant in found], dtype="S16"),
    )


def _presence(parameters: Parameters, traits: Traits, hidden: HiddenDays) -> tuple[Array, Array]:
    """Returns per tutor the first day on the platform, and the day after the last one."""
    first = np.clip(joined_on(traits.months, parameters.days), 0, parameters.days - 1)
    return first, np.clip(hidden.left_on, first, parameters.days)


def _moment(parameters: Parameters, minute: Array) -> Array:
    """Returns timestamps from minutes since the start of the window."""
    origin = np.datetime64(parameters.end) - np.timedelta64(parameters.days - 1, "D")
    return (origin + minute.astype("m8[m]")).astype("M8[us]")
