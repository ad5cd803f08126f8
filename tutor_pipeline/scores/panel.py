"""All scorers of tutors over the same rows, and which of them is believed.

Belongs here: who scores, the champion, the model's fallback. Does not belong here: any scorer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tutor_pipeline.scores import health, model, promotion, reliability, shrinkage, signals
from tutor_pipeline.scores.health import TutorHealth
from tutor_pipeline.scores.model import Model
from tutor_pipeline.scores.score import Row, Score, Target
from tutor_pipeline.scores.shrinkage import Priors

READS: tuple[str, ...] = tuple(
    sorted({*signals.READS, *shrinkage.READS, *reliability.READS, *model.READS, *health.READS})
)
"""Columns of tutor_aggregates and tutor_features that the scorers read, beside `PROFILE_RATE`."""

PROFILE_RATE = signals.PROFILE_RATE
AUTO = "auto"
_RISKS: Mapping[str, tuple[Target, int]] = {
    signals.V1: (Target.TUTOR_RISK, signals.HORIZON_DAYS),
    signals.V2: (Target.TUTOR_RISK, signals.HORIZON_DAYS),
    health.TUTOR_SCORER: (Target.TUTOR_BURNOUT, 30),
    model.SCORER: (Target.TUTOR_DEPARTURE, model.HORIZON_DAYS),
}
"""Who may be the champion, and which of its scores is the risk."""


@dataclass(frozen=True, slots=True)
class Trained:
    """The newest version of the model; None: it was refused, and may not score."""

    version: str
    model: Model | None


UNTRAINED = "0"
"""Version of the model's fallback before there is a model."""


@dataclass(frozen=True, slots=True)
class Panel:
    """What all scorers said: every score, the champion (scorer, target, horizon) and its scores,
    and the health of each tutor.
    """

    scores: tuple[Score, ...]
    champion: tuple[str, Target, int]
    risk: tuple[Score, ...]
    health: tuple[TutorHealth, ...]


def score_tutors(
    rows: Sequence[Row], priors: Priors, trained: Trained | None, champion: str
) -> Panel:
    """Score rows (`READS`, tutor_id) with every scorer. `champion` is a scorer's name, or `AUTO`:
    the model once it is promoted, signals_v2 until then.
    """
    second = signals.score_v2(rows, priors)
    promoted = trained is not None and trained.model is not None
    if trained is not None and trained.model is not None:
        forecast = model.score(rows, trained.model, trained.version)
    else:
        version = UNTRAINED if trained is None else trained.version
        forecast = promotion.fallback(
            second, model.SCORER, version, Target.TUTOR_DEPARTURE, model.HORIZON_DAYS
        )
    assessed = health.assess(rows)
    scores = (
        *signals.score_v1(rows),
        *second,
        *forecast,
        *reliability.score(rows),
        *(score for tutor in assessed for score in tutor.scores),
    )
    if champion == AUTO:
        champion = model.SCORER if promoted else signals.V2
    chosen = (champion, *_RISKS[champion])
    return Panel(
        scores=scores,
        champion=chosen,
        risk=tuple(
            each for each in scores if (each.scorer, each.target, each.horizon_days) == chosen
        ),
        health=tuple(assessed),
    )
