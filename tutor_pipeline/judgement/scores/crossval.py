"""How well the learning code does on any table: cross-validation on unseen rows.

Belongs here: the folds, columns as numbers to learn from, the figures.
Does not belong here: what a column is (`crossval_columns`), the file, scores of tutors.

The regression is the one of the forecasts (`regression`) without documented weights, beside a
gradient boosting. Means, spreads and common values come from the training rows of each fold.

Unlike signs (`departure.reference`), columns are not cut where they are far out: in any other
table what matters may lie in the tail. On skewed columns the cut changes the AUC by up to 0.04, in
either direction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tutor_pipeline.core.errors import RefusedError, UsageError
from tutor_pipeline.core.formatting import agree, count, visible
from tutor_pipeline.judgement.scores import leakage
from tutor_pipeline.judgement.scores.crossval_columns import (
    Coded,
    Column,
    Table,
    coded,
    is_missing,
    key,
    read,
    repeated,
)
from tutor_pipeline.judgement.scores.evaluation import (
    REPLICATES,
    SEED,
    Array,
    Figure,
    Metric,
    Prediction,
    Sample,
    evaluate,
)
from tutor_pipeline.judgement.scores.regression import Prior, posterior
from tutor_pipeline.judgement.scores.threads import one_thread

METRICS = (
    Metric.AUC,
    Metric.AVERAGE_PRECISION,
    Metric.RECALL,
    Metric.BRIER,
    Metric.BRIER_OF_CONSTANT,
    Metric.CALIBRATION_SLOPE,
)

POSITIVE = ("1", "yes", "true", "y", "t", "left", "churned")
"""Values of a target that are the positive one, without --positive."""

MAX_VALUES = 100
"""A text with more values than this is learned from by its most common ones, unless the table is so
small that learning from all of them is quick.
"""
_QUICK = 5e9  # rows x indicators²: the cost of a learning step of about a second

PRIOR = Prior(
    intercept=0.0, intercept_sd=None, multiplier=1.0, multiplier_sd=None, deviation_sd=1.0
)
"""Each weight ~ N(0, 1), a flat prior of the intercept. The optimum is that of an L2 logistic
regression with C = 1.
"""

_CONSTANT = 1e-10  # a spread so small against the values is a rounding error


@dataclass(frozen=True)
class Validation:
    """The result. `positive` and `negative`: the two values of the target. `group`: the column
    whose `groups` were kept in one fold each. `dropped`: columns that were not used, with the
    reason. `warnings`: what to know before believing the figures. `figures`: by learner.
    """

    target: str
    positive: str
    negative: str
    rows: int
    positives: int
    unknown: int
    folds: int
    group: str | None
    groups: int | None
    columns: tuple[str, ...]
    dropped: Mapping[str, str]
    warnings: tuple[str, ...]
    figures: Mapping[str, Mapping[Metric, Figure]]


def cross_validate(
    table: Table,
    target: str,
    *,
    positive: str | None = None,
    group: str | None = None,
    drop: Sequence[str] = (),
    folds: int = 5,
    replicates: int = REPLICATES,
    seed: int = SEED,
    progress: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> Validation:
    """Forecast each row by learners that never saw it, in stratified folds, and measure them.

    `table` maps columns to their cells as text. Rows without a target are left out. Rows with the
    same value in the column `group` share a fold, and are drawn together for intervals. Rows
    without a value, and all rows without `group`, are groups of their own.

    Raises UsageError for an impossible column, value or number of folds, RefusedError for a table
    that nothing can be learned from.
    """
    _check_names(table, target, group, drop)
    known, labels, names = _labels(table[target], target, positive)
    _check_rows(labels, folds, names)
    rows = {name: [cells[n] for n in known] for name, cells in table.items() if name != target}
    not_used = dict.fromkeys(drop, "asked for")
    warnings: list[str] = []
    groups = None
    if group is not None:
        not_used[group] = "the rows are grouped by it"
        groups = _groups(rows[group], group, warnings)
        _check_groups(labels, groups, folds, group, target, names)
    found = read(rows, not_used)
    if not found.columns:
        raise RefusedError(
            f"no column is left to learn {visible(target)} from ({_in_words(found.dropped)})"
        )
    members = np.arange(len(labels)) if groups is None else groups
    warnings += found.remarks
    warnings += _repeats(rows, found.columns, labels) if group is None else []
    warnings += _leaks(rows, found.columns, labels, members)
    splits = _splits(labels, groups, folds, seed)
    forecasts = _forecasts(found.columns, labels, splits, folds, progress)
    sample = Sample(members, np.zeros(len(labels), dtype=int), labels)
    figures = _figures(sample, forecasts, replicates, seed, progress)
    return Validation(
        target=target,
        positive=names[0],
        negative=names[1],
        rows=len(labels),
        positives=int(labels.sum()),
        unknown=len(table[target]) - len(known),
        folds=folds,
        group=group,
        groups=None if groups is None else len(np.unique(groups)),
        columns=tuple(column.name for column in found.columns),
        dropped=found.dropped,
        warnings=tuple(warnings),
        figures=figures,
    )


def _figures(
    sample: Sample,
    forecasts: Mapping[str, Array],
    replicates: int,
    seed: int,
    progress: Callable[[str, int, int], None],
) -> dict[str, dict[Metric, Figure]]:
    found = evaluate(
        sample,
        [Prediction(name, "1", scores, True) for name, scores in forecasts.items()],
        replicates=replicates,
        seed=seed,
        progress=lambda done, total: progress("intervals", done, total),
    )
    return {name: {metric: each[metric] for metric in METRICS} for name, each in found.items()}


def _labels(
    cells: Sequence[str], target: str, positive: str | None
) -> tuple[list[int], Array, tuple[str, str]]:
    """Returns the places of the rows with a target, whether each is positive, and the names of the
    positive and the negative value.
    """
    outcome = coded(cells)
    known = [n for n, code in enumerate(outcome.codes) if code >= 0]
    outcome = Coded(outcome.codes[known], outcome.names)
    happened = _positive(outcome, target, positive, cells)
    names = (outcome.names[happened], outcome.names[1 - happened])
    return known, outcome.codes == happened, names


def _leaks(rows: Table, columns: Sequence[Column], labels: Array, members: Array) -> Iterator[str]:
    """Yields a warning per column that predicts the target too well to have been known before."""
    names = [column.name for column in columns]
    cells = [
        [None if is_missing(cell) else cell for cell in rows[column.name]]
        if column.numbers is None
        else column.numbers
        for column in columns
    ]
    matrix = np.empty((len(labels), len(names)), dtype=object)
    for place, each in enumerate(cells):
        matrix[:, place] = each
    for name, why in leakage.suspects(names, matrix, labels, members).items():
        yield (
            f"{visible(name)} may not have been known before: {why}. Leave it out with --drop"
            f" {visible(name)}"
        )


def _check_names(table: Table, target: str, group: str | None, drop: Sequence[str]) -> None:
    from difflib import get_close_matches

    for name in (target, *([] if group is None else [group]), *drop):
        if name not in table:
            near = get_close_matches(name, table, n=1, cutoff=0.5)
            has = ", ".join(map(visible, table))
            hint = f"; did you mean {visible(near[0])}?" if near else f"; it has {has}"
            raise UsageError(f"the table has no column {name}{hint}")
    if target in drop:
        raise UsageError(f"{target} is the target: it cannot be dropped")
    if target == group:
        raise UsageError(f"{target} is the target: --group names who the rows are about")


def _positive(outcome: Coded, target: str, positive: str | None, cells: Sequence[str]) -> int:
    """Returns the code of the positive value. Without `positive`: a word for yes, else the rarer of
    the two.
    """
    counts = outcome.counts()
    target, values = visible(target), _examples(outcome)
    if not len(counts):
        raise RefusedError(f"{target} is empty in every row")
    if len(counts) == 1:
        empty = sorted({cell.strip() for cell in cells if is_missing(cell)} - {""})
        raise RefusedError(
            f"every row has {target} = {values}: there is nothing to tell apart"
            + (f" ({', '.join(empty)} counts as empty)" if empty else "")
        )
    keys = [key(name) for name in outcome.names]
    if positive is not None and key(positive) not in keys:
        raise UsageError(f"no row has {target} = {positive}; it has {values}")
    if len(counts) > 2:
        raise UsageError(
            f"{target} has {count(len(counts), 'value')} ({values}); a target has two: name another"
            " column, or make two values of them in the file"
        )
    if positive is not None:
        return keys.index(key(positive))
    said = [code for code, each in enumerate(keys) if each in map(key, POSITIVE)]
    return said[0] if len(said) == 1 else int(np.argmin(counts))


def _check_rows(labels: Array, folds: int, names: tuple[str, str]) -> None:
    if folds < 2:
        raise UsageError(f"--folds {folds}: there must be at least 2")
    happened = int(labels.sum())
    for value, rows in zip(names, (happened, len(labels) - happened), strict=True):
        if rows < folds:
            raise RefusedError(
                f"only {rows:,} of {count(len(labels), 'row')} {agree(rows, 'is', 'are')}"
                f" {visible(value)}: too few for {count(folds, 'fold')}, each of which needs"
                f" one{_fewer(rows)}"
            )


def _groups(cells: Sequence[str], group: str, warnings: list[str]) -> Array:
    """Returns the group of each row as a code from 0; a row without one is a group of its own."""
    found = coded(cells)
    alone = found.codes < 0
    groups = found.codes.copy()
    groups[alone] = len(found.names) + np.arange(alone.sum())
    if alone.any():
        warnings.append(
            f"{count(int(alone.sum()), 'row')} without {visible(group)}: each counts as a group of"
            " its own"
        )
    if len(np.unique(groups)) == len(groups):
        warnings.append(f"{visible(group)} differs in every row: --group changes nothing")
    return groups


def _check_groups(
    labels: Array, groups: Array, folds: int, group: str, target: str, names: tuple[str, str]
) -> None:
    group, target = visible(group), visible(target)
    present = len(np.unique(groups))
    if present < folds:
        raise RefusedError(
            f"{group} has {count(present, 'value')}: too few for {count(folds, 'fold')}, each of"
            f" which needs one{_fewer(present)}"
        )
    for value, of_value in zip(names, (labels, ~labels), strict=True):
        having = len(np.unique(groups[of_value]))
        if having < folds:
            raise RefusedError(
                f"rows with {target} = {visible(value)} are of {having:,} of {present:,} {group}:"
                f" too few for {count(folds, 'fold')}, each of which needs one{_fewer(having)}"
            )


def _fewer(most: int) -> str:
    return f"; --folds {most} would do" if most >= 2 else "; there must be more of them"


def _repeats(rows: Table, columns: Sequence[Column], labels: Array) -> list[str]:
    return [
        f"rows with the same {visible(name)} are alike ({count(persons, 'value')} in"
        f" {count(len(labels), 'row')}). If they are one person's, the figures below are too good:"
        f" add --group {visible(name)}"
        for name, persons in repeated(rows, columns, labels)
    ]


def _splits(
    labels: Array, groups: Array | None, folds: int, seed: int
) -> Iterable[tuple[Array, Array]]:
    """Returns the rows to train and to test with, per fold."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    return list(kind(folds, shuffle=True, random_state=seed).split(labels, labels, groups))


def _forecasts(
    columns: Sequence[Column],
    labels: Array,
    splits: Iterable[tuple[Array, Array]],
    folds: int,
    progress: Callable[[str, int, int], None],
) -> dict[str, Array]:
    """Returns each learner's probabilities, each from the fold in which the row was not seen."""
    learners = {"logistic_regression": _regression, "gradient_boosting": _boosting}
    found = {name: np.empty(len(labels)) for name in learners}
    texts = sum(column.words is not None for column in columns)
    most = max(MAX_VALUES, int((_QUICK / len(labels)) ** 0.5) // max(texts, 1))
    progress("folds", 0, folds)
    for number, (train, test) in enumerate(splits):
        if labels[train].all() or not labels[train].any():
            raise RefusedError(
                f"the groups are too uneven for {count(folds, 'fold')}: outside of one of them all"
                " rows are alike; try fewer --folds"
            )
        matrix = np.column_stack([_encode(column, train, most) for column in columns])
        for name, learn in learners.items():
            with one_thread():
                found[name][test] = learn(matrix[train], labels[train], matrix[test])
        progress("folds", number + 1, folds)
    return found


def _regression(x: Array, labels: Array, asked: Array) -> Array:
    from scipy.special import expit

    nothing = np.zeros(x.shape[1])
    return np.asarray(expit(posterior(x, labels, nothing, PRIOR).log_odds(asked, nothing)))


def _boosting(x: Array, labels: Array, asked: Array) -> Array:
    from sklearn.ensemble import HistGradientBoostingClassifier

    if not x.shape[1]:
        # Outside of this fold no column has a value: all there is to know is how many are positive.
        return np.full(len(asked), labels.mean())
    learner = HistGradientBoostingClassifier(
        learning_rate=0.05,
        max_iter=150,
        max_leaf_nodes=8,
        min_samples_leaf=20,
        l2_regularization=1.0,
        random_state=0,
    )
    return np.asarray(learner.fit(x, labels).predict_proba(asked)[:, 1])


def _encode(column: Column, train: Array, most: int) -> Array:
    """Returns a column as numbers, scaled by its training rows: standardised, with missing values
    at 0 and an indicator; or an indicator for each of the `most` common values.
    """
    if column.words is not None:
        codes = column.words.codes
        counts = np.bincount(codes[train] + 1, minlength=len(column.words.names) + 1)[1:]
        common = np.argsort(-counts, kind="stable")[: min(most, int((counts > 0).sum()))]
        # Of two values, one indicator says it all.
        marked = common[1:] if len(common) == 2 and (codes >= 0).all() else common
        return np.asarray(codes[:, None] == marked, dtype=float)
    assert column.numbers is not None
    known = np.isfinite(column.numbers)
    seen = column.numbers[train][known[train]]
    center, spread = (float(seen.mean()), float(seen.std())) if len(seen) else (0.0, 0.0)
    if spread <= _CONSTANT * abs(center):
        spread = 1.0
    standard = np.where(known, (column.numbers - center) / spread, 0.0)
    return standard[:, None] if known.all() else np.column_stack([standard, ~known])


def _examples(outcome: Coded) -> str:
    counts = outcome.counts()
    shown = [visible(outcome.names[code], 40) for code in np.argsort(-counts, kind="stable")[:6]]
    return ", ".join(shown) + (", …" if len(counts) > len(shown) else "")


def _in_words(dropped: Mapping[str, str]) -> str:
    return (
        "; ".join(f"{visible(name)}: {why}" for name, why in dropped.items()) or "it has no other"
    )
