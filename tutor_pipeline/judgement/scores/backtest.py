"""The back-test: what scorers would have said on past days, held against what then happened.

Belongs here: which rows count, what each scorer may learn from, the figures of every target.
Does not belong here: reading history, departures and truth, writing figures and the report.

A row of day D is used at the end of day D + settling: feedback comes hours after a session. Of
tutors there are two targets, named apart:

state      is the tutor at risk on day D, by the truth of a made-up platform
departure  does the tutor complete no session after D + settling + `horizon`, and never come back

Of students there is one, `student_departure`: have they left by then, by the platform's own date?
Nobody is asked about who was silent for more than ASKED_SILENCE_DAYS. A departure counts only
where its whole window lies within what is known. Learned scorers are fitted anew per time fold,
on rows whose departures were all known before the first day of the fold. A scorer is given one
day's rows at a time, so no later day can reach it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

import numpy as np

from tutor_pipeline.judgement.scores.departure.challenger import boosted, departures_alone
from tutor_pipeline.judgement.scores.departure.forecast import ASKED_SILENCE_DAYS, Forecast
from tutor_pipeline.judgement.scores.departure.learning import Outcomes, learn, nothing
from tutor_pipeline.judgement.scores.departure.outcomes import Standard, Week, gather
from tutor_pipeline.judgement.scores.departure.scorer import level_of
from tutor_pipeline.judgement.scores.departure.version import Version, log_odds, probability
from tutor_pipeline.judgement.scores.evaluation import (
    REPLICATES,
    SEED,
    Array,
    Figure,
    Metric,
    Prediction,
    Sample,
    calibration_bins,
    evaluate,
    precision_recall,
    rate,
)
from tutor_pipeline.judgement.scores.score import Level, Row, Score, number

BASELINE = "signals_v1"
"""Whose average precision lift is over."""

CHALLENGER = "departures_alone"
"""Taught on the same departures, without the documented weights; never used."""

BOOSTING = "gradient_boosting"
"""Taught on the same departures and the columns themselves; never used."""

Outcome = tuple[float | None, Level | None]
"""A score (higher = likelier; None: none given) and its level, where there is one."""


class Question(StrEnum):
    """What is asked of the scorers; the `target` of `ops.backtest_metrics`."""

    STATE = "state"
    DEPARTURE = "departure"
    STUDENT_DEPARTURE = "student_departure"


_UNKNOWN = {
    Question.STATE: "state_unknown",
    Question.DEPARTURE: "departure_not_yet_known",
    Question.STUDENT_DEPARTURE: "departure_not_yet_known",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """`known_until` is the last day whose departures are known. `fold_count` blocks of test dates
    for what is learned, which needs `min_leavers` distinct leavers before the first of them.
    `key` is the column of whom rows are about, `departure` the question of their leaving.
    """

    known_until: date
    horizon_days: int = 30
    settling_days: int = 1
    fold_count: int = 3
    min_leavers: int = 10
    replicates: int = REPLICATES
    seed: int = SEED
    key: str = "tutor_id"
    departure: Question = Question.DEPARTURE

    def used_on(self, as_of: date) -> date:
        """The day at whose end a row of `as_of` is used."""
        return as_of + timedelta(days=self.settling_days)

    def matures_on(self, as_of: date) -> date:
        """The last day of the window in which a departure counts."""
        return self.used_on(as_of) + timedelta(days=self.horizon_days)

    def leaves(self, as_of: date, departed_on: date | None) -> bool:
        """Whether somebody who departed then (the day after the last) has left by the end of the
        window, and for good.
        """
        return departed_on is not None and departed_on <= self.matures_on(as_of)


@dataclass(frozen=True)
class Training:
    """What may be learned from: rows of several days, and whether each left in the window.
    All of it was known by the end of `known_on`. Empty in a fold that nothing may be learned for.
    """

    rows: Sequence[Row]
    labels: Sequence[bool]
    known_on: date
    key: str = "tutor_id"

    @property
    def leavers(self) -> int:
        """Distinct people who left."""
        pairs = zip(self.rows, self.labels, strict=True)
        return len({row[self.key] for row, left in pairs if left})


Predict = Callable[[Sequence[Row]], Sequence[Outcome]]


@dataclass(frozen=True)
class Scorer:
    """One to be tested. `prepare` is called once per fold, what it returns once per day.

    `is_learned`: it needs training; the others are asked on the same days. `is_ceiling`: it sees
    what nobody could, to show how good anything could be.
    """

    name: str
    version: str
    prepare: Callable[[Training], Predict]
    is_probability: bool = False
    is_learned: bool = False
    is_ceiling: bool = False


@dataclass(frozen=True, slots=True)
class Fold:
    """A block of test dates and the dates that may be learned from before it."""

    train: tuple[date, ...]
    test: tuple[date, ...]


@dataclass(frozen=True, slots=True)
class LevelRate:
    """In which share of the rows of a level it happened."""

    level: Level
    rows: int
    observed: Figure


@dataclass(frozen=True)
class Tested:
    """A scorer's figures of one question. `curve`: (recall, precision); `bins`: (mean forecast,
    share it happened to, rows), of probabilities only.
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
    """One question's sample and what every scorer made of it. Arrays have an entry per row."""

    question: Question
    horizon_days: int
    dates: tuple[date, ...]
    sample: Sample
    fold_of: Array
    predictions: Mapping[str, Prediction]
    tested: tuple[Tested, ...]


@dataclass(frozen=True)
class Result:
    """A whole back-test. `left_out` counts rows by why they were not looked at; `notes` say what
    could not be tested, and what is suspicious.
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
        """The rows of `ops.backtest_metrics`, without `run_id`."""
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
        """What learning won on departures that it had not seen, in AUC and average precision: of
        the forecast and of the same with nothing learned. Empty where neither was tested.
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
        """Both in one report: tutors and students. What is counted once is that of the first."""
        return replace(
            self, notes=(*self.notes, *other.notes), answers=(*self.answers, *other.answers)
        )

    def content(self) -> dict[str, Any]:
        """Everything the report shows, as plain values (see `reports.backtest`)."""
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


@dataclass
class _Asked:
    """The rows of one question as they are gathered."""

    who: list[str] = field(default_factory=list)
    dates: list[date] = field(default_factory=list)
    folds: list[int] = field(default_factory=list)
    labels: list[bool] = field(default_factory=list)
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)


def run(
    history: Mapping[date, Sequence[Row]],
    departures: Mapping[str, date],
    scorers: Sequence[Scorer],
    plan: Plan,
    *,
    state: Mapping[tuple[str, date], bool] | None = None,
    left_out: Mapping[str, int] | None = None,
    progress: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> Result:
    """Test the scorers on every day of `history` (rows with the key, as_of_date and what the
    scorers read). `departures` and `state` hold what happened, by id, and by id and day;
    without `state` only departures are asked. `left_out` are rows that the caller left out.

    Where too few have left before a test could begin, what is learned is not tested, and a note
    says so. Raises ValueError where there is no row, or two scorers share a name.
    """
    names = [scorer.name for scorer in scorers]
    if len(set(names)) != len(names):
        raise ValueError(f"two scorers share a name: {', '.join(sorted(names))}")
    there, silent = _present(history)
    counts = Counter(left_out or {})
    counts["silent_too_long"] += silent
    if not there:
        raise ValueError("there is nothing to test: no row of anybody who was still there")
    days = sorted(there)
    folds, notes = folds_of(days, plan), []
    learnable = [
        fold
        for fold in folds
        if _training(fold, there, departures, plan).leavers >= plan.min_leavers
    ]
    is_learnable = bool(folds) and learnable == folds
    folds = folds or [Fold((), tuple(days))]
    if not is_learnable:
        skipped = [scorer.name for scorer in scorers if scorer.is_learned]
        if skipped:
            notes.append(
                f"Not tested: {', '.join(skipped)}. Fewer than {plan.min_leavers}"
                f" {plan.key.removesuffix('_id')}s had left before the first day that could have"
                " been tested."
            )
            scorers = [scorer for scorer in scorers if not scorer.is_learned]
    tested_days = sum(len(fold.test) for fold in folds)
    counts["only_learned_from"] += sum(len(there[day]) for day in days) - sum(
        len(there[day]) for fold in folds for day in fold.test
    )
    asked = {plan.departure: _Asked()} | ({Question.STATE: _Asked()} if state else {})
    done = 0
    for place, fold in enumerate(folds):
        training = _training(fold, there, departures, plan)
        predictors = {scorer.name: scorer.prepare(training) for scorer in scorers}
        for day in fold.test:
            rows = there[day]
            outcomes = {name: _checked(name, predict, rows) for name, predict in predictors.items()}
            _ask(asked, day, place, rows, outcomes, departures, state or {}, plan, counts)
            done += 1
            progress(f"scores as of {day}", done, tested_days)
    answers = tuple(
        _answer(question, found, scorers, plan)
        for question, found in sorted(asked.items(), reverse=True)
        if found.labels
    )
    for question in sorted(set(asked) - {answer.question for answer in answers}):
        notes.append(f"Not asked: {question.value}. No day has an outcome that is known.")
    used = [row for fold in folds for day in fold.test for row in there[day]]
    return Result(
        first_as_of=min(day for fold in folds for day in fold.test),
        last_as_of=max(day for fold in folds for day in fold.test),
        dates=tested_days,
        rows=len(used),
        tutors=len({row[plan.key] for row in used}),
        left_out={name: found for name, found in sorted(counts.items()) if found},
        notes=(*notes, *_suspicions(answers)),
        answers=answers,
    )


def folds_of(days: Sequence[date], plan: Plan) -> list[Fold]:
    """Blocks of test dates, oldest first, each after the dates it may learn from.

    The first block begins on the first date for which a third of the time to learn from has
    matured; empty where no date comes so late, or there are too few for all blocks.
    """
    days = sorted(days)
    if not days:
        return []
    matured = [
        day
        for day in days
        if plan.matures_on(days[0]) < day and 3 * (day - days[0]) >= days[-1] - days[0]
    ]
    with_outcome = [day for day in matured if plan.matures_on(day) <= plan.known_until]
    if len(with_outcome) < plan.fold_count:
        return []
    blocks = [list(block) for block in np.array_split(np.array(with_outcome), plan.fold_count)]
    blocks[-1] += matured[len(with_outcome) :]
    return [
        Fold(
            train=tuple(day for day in days if plan.matures_on(day) < block[0]),
            test=tuple(block),
        )
        for block in blocks
    ]


def plain(name: str, version: str, score: Callable[[Sequence[Row]], Sequence[Score]]) -> Scorer:
    """A scorer that learns nothing from departures; `score` keeps the order of the rows."""
    return Scorer(name, version, lambda training: lambda rows: outcomes(score(rows)))


def forecasts(
    forecast: Forecast, weeks: Mapping[date, Standard], yearly_rate: float
) -> list[Scorer]:
    """The forecast, learned anew per fold; the same with nothing learned; and what departures
    alone would teach, without the documented weights. `weeks`: the evidence of each tested
    day.
    """

    def of_day(rows: Sequence[Row]) -> tuple[Standard | None, list[int | None]]:
        """The evidence of the rows' day, and each row's place in it."""
        week = weeks.get(_day(rows[0])) if rows else None
        if week is None:
            return None, [None] * len(rows)
        places = {each: place for place, each in enumerate(week.ids)}
        return week, [places.get(str(row[forecast.key])) for row in rows]

    def taught(training: Training) -> Outcomes:
        by_day: dict[date, list[tuple[Row, bool]]] = {}
        for row, left in zip(training.rows, training.labels, strict=True):
            by_day.setdefault(_day(row), []).append((row, left))
        found = []
        for pairs in by_day.values():
            week, places = of_day([row for row, _ in pairs])
            if week is not None:
                kept = [place for place in places if place is not None]
                labels = [
                    left for (_, left), at in zip(pairs, places, strict=True) if at is not None
                ]
                found.append((week.only(kept), np.array(labels, dtype=bool)))
        return gather(forecast, found, training.known_on)

    def foretell(training: Training, learns: bool) -> Predict:
        outcomes = taught(training)
        fixed: list[Version] = []

        def predict(asked: Sequence[Row]) -> list[Outcome]:
            week, places = of_day(asked)
            if week is None:
                return [(None, None)] * len(asked)
            if not fixed:
                # Where nothing has matured, cut-offs are fixed on the first day asked.
                fixed.append(
                    learn(
                        forecast,
                        outcomes.z if learns and len(outcomes.z) else week.z[week.is_there],
                        week.reference.known,
                        outcomes if learns else nothing(forecast),
                        yearly_rate,
                    )
                )
            chances = probability(log_odds(fixed[0], week.z)).tolist()
            return [
                (None, None)
                if place is None
                else (chances[place], level_of(chances[place], fixed[0], None))
                for place in places
            ]

        return predict

    def challenge(training: Training) -> Predict:
        likely = departures_alone(taught(training))

        def predict(asked: Sequence[Row]) -> list[Outcome]:
            week, places = of_day(asked)
            if week is None or likely is None:
                return [(None, None)] * len(asked)
            chances = likely(week.z).tolist()
            return [(None if place is None else chances[place], None) for place in places]

        return predict

    return [
        Scorer(
            forecast.scorer,
            "learned per fold",
            lambda training: foretell(training, True),
            is_probability=True,
        ),
        Scorer(forecast.priors, "nothing learned", lambda training: foretell(training, False)),
        Scorer(CHALLENGER, "fitted per fold", challenge, is_probability=True, is_learned=True),
    ]


def boosting(forecast: Forecast, weeks: Mapping[date, Week]) -> Scorer:
    """A gradient boosting on the columns that the forecast reads, fitted per fold: what there is to
    be had from them. `weeks`: the evidence of each tested day.
    """

    def matrix(rows: Sequence[Row]) -> Array:
        found = np.full((len(rows), len(forecast.reads)), np.nan)
        by_day: dict[date, list[int]] = {}
        for place, row in enumerate(rows):
            by_day.setdefault(_day(row), []).append(place)
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
    """Who sees the hidden burnout of each tutor and day: as good as anything could be."""

    def predict(rows: Sequence[Row]) -> list[Outcome]:
        # Of who has left there is no burnout any more, and nothing that is surer.
        return [(burnout.get((str(row["tutor_id"]), _day(row)), 2.0), None) for row in rows]

    return Scorer("oracle", "1", lambda training: predict, is_ceiling=True)


def outcomes(scores: Iterable[Score]) -> list[Outcome]:
    """What the back-test needs of scores."""
    return [(each.score, each.level) for each in scores]


def _present(history: Mapping[date, Sequence[Row]]) -> tuple[dict[date, list[Row]], int]:
    """The rows that are asked about, and how many are not: silent for too long."""
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


def _training(
    fold: Fold, there: Mapping[date, Sequence[Row]], departures: Mapping[str, date], plan: Plan
) -> Training:
    rows = [row for day in fold.train for row in there[day]]
    labels = [
        plan.leaves(day, departures.get(str(row[plan.key])))
        for day in fold.train
        for row in there[day]
    ]
    known_on = max(map(plan.matures_on, fold.train), default=fold.test[0])
    return Training(rows, labels, known_on, plan.key)


def _checked(name: str, predict: Predict, rows: Sequence[Row]) -> list[Outcome]:
    found = list(predict(rows))
    if len(found) != len(rows):
        raise ValueError(f"{name} gave {len(found)} scores of {len(rows)} rows")
    return found


def _ask(
    asked: Mapping[Question, _Asked],
    day: date,
    fold: int,
    rows: Sequence[Row],
    outcomes: Mapping[str, Sequence[Outcome]],
    departures: Mapping[str, date],
    state: Mapping[tuple[str, date], bool],
    plan: Plan,
    counts: Counter[str],
) -> None:
    """Put a day's rows to every question that has an answer for them."""
    is_matured = plan.matures_on(day) <= plan.known_until
    for place, row in enumerate(rows):
        who = str(row[plan.key])
        answers = {
            plan.departure: plan.leaves(day, departures.get(who)) if is_matured else None,
            Question.STATE: state.get((who, day)),
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
            # A forecast of departures is none of the state.
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
    """The observed rate of each level that was given."""
    given = np.array([level.value if level else "" for _, level in found])
    rates = []
    for level in Level:
        chosen = given == level.value
        if chosen.any():
            observed = rate(sample, chosen, replicates=plan.replicates, seed=plan.seed)
            rates.append(LevelRate(level, int(chosen.sum()), observed))
    return tuple(rates)


def _suspicions(answers: Sequence[Answer]) -> list[str]:
    """Who does surely better than a ceiling: that comes of seeing what nobody could."""
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


def _named(tested: Tested) -> list[tuple[str, Figure]]:
    """Every figure by its name in `ops.backtest_metrics`, the levels' rates among them."""
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


def _day(row: Row) -> date:
    day = row["as_of_date"]
    assert isinstance(day, date)
    return day
