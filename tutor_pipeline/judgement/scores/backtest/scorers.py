"""The scorers that a back-test compares.

Belongs here: scorers that learn per fold, and those that learn nothing.
Does not belong here: asking them (`replay`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from tutor_pipeline.judgement.scores.backtest.plan import (
    Outcome,
    Predict,
    Scorer,
    Training,
    day_of,
)
from tutor_pipeline.judgement.scores.departure.challenger import boosted, departures_alone
from tutor_pipeline.judgement.scores.departure.forecast import Forecast
from tutor_pipeline.judgement.scores.departure.learning import Outcomes, learn, nothing
from tutor_pipeline.judgement.scores.departure.outcomes import Standard, Week, gather
from tutor_pipeline.judgement.scores.departure.scorer import level_of
from tutor_pipeline.judgement.scores.departure.version import Version, log_odds, probability
from tutor_pipeline.judgement.scores.evaluation import Array
from tutor_pipeline.judgement.scores.score import Row, Score

CHALLENGER = "departures_alone"
"""Learns from the same departures without the documented weights; for comparison only."""

BOOSTING = "gradient_boosting"
"""Learns from the same departures and the raw columns; for comparison only."""

_NO_OUTCOME: Outcome = (None, None)


def plain(name: str, version: str, score: Callable[[Sequence[Row]], Sequence[Score]]) -> Scorer:
    """Returns a scorer that learns nothing. `score` keeps the order of the rows."""
    return Scorer(name, version, lambda training: lambda rows: outcomes(score(rows)))


def forecasts(
    forecast: Forecast, weeks: Mapping[date, Standard], yearly_rate: float
) -> list[Scorer]:
    """Returns the forecast, learned anew per fold; the same with nothing learned; and what
    departures alone would teach. `weeks`: the evidence of each tested day.
    """
    tested = _Tested(forecast, weeks, yearly_rate)
    return [
        Scorer(
            forecast.scorer,
            "learned per fold",
            lambda training: tested.predictor(tested.outcomes(training)),
            is_probability=True,
        ),
        Scorer(
            forecast.priors,
            "nothing learned",
            lambda training: tested.predictor(nothing(forecast)),
        ),
        Scorer(
            CHALLENGER, "fitted per fold", tested.challenger, is_probability=True, is_learned=True
        ),
    ]


@dataclass(frozen=True)
class _Tested:
    """A forecast under test, and the standardised evidence of each tested day."""

    forecast: Forecast
    weeks: Mapping[date, Standard]
    yearly_rate: float

    def of_day(self, rows: Sequence[Row]) -> tuple[Standard | None, list[int | None]]:
        """Returns the evidence of the rows' day, and the place of each row in it."""
        week = self.weeks.get(day_of(rows[0])) if rows else None
        if week is None:
            return None, [None] * len(rows)
        places = {each: place for place, each in enumerate(week.ids)}
        return week, [places.get(str(row[self.forecast.key])) for row in rows]

    def outcomes(self, training: Training) -> Outcomes:
        """Returns the training rows that have evidence, and whether each left."""
        by_day: dict[date, list[tuple[Row, bool]]] = {}
        for row, left in zip(training.rows, training.labels, strict=True):
            by_day.setdefault(day_of(row), []).append((row, left))
        found = []
        for pairs in by_day.values():
            week, places = self.of_day([row for row, _ in pairs])
            if week is not None:
                kept = [place for place in places if place is not None]
                labels = [
                    left for (_, left), at in zip(pairs, places, strict=True) if at is not None
                ]
                found.append((week.only(kept), np.array(labels, dtype=bool)))
        return gather(self.forecast, found, training.known_on)

    def predictor(self, learned: Outcomes) -> Predict:
        """Returns what the forecast says, learned from these outcomes."""
        fixed: list[Version] = []

        def predict(rows: Sequence[Row]) -> list[Outcome]:
            week, places = self.of_day(rows)
            if week is None:
                return [_NO_OUTCOME] * len(rows)
            if not fixed:
                # Cut-offs are fixed on the matured rows; without any, on the first day asked.
                reference_rows = learned.z if len(learned.z) else week.z[week.is_there]
                fixed.append(
                    learn(
                        self.forecast,
                        reference_rows,
                        week.reference.known,
                        learned,
                        self.yearly_rate,
                    )
                )
            version = fixed[0]
            chances = probability(log_odds(version, week.z)).tolist()
            return [
                _NO_OUTCOME
                if place is None
                else (chances[place], level_of(chances[place], version, None))
                for place in places
            ]

        return predict

    def challenger(self, training: Training) -> Predict:
        """Returns what departures alone teach."""
        likely = departures_alone(self.outcomes(training))

        def predict(rows: Sequence[Row]) -> list[Outcome]:
            week, places = self.of_day(rows)
            if week is None or likely is None:
                return [_NO_OUTCOME] * len(rows)
            chances = likely(week.z).tolist()
            return [(None if place is None else chances[place], None) for place in places]

        return predict


def boosting(forecast: Forecast, weeks: Mapping[date, Week]) -> Scorer:
    """Returns a gradient boosting on the columns that the forecast reads, fitted per fold: it shows
    how much those columns can tell. `weeks`: the evidence of each tested day.
    """

    def matrix(rows: Sequence[Row]) -> Array:
        found = np.full((len(rows), len(forecast.reads)), np.nan)
        by_day: dict[date, list[int]] = {}
        for place, row in enumerate(rows):
            by_day.setdefault(day_of(row), []).append(place)
        for day, places in by_day.items():
            week = weeks[day]
            at = {each: place for place, each in enumerate(week.ids)}
            own = [at[str(rows[place][forecast.key])] for place in places]
            found[places] = np.column_stack([week.columns[name][own] for name in forecast.reads])
        return found

    def prepare(training: Training) -> Predict:
        likely = boosted(matrix(training.rows), np.array(training.labels, dtype=bool))
        return lambda rows: [
            (None if likely is None else chance, None)
            for chance in ([0.0] * len(rows) if likely is None else likely(matrix(rows)).tolist())
        ]

    return Scorer(BOOSTING, "fitted per fold", prepare, is_probability=True, is_learned=True)


def oracle(burnout: Mapping[tuple[str, date], float]) -> Scorer:
    """Returns a scorer that sees the hidden burnout by tutor and day: the best possible."""

    def predict(rows: Sequence[Row]) -> list[Outcome]:
        # A tutor who has left has no burnout any more, and ranks above everybody.
        return [(burnout.get((str(row["tutor_id"]), day_of(row)), 2.0), None) for row in rows]

    return Scorer("oracle", "1", lambda training: predict, is_ceiling=True)


def outcomes(scores: Iterable[Score]) -> list[Outcome]:
    """Returns the values and levels of scores."""
    return [(each.score, each.level) for each in scores]
