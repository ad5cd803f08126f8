"""New weights for the student churn score, where outcomes show that they are better.

Belongs here: fitting weights to who left, and deciding whether they replace those in force.
Does not belong here: writing a version (`storage.churn_weights`), the score itself (`weighted`).

The link from score to outcome is logistic: P(leaves) = 1 / (1 + exp(-(a + b x score))). a and b
are fitted for the weights in force, too, so that only the order of the students counts.

New weights have another scale, so a version has its own levels: as many of the fitted rows are at
Medium and at High as under the version before. Weights under which nobody would be are refused.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from tutor_pipeline.core.formatting import count
from tutor_pipeline.judgement.scores import weighted
from tutor_pipeline.judgement.scores.churn_weights import Levels, Weights
from tutor_pipeline.judgement.scores.score import Row

METRIC = "held_out_log_loss"
MIN_CHURN_EVENTS = 100
"""The number of distinct students who left that a conclusion needs."""

CONFIDENCE = 1.64
"""Standard errors by which the mean gain must exceed 0: 95 %, one-sided."""

HORIZON_DAYS = weighted.HORIZON_DAYS
READS: tuple[str, ...] = ("student_id", "as_of_date", "has_churned", *weighted.METRICS)

OUTCOMES = f"""
    select
        history.student_id,
        history.as_of_date,
        {", ".join(weighted.METRICS)},
        students.churned_date is not null
        and students.churned_date <= history.as_of_date + {HORIZON_DAYS} as has_churned
    from {{marts}}.student_aggregates_history as history
    inner join {{marts}}.dim_students as students using (student_id)
    where history.as_of_date + {HORIZON_DAYS} <= %(known_until)s
        and not history.is_churn_inferred
    order by as_of_date, student_id
"""
"""The rows of weeks whose outcome is known. known_until is the last full day (a date). Leaves out
students who are only taken to have left, as their outcome is not known.
"""

# The standard deviation of the prior that pulls new weights towards those in force.
_SPREAD = 0.1
# Rows are weekly and look 30 days ahead: about four rows share an outcome.
_OUTCOMES_PER_ROW = 7 / HORIZON_DAYS
# The dates are cut into so many spans. Each but the first is held out, after training on what was
# known before it.
_SPANS = 4
# The least divisor of a score, also while the search tries a weight of 0.
_TINY = 1e-9
# The digits that scores (`weighted`) and levels are rounded to.
_DIGITS, _STEP = 6, 1e-6
_NO_VARIANCE = 1e-9
_MOST_MORE = 2  # where scores are equal, so many times as many rows may reach a level as before

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether new weights replace those in force, and why.

    `weights` are those fitted to all rows, and `levels` their levels, also when they are refused;
    None where nothing could be fitted. `metric_before` and `metric_after` are the mean log loss
    (nats per row) of held-out rows, `gain_lower_bound` the lower bound of the difference.
    `churn_events` counts distinct students who left.
    """

    accepted: bool
    weights: Mapping[str, float] | None
    levels: Levels | None
    metric_before: float | None
    metric_after: float | None
    gain_lower_bound: float | None
    rows: int
    churn_events: int
    reason: str


def refine(rows: Iterable[Row], current: Weights) -> Decision:
    """Fit weights to who left, and compare them with `current` on held-out rows.

    `rows` (`READS`) are students as of past dates who had not left. `has_churned` says whether the
    student left within HORIZON_DAYS, which must have passed. Leaves out rows that the weights in
    force cannot score. A factor that does not vary among the rows keeps its weight.
    """
    data = _gather(rows, current)
    events = len(np.unique(data.students[data.churned == 1]))
    if events < MIN_CHURN_EVENTS:
        return _refused(
            data, events, f"{count(events, 'student')} left, at least {MIN_CHURN_EVENTS} are needed"
        )
    gains, befores, students = [], [], []
    for train, test in _folds(data):
        before = _loss(_fit_link(train, data.start), test)
        after = _loss(_fit(train, data.start), test)
        gains.append(before - after)
        befores.append(before)
        students.append(test.students)
    if not gains:
        return _refused(
            data, events, "the dates are too few to hold any of them out from the fitting"
        )
    gain = np.concatenate(gains)
    before_mean = float(np.concatenate(befores).mean())
    lower = round(_lower_bound(gain, np.concatenate(students)), 9)
    fitted = _rounded(_fit(data, data.start).weights, data)
    levels = carried_over(
        current.levels, _scores(data, data.start)[0], scores := _scores(data, fitted)[0]
    )
    newest = scores[data.dates == data.dates.max()]
    is_silent = not (newest.round(_DIGITS) >= levels.medium_from).any()
    kept = [name for name, varies in zip(data.factors, _varies(data), strict=True) if not varies]
    return Decision(
        lower > 0 and not is_silent,
        dict(zip(data.factors, fitted.tolist(), strict=True)),
        levels,
        round(before_mean, 9),
        round(before_mean - float(gain.mean()), 9),
        lower,
        len(data.churned),
        events,
        f"on held-out rows the log loss falls by {gain.mean():.6f} a row, at the least by"
        f" {lower:.6f} (95 %): "
        + ("the fitted weights are better" if lower > 0 else "that may be chance, or a loss")
        + (", but under them nobody would be at Medium or High" if lower > 0 and is_silent else "")
        + (f"; without variance, and kept: {', '.join(kept)}" if kept else ""),
    )


def carried_over(levels: Levels, before: Floats, after: Floats) -> Levels:
    """Returns the levels of new weights that as many rows reach as before, as near as equal scores
    allow. `before` and `after` are the rows' scores under the old and the new weights. A level that
    nobody reached stays as many standard deviations away, and nobody reaches it.
    """
    before, after = before.round(_DIGITS), after.round(_DIGITS)
    values, counts = np.unique(after, return_counts=True)
    values, reached = values[::-1], np.cumsum(counts[::-1])

    def from_score(level: float) -> float:
        wanted = int((before >= level).sum())
        if wanted:
            nearest = int(np.argmin(np.abs(reached - wanted)))
            # Where very many scores are equal, choose the level above, which fewer reach.
            if reached[nearest] > _MOST_MORE * wanted:
                nearest -= 1
            return float(values[nearest]) if nearest >= 0 else float(values[0]) + _STEP
        spread, highest = float(np.std(before)), float(values[0])
        unit = float(np.std(after)) / spread if spread > _NO_VARIANCE else 1.0
        away = float(np.mean(after)) + (level - float(np.mean(before))) * unit
        return round(max(away, highest + _STEP), _DIGITS)

    medium = max(from_score(levels.medium_from), _STEP)
    return Levels(medium, max(from_score(levels.high_from), medium))


class _Data(NamedTuple):
    """Rows x factors: `risks` (0 where unknown) and `known` (0 or 1); `start`: weights in force."""

    factors: tuple[str, ...]
    start: Floats
    risks: Floats
    known: Floats
    churned: Floats
    dates: NDArray[np.int64]
    students: NDArray[np.int64]

    def where(self, chosen: NDArray[np.bool_]) -> _Data:
        return self._replace(
            risks=self.risks[chosen],
            known=self.known[chosen],
            churned=self.churned[chosen],
            dates=self.dates[chosen],
            students=self.students[chosen],
        )


class _Model(NamedTuple):
    """Weights and the link from score to outcome."""

    weights: Floats
    intercept: float
    slope: float


def _gather(rows: Iterable[Row], current: Weights) -> _Data:
    factors = tuple(sorted(weighted.FACTORS))
    start = np.array([current.weights.get(name, 0.0) for name in factors])
    risks, known = array("d"), array("d")
    facts: list[tuple[int, str, bool]] = []
    for row in rows:
        found = weighted.risks(row)
        values = [found[name] for name in factors]
        if not any(v is not None and w > 0 for v, w in zip(values, start, strict=True)):
            continue
        risks.extend(value or 0.0 for value in values)
        known.extend(float(value is not None) for value in values)
        as_of_date = cast(date, row["as_of_date"])
        facts.append((as_of_date.toordinal(), str(row["student_id"]), bool(row["has_churned"])))
    # Sums must not depend on the caller's order.
    order = sorted(range(len(facts)), key=facts.__getitem__)
    number_of = {name: index for index, name in enumerate(sorted({name for _, name, _ in facts}))}
    shape = (len(facts), len(factors))
    return _Data(
        factors,
        start,
        np.array(risks).reshape(shape)[order],
        np.array(known).reshape(shape)[order],
        np.array([float(facts[index][2]) for index in order]),
        np.array([facts[index][0] for index in order], dtype=np.int64),
        np.array([number_of[facts[index][1]] for index in order], dtype=np.int64),
    )


def _refused(data: _Data, events: int, reason: str) -> Decision:
    return Decision(False, None, None, None, None, None, len(data.churned), events, reason)


def _folds(data: _Data) -> Iterator[tuple[_Data, _Data]]:
    """Yields (training, held out): training outcomes were known before the held-out dates."""
    spans = np.array_split(np.unique(data.dates), _SPANS)
    for span in spans[1:]:
        if not len(span):
            continue
        train = data.where(data.dates + HORIZON_DAYS < span[0])
        test = data.where((data.dates >= span[0]) & (data.dates <= span[-1]))
        if 0 < train.churned.sum() < len(train.churned):
            yield train, test


def _scores(data: _Data, weights: Floats) -> tuple[Floats, Floats]:
    """Returns the scores, and their divisors: the weight of the known factors."""
    total = np.maximum(data.known @ weights, _TINY)
    return (data.risks @ weights) / total, total


def _loss(model: _Model, data: _Data) -> Floats:
    """Returns the log loss of each row."""
    odds = model.intercept + model.slope * _scores(data, model.weights)[0]
    return cast(Floats, np.logaddexp(0, odds) - data.churned * odds)


def _fit_link(data: _Data, weights: Floats) -> _Model:
    """Returns given weights with the best intercept and slope (at least 0)."""
    scores = _scores(data, weights)[0]

    def objective(at: Floats) -> tuple[float, Floats]:
        odds = at[0] + at[1] * scores
        loss = np.logaddexp(0, odds) - data.churned * odds
        residual = expit(odds) - data.churned
        return float(loss.mean()), np.array([residual.mean(), (residual * scores).mean()])

    rate = data.churned.mean()
    found = minimize(
        objective,
        np.array([np.log(rate / (1 - rate)), 0.0]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(None, None), (0, None)],
    )
    return _Model(weights, float(found.x[0]), float(found.x[1]))


def _fit(data: _Data, start: Floats) -> _Model:
    """Returns the best weights (at least 0, together 1), intercept and slope, pulled towards
    `start`. Factors that do not vary keep their weights of `start`.
    """
    link = _fit_link(data, start)
    free = np.flatnonzero(_varies(data))
    size = len(free)
    to_share = float(start[free].sum())
    if size < 2 or to_share <= _TINY:
        return link

    def whole(shares: Floats) -> Floats:
        weights = start.copy()
        weights[free] = shares
        return weights

    def objective(at: Floats) -> tuple[float, Floats]:
        weights, intercept, slope = whole(at[:size]), at[size], at[size + 1]
        scores, total = _scores(data, weights)
        odds = intercept + slope * scores
        residual = expit(odds) - data.churned
        pull = (weights - start) / _SPREAD**2 / (_OUTCOMES_PER_ROW * len(scores))
        # d score / d weight = (risk - score x known) / total
        share = slope * residual / total
        slopes = (data.risks.T @ share - data.known.T @ (share * scores)) / len(scores)
        loss = (np.logaddexp(0, odds) - data.churned * odds).mean() + (pull @ (weights - start)) / 2
        return float(loss), np.concatenate(
            [(slopes + pull)[free], [residual.mean(), (residual * scores).mean()]]
        )

    found = minimize(
        objective,
        np.concatenate([start[free], [link.intercept, link.slope]]),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * size + [(None, None), (0, None)],
        constraints={
            "type": "eq",
            "fun": lambda at: at[:size].sum() - to_share,
            "jac": lambda _: np.concatenate([np.ones(size), [0.0, 0.0]]),
        },
        options={"ftol": 1e-10, "maxiter": 300},
    )
    shares = np.clip(found.x[:size], 0, 1)
    weights = whole(shares * to_share / shares.sum())
    return _Model(weights, float(found.x[size]), float(found.x[size + 1]))


def _varies(data: _Data) -> NDArray[np.bool_]:
    """Returns which factors vary among the rows where they are known."""
    lowest = np.where(data.known > 0, data.risks, np.inf).min(axis=0)
    highest = np.where(data.known > 0, data.risks, -np.inf).max(axis=0)
    return np.asarray(highest - lowest > _NO_VARIANCE)


def _rounded(weights: Floats, data: _Data) -> Floats:
    """Returns the weights in whole millionths that add up to 1. The largest fitted one takes the
    rounding error.
    """
    millionths = np.round(weights * 1_000_000)
    largest = int(np.argmax(np.where(_varies(data), millionths, -1)))
    millionths[largest] += 1_000_000 - millionths.sum()
    return millionths / 1_000_000


def _lower_bound(gain: Floats, students: NDArray[Any]) -> float:
    """Returns the mean minus CONFIDENCE standard errors, clustered by student."""
    _, student = np.unique(students, return_inverse=True)
    sums = np.bincount(student, weights=gain - gain.mean())
    if len(sums) < 2:
        return float("-inf")
    error = np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)) / len(gain)
    return float(gain.mean() - CONFIDENCE * error)
