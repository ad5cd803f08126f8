"""How well a tutor or a student is doing: health_v1 and student_health_v1.

Belongs here: the weighted parts of `health.yml`, and what is made of them; what is usual on the
platform, as far as health needs it. Of the metrics only ratios are taken, none is computed anew.
The formulas in full: docs/health.md.
Does not belong here: what follows from health (`segments`, `recommendations`).

What is usual is fitted by full refreshes and stored; whoever scores some tutors reads it. So a
tutor's health does not depend on who else is scored.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import yaml

from tutor_pipeline.judgement.scores.score import (
    Level,
    Reason,
    Row,
    Score,
    Status,
    Target,
    input_hash,
    most_telling_first,
    number,
)
from tutor_pipeline.judgement.scores.segments import (
    AT_RISK_BURNOUT,
    CHURNING_BURNOUT,
    StudentSegment,
)

TUTOR_SCORER = "health_v1"
STUDENT_SCORER = "student_health_v1"
VERSION = "2"
STUDENT_VERSION = "2"

Values = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that is weighed: it counts from 0 at `zero` to 1 at `full`.

    A value with `n` observations is drawn towards `usual` as if `prior` usual ones were among
    them. `common`: what compares a tutor's now with before is less what all tutors changed by, as
    a `ratio` or as a `difference`. `shown` is the format of the value.
    """

    code: str
    name: str
    metric: str
    weight: float
    zero: float
    full: float
    usual: float
    n: str | None
    prior: float
    common: str | None
    shown: str
    unknown: Reason

    def share(self, value: float, n: float | None) -> float:
        """How much of the part counts, 0 to 1."""
        if n is not None:
            value = (n * value + self.prior * self.usual) / (n + self.prior)
        return min(max((value - self.zero) / (self.full - self.zero), 0.0), 1.0)

    def own(self, value: float | None, common: float | None) -> float | None:
        """What of a change is the tutor's own, where all changed by `common` (None: that is not
        known). None where all stopped: then nobody's stopping says anything.
        """
        if value is None or self.common is None or common is None:
            return value
        if self.common == _DIFFERENCE:
            return value - common
        return value / common if common > 0 else None

    def observations(self, n: float | None, common: float | None) -> float | None:
        """Of `n`, as many as tell: where all taught half as much, a ratio rests on half."""
        if n is None or common is None or self.common != _RATIO:
            return n
        return n * min(common, 1.0)

    def usually(self, common: float | None) -> float:
        """What nothing speaks against, where all changed by `common`."""
        if self.common is None or common is None:
            return self.usual
        return self.usual + common if self.common == _DIFFERENCE else self.usual * common


_RATIO, _DIFFERENCE = "ratio", "difference"


def _not_known(code: str, part: Mapping[str, Any]) -> Reason:
    label = f"{part['name']}: not known, its weight is shared out"
    return Reason(code, label, None, part["usual"], None, 0.0)


def _parts(section: Mapping[str, Any]) -> tuple[Part, ...]:
    parts = {
        code: {"usual": given["zero"], "n": None, "prior": 0, "common": None, **given}
        for code, given in section["parts"].items()
    }
    return tuple(
        Part(code=code, unknown=_not_known(code, part), **part) for code, part in parts.items()
    )


_PARAMETERS = yaml.safe_load((Path(__file__).parent / "health.yml").read_text(encoding="utf-8"))
MINIMUM: Mapping[str, float] = _PARAMETERS["minimum"]
STAR: Mapping[str, float] = _PARAMETERS["star"]
BURNOUT_SCALE: float = _PARAMETERS["burnout"]["scale"]
BURNOUT_DAYS = (14, 30)
BURNOUT = _parts(_PARAMETERS["burnout"])
HEALTH = _parts(_PARAMETERS["health"])
FIRST_SESSIONS = _parts(_PARAMETERS["first_session_success"])
STUDENT_HEALTH = _parts(_PARAMETERS["student_health"])

ACTIVITY_RATIO = "activity_ratio"
OFFERED_HOURS_RATIO = "offered_hours_ratio"
CHURN_SCORE = "churn_score"

_COMMON: Mapping[str, str] = {
    part.metric: part.common for part in (*BURNOUT, *HEALTH) if part.common is not None
}
"""What compares now with before, by metric."""
_PACE = next(part for part in BURNOUT if part.metric == ACTIVITY_RATIO)
_FEW = 10.0  # tutors that have not changed, as if they were among those of a platform


def _reads(parts: Iterable[Part], besides: Iterable[str], given: Iterable[str]) -> tuple[str, ...]:
    names = {*besides, *(part.metric for part in parts), *(part.n for part in parts if part.n)}
    return tuple(sorted(names - set(given)))


READS = _reads(
    (*BURNOUT, *HEALTH, *FIRST_SESSIONS),
    (
        "available_hours_next_week",
        "available_hours_this_week",
        "first_session_count_90d",
        "sessions_60d",
        "sessions_90d",
        "sessions_completed_14d",
        "sessions_completed_30d",
        "sessions_taught_14d",
        "sessions_taught_30d",
    ),
    (ACTIVITY_RATIO, OFFERED_HOURS_RATIO),
)
"""Numeric columns of tutor_features and tutor_aggregates that `assess` reads, beside tutor_id."""

STUDENT_READS = _reads(
    STUDENT_HEALTH,
    ("is_churn_inferred", "sessions_completed_all", "status", "usual_gap_days"),
    (CHURN_SCORE,),
)
"""Columns of student_aggregates that `assess_students` reads, beside student_id."""

_TOLD_OF_STUDENTS = ("is_churn_inferred", "status")


@dataclass(frozen=True, slots=True)
class Usual:
    """What is usual on the platform. `common`: by how much all tutors changed, by metric, as far as
    that is known. `hours` and `sessions`: the medians of the hours offered this week and of the
    sessions completed in 30 days; None where nobody's are known. `version` names the scores made
    with it.
    """

    common: Mapping[str, float]
    hours: float | None
    sessions: float | None
    version: str = VERSION

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back, but for the version."""
        return {"common": dict(self.common), "hours": self.hours, "sessions": self.sessions}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], reference: int) -> Usual:
        """What `to_json` gave, stored as this version of the reference."""
        return cls(**stored, version=f"{VERSION}.{reference}")


NOTHING_USUAL = Usual({}, None, None)
"""Where nothing of the platform is known: everybody is held against the own past alone."""


@dataclass(frozen=True, slots=True)
class TutorHealth:
    """The five outputs of one tutor; None where too little is known. `values` are the numbers
    that they come from, by name: the columns read, and the ratios made of them. `known`: the share
    of the health's weight that is known.
    """

    tutor_id: str
    health_score: float | None  # 0 to 100
    burnout_risk_14d: float | None  # 0 to 1, never above that of 30 days
    burnout_risk_30d: float | None  # 0 to 1
    session_velocity: float | None  # sessions a week
    first_session_success: float | None  # 0 to 1
    known: float
    values: Values
    scores: tuple[Score, ...]


@dataclass(frozen=True, slots=True)
class StudentHealth:
    """The health of one student (0 to 100; None where too little is known or the student has left,
    or is taken to have left), the status that the platform tells, whether it is inferred that the
    student left, and the numbers behind.
    """

    student_id: str
    health_score: float | None
    status: str | None
    is_churn_inferred: bool
    values: Values
    scores: tuple[Score, ...]


def fit(rows: Iterable[Row]) -> Usual:
    """What is usual among all tutors of the platform; rows have `READS`, their order decides
    nothing.

    By how much all changed is the median over those who are judged and not long silent, drawn
    towards no change as if ten tutors who had not changed were among them.
    """
    every = [_values(row) for row in rows]
    there = [
        values
        for values in every
        if (values["sessions_90d"] or 0) >= MINIMUM["sessions_90d"]
        and (days := values["days_since_last_session"]) is not None
        and days <= MINIMUM["days_since_last_session"]
    ]
    changed = {name: _median(there, name) for name in sorted(_COMMON)}
    return Usual(
        {
            name: _drawn(found, sum(values[name] is not None for values in there), _COMMON[name])
            for name, found in changed.items()
            if found is not None
        },
        _median(every, "available_hours_this_week"),
        _median(there, "sessions_completed_30d"),
    )


def _median(rows: Iterable[Values], name: str) -> float | None:
    known = [value for values in rows if (value := values[name]) is not None]
    return round(median(known), 9) if known else None


def _drawn(change: float, n: int, as_a: str) -> float:
    weight = n / (n + _FEW)
    return round(change * weight if as_a == _DIFFERENCE else max(change, 0.0) ** weight, 9)


def assess(rows: Iterable[Row], usual: Usual) -> list[TutorHealth]:
    """The health of each tutor, in the order of the rows; rows have tutor_id and `READS`."""
    return [_tutor(row, usual) for row in rows]


def star_evidence(tutor: TutorHealth, usual: Usual, risk: Level | None) -> float | None:
    """How far there is what a star has to rest on: from 1 on, all of it. None where some of it can
    not be known, or the forecast of departures (`risk`; None: too little is known to tell) is not
    Low.

    Enough of the health is known, from enough sessions, and the tutor offers at least as many
    hours this week as half of the others. Where nobody's hours are known, the health is clearly
    beyond a star's, the own pace has not fallen, and the tutor taught at least as much in 30 days
    as half of the others.
    """
    if risk is not Level.LOW:
        return None
    values = tutor.values
    asked: list[tuple[float | None, float | None]] = [
        (tutor.known, STAR["known_weight"]),
        (values["sessions_90d"], STAR["sessions_90d"]),
    ]
    if usual.hours is not None:
        asked.append((values["available_hours_this_week"], usual.hours))
    else:
        pace = _PACE.own(values[ACTIVITY_RATIO], usual.common.get(ACTIVITY_RATIO))
        asked += [
            (tutor.health_score, STAR["health_score"]),
            (pace, STAR["pace"]),
            (values["sessions_completed_30d"], usual.sessions),
        ]
    shares = [_share_of(value, needed) for value, needed in asked]
    known = [share for share in shares if share is not None]
    return min(known) if len(known) == len(shares) else None


def assess_students(
    rows: Iterable[Row], churn_scores: Mapping[str, float | None]
) -> list[StudentHealth]:
    """The health of each student, in the order of the rows; rows have student_id and
    `STUDENT_READS`. `churn_scores` are those of weighted_v1 by student.
    """
    return [_student(row, churn_scores.get(str(row["student_id"]))) for row in rows]


class _Known(NamedTuple):
    """A part whose value is known, and what it adds to the weighted sum."""

    part: Part
    value: float
    common: float | None
    n: float | None
    adds: float

    def reason(self, factor: float, whole: float | None = None) -> Reason:
        """Why the score is `factor` times the weighted sum; `whole`: the points to be had."""
        part, value, common, n, adds = self
        contribution = round(adds * factor, 6)
        label = f"{part.name}: {value:{part.shown}}"
        if part.common is not None and common is not None:
            label += f", of all tutors {common:{part.shown}}"
        if whole is not None:
            label += f" ({contribution:.0f} of {whole:.0f} points)"
        usual = round(part.usually(common), 9)
        return Reason(part.code, label, value, usual, None if n is None else int(n), contribution)


class _Weighed(NamedTuple):
    """The parts that are known with their weight, and their weighted mean (0 to 1)."""

    mean: float
    weight: float
    known: list[_Known]
    unknown: list[Reason]

    def reasons(self, total: float) -> tuple[Reason, ...]:
        """Why the score is `total`: what the parts that count add to it, and what is unknown."""
        factor = total / (self.mean * self.weight) if self.mean else 0.0
        counted = [each.reason(factor) for each in self.known if each.adds > 0]
        return most_telling_first(counted + self.unknown)

    def points(self) -> tuple[Reason, ...]:
        """Why the health is 100 x mean: the points of every part, also none, and what is
        unknown.
        """
        factor = 100 / self.weight
        counted = [each.reason(factor, each.part.weight * factor) for each in self.known]
        return most_telling_first(counted + self.unknown)


def _weigh(
    parts: Iterable[Part], values: Values, common: Mapping[str, float] | None = None
) -> _Weighed:
    """The parts of somebody, where all tutors changed by `common`, by metric."""
    known = []
    unknown = []
    weight = total = 0.0
    for part in parts:
        value = values[part.metric]
        all_by = None if common is None else common.get(part.metric)
        own = part.own(value, all_by)
        if value is None or own is None:
            unknown.append(part.unknown)
            continue
        n = None if part.n is None else values[part.n] or 0.0
        adds = part.weight * part.share(own, part.observations(n, all_by))
        known.append(_Known(part, value, all_by, n, adds))
        weight += part.weight
        total += adds
    return _Weighed(total / weight if weight else 0.0, round(weight, 9), known, unknown)


def _values(row: Row) -> dict[str, float | None]:
    """The columns read of a tutor, and the ratios made of them."""
    read = {name: number(row, name) for name in READS}
    return {
        **read,
        ACTIVITY_RATIO: _activity_ratio(read),
        OFFERED_HOURS_RATIO: _ratio(
            read["available_hours_next_week"], read["available_hours_this_week"]
        ),
    }


def _tutor(row: Row, usual: Usual) -> TutorHealth:
    tutor_id = str(row["tutor_id"])
    values = _values(row)
    common = {f"common {name}": usual.common.get(name) for name in _COMMON}
    made_from = input_hash(TUTOR_SCORER, usual.version, {**values, **common})

    def score(
        target: Target,
        horizon_days: int,
        found: tuple[float | None, tuple[Reason, ...]],
        level: Level | None = None,
    ) -> Score:
        value, reasons = found
        return Score(
            tutor_id,
            TUTOR_SCORER,
            usual.version,
            target,
            horizon_days,
            value,
            is_probability=False,
            level=level,
            reasons=reasons,
            status=_status(value),
            input_hash=made_from,
        )

    taught = _at_least("sessions_90d", "sessions in 90 days", values)
    burnout = _burnout(values, taught, usual.common)
    velocity = _velocity(values)
    first = _first_session_success(values)
    weighed = _weigh(HEALTH, values, usual.common)
    health = _health(weighed, taught)
    scores = (
        *(
            score(Target.TUTOR_BURNOUT, days, found, _burnout_level(found[0]))
            for days, found in burnout.items()
        ),
        score(Target.SESSION_VELOCITY, 7, velocity),
        score(Target.FIRST_SESSION_SUCCESS, 30, first),
        score(Target.HEALTH, 0, health),
    )
    return TutorHealth(
        tutor_id,
        health_score=health[0],
        burnout_risk_14d=burnout[14][0],
        burnout_risk_30d=burnout[30][0],
        session_velocity=velocity[0],
        first_session_success=first[0],
        known=weighed.weight,
        values=values,
        scores=scores,
    )


def _student(row: Row, churn_score: float | None) -> StudentHealth:
    student_id = str(row["student_id"])
    status = None if row["status"] is None else str(row["status"])
    is_inferred = bool(row["is_churn_inferred"])
    values = {name: number(row, name) for name in STUDENT_READS if name not in _TOLD_OF_STUDENTS}
    values[CHURN_SCORE] = None if churn_score is None else round(churn_score, 9)
    made_from = input_hash(
        STUDENT_SCORER,
        STUDENT_VERSION,
        {**values, "status": status, "is_churn_inferred": is_inferred},
    )
    value: float | None
    reasons: tuple[Reason, ...]
    if status == StudentSegment.CHURNED:
        value, reasons = None, (_unknown("churned", "The student has left"),)
    elif is_inferred:
        value, reasons = None, (_silence(values),)
    else:
        seen = _at_least("sessions_completed_all", "sessions completed", values, "student_sessions")
        value, reasons = _health(_weigh(STUDENT_HEALTH, values), seen)
    score = Score(
        student_id,
        STUDENT_SCORER,
        STUDENT_VERSION,
        Target.HEALTH,
        0,
        value,
        is_probability=False,
        level=None,
        reasons=reasons,
        status=_status(value),
        input_hash=made_from,
    )
    return StudentHealth(student_id, value, status, is_inferred, values, (score,))


def _silence(values: Values) -> Reason:
    days, gap = values["days_since_last_session"], values["usual_gap_days"]
    label = f"Taken to have left: no session for {days:.0f} days, one every {gap:.0f} is usual"
    return Reason("churn_inferred", label, days, gap, None, 0.0)


def _status(value: float | None) -> Status:
    return Status.INSUFFICIENT_DATA if value is None else Status.OK


_Found = tuple[float | None, tuple[Reason, ...]]


def _burnout(
    values: Values, too_few: Reason | None, common: Mapping[str, float]
) -> dict[int, _Found]:
    """Burnout by days ahead: what builds up over 30 days builds up by a part of it in 14."""
    if too_few is not None:
        return dict.fromkeys(BURNOUT_DAYS, (None, (too_few,)))
    weighed = _weigh(BURNOUT, values, common)
    if weighed.weight < MINIMUM["known_weight"]:
        return dict.fromkeys(BURNOUT_DAYS, (None, _too_little_known(weighed)))
    found: dict[int, _Found] = {}
    for days in BURNOUT_DAYS:
        risk = round(-math.expm1(-BURNOUT_SCALE * weighed.mean * days / BURNOUT_DAYS[-1]), 6)
        found[days] = risk, weighed.reasons(risk)
    return found


def _burnout_level(risk: float | None) -> Level | None:
    """The level whose boundary is the segment's, so that both say the same."""
    if risk is None:
        return None
    if CHURNING_BURNOUT.is_above(risk):
        return Level.HIGH
    return Level.MEDIUM if AT_RISK_BURNOUT.is_above(risk) else Level.LOW


def _velocity(values: Values) -> _Found:
    """Sessions a week: the mean of the paces of 14 and of 30 days."""
    found = []
    for days in (14, 30):
        completed = values[f"sessions_completed_{days}d"]
        if completed is None:
            return None, (_unknown("sessions", "Sessions: not known"),)
        pace = completed * 7 / days
        label = f"{pace:.1f} sessions a week in the last {days} days"
        found.append(
            Reason(f"pace_{days}d", label, round(pace, 6), None, int(completed), round(pace / 2, 6))
        )
    return round(sum(reason.contribution for reason in found), 6), most_telling_first(found)


def _first_session_success(values: Values) -> _Found:
    too_few = _at_least(
        "first_session_count_90d", "first sessions in 90 days", values, "first_sessions"
    )
    if too_few is not None:
        return None, (too_few,)
    weighed = _weigh(FIRST_SESSIONS, values)
    if weighed.weight < MINIMUM["known_weight"]:
        return None, _too_little_known(weighed)
    success = round(weighed.mean, 6)
    return success, weighed.reasons(success)


def _health(weighed: _Weighed, too_few: Reason | None) -> _Found:
    if too_few is not None:
        return None, (too_few,)
    if weighed.weight < MINIMUM["known_weight"]:
        return None, _too_little_known(weighed)
    return round(100 * weighed.mean, 6), weighed.points()


def _at_least(name: str, words: str, values: Values, minimum: str | None = None) -> Reason | None:
    """Why nothing can be said, where the count is under its minimum."""
    needed = MINIMUM[minimum or name]
    seen = values[name]
    if seen is not None and seen >= needed:
        return None
    label = f"Too little to tell: {seen or 0:.0f} {words}, {needed:.0f} are needed"
    return Reason("too_few", label, seen, float(needed), None if seen is None else int(seen), 0.0)


def _too_little_known(weighed: _Weighed) -> tuple[Reason, ...]:
    needed = MINIMUM["known_weight"]
    label = f"Too little to tell: {weighed.weight:.0%} is known, {needed:.0%} are needed"
    reason = Reason("too_little_known", label, weighed.weight, needed, None, 0.0)
    return (reason, *most_telling_first(weighed.unknown))


def _unknown(code: str, label: str) -> Reason:
    return Reason(code, label, None, None, None, 0.0)


def _activity_ratio(values: Values) -> float | None:
    """Sessions a day of the last 14 days against those before, up to day 90; None with none before.

    Before a tutor's first session there was nothing to slow down from: what lies before the oldest
    window that holds a session does not count.
    """
    windows = [
        (14, values["sessions_taught_14d"]),
        (30, values["sessions_taught_30d"]),
        (60, values["sessions_60d"]),
        (90, values["sessions_90d"]),
    ]
    recent = windows[0][1]
    reached, seen = 14, recent
    for days, sessions in windows[1:]:
        if sessions is not None and seen is not None and sessions > seen:
            reached, seen = days, sessions
    if recent is None or seen is None:
        return None
    return _ratio(recent * (reached - 14), (seen - recent) * 14)


def _share_of(value: float | None, needed: float | None) -> float | None:
    """How much of what is needed there is; of nothing, all."""
    if value is None or needed is None:
        return None
    return round(value / needed, 9) if needed > 0 else 1.0


def _ratio(value: float | None, to: float | None) -> float | None:
    return None if value is None or to is None or to <= 0 else round(value / to, 9)
