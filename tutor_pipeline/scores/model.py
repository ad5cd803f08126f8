"""model_departure: a learned forecast of who leaves within 30 days.

Belongs here: what it looks at (FEATURES), fitting it, scoring with a stored version, the
challenger of the back-test. Does not belong here: whether it may be used (`promotion`), which rows
it may learn from (`backtest`).

An L2 logistic regression on a few features, each pulled towards the training median as if `prior`
more observations had been made there: 2 no-shows in 4 sessions say less than 10 in 20. What is
NULL is the median. Classes are never weighted: that inflates probabilities. A coefficient against
its feature's known direction (a better rating that means more risk) comes of features that go
together, and no administrator could use it as a reason: it is 0, and the others are fitted anew.
A fitted version is JSON; scores of it are sums in a fixed order, so they do not depend on who else
is scored.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from math import isfinite
from typing import Any

import numpy as np

from tutor_pipeline.scores.evaluation import Array
from tutor_pipeline.scores.score import (
    Level,
    Reason,
    Row,
    Score,
    Status,
    Target,
    input_hash,
    most_telling_first,
)

SCORER = "model_departure"
CHALLENGER = "challenger_boosting"
HORIZON_DAYS = 30

HIGH_SHARE, RAISED_SHARE = 0.03, 0.10
"""At most so much of the training rows is High, and Medium or High. Frozen with the version."""

_PENALTY = 0.1  # scikit-learn's C: the rows of a tutor are alike, so there is less to learn from
_REASONS = 5
_FARTHEST = 4.0  # standard deviations: one wild value must not decide alone
_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Feature:
    """A column, how many observations are behind it, and how it is read.

    `count` names the column that counts them, None: it is taken as it is. `prior` is how many
    observations the median is worth. `risk`: +1 when more of it can only mean more risk, -1 less.
    """

    column: str
    label: str
    count: str | None
    prior: float
    risk: int


FEATURES = (
    Feature(
        "reschedule_rate_30d", "share of sessions rescheduled (30 days)", "sessions_30d", 20, 1
    ),
    Feature(
        "reschedule_rate_90d", "share of sessions rescheduled (90 days)", "sessions_90d", 20, 1
    ),
    Feature("no_show_rate_30d", "share of sessions missed (30 days)", "sessions_30d", 30, 1),
    Feature("late_rate_30d", "share of late starts (30 days)", "late_count_30d_n", 20, 1),
    Feature("avg_rating_90d", "average rating (90 days)", "avg_rating_90d_n", 5, -1),
    Feature(
        "avg_session_score_30d",
        "average session score (30 days)",
        "avg_session_score_30d_n",
        5,
        -1,
    ),
    Feature("avg_engagement_30d", "student engagement (30 days)", "avg_engagement_30d_n", 5, -1),
    Feature("avg_sentiment_30d", "sentiment (30 days)", "avg_sentiment_30d_n", 5, -1),
    Feature("days_since_last_session", "days since the last session", None, 0, 1),
    # Of tutor_features: what a tutor offers says something before the sessions do.
    Feature("avg_response_time_hours", "hours until a reply (5 weeks)", None, 0, 1),
    Feature("utilization_rate", "share of the offered hours taught (4 weeks)", None, 0, 1),
    Feature("instant_book_enabled", "can be booked at once", None, 0, -1),
)


@dataclass(frozen=True, slots=True)
class Term:
    """A feature as a version knows it: from its median, in units of `scale`, log odds per unit."""

    column: str
    label: str
    count: str | None
    prior: float
    median: float
    scale: float
    coefficient: float


def _names(terms: Iterable[Feature | Term]) -> dict[str, None]:
    """The columns that terms read, in order, each once."""
    return {name: None for term in terms for name in (term.column, term.count) if name is not None}


READS: tuple[str, ...] = tuple(_names(FEATURES))


@dataclass(frozen=True, slots=True)
class Model:
    """A fitted version. A score above `high_above` is High, above `medium_above` Medium.

    The window is of the rows it learned from, by as_of_date; the last label was known
    `known_on`. `leavers` are distinct tutors.
    """

    terms: tuple[Term, ...]
    intercept: float
    medium_above: float
    high_above: float
    trained_from: date
    trained_until: date
    known_on: date
    rows: int
    leavers: int

    def to_json(self) -> str:
        """The version as JSON; `from_json` gives back an equal one."""
        return json.dumps(asdict(self), default=date.isoformat, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | Mapping[str, Any]) -> Model:
        """Read what `to_json` wrote, as text or as PostgreSQL gives jsonb."""
        found = json.loads(text) if isinstance(text, str) else dict(text)
        days = ("trained_from", "trained_until", "known_on")
        return cls(
            **{
                **found,
                "terms": tuple(Term(**term) for term in found["terms"]),
                **{name: date.fromisoformat(found[name]) for name in days},
            }
        )


def fit(rows: Sequence[Row], labels: Sequence[bool], known_on: date) -> Model:
    """Learn from rows (READS, tutor_id, as_of_date) and whether each tutor left in the 30 days.

    `known_on` is the day by which the last label was known. The order of the rows does not
    matter. Raises ValueError unless some left and some stayed.
    """
    rows, happened = _in_order(rows, labels)
    values, counts = _columns(rows)
    medians = _medians(values)
    shrunk = _shrink(values, counts, medians)
    scales = [round(float(column.std()), _DIGITS) or 1.0 for column in shrunk]
    standard = _standardised(shrunk, medians, scales)
    intercept, coefficients = _regression(standard, happened)
    probabilities = _probabilities(intercept, coefficients, standard)
    # Never below the median tutor's, so that whoever is above has a reason.
    usual = round(float(_sigmoid(np.array([intercept]))[0]), 6)
    days = [_day(row) for row in rows]
    return Model(
        terms=tuple(
            Term(feature.column, feature.label, feature.count, feature.prior, median, scale, each)
            for feature, median, scale, each in zip(
                FEATURES, medians, scales, coefficients, strict=True
            )
        ),
        intercept=intercept,
        medium_above=max(usual, _exceeded_by(probabilities, RAISED_SHARE)),
        high_above=max(usual, _exceeded_by(probabilities, HIGH_SHARE)),
        trained_from=min(days),
        trained_until=max(days),
        known_on=known_on,
        rows=len(rows),
        leavers=len({row["tutor_id"] for row, left in zip(rows, happened, strict=True) if left}),
    )


def score(rows: Sequence[Row], model: Model, version: str) -> list[Score]:
    """Score rows (READS, tutor_id) with a stored version: in their order, the probability to
    leave within 30 days. A tutor of whom nothing is known has `insufficient_data`.
    """
    if not rows:
        return []
    terms = model.terms
    values, counts = _columns(rows, terms)
    medians = [term.median for term in terms]
    shrunk = _shrink(values, counts, medians, terms)
    standard = _standardised(shrunk, medians, [term.scale for term in terms])
    coefficients = [term.coefficient for term in terms]
    probabilities = _probabilities(model.intercept, coefficients, standard).tolist()
    contributions = np.round(
        np.column_stack([each * z for each, z in zip(coefficients, standard, strict=True)]), 6
    ).tolist()
    known: list[bool] = np.any(np.isfinite(np.column_stack(values)), axis=1).tolist()
    names = list(_names(terms))
    inputs = zip(*(_column(rows, name).tolist() for name in names), strict=True)
    scores = []
    for row, probability, added, found, is_known in zip(
        rows, probabilities, contributions, inputs, known, strict=True
    ):
        seen = dict(zip(names, found, strict=True))
        scores.append(
            Score(
                subject_id=str(row["tutor_id"]),
                scorer=SCORER,
                version=version,
                target=Target.TUTOR_DEPARTURE,
                horizon_days=HORIZON_DAYS,
                score=probability if is_known else None,
                is_probability=True,
                level=_level(probability, model) if is_known else None,
                reasons=_reasons(terms, added, seen) if is_known else (),
                status=Status.OK if is_known else Status.INSUFFICIENT_DATA,
                input_hash=input_hash(SCORER, version, seen),
            )
        )
    return scores


def fit_challenger(rows: Sequence[Row], labels: Sequence[bool]) -> Callable[[Sequence[Row]], Array]:
    """A small gradient boosting on the same features, each in its known direction only.

    Back-tests hold it against the model; it is never stored. Returns rows -> probabilities.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    rows, happened = _in_order(rows, labels)
    values, counts = _columns(rows)
    medians = _medians(values)
    learned = HistGradientBoostingClassifier(
        learning_rate=0.05,
        max_iter=100,
        max_leaf_nodes=8,
        min_samples_leaf=50,
        l2_regularization=10.0,
        monotonic_cst=[feature.risk for feature in FEATURES],
        random_state=0,
    )
    with one_thread():
        learned.fit(np.column_stack(_shrink(values, counts, medians)), happened)

    def probabilities(others: Sequence[Row]) -> Array:
        shrunk = np.column_stack(_shrink(*_columns(others), medians))
        with one_thread():
            return np.asarray(np.round(learned.predict_proba(shrunk)[:, 1], 6))

    return probabilities


@contextmanager
def one_thread() -> Iterator[None]:
    """Learn on one core: on tables this small, threads that wait for each other cost twenty times
    what they win on a busy machine, and sums have no fixed order.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


def _regression(standard: Sequence[Array], happened: Array) -> tuple[float, list[float]]:
    """Intercept and a coefficient per feature, 0 for one that goes against its direction."""
    from sklearn.linear_model import LogisticRegression

    matrix = np.column_stack(standard)
    risks = np.array([feature.risk for feature in FEATURES])
    kept = np.arange(len(FEATURES))
    while len(kept):
        with one_thread():
            learned = LogisticRegression(C=_PENALTY, max_iter=1_000).fit(matrix[:, kept], happened)
        along = learned.coef_[0] * risks[kept]
        if along.min() >= 0:
            coefficients = np.zeros(len(FEATURES))
            coefficients[kept] = learned.coef_[0]
            return (
                round(float(learned.intercept_[0]), _DIGITS),
                coefficients.round(_DIGITS).tolist(),
            )
        kept = np.delete(kept, along.argmin())
    share = happened.mean()
    return round(float(np.log(share / (1 - share))), _DIGITS), [0.0] * len(FEATURES)


def _in_order(rows: Sequence[Row], labels: Sequence[bool]) -> tuple[list[Row], Array]:
    pairs = sorted(
        zip(rows, labels, strict=True),
        key=lambda pair: (_day(pair[0]), str(pair[0]["tutor_id"])),
    )
    happened = np.array([label for _, label in pairs], dtype=bool)
    if not happened.any() or happened.all():
        raise ValueError("there is nothing to learn: everybody left, or nobody")
    return [row for row, _ in pairs], happened


def _day(row: Row) -> date:
    day = row["as_of_date"]
    assert isinstance(day, date)
    return day


def _columns(
    rows: Sequence[Row], terms: Sequence[Feature | Term] = FEATURES
) -> tuple[list[Array], list[Array | None]]:
    """Values and counts per feature, NaN for NULL."""
    columns = {name: _column(rows, name) for name in _names(terms)}
    return (
        [columns[term.column] for term in terms],
        [None if term.count is None else columns[term.count] for term in terms],
    )


def _column(rows: Sequence[Row], name: str) -> Array:
    found = [np.nan if row[name] is None else row[name] for row in rows]
    return np.array(found, dtype=float).round(_DIGITS)


def _medians(values: Sequence[Array]) -> list[float]:
    """What is usual of each; 0 where nobody has one, which then says nothing."""
    return [
        round(float(np.nanmedian(column)), _DIGITS) if np.isfinite(column).any() else 0.0
        for column in values
    ]


def _shrink(
    values: Sequence[Array],
    counts: Sequence[Array | None],
    medians: Sequence[float],
    terms: Sequence[Feature | Term] = FEATURES,
) -> list[Array]:
    """Each value as if `prior` more observations had been at the median; unknown: the median."""
    shrunk = []
    for value, count, median, term in zip(values, counts, medians, terms, strict=True):
        known = np.where(np.isfinite(value), value, median)
        if count is None:
            shrunk.append(known)
            continue
        n = np.where(np.isfinite(count), count, 0.0)
        shrunk.append((n * known + term.prior * median) / (n + term.prior))
    return shrunk


def _standardised(
    shrunk: Sequence[Array], medians: Sequence[float], scales: Sequence[float]
) -> list[Array]:
    return [
        np.clip((column - median) / scale, -_FARTHEST, _FARTHEST)
        for column, median, scale in zip(shrunk, medians, scales, strict=True)
    ]


def _probabilities(
    intercept: float, coefficients: Sequence[float], standard: Sequence[Array]
) -> Array:
    """Rounded to six digits. One term after the other: a matrix product may sum otherwise when
    there are more rows.
    """
    odds = np.full(len(standard[0]), intercept)
    for coefficient, column in zip(coefficients, standard, strict=True):
        odds = odds + coefficient * column
    return np.round(_sigmoid(odds), 6)


def _sigmoid(odds: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -500, 500))))


def _exceeded_by(probabilities: Array, share: float) -> float:
    """The lowest value that at most `share` of them exceed."""
    ordered = np.sort(probabilities)[::-1]
    return float(ordered[min(int(share * len(ordered)), len(ordered) - 1)])


def _level(probability: float, model: Model) -> Level:
    if probability > model.high_above:
        return Level.HIGH
    return Level.MEDIUM if probability > model.medium_above else Level.LOW


def _reasons(
    terms: Sequence[Term], contributions: Sequence[float], seen: Mapping[str, float]
) -> tuple[Reason, ...]:
    """What raises the forecast above the usual tutor's, largest first."""
    found = []
    for term, contribution in zip(terms, contributions, strict=True):
        if contribution > 0:
            value, n = seen[term.column], np.nan if term.count is None else seen[term.count]
            direction = "higher" if value > term.median else "lower"
            found.append(
                Reason(
                    code=term.column,
                    label=f"{term.label} {direction} than usual",
                    value=value,
                    reference=term.median,
                    n=int(n) if isfinite(n) else None,
                    contribution=contribution,
                )
            )
    return most_telling_first(found)[:_REASONS]
