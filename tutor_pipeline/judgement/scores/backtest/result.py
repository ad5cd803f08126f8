"""The result of a back-test, as rows of the database and as plain values for the report.

Belongs here: the types of the result, and what is stored and shown of it.
Does not belong here: computing it (`replay`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

from tutor_pipeline.judgement.scores.backtest.plan import Question
from tutor_pipeline.judgement.scores.backtest.scorers import BOOSTING, CHALLENGER
from tutor_pipeline.judgement.scores.departure.forecast import Forecast
from tutor_pipeline.judgement.scores.evaluation import Array, Figure, Metric, Prediction, Sample
from tutor_pipeline.judgement.scores.score import Level


@dataclass(frozen=True, slots=True)
class LevelRate:
    """The share of the rows of a level in which it happened."""

    level: Level
    rows: int
    observed: Figure


@dataclass(frozen=True)
class Tested:
    """A scorer's figures for one question. `curve`: (recall, precision); `bins`: (mean forecast,
    share of positives, rows), for probabilities only.
    """

    scorer: str
    version: str
    is_probability: bool
    is_ceiling: bool
    figures: Mapping[Metric, Figure]
    levels: tuple[LevelRate, ...]
    curve: Sequence[tuple[float, float]]
    bins: Sequence[tuple[float, float, int]]


@dataclass(frozen=True)
class Answer:
    """The sample of one question, and every scorer's forecast and figures. Arrays are by row."""

    question: Question
    horizon_days: int
    dates: tuple[date, ...]
    sample: Sample
    fold_of: Array
    predictions: Mapping[str, Prediction]
    tested: tuple[Tested, ...]


@dataclass(frozen=True)
class Result:
    """The result of a back-test. `left_out` counts the rows that were not used, by reason. `notes`
    say what could not be tested, and what looks suspicious.
    """

    first_as_of: date
    last_as_of: date
    dates: int
    rows: int
    tutors: int
    left_out: Mapping[str, int]
    notes: tuple[str, ...]
    answers: tuple[Answer, ...]

    def metric_rows(self) -> list[dict[str, Any]]:
        """Returns the rows of `ops.backtest_metrics`, without `run_id`."""
        return [
            {
                "scorer": tested.scorer,
                "version": tested.version,
                "target": answer.question.value,
                "horizon_days": answer.horizon_days,
                "metric": name,
                **asdict(figure),
                "rows": len(answer.sample),
                "positives": answer.sample.positives,
                "tutors": answer.sample.distinct_tutors,
                "leavers": answer.sample.leavers,
            }
            for answer in self.answers
            for tested in answer.tested
            for name, figure in _named(tested)
        ]

    def comparison(self, forecast: Forecast) -> dict[str, Any]:
        """Returns AUC and average precision of the forecast on unseen departures, beside the same
        with nothing learned and the challengers. Empty where the forecast was not tested.
        """
        names = (forecast.scorer, forecast.priors, CHALLENGER, BOOSTING)
        for answer in self.answers:
            said = {each.scorer: each.figures for each in answer.tested if each.scorer in names}
            if answer.question is not Question.STATE and forecast.scorer in said:
                return {
                    metric: {name: asdict(figures[metric]) for name, figures in said.items()}
                    for metric in (Metric.AUC, Metric.AVERAGE_PRECISION)
                }
        return {}

    def joined(self, other: Result) -> Result:
        """Returns both in one result, with the counts of this one."""
        return replace(
            self, notes=(*self.notes, *other.notes), answers=(*self.answers, *other.answers)
        )

    def content(self) -> dict[str, Any]:
        """Returns everything that the report shows, as plain values."""
        return {
            "first_as_of": self.first_as_of,
            "last_as_of": self.last_as_of,
            "dates": self.dates,
            "rows": self.rows,
            "tutors": self.tutors,
            "left_out": dict(self.left_out),
            "notes": list(self.notes),
            "targets": [_plain(answer) for answer in self.answers],
        }


def _named(tested: Tested) -> list[tuple[str, Figure]]:
    """Returns every figure by its name in `ops.backtest_metrics`, with the rates of levels."""
    return [
        *((metric.value, figure) for metric, figure in tested.figures.items()),
        *((f"observed_rate_{each.level.lower()}", each.observed) for each in tested.levels),
    ]


def _plain(answer: Answer) -> dict[str, Any]:
    return {
        "target": answer.question.value,
        "horizon_days": answer.horizon_days,
        "dates": len(answer.dates),
        "rows": len(answer.sample),
        "positives": answer.sample.positives,
        "tutors": answer.sample.distinct_tutors,
        "leavers": answer.sample.leavers,
        "scorers": [
            {
                "scorer": tested.scorer,
                "version": tested.version,
                "is_probability": tested.is_probability,
                "is_ceiling": tested.is_ceiling,
                "figures": {
                    metric.value: asdict(figure) for metric, figure in tested.figures.items()
                },
                "levels": [
                    {
                        "level": each.level.value,
                        "rows": each.rows,
                        "observed": asdict(each.observed),
                    }
                    for each in tested.levels
                ],
                "curve": [list(point) for point in tested.curve],
                "bins": [list(each) for each in tested.bins],
            }
            for tested in answer.tested
        ],
    }
