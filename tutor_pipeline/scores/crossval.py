"""How well the learning code does on anybody's table: cross-validation on unseen rows.

Belongs here: reading a table's columns for what they are, the folds, the figures.
Does not belong here: the file, the command's words; scores of tutors (`departure`).

The same two learners as for tutors, an L2 logistic regression and a gradient boosting, on whatever
columns there are. What they are told of a column (median, spread, common values) comes from the
training rows of each fold alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from tutor_pipeline.errors import RefusedError, UsageError
from tutor_pipeline.scores.evaluation import (
    REPLICATES,
    SEED,
    Array,
    Figure,
    Metric,
    Prediction,
    Sample,
    evaluate,
    one_thread,
)

METRICS = (
    Metric.AUC,
    Metric.AVERAGE_PRECISION,
    Metric.RECALL,
    Metric.BRIER,
    Metric.BRIER_OF_CONSTANT,
    Metric.CALIBRATION_SLOPE,
)
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
"""Cells that say nothing, in lower case."""

POSITIVE = ("1", "1.0", "yes", "true", "y", "t", "left", "churned")
"""Values of a target that mean it happened, in lower case, where --positive does not say."""

MAX_VALUES = 30
"""A text with more values than this counts by its most common ones."""

_ID_SHARE = 0.5  # a text with so many different values in relation to its rows names them

Table = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Column:
    """A column to learn from: numbers (NaN = missing), or texts (None = missing)."""

    name: str
    numbers: Array | None = None
    texts: Sequence[str | None] = ()


@dataclass(frozen=True)
class Validation:
    """What came out. `figures` by learner; `dropped` columns by why; `negative` is the other
    value of the target.
    """

    target: str
    positive: str
    negative: str
    rows: int
    positives: int
    unknown: int
    folds: int
    columns: tuple[str, ...]
    dropped: Mapping[str, str]
    figures: Mapping[str, Mapping[Metric, Figure]]


def cross_validate(
    table: Table,
    target: str,
    *,
    positive: str | None = None,
    drop: Sequence[str] = (),
    folds: int = 5,
    replicates: int = REPLICATES,
    seed: int = SEED,
    progress: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> Validation:
    """Forecast each row by learners that never saw it, in stratified folds, and measure it.

    `table` maps columns to their cells as text. Rows without a target are left out. Intervals come
    from drawing rows with replacement. Raises UsageError for a column, value or number of folds
    that cannot be, RefusedError for a table that nothing can be learned from.
    """
    _check_names(table, target, drop)
    known = [n for n, cell in enumerate(table[target]) if not _is_missing(cell)]
    cells = [table[target][n].strip() for n in known]
    positive, negative = _values(cells, target, positive)
    labels = np.array([cell == positive for cell in cells])
    _check_folds(labels, folds, positive, negative)
    columns, dropped = _columns(
        {name: [column[n] for n in known] for name, column in table.items() if name != target}, drop
    )
    if not columns:
        raise RefusedError(f"no column is left to learn {target} from ({_in_words(dropped)})")
    forecasts = _forecasts(columns, labels, folds, seed, progress)
    sample = Sample(np.arange(len(labels)), np.zeros(len(labels), dtype=int), labels)
    figures = evaluate(
        sample,
        [Prediction(name, "1", scores, True) for name, scores in forecasts.items()],
        replicates=replicates,
        seed=seed,
    )
    return Validation(
        target=target,
        positive=positive,
        negative=negative,
        rows=len(labels),
        positives=int(labels.sum()),
        unknown=len(table[target]) - len(known),
        folds=folds,
        columns=tuple(column.name for column in columns),
        dropped=dropped,
        figures={
            name: {metric: found[metric] for metric in METRICS} for name, found in figures.items()
        },
    )


def _check_names(table: Table, target: str, drop: Sequence[str]) -> None:
    from difflib import get_close_matches

    for name in (target, *drop):
        if name not in table:
            near = get_close_matches(name, table, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(table)}"
            raise UsageError(f"the table has no column {name}{hint}")
    if target in drop:
        raise UsageError(f"{target} is the target: it cannot be dropped")


def _values(cells: Sequence[str], target: str, positive: str | None) -> tuple[str, str]:
    """The value that means it happened, and the other. Without `positive`: a word for yes, else
    the rarer of the two.
    """
    counts = Counter(cells)
    if not counts:
        raise RefusedError(f"{target} is empty in every row")
    if positive is not None and positive not in counts:
        raise UsageError(f"no row has {target} = {positive}; it has {_examples(counts)}")
    if len(counts) == 1:
        raise RefusedError(
            f"every row has {target} = {next(iter(counts))}: there is nothing to tell apart"
        )
    if len(counts) > 2:
        raise UsageError(
            f"{target} has {len(counts):,} values ({_examples(counts)}); a target has two"
        )
    if positive is None:
        said = [value for value in counts if value.lower() in POSITIVE]
        rarer = min(counts, key=lambda value: (counts[value], value))
        positive = said[0] if len(said) == 1 else rarer
    (negative,) = set(counts) - {positive}
    return positive, negative


def _check_folds(labels: Array, folds: int, positive: str, negative: str) -> None:
    if folds < 2:
        raise UsageError(f"--folds {folds}: there must be at least 2")
    happened = int(labels.sum())
    for value, rows in ((positive, happened), (negative, len(labels) - happened)):
        if rows < folds:
            raise RefusedError(
                f"only {rows} of {len(labels):,} rows are {value}: too few for {folds} folds,"
                " each of which needs one"
            )


def _columns(table: Table, drop: Sequence[str]) -> tuple[list[Column], dict[str, str]]:
    """What can be learned from, and why the others cannot."""
    columns: list[Column] = []
    dropped = dict.fromkeys(drop, "asked for")
    for name, cells in table.items():
        if name in dropped:
            continue
        texts = [None if _is_missing(cell) else cell.strip() for cell in cells]
        given = [text for text in texts if text is not None]
        different = len(set(given))
        numbers = [_number(text) for text in given]
        if not given:
            dropped[name] = "empty"
        elif different == 1 and len(given) == len(texts):
            dropped[name] = "the same in every row"
        elif all(number is not None for number in numbers):
            if _is_id(name, [number for number in numbers if number is not None]):
                dropped[name] = "looks like an id: another number in every row"
            else:
                columns.append(Column(name, numbers=_numbers(texts)))
        elif different > MAX_VALUES and different > _ID_SHARE * len(given):
            dropped[name] = f"looks like an id or free text: {different:,} different values"
        else:
            columns.append(Column(name, texts=texts))
    return columns, dropped


def _is_id(name: str, numbers: Sequence[float]) -> bool:
    """Whole numbers, all different, that are in order or are called an id."""
    if len(set(numbers)) < len(numbers) or any(number != int(number) for number in numbers):
        return False
    called = (
        name.strip().lower().replace("_", "").replace(" ", "").endswith(("id", "number", "key"))
    )
    return called or list(numbers) == sorted(numbers)


def _numbers(texts: Sequence[str | None]) -> Array:
    found = (None if text is None else _number(text) for text in texts)
    return np.array([np.nan if number is None else number for number in found])


def _forecasts(
    columns: Sequence[Column],
    labels: Array,
    folds: int,
    seed: int,
    progress: Callable[[str, int, int], None],
) -> dict[str, Array]:
    """Each learner's probability for every row, from the fold in which it was not seen."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    found = {name: np.empty(len(labels)) for name in ("logistic_regression", "gradient_boosting")}
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels)
    for number, (train, test) in enumerate(splits):
        progress("fold", number, folds)
        blocks = [_encode(column, train) for column in columns]
        matrix = np.column_stack(blocks)
        learners = {
            "logistic_regression": LogisticRegression(C=1.0, max_iter=2_000),
            "gradient_boosting": HistGradientBoostingClassifier(
                learning_rate=0.05,
                max_iter=150,
                max_leaf_nodes=8,
                min_samples_leaf=20,
                l2_regularization=1.0,
                random_state=0,
            ),
        }
        for name, learner in learners.items():
            with one_thread():
                learner.fit(matrix[train], labels[train])
                found[name][test] = learner.predict_proba(matrix[test])[:, 1]
    progress("fold", folds, folds)
    return found


def _encode(column: Column, train: Array) -> Array:
    """A column as numbers, by what its training rows say: standardised, the missing at the median
    with a mark of their own; or a mark per common value.
    """
    if column.numbers is None:
        counts = Counter(text for n in train if (text := column.texts[n]) is not None)
        common = sorted(counts, key=lambda value: (-counts[value], value))[:MAX_VALUES]
        # The mark of the most common value would say nothing that the others' do not.
        marked = common[1:] if len(common) == 2 and None not in column.texts else common
        return np.array(
            [[float(text == value) for value in marked] for text in column.texts], dtype=float
        ).reshape(len(column.texts), len(marked))
    seen = column.numbers[train]
    missing = ~np.isfinite(column.numbers)
    median = float(np.nanmedian(seen)) if np.isfinite(seen).any() else 0.0
    filled = np.where(missing, median, column.numbers)
    spread = float(filled[train].std()) or 1.0
    standard = (filled - filled[train].mean()) / spread
    if not missing.any():
        return np.asarray(standard[:, None])
    return np.column_stack([standard, missing.astype(float)])


def _is_missing(cell: str) -> bool:
    return cell.strip().lower() in MISSING


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _examples(counts: Counter[str]) -> str:
    shown = [value for value, _ in counts.most_common(4)]
    return ", ".join(shown) + (", …" if len(counts) > len(shown) else "")


def _in_words(dropped: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in dropped.items()) or "it has no other"
