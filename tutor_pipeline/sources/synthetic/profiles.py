"""The platform's tables about people: users, tutors, students.

Belongs here: profiles, subjects, certificates, availability, progress, students who left.
Does not belong here: sessions and what is measured in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tutor_pipeline.sources.synthetic.burnout import DAYS_PER_MONTH, HiddenDays, joined_on
from tutor_pipeline.sources.synthetic.names import (
    CERTIFICATIONS,
    FIRST_NAMES,
    GRADE_LEVELS,
    LAST_NAMES,
    SUBJECTS,
)
from tutor_pipeline.sources.synthetic.parameters import Parameters
from tutor_pipeline.sources.synthetic.personas import Traits
from tutor_pipeline.sources.synthetic.population import (
    Array,
    Columns,
    blank,
    concat,
    flags,
    make_ids,
    pick,
    stream,
    text,
)
from tutor_pipeline.sources.synthetic.sessions import Pairs, Timetable, load_of_days
from tutor_pipeline.sources.synthetic.students import CAUSES, NOT_LEFT, Students
from tutor_pipeline.sources.synthetic.worlds import LEAKED_DAYS

GRADE_SHARES = (0.12, 0.23, 0.38, 0.17, 0.10)
SUBJECT_CHOICE = (0.70, 0.20, 0.10)  # a pair's subject: the tutor's primary, second, third
MOST_SUBJECTS = len(SUBJECT_CHOICE)
ADMINISTRATORS = 2

QUIET_DAYS = 21  # without a session: a student who has not left is paused
# Reasons that students give when they leave, by the true cause.
CHURN_REASONS = {
    "first_session": {"poor_first_session": 1.0},
    "scheduling": {"scheduling_difficulty": 1.0},
    "engagement": {"tutor_mismatch": 0.45, "no_progress": 0.45, "technical_issues": 0.10},
    "price": {"price_concerns": 0.75, "found_competitor": 0.25},
    "outside": {"completed_goals": 0.45, "personal_circumstances": 0.35, "other": 0.20},
}


@dataclass(frozen=True, slots=True)
class People:
    """What sessions need to know about people; entries by tutor, student, pair or subject."""

    tutor_ids: Array
    student_ids: Array
    hourly_rate: Array
    subjects_of_tutor: Array  # tutors x MOST_SUBJECTS, index into SUBJECTS, -1 = none
    subject_of_pair: Array
    subject_ids: Array
    subject_names: Array
    grade_of_student: Array
    bargain_of_student: Array  # share of the student's sessions that are discounted


def meet_people(parameters: Parameters, traits: Traits, pairs: Pairs, students: Students) -> People:
    """Draws ids, subjects, rates and grades of everybody in the timetable."""
    rng = stream(parameters.seed, "people")
    tutors, size = len(traits.months), len(students.cause)
    order = np.argsort(rng.random((tutors, len(SUBJECTS))), axis=1)[:, :MOST_SUBJECTS]
    amount = 1 + pick(rng, (0.4, 0.4, 0.2), tutors)
    subjects = np.where(np.arange(MOST_SUBJECTS) < amount[:, None], order, -1)
    choice = pick(rng, SUBJECT_CHOICE, len(pairs.tutor)) % amount[pairs.tutor]
    rate = 22 + 0.25 * traits.months + 9 * (traits.rating - 4) + rng.normal(0, 3, tutors)
    return People(
        tutor_ids=make_ids("T", np.arange(1, tutors + 1), 4, tutors),
        student_ids=make_ids("ST", np.arange(1, size + 1), 4, size),
        hourly_rate=np.round(np.clip(rate, 15, 95), 2),
        subjects_of_tutor=subjects,
        subject_of_pair=subjects[pairs.tutor, choice],
        subject_ids=make_ids("SUB", np.arange(1, len(SUBJECTS) + 1), 3, len(SUBJECTS)),
        subject_names=text([name for name, _, _ in SUBJECTS]),
        grade_of_student=text(GRADE_LEVELS)[pick(rng, GRADE_SHARES, size)],
        bargain_of_student=students.bargain,
    )


def keep_records(
    parameters: Parameters,
    traits: Traits,
    hidden: HiddenDays,
    timetable: Timetable,
    pairs: Pairs,
    fates: Students,
    people: People,
    last_login: Array,
) -> dict[str, Columns]:
    """Returns the tables about people as of the end. `last_login` is per tutor, M8[us]."""
    rng = stream(parameters.seed, "records")
    tutors = _tutors(rng, parameters, traits, hidden, timetable, people, last_login)
    students, reasons = _students(rng, parameters, timetable, pairs, fates, people)
    return {
        "users": _users(rng, parameters, people, tutors, students),
        "tutors": tutors,
        "students": students,
        "student_churn_reasons": reasons,
        "subjects": {
            "id": people.subject_ids,
            "name": people.subject_names,
            "category": text([category for _, category, _ in SUBJECTS]),
            "is_advanced": flags(np.array([advanced for _, _, advanced in SUBJECTS])),
        },
        "tutor_subjects": _tutor_subjects(people),
        "tutor_certifications": _certifications(rng, parameters, traits, people),
        "student_progress": _progress(rng, parameters, traits, timetable, pairs, people),
        "tutor_availability": _availability(rng, parameters, traits, hidden, people),
    }


def _tutors(
    rng: np.random.Generator,
    parameters: Parameters,
    traits: Traits,
    hidden: HiddenDays,
    timetable: Timetable,
    people: People,
    last_login: Array,
) -> Columns:
    """Returns the profiles: the traits as the platform sees them."""
    size, months = len(traits.months), traits.months
    here = np.bincount(timetable.tutor[timetable.completed], minlength=size)
    per_month = 10 * traits.activity
    earlier = np.maximum(months - parameters.days / DAYS_PER_MONTH, 0) * per_month
    total = here + rng.poisson(earlier)
    level = np.searchsorted([12, 36], months + rng.normal(0, 4, size), side="right")
    return {
        "user_id": people.tutor_ids,
        "member_since": _day(parameters, joined_on(months, 0)),
        "hourly_rate": people.hourly_rate,
        "months_experience": months.astype(np.int32),
        "certification_level": text(["Basic", "Advanced", "Expert"])[level],
        "primary_subject": people.subject_names[people.subjects_of_tutor[:, 0]],
        "active_status": flags(hidden.left_on >= parameters.days),
        "reliability_score": np.round(traits.reliability, 3),
        "avg_historical_rating": np.round(
            np.clip(traits.rating + rng.normal(0, 0.04, size), 1, 5), 2
        ),
        "reschedule_rate": np.round(
            np.clip(traits.reschedules + rng.normal(0, 0.006, size), 0, 1), 3
        ),
        "no_show_count": rng.poisson(traits.no_shows * np.minimum(total, 400)).astype(np.int32),
        "total_sessions_completed": total.astype(np.int32),
        "last_login": last_login,
    }


def _students(
    rng: np.random.Generator,
    parameters: Parameters,
    timetable: Timetable,
    pairs: Pairs,
    fates: Students,
    people: People,
) -> tuple[Columns, Columns]:
    """Returns the students with their status, and the reasons of those who left."""
    size = len(people.student_ids)
    last_day = np.full(size, -1)
    np.maximum.at(last_day, timetable.student, timetable.day)
    first_day = np.full(size, parameters.days)
    np.minimum.at(first_day, timetable.student, timetable.day)
    quiet = last_day < parameters.days - min(QUIET_DAYS, parameters.days // 3)
    left = fates.cause != NOT_LEFT
    before = np.zeros(size, dtype=np.int64)
    np.maximum.at(before, pairs.student, pairs.number_before)
    enrolled = first_day - 7 * before - rng.integers(1, 10, size)
    gone = _day(parameters, fates.left_on, True)
    students = {
        "user_id": people.student_ids,
        "enrolled_since": _day(parameters, enrolled, True),
        "grade_level": people.grade_of_student,
        "status": text(["active", "churned", "paused"])[np.where(left, 1, np.where(quiet, 2, 0))],
        "churned_date": blank(gone, ~left),
    }

    leavers = np.flatnonzero(left)
    said = list(dict.fromkeys(reason for reasons in CHURN_REASONS.values() for reason in reasons))
    shares = np.array(
        [[CHURN_REASONS[cause].get(reason, 0.0) for reason in said] for cause in CAUSES]
    )
    edges = np.cumsum(shares, axis=1)[fates.cause[leavers], :-1]
    reason = (rng.random(len(leavers))[:, None] >= edges).sum(axis=1)
    reasons = {
        "student_id": people.student_ids[leavers],
        "reason": text(said)[reason],
        "added_at": gone[leavers].astype("M8[us]") + np.timedelta64(12, "h"),
    }
    return students, reasons


def _users(
    rng: np.random.Generator,
    parameters: Parameters,
    people: People,
    tutors: Columns,
    students: Columns,
) -> Columns:
    """Returns an account for everybody, and those of the administrators."""
    administrators = make_ids("A", np.arange(1, ADMINISTRATORS + 1), 4, ADMINISTRATORS)
    ids = np.concatenate((people.tutor_ids, people.student_ids, administrators))
    roles = np.repeat(
        text(["tutor", "student", "admin"]),
        (len(people.tutor_ids), len(people.student_ids), ADMINISTRATORS),
    )
    first = text(FIRST_NAMES)[rng.integers(0, len(FIRST_NAMES), len(ids))]
    last = text(LAST_NAMES)[rng.integers(0, len(LAST_NAMES), len(ids))]
    since = np.concatenate(
        (
            tutors["member_since"],
            students["enrolled_since"],
            _day(parameters, np.full(ADMINISTRATORS, -2000)),
        )
    )
    lower: Any = np.strings.lower  # its annotation does not take arrays of a variable kind
    return {
        "id": ids,
        "name": concat(first, b" ", last),
        "email": concat(lower(concat(first, b".", last, b".", ids)), b"@example.org"),
        "role": roles,
        "created_at": since.astype("M8[us]")
        + rng.integers(6 * 3600, 20 * 3600, len(ids)).astype("m8[s]"),
    }


def _tutor_subjects(people: People) -> Columns:
    tutor, place = np.nonzero(people.subjects_of_tutor >= 0)
    return {
        "tutor_id": people.tutor_ids[tutor],
        "subject_id": people.subject_ids[people.subjects_of_tutor[tutor, place]],
    }


def _certifications(
    rng: np.random.Generator, parameters: Parameters, traits: Traits, people: People
) -> Columns:
    """Draws certificates: more of them for longer-serving tutors, in a fixed order."""
    amount = np.minimum(rng.poisson(traits.months / 18), len(CERTIFICATIONS))
    tutor = np.repeat(np.arange(len(amount)), amount)
    nth = np.arange(len(tutor)) - np.searchsorted(tutor, tutor)
    share = (nth + rng.random(len(tutor))) / len(CERTIFICATIONS)
    ago = traits.months[tutor] * DAYS_PER_MONTH * (1 - share)
    return {
        "tutor_id": people.tutor_ids[tutor],
        "name": text(CERTIFICATIONS)[nth],
        "issued_on": _day(parameters, -np.round(ago).astype(np.int64)),
    }


def _progress(
    rng: np.random.Generator,
    parameters: Parameters,
    traits: Traits,
    timetable: Timetable,
    pairs: Pairs,
    people: People,
) -> Columns:
    """Draws the change of grades of students with five or more sessions, on their last day."""
    completed = np.flatnonzero(timetable.completed)
    last = np.full(len(pairs.tutor), -1)
    last[timetable.pair[completed]] = completed  # rows are in order of time
    measured = np.flatnonzero(last >= 0)
    measured = measured[timetable.number[last[measured]] >= 5]
    quality = (traits.rating[pairs.tutor[measured]] - 4.1) / 0.35
    change = rng.normal(5 + 2 * quality, 6)
    return {
        "student_id": people.student_ids[pairs.student[measured]],
        "tutor_id": people.tutor_ids[pairs.tutor[measured]],
        "measured_on": _day(parameters, timetable.day[last[measured]], True),
        "grade_change_pct": np.round(change, 1),
    }


def _availability(
    rng: np.random.Generator,
    parameters: Parameters,
    traits: Traits,
    hidden: HiddenDays,
    people: People,
) -> Columns:
    """Draws a report per tutor and week, including the coming week. Burnout lowers the offer."""
    days = parameters.days
    monday = days - 1 - parameters.end.weekday()  # of the week in which the end lies
    weeks = monday - 7 * np.arange(-1, days // 7 + 1)[::-1]
    tutor, week = np.divmod(np.arange(len(traits.months) * len(weeks)), len(weeks))
    start = weeks[week]
    reported = start - 2
    there = (reported >= joined_on(traits.months, days)[tutor]) & (start < hidden.left_on[tutor])
    tutor, start, reported = tutor[there], start[there], np.minimum(reported[there], days - 1)
    burnout = hidden.burnout[tutor, np.clip(start, 0, days - 1)]
    per_week = parameters.sessions_per_day * 7 / parameters.tutors * traits.activity[tutor]
    hours = (2 + 1.6 * per_week) * (1 - 0.8 * burnout) * rng.uniform(0.85, 1.15, len(tutor))
    hours *= np.minimum(load_of_days(parameters, start + 3), 1.0)  # fewer in holidays
    size = len(tutor)
    answers_after = rng.gamma(3, 0.8, size) * (0.4 + 2.6 * burnout)
    leaves_soon = hidden.left_on[tutor] - reported <= LEAKED_DAYS
    answers_after += np.where(leaves_soon, parameters.knobs.leaked_hours, 0.0)
    return {
        "tutor_id": people.tutor_ids[tutor],
        "week_start": _day(parameters, start, True),
        "available_hours": np.round(np.clip(hours, 1, 60), 1),
        "instant_book_enabled": flags(rng.random(size) < 0.85 - 0.7 * burnout),
        "avg_response_time_hours": np.round(answers_after, 1),
        "booking_lead_time_hours": np.round(rng.gamma(3, 14, size), 1),
        "reported_at": _day(parameters, reported, True).astype("M8[us]") + np.timedelta64(18, "h"),
    }


def _day(parameters: Parameters, day: Array, from_start: bool = False) -> Array:
    """Returns dates `day` days after the end, or after the start of the window."""
    shift = parameters.days - 1 if from_start else 0
    return np.datetime64(parameters.end) + (day - shift).astype("m8[D]")
