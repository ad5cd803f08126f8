"""All scorers of tutors over the same rows, and the champion among them.

Belongs here: which scorers run, whose score is the risk that alerts believe.
Does not belong here: any scorer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tutor_pipeline.judgement.scores import health, reliability, signals
from tutor_pipeline.judgement.scores.departure import scorer as departure
from tutor_pipeline.judgement.scores.departure.forecast import HORIZON_DAYS
from tutor_pipeline.judgement.scores.departure.reference import Reference
from tutor_pipeline.judgement.scores.departure.tutors import TUTORS
from tutor_pipeline.judgement.scores.departure.version import Version
from tutor_pipeline.judgement.scores.health import TutorHealth, Usual
from tutor_pipeline.judgement.scores.score import Level, Row, Score, Target

PLAIN = (signals, reliability)
"""The scorers that need nothing but a row: modules with SCORER, VERSION, READS and score(rows)."""

READS: tuple[str, ...] = tuple(
    sorted({*health.READS, *TUTORS.reads}.union(*(scorer.READS for scorer in PLAIN)))
)
"""The columns of tutor_aggregates, tutor_features and tutor_evidence that the scorers read, besides
`PROFILE_RATE`.
"""

PROFILE_RATE = signals.PROFILE_RATE
AUTO = "auto"
_RISKS: Mapping[str, tuple[Target, int]] = {
    TUTORS.scorer: (TUTORS.target, HORIZON_DAYS),
    signals.SCORER: (Target.TUTOR_RISK, signals.HORIZON_DAYS),
    health.TUTOR_SCORER: (Target.TUTOR_BURNOUT, 30),
}
"""The possible champions, and the target and horizon of the score that is the risk."""


@dataclass(frozen=True, slots=True)
class Forecaster:
    """What a forecast of departures scores with: a version and a reference, the name of both
    together, and the current levels by id. `usual`: what is usual on the platform, for health_v1.
    """

    named: str
    reference: Reference
    version: Version
    held: Mapping[str, Level]
    usual: Usual = health.NOTHING_USUAL


@dataclass(frozen=True, slots=True)
class TutorScores:
    """Every score of every scorer, the champion (scorer, target, horizon) and its scores (`risk`),
    the health of each tutor, and the level of departure_v1 by tutor.
    """

    scores: tuple[Score, ...]
    champion: tuple[str, Target, int]
    risk: tuple[Score, ...]
    health: tuple[TutorHealth, ...]
    departure: Mapping[str, Level | None]


def score_tutors(rows: Sequence[Row], forecaster: Forecaster, champion: str) -> TutorScores:
    """Returns the scores of every scorer for these rows (`READS` and tutor_id). `champion` is a
    scorer's name, or `AUTO` for departure_v1.
    """
    forecasts = departure.score(
        rows, forecaster.reference, forecaster.version, forecaster.named, forecaster.held
    )
    assessed = health.assess(rows, forecaster.usual)
    scores = (
        *forecasts,
        *(score for scorer in PLAIN for score in scorer.score(rows)),
        *(score for tutor in assessed for score in tutor.scores),
    )
    if champion == AUTO:
        champion = TUTORS.scorer
    chosen = (champion, *_RISKS[champion])
    return TutorScores(
        scores=scores,
        champion=chosen,
        risk=tuple(
            each for each in scores if (each.scorer, each.target, each.horizon_days) == chosen
        ),
        health=tuple(assessed),
        departure={each.subject_id: each.level for each in forecasts},
    )
