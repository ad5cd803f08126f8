"""Runs the stages in order: traits, hidden state, sessions, profiles, observations, outreach.

Belongs here: which stage feeds which, and the tables of the truth.
Does not belong here: what a stage does.
"""

from __future__ import annotations

import numpy as np

from tutor_pipeline.sources.synthetic import outreach
from tutor_pipeline.sources.synthetic.burnout import (
    AT_RISK,
    LEAVE_CAUSES,
    STAYED,
    HiddenDays,
    joined_on,
    live_through,
)
from tutor_pipeline.sources.synthetic.observations import observe
from tutor_pipeline.sources.synthetic.parameters import Parameters
from tutor_pipeline.sources.synthetic.personas import PATTERNS, PERSONAS, Traits, draw_traits
from tutor_pipeline.sources.synthetic.population import Columns, Population, blank, flags, text
from tutor_pipeline.sources.synthetic.profiles import People, keep_records, meet_people
from tutor_pipeline.sources.synthetic.replacements import Replacements
from tutor_pipeline.sources.synthetic.sessions import Pairs, Timetable, hold_sessions
from tutor_pipeline.sources.synthetic.students import CAUSES, NOT_LEFT, Students


def generate(parameters: Parameters) -> Population:
    """Returns the population of `parameters`. Pure: the same arguments give the same bytes."""
    world = parameters.knobs
    traits = draw_traits(parameters.seed, parameters.tutors, world)
    hidden = live_through(parameters.seed, traits, parameters.days, world)
    timetable, pairs, students, replacements = hold_sessions(parameters, traits, hidden)
    people = meet_people(parameters, traits, pairs, students)
    platform, moments, latents = observe(parameters, traits, hidden, timetable, people)

    logins = outreach.log_in(parameters, traits, hidden, timetable)
    last_login = outreach.last_logins(parameters, parameters.tutors, logins)
    platform |= keep_records(
        parameters, traits, hidden, timetable, pairs, students, people, last_login
    )
    truth = _truth(parameters, traits, hidden, timetable, pairs, students, replacements, people)

    assignments = interventions = None
    if parameters.experiments:
        tables, effects = outreach.experiments(parameters, traits, hidden, people)
        platform |= tables
        truth["experiment_effects"] = effects
        assignments = tables["experiment_assignments"]
    if parameters.interventions:
        interventions = outreach.intervene(
            parameters, traits, hidden, timetable, people, latents, assignments
        )
        platform["interventions"] = interventions
    if parameters.engagement_events:
        platform["engagement_events"] = outreach.engagement_events(
            parameters, traits, hidden, timetable, people, moments, logins, interventions
        )
    for table in platform.keys() & world.unrecorded:
        platform[table] = {name: values[:0] for name, values in platform[table].items()}
    return Population(parameters, platform, truth)


def _truth(
    parameters: Parameters,
    traits: Traits,
    hidden: HiddenDays,
    timetable: Timetable,
    pairs: Pairs,
    students: Students,
    replacements: Replacements,
    people: People,
) -> dict[str, Columns]:
    """Returns the tables that no model, rule or scorer may read."""
    origin = np.datetime64(parameters.end) - np.timedelta64(parameters.days - 1, "D")
    planted = np.flatnonzero(traits.pattern >= 0)
    return {
        "tutors": _true_tutors(traits, hidden, people, origin),
        "tutor_days": _true_tutor_days(parameters, traits, hidden, people, origin),
        "students": _true_students(students, people, origin),
        "planted_patterns": {
            "tutor_id": people.tutor_ids[planted],
            "pattern": text([pattern.name for pattern in PATTERNS])[traits.pattern[planted]],
        },
        "tutor_replacements": _true_replacements(timetable, pairs, replacements, people, origin),
    }


def _true_tutors(
    traits: Traits, hidden: HiddenDays, people: People, origin: np.datetime64
) -> Columns:
    stayed = hidden.left_on == STAYED
    left_on = origin + np.where(stayed, 0, hidden.left_on).astype("m8[D]")
    return {
        "tutor_id": people.tutor_ids,
        "persona": text([persona.name for persona in PERSONAS])[traits.persona],
        "teaching_quality": np.round(traits.rating, 4),
        "reliability": np.round(traits.reliability, 4),
        "reschedule_propensity": np.round(traits.reschedules, 4),
        "no_show_propensity": np.round(traits.no_shows, 4),
        "risk": np.round(traits.risk, 4),
        "left_on": blank(left_on, stayed),
        "leave_cause": blank(text(LEAVE_CAUSES)[hidden.cause], stayed),
    }


def _true_tutor_days(
    parameters: Parameters,
    traits: Traits,
    hidden: HiddenDays,
    people: People,
    origin: np.datetime64,
) -> Columns:
    """Returns a row per tutor and day on the platform."""
    days, joined = np.arange(parameters.days), joined_on(traits.months, parameters.days)
    tutor, day = np.nonzero((days >= joined[:, None]) & (days < hidden.left_on[:, None]))
    burnout = np.round(hidden.burnout[tutor, day], 4)
    return {
        "tutor_id": people.tutor_ids[tutor],
        "day": origin + day.astype("m8[D]"),
        "burnout": burnout,
        "is_at_risk": flags(burnout >= AT_RISK),
    }


def _true_students(students: Students, people: People, origin: np.datetime64) -> Columns:
    remained = students.cause == NOT_LEFT
    return {
        "student_id": people.student_ids,
        "left_on": blank(origin + students.left_on.astype("m8[D]"), remained),
        "leave_cause": blank(text(CAUSES)[students.cause], remained),
        "price_sensitivity": np.round(students.bargain, 4),
        "scheduling_trouble": np.round(students.trouble, 4),
        "regard": np.round(students.regard, 4),
    }


def _true_replacements(
    timetable: Timetable,
    pairs: Pairs,
    replacements: Replacements,
    people: People,
    origin: np.datetime64,
) -> Columns:
    entered = replacements.new_pair
    first_row = np.full(len(pairs.tutor), len(timetable.pair))
    np.minimum.at(first_row, timetable.pair, np.arange(len(timetable.pair)))
    return {
        "student_id": people.student_ids[pairs.student[entered]],
        "from_tutor_id": people.tutor_ids[pairs.tutor[replacements.old_pair]],
        "to_tutor_id": people.tutor_ids[pairs.tutor[entered]],
        "replaced_on": origin + timetable.day[first_row[entered]].astype("m8[D]"),
        "is_after_no_show": flags(replacements.after_no_show),
    }
