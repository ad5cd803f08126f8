"""Whether a learned version may be used, and what stands in its place where it may not.

Belongs here: the decision and its reason in words, the fallback to the champion's scores.
Does not belong here: training, the folds (`backtest`), writing it down (`store`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from tutor_pipeline.scores.evaluation import (
    REPLICATES,
    SEED,
    Array,
    Figure,
    Sample,
    calibration_slope,
    gain,
)
from tutor_pipeline.scores.score import Score, Status, Target, input_hash

MIN_LEAVERS = 50
MIN_FOLDS = 3
SLOPES = (0.7, 1.3)


@dataclass(frozen=True)
class Fold:
    """What happened in one block of test dates, and both scorers' scores of it. `model` are
    probabilities; `sample.tutors` are codes that all folds share.
    """

    sample: Sample
    model: Array
    champion: Array


@dataclass(frozen=True, slots=True)
class Decision:
    """`reason` says in words and figures why; `gains` are of each fold, in average precision."""

    is_promoted: bool
    reason: str
    leavers: int
    gains: tuple[Figure, ...]
    slope: Figure

    def metrics(self) -> dict[str, object]:
        """What `ops.model_versions.metrics` holds."""
        return {
            "training_leavers": self.leavers,
            "average_precision_gains": [asdict(each) for each in self.gains],
            "calibration_slope": asdict(self.slope),
        }


def decide(
    folds: Sequence[Fold],
    leavers: int,
    champion: str,
    *,
    replicates: int = REPLICATES,
    seed: int = SEED,
) -> Decision:
    """Promoted only when all of this holds, and refused with all that does not:

    - at least MIN_LEAVERS distinct tutors left in the training rows (`leavers`),
    - in at least MIN_FOLDS time folds the gain in average precision over the champion is above 0
      at the lower end of its 90 % interval (paired, bootstrap over tutors),
    - the calibration slope over all folds lies within SLOPES.
    """
    gains = tuple(
        gain(fold.sample, fold.model, fold.champion, replicates=replicates, seed=seed)
        for fold in folds
    )
    slope = Figure(None)
    if folds:
        whole = Sample(
            *(
                np.concatenate([getattr(fold.sample, name) for fold in folds])
                for name in ("tutors", "dates", "labels")
            )
        )
        forecast = np.concatenate([fold.model for fold in folds])
        known = np.isfinite(forecast)
        slope = calibration_slope(
            whole.where(known), forecast[known], replicates=replicates, seed=seed
        )
    better = sum(1 for each in gains if each.lower is not None and each.lower > 0)
    verdicts = (
        (
            leavers >= MIN_LEAVERS,
            f"{leavers} tutors left in training ({MIN_LEAVERS} are needed)",
        ),
        (
            better >= MIN_FOLDS,
            f"average precision is surely above {champion}'s in {better} of {len(gains)} time"
            f" folds ({MIN_FOLDS} are needed; gains {_in_words(gains)})",
        ),
        (
            slope.value is not None and SLOPES[0] <= slope.value <= SLOPES[1],
            f"the calibration slope is {_number(slope.value)}"
            f" ({SLOPES[0]} to {SLOPES[1]} is needed)",
        ),
    )
    is_promoted = all(holds for holds, _ in verdicts)
    said = [text for holds, text in verdicts if is_promoted or not holds]
    opening = "Promoted" if is_promoted else f"Not promoted, {champion} stands in"
    return Decision(is_promoted, f"{opening}: {'; '.join(said)}", leavers, gains, slope)


def fallback(
    champions: Sequence[Score], scorer: str, version: str, target: Target, horizon_days: int
) -> list[Score]:
    """The champion's scores, levels and reasons under the name of the scorer that may not be
    used. They are no probability, whatever the model's are. What the champion knew too little of
    stays `insufficient_data`.
    """
    return [
        replace(
            each,
            scorer=scorer,
            version=version,
            target=target,
            horizon_days=horizon_days,
            is_probability=False,
            status=each.status if each.status is Status.INSUFFICIENT_DATA else Status.FALLBACK,
            input_hash=input_hash(scorer, version, _origin(each)),
        )
        for each in champions
    ]


def _origin(score: Score) -> Mapping[str, str]:
    return {"scorer": score.scorer, "version": score.version, "input_hash": score.input_hash}


def _in_words(gains: Sequence[Figure]) -> str:
    return (
        ", ".join(
            _number(each.value, sign="+")
            + ("" if each.lower is None else f" [{each.lower:+.3f}, {each.upper:+.3f}]")
            for each in gains
        )
        or "unknown"
    )


def _number(value: float | None, sign: str = "") -> str:
    return "unknown" if value is None else format(value, f"{sign}.3f")
