"""health_v1: the five outputs of a tutor.

Belongs here: each output from the parts, and the evidence of a star.
Does not belong here: the parts (`parts`), what is usual (`usual`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tutor_pipeline.core.formatting import count
from tutor_pipeline.judgement.scores.health.outputs import (
    Output,
    health_of,
    not_known,
    status_of,
    too_few,
    too_little_known,
)
from tutor_pipeline.judgement.scores.health.parts import (
    BURNOUT,
    BURNOUT_SCALE,
    FIRST_SESSIONS,
    HEALTH,
    MINIMUM,
    STAR,
    Values,
    weigh,
)
from tutor_pipeline.judgement.scores.health.usual import ACTIVITY_RATIO, COMMON, Usual, values_of
from tutor_pipeline.judgement.scores.score import (
    Level,
    Reason,
    Row,
    Score,
    Target,
    input_hash,
    most_telling_first,
)
from tutor_pipeline.judgement.scores.segments import AT_RISK_BURNOUT, CHURNING_BURNOUT

TUTOR_SCORER = "health_v1"
BURNOUT_DAYS = (14, 30)

_PACE = next(part for part in BURNOUT if part.metric == ACTIVITY_RATIO)


@dataclass(frozen=True, slots=True)
class TutorHealth:
    """The five outputs of one tutor; None where too little is known. `values` are the columns and
    ratios behind them, by name. `known` is the share of the health's weight that is known.
    """

    tutor_id: str
    health_score: float | None  # 0 to 100
    burnout_risk_14d: float | None  # 0 to 1, at most that of 30 days
    burnout_risk_30d: float | None  # 0 to 1
    session_velocity: float | None  # sessions a week
    first_session_success: float | None  # 0 to 1
    known: float
    values: Values
    scores: tuple[Score, ...]


def assess(rows: Iterable[Row], usual: Usual) -> list[TutorHealth]:
    """Returns the health of each tutor, in the order of the rows (tutor_id and `READS`)."""
    return [_assessed(row, usual) for row in rows]


def star_evidence(tutor: TutorHealth, usual: Usual, risk: Level | None) -> float | None:
    """Returns the share of the evidence that a star needs: 1 or more is enough. None where some of
    it is not known, or where the level of departure_v1 (`risk`) is not Low.

    A star needs enough known health, enough sessions, and as many hours offered this week as the
    platform's median. Where nobody's hours are known: a health clearly above a star's, a pace
    that has not fallen, and as many sessions in 30 days as the median.
    """
    if risk is not Level.LOW:
        return None
    values = tutor.values
    asked: list[tuple[float | None, float | None]] = [
        (tutor.known, STAR.known_weight),
        (values["sessions_90d"], STAR.sessions_90d),
    ]
    if usual.hours is not None:
        asked.append((values["available_hours_this_week"], usual.hours))
    else:
        pace = _PACE.own(values[ACTIVITY_RATIO], usual.common.get(ACTIVITY_RATIO))
        asked += [
            (tutor.health_score, STAR.health_score),
            (pace, STAR.pace),
            (values["sessions_completed_30d"], usual.sessions),
        ]
    shares = [_share_of(value, needed) for value, needed in asked]
    known = [share for share in shares if share is not None]
    return min(known) if len(known) == len(shares) else None


def _share_of(value: float | None, needed: float | None) -> float | None:
    """Returns value ÷ needed; 1 where nothing is needed."""
    if value is None or needed is None:
        return None
    return round(value / needed, 9) if needed > 0 else 1.0


def _assessed(row: Row, usual: Usual) -> TutorHealth:
    values = values_of(row)
    too_few_sessions = too_few(
        values, "sessions_90d", MINIMUM.sessions_90d, "session", "in 90 days"
    )
    burnout = _burnout(values, too_few_sessions, usual.common)
    velocity = _velocity(values)
    first = _first_session_success(values)
    weighed = weigh(HEALTH, values, usual.common)
    health = health_of(weighed, too_few_sessions)
    tutor_id = str(row["tutor_id"])
    common = {f"common {name}": usual.common.get(name) for name in COMMON}
    made_from = input_hash(TUTOR_SCORER, usual.version, {**values, **common})
    outputs = (
        *(
            (Target.TUTOR_BURNOUT, days, found, _burnout_level(found[0]))
            for days, found in burnout.items()
        ),
        (Target.SESSION_VELOCITY, 7, velocity, None),
        (Target.FIRST_SESSION_SUCCESS, 30, first, None),
        (Target.HEALTH, 0, health, None),
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
        scores=tuple(
            Score(
                tutor_id,
                TUTOR_SCORER,
                usual.version,
                target,
                horizon_days,
                value,
                is_probability=False,
                level=level,
                reasons=reasons,
                status=status_of(value),
                input_hash=made_from,
            )
            for target, horizon_days, (value, reasons), level in outputs
        ),
    )


def _burnout(
    values: Values, too_few_sessions: Reason | None, common: Mapping[str, float]
) -> dict[int, Output]:
    """Returns burnout by days ahead. The risk builds up over time, so that of 14 days is lower."""
    if too_few_sessions is not None:
        return dict.fromkeys(BURNOUT_DAYS, (None, (too_few_sessions,)))
    weighed = weigh(BURNOUT, values, common)
    if weighed.weight < MINIMUM.known_weight:
        return dict.fromkeys(BURNOUT_DAYS, (None, too_little_known(weighed)))
    found: dict[int, Output] = {}
    for days in BURNOUT_DAYS:
        risk = round(-math.expm1(-BURNOUT_SCALE * weighed.mean * days / BURNOUT_DAYS[-1]), 6)
        found[days] = risk, weighed.reasons(risk)
    return found


def _burnout_level(risk: float | None) -> Level | None:
    """Returns the level, by the boundaries of the segments, so that both agree."""
    if risk is None:
        return None
    if CHURNING_BURNOUT.is_above(risk):
        return Level.HIGH
    return Level.MEDIUM if AT_RISK_BURNOUT.is_above(risk) else Level.LOW


def _velocity(values: Values) -> Output:
    """Returns sessions a week: the mean of the paces of 14 and of 30 days."""
    found = []
    for days in (14, 30):
        completed = values[f"sessions_completed_{days}d"]
        if completed is None:
            return None, (not_known("sessions", "Sessions: not known"),)
        pace = completed * 7 / days
        label = f"{pace:,.1f} sessions a week in the last {count(days, 'day')}"
        found.append(
            Reason(f"pace_{days}d", label, round(pace, 6), None, int(completed), round(pace / 2, 6))
        )
    return round(sum(reason.contribution for reason in found), 6), most_telling_first(found)


def _first_session_success(values: Values) -> Output:
    reason = too_few(
        values,
        "first_session_count_90d",
        MINIMUM.first_sessions,
        "first session",
        "in 90 days",
    )
    if reason is not None:
        return None, (reason,)
    weighed = weigh(FIRST_SESSIONS, values)
    if weighed.weight < MINIMUM.known_weight:
        return None, too_little_known(weighed)
    success = round(weighed.mean, 6)
    return success, weighed.reasons(success)
