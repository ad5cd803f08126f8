"""Asks every scorer about past days, and measures the answers.

Belongs here: which rows are asked and learned from, in folds; the figures of every question.
Does not belong here: the scorers (`scorers`), what is stored and shown (`result`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np

from tutor_pipeline.core.formatting import count
from tutor_pipeline.judgement.scores.backtest.plan import (
    Fold,
    Outcome,
    Plan,
    Predict,
    Question,
    Scorer,
    Training,
    folds_of,
)
from tutor_pipeline.judgement.scores.backtest.result import Answer, LevelRate, Result, Tested
from tutor_pipeline.judgement.scores.departure.forecast import ASKED_SILENCE_DAYS
from tutor_pipeline.judgement.scores.evaluation import (
    Metric,
    Prediction,
    Sample,
    calibration_bins,
    evaluate,
    precision_recall,
    rate,
)
from tutor_pipeline.judgement.scores.score import Level, Row, number

BASELINE = "signals_v1"
"""The scorer that lift in average precision is measured against."""

_UNKNOWN = {
    Question.STATE: "state_unknown",
    Question.DEPARTURE: "departure_not_yet_known",
    Question.STUDENT_DEPARTURE: "departure_not_yet_known",
}


Progress = Callable[[str, int, int], None]


@dataclass
class _Asked:
    """The rows of one question, as they are gathered."""

    who: list[str] = field(default_factory=list)
    dates: list[date] = field(default_factory=list)
    folds: list[int] = field(default_factory=list)
    labels: list[bool] = field(default_factory=list)
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Past:
    """The rows that are asked about, by day, and what happened: departures by id, states by id and
    day.
    """

    rows: Mapping[date, Sequence[Row]]
    departures: Mapping[str, date]
    state: Mapping[tuple[str, date], bool]
    plan: Plan

    def training(self, fold: Fold) -> Training:
        """Returns what a fold may learn from."""
        plan = self.plan
        pairs = [(day, row) for day in fold.train for row in self.rows[day]]
        labels = [plan.leaves(day, self.departures.get(str(row[plan.key]))) for day, row in pairs]
        known_on = max(map(plan.matures_on, fold.train), default=fold.test[0])
        return Training([row for _, row in pairs], labels, known_on, plan.key)


def run(
    history: Mapping[date, Sequence[Row]],
    departures: Mapping[str, date],
    scorers: Sequence[Scorer],
    plan: Plan,
    *,
    state: Mapping[tuple[str, date], bool] | None = None,
    left_out: Mapping[str, int] | None = None,
    progress: Progress = lambda step, done, total: None,
) -> Result:
    """Test the scorers on every day of `history`: rows with the key, as_of_date and the columns
    that scorers read. `departures` (by id) and `state` (by id and day) hold what happened; without
    `state` only departures are asked. `left_out` counts rows that the caller left out.

    Where too few people left before the first test, learned scorers are not tested, and a note says
    so. Raises ValueError where there is no row, or where two scorers share a name.
    """
    names = [scorer.name for scorer in scorers]
    if len(set(names)) != len(names):
        raise ValueError(f"two scorers share a name: {', '.join(sorted(names))}")
    rows, silent = _present(history)
    if not rows:
        raise ValueError("there is nothing to test: no row of anybody who was still there")
    past = _Past(rows, departures, state or {}, plan)
    folds, scorers, notes = _testable(past, scorers)
    counts = Counter(left_out or {})
    counts["silent_too_long"] += silent
    tested_days = [day for fold in folds for day in fold.test]
    used = [row for day in tested_days for row in rows[day]]
    counts["only_learned_from"] += sum(map(len, rows.values())) - len(used)
    asked = _replay(past, folds, scorers, counts, progress)
    answers = tuple(
        _answer(question, found, scorers, plan)
        for question, found in sorted(asked.items(), reverse=True)
        if found.labels
    )
    for question in sorted(set(asked) - {answer.question for answer in answers}):
        notes.append(f"Not asked: {question.value}. No day has an outcome that is known.")
    return Result(
        first_as_of=min(tested_days),
        last_as_of=max(tested_days),
        dates=len(tested_days),
        rows=len(used),
        tutors=len({row[plan.key] for row in used}),
        left_out={name: found for name, found in sorted(counts.items()) if found},
        notes=(*notes, *_suspicions(answers)),
        answers=answers,
    )


def _testable(
    past: _Past, scorers: Sequence[Scorer]
) -> tuple[list[Fold], Sequence[Scorer], list[str]]:
    """Returns the folds and the scorers that can be tested, and notes on the others."""
    plan, days = past.plan, sorted(past.rows)
    folds = folds_of(days, plan)
    if folds and all(past.training(fold).leavers >= plan.min_leavers for fold in folds):
        return folds, scorers, []
    folds = folds or [Fold((), tuple(days))]
    skipped = [scorer.name for scorer in scorers if scorer.is_learned]
    if not skipped:
        return folds, scorers, []
    note = (
        f"Not tested: {', '.join(skipped)}. Fewer than {plan.min_leavers}"
        f" {plan.key.removesuffix('_id')}s had left before the first day that could have"
        " been tested."
    )
    return folds, [scorer for scorer in scorers if not scorer.is_learned], [note]


def _replay(
    past: _Past,
    folds: Sequence[Fold],
    scorers: Sequence[Scorer],
    counts: Counter[str],
    progress: Progress,
) -> dict[Question, _Asked]:
    """Ask the scorers about every test day; returns the rows of every question."""
    asked = {past.plan.departure: _Asked()}
    if past.state:
        asked[Question.STATE] = _Asked()
    total = sum(len(fold.test) for fold in folds)
    done = 0
    for place, fold in enumerate(folds):
        training = past.training(fold)
        predictors = {scorer.name: scorer.prepare(training) for scorer in scorers}
        for day in fold.test:
            outcomes = {
                name: _checked(name, predict, past.rows[day])
                for name, predict in predictors.items()
            }
            _ask(asked, past, day, place, outcomes, counts)
            done += 1
            progress(f"scores as of {day}", done, total)
    return asked


def _present(history: Mapping[date, Sequence[Row]]) -> tuple[dict[date, list[Row]], int]:
    """Returns the rows that are asked about, and how many are left out as silent for too long."""
    there: dict[date, list[Row]] = {}
    silent = 0
    for day in sorted(history):
        kept = []
        for row in history[day]:
            since = number(row, "days_since_last_session")
            if since is None or since > ASKED_SILENCE_DAYS:
                silent += 1
            else:
                kept.append(row)
        if kept:
            there[day] = kept
    return there, silent


def _checked(name: str, predict: Predict, rows: Sequence[Row]) -> list[Outcome]:
    found = list(predict(rows))
    if len(found) != len(rows):
        raise ValueError(f"{name} gave {count(len(found), 'score')} of {count(len(rows), 'row')}")
    return found


def _ask(
    asked: Mapping[Question, _Asked],
    past: _Past,
    day: date,
    fold: int,
    outcomes: Mapping[str, Sequence[Outcome]],
    counts: Counter[str],
) -> None:
    """Add a day's rows to every question that has an answer for them."""
    plan = past.plan
    is_matured = plan.matures_on(day) <= plan.known_until
    for place, row in enumerate(past.rows[day]):
        who = str(row[plan.key])
        answers = {
            plan.departure: plan.leaves(day, past.departures.get(who)) if is_matured else None,
            Question.STATE: past.state.get((who, day)),
        }
        for question, found in asked.items():
            label = answers[question]
            if label is None:
                counts[_UNKNOWN[question]] += 1
                continue
            found.who.append(who)
            found.dates.append(day)
            found.folds.append(fold)
            found.labels.append(label)
            for name, each in outcomes.items():
                found.outcomes.setdefault(name, []).append(each[place])


def _answer(question: Question, asked: _Asked, scorers: Sequence[Scorer], plan: Plan) -> Answer:
    days = sorted(set(asked.dates))
    sample = Sample(
        tutors=np.unique(np.array(asked.who), return_inverse=True)[1],
        dates=np.array([bisect_left(days, day) for day in asked.dates]),
        labels=np.array(asked.labels, dtype=bool),
    )
    predictions = {
        scorer.name: Prediction(
            scorer.name,
            scorer.version,
            np.array(
                [np.nan if score is None else score for score, _ in asked.outcomes[scorer.name]],
                dtype=float,
            ),
            # A probability of leaving is no probability of being at risk.
            scorer.is_probability and question is not Question.STATE,
        )
        for scorer in scorers
    }
    figures = evaluate(
        sample,
        list(predictions.values()),
        baseline=BASELINE,
        replicates=plan.replicates,
        seed=plan.seed,
    )
    tested = tuple(
        Tested(
            scorer=scorer.name,
            version=scorer.version,
            is_probability=predictions[scorer.name].is_probability,
            is_ceiling=scorer.is_ceiling,
            figures=figures[scorer.name],
            levels=_levels(sample, asked.outcomes[scorer.name], plan),
            curve=precision_recall(sample, predictions[scorer.name].scores),
            bins=calibration_bins(sample, predictions[scorer.name].scores)
            if predictions[scorer.name].is_probability
            else (),
        )
        for scorer in scorers
    )
    horizon = plan.horizon_days if question is plan.departure else 0
    return Answer(
        question, horizon, tuple(days), sample, np.array(asked.folds), predictions, tested
    )


def _levels(sample: Sample, found: Sequence[Outcome], plan: Plan) -> tuple[LevelRate, ...]:
    """Returns the observed rate of each level that the scorer gave."""
    given = np.array([level.value if level else "" for _, level in found])
    rates = []
    for level in Level:
        chosen = given == level.value
        if chosen.any():
            observed = rate(sample, chosen, replicates=plan.replicates, seed=plan.seed)
            rates.append(LevelRate(level, int(chosen.sum()), observed))
    return tuple(rates)


def _suspicions(answers: Sequence[Answer]) -> list[str]:
    """Returns a note on each scorer that is surely better than the ceiling: it may be leaking."""
    notes = []
    for answer in answers:
        best = max(
            (
                figure.upper
                for tested in answer.tested
                if tested.is_ceiling
                and (figure := tested.figures.get(Metric.AUC)) is not None
                and figure.upper is not None
            ),
            default=None,
        )
        notes += [
            f"Suspicious: {tested.scorer} does better on {answer.question.value} than who sees"
            " the hidden state. It may read what was not known then."
            for tested in answer.tested
            if best is not None
            and not tested.is_ceiling
            and (figure := tested.figures.get(Metric.AUC)) is not None
            and figure.lower is not None
            and figure.lower > best
        ]
    return notes
