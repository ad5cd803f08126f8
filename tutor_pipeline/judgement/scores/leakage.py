"""Leakage: columns and forecasts that know the future, found without a truth.

Belongs here: comparing what history said when it was new with what it says now; columns that never
change; columns that predict too well what happens later; the signs that rest on a column.
Does not belong here: the log itself (`storage.feature_log`), what is done about leakage.

No honest forecast is nearly always right: one that is knows more than could be known. Bounds are
the lower ends of a bootstrap over groups (people), so that few people prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np

from tutor_pipeline.judgement.scores.evaluation import Array, Figure, Sample, auc

Columns = Mapping[str, Array]

TOO_GOOD = 0.9
"""A column or forecast with an AUC surely above this is left out, or held back."""
NEAR_DAYS, NEAR_TOO_GOOD, NEAR_FROM = 14, 0.92, 0.85
"""For departures within NEAR_DAYS an honest column may have a higher AUC, and a leak is clearest,
as averages have caught up with it. NEAR_TOO_GOOD applies where the AUC for all departures is above
NEAR_FROM: an honest sign that shows only shortly before somebody leaves is late for the others.
"""
FEWEST_LEAVERS = 8
"""With fewer nothing is concluded: among many columns one tells some people apart by chance."""

MOST_DIFFERING = 0.01
"""The share of compared rows that may differ; beyond it a column is left out."""
FEWEST_WEEKS = 8
"""With fewer logged weeks a version is not yet verified. A column that has not changed for so long
holds only its present value.
"""
LOGGED_WITHIN_DAYS = 7
"""After so many days a day is no longer new, and is not logged."""

REPLACED = frozenset({"hours_next_week"})
"""Columns that a later report replaces: known then and not known now is no rewritten past."""
REFUNDED = frozenset({"earned_28d", "earned_before"})
REFUNDED_SHARE = 0.2
"""Columns of money. Refunds, which have no moment of their own, lower them later; a fall by less
than this share is no rewritten past.
"""

_FEWEST_UNCHANGED = 10
_ROUNDING = 1e-6


def is_due(day: date, on: date, newest_logged: date | None, settling_days: int) -> bool:
    """Returns whether to log a day as of `on`: it has settled, it is still new, and no newer day is
    logged.
    """
    is_new = settling_days <= (on - day).days <= LOGGED_WITHIN_DAYS
    return is_new and (newest_logged is None or day > newest_logged)


@dataclass(frozen=True)
class Day:
    """A logged day, compared with history now. `compared`: the number of its rows that hold nothing
    recorded later. Of those that differ: whose they are, their columns `then` and `now`.
    """

    day: date
    logged_at: datetime
    compared: int
    subjects: Sequence[str]
    then: Columns
    now: Columns


@dataclass(frozen=True)
class Changed:
    """A column whose past was rewritten. `days`: the first and last day on which it differs.
    `example`: whose, when, the value then, the value now. `then` and `now`: all columns of the
    rows in which it differs.
    """

    column: str
    rows: int
    compared: int
    days: tuple[date, date]
    example: tuple[str, date, float | None, float | None]
    then: Columns
    now: Columns

    @property
    def share(self) -> float:
        """The share of the compared rows that differ."""
        return self.rows / self.compared


def changed(days: Sequence[Day], accepted: Mapping[str, datetime]) -> list[Changed]:
    """Returns the columns that differ in more than MOST_DIFFERING of the rows and for more than one
    person: a single correction is no leak. An accepted column is compared only on days logged after
    its acceptance.
    """
    found = []
    for name in dict.fromkeys(name for day in days for name in day.then):
        since = accepted.get(name)
        looked = [
            day for day in days if name in day.then and (since is None or day.logged_at > since)
        ]
        compared = sum(day.compared for day in looked)
        apart = [(day, _another_past(name, day.then[name], day.now[name])) for day in looked]
        apart = [(day, rows) for day, rows in apart if rows.any()]
        rows = sum(int(each.sum()) for _, each in apart)
        who = {day.subjects[row] for day, each in apart for row in np.flatnonzero(each).tolist()}
        if len(who) < 2 or rows <= MOST_DIFFERING * compared:
            continue
        last, there = max(apart, key=lambda pair: pair[0].day)
        row = int(np.flatnonzero(there)[0])
        names = set.intersection(*(set(day.then) for day, _ in apart))
        then, now = (
            {
                each: np.concatenate([getattr(day, side)[each][rows] for day, rows in apart])
                for each in sorted(names)
            }
            for side in ("then", "now")
        )
        found.append(
            Changed(
                column=name,
                rows=rows,
                compared=compared,
                days=(min(day.day for day, _ in apart), last.day),
                example=(
                    last.subjects[row],
                    last.day,
                    _plain(last.then[name][row]),
                    _plain(last.now[name][row]),
                ),
                then=then,
                now=now,
            )
        )
    return found


def _another_past(name: str, then: Array, now: Array) -> Array:
    """Returns where history was rewritten, other than by honest later reports."""
    apart = differs(then, now)
    if name in REPLACED:
        return np.asarray(apart & ~(np.isfinite(then) & np.isnan(now)))
    if name in REFUNDED:
        with np.errstate(invalid="ignore"):
            refunded = (now <= then) & (now >= (1 - REFUNDED_SHARE) * then)
        return np.asarray(apart & ~refunded)
    return apart


def differs(then: Array, now: Array) -> Array:
    """Returns where two columns differ by more than rounding; known and not known differ."""
    unknown = np.isnan(then), np.isnan(now)
    size = np.maximum(1.0, np.maximum(np.abs(then), np.abs(now)))
    with np.errstate(invalid="ignore"):
        apart = np.abs(then - now) > _ROUNDING * size
    return np.asarray(np.where(unknown[0] | unknown[1], unknown[0] != unknown[1], apart))


def unchanging(columns: Columns, who: Array) -> list[str]:
    """Returns the columns that hold only their present value: no person's value ever changes,
    although people differ and many have FEWEST_WEEKS rows or more. `who`: whose each row is, as a
    number.
    """
    if not len(who):
        return []
    order = np.argsort(who, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(who[order]) != 0])
    found = []
    for name, column in columns.items():
        values = column[order]
        seen = np.add.reduceat(np.isfinite(values).astype(int), starts)
        least, most = np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)
        known = seen > 0
        if (
            (seen >= FEWEST_WEEKS).sum() >= _FEWEST_UNCHANGED
            and not differs(least[known], most[known]).any()
            and differs(least[known][:1], least[known]).any()
        ):
            found.append(name)
    return found


def moved(
    measure: Callable[[Columns], Mapping[str, Array]], columns: Columns, name: str, instead: Array
) -> frozenset[str]:
    """Returns the measures that change when `instead` takes the place of a column."""
    before, after = measure(columns), measure({**columns, name: instead})
    return frozenset(
        code for code in before if differs(before[code].ravel(), after[code].ravel()).any()
    )


def rests_on(
    measure: Callable[[Columns], Mapping[str, Array]], columns: Columns, name: str
) -> frozenset[str]:
    """Returns the measures that rest on a column of these rows: those that change when people get
    each other's values, or when all values are 0.
    """
    column = columns[name]
    known = np.isfinite(column)
    others = column.copy()
    others[known] = np.roll(column[known], 1) + 1
    return moved(measure, columns, name, others) | moved(measure, columns, name, 0 * column)


@dataclass(frozen=True, slots=True)
class Telling:
    """How well a column tells what happened: an AUC in the better direction, and its lower bound.
    `what`: the view of the column (its value, whether it is known, …).
    """

    what: str
    auc: float
    lower: float


def telling(
    views: Iterable[tuple[str, Array]], happened: Array, who: Array, above: float = TOO_GOOD
) -> Telling | None:
    """Returns the view of a column that tells best what happened, with a lower bound above `above`;
    None where there is none. Rows in which a view is not known (NaN) are left out of it.
    """
    best: Telling | None = None
    for what, view in views:
        known = np.isfinite(view)
        figure = _either_way(view[known], happened[known], who[known], above)
        if figure is not None and (best is None or figure[1] > best.lower):
            best = Telling(what, *figure)
    return best


def telling_soon(
    views: Sequence[tuple[str, Array]], happened: Array, soon: Array, who: Array
) -> Telling | None:
    """Returns the same for what happened `soon`, compared with what did not happen at all."""
    clear = ~happened | soon
    plain = [
        (what, view)
        for what, view in views
        if _single(view, happened, who) > NEAR_FROM and np.isfinite(view[clear]).any()
    ]
    return telling(
        [(what, view[clear]) for what, view in plain], soon[clear], who[clear], NEAR_TOO_GOOD
    )


def is_too_good(figure: Figure, leavers: int, above: float = TOO_GOOD) -> bool:
    """Returns whether a forecast is surely better than an honest one can be."""
    return leavers >= FEWEST_LEAVERS and figure.lower is not None and figure.lower > above


def suspects(
    names: Sequence[str], matrix: Any, labels: Any, groups: Any, above: float = TOO_GOOD
) -> dict[str, str]:
    """Returns the columns of any table that predict the labels too well to have been known before,
    and why. `matrix`: rows x names, numbers or text, None or "" where not known. `groups`: whose
    each row is. Looks at a text's value, first and last letter, place in the alphabet, length, and
    the number in it, as an id may hold its label in any of these.
    """
    table = np.asarray(matrix, dtype=object).reshape(-1, len(names))
    happened = np.asarray(labels, dtype=bool)
    who = np.unique(np.asarray(groups), return_inverse=True)[1]
    found = {}
    for place, name in enumerate(names):
        told = telling(_views(table[:, place], happened, who), happened, who, above)
        if told is not None:
            found[name] = f"{told.what} tells it with an AUC of {told.auc:.2f}" + (
                f", {told.lower:.2f} at least"
            )
    return found


def value_and_knowledge(column: Array) -> list[tuple[str, Array]]:
    """Returns the views of a column of numbers."""
    known = np.isfinite(column)
    return [("its value", column), ("whether it is known", known.astype(float))]


def _single(view: Array, happened: Array, who: Array) -> float:
    """Returns the AUC of the known rows in the better direction; 0.5 where there is none."""
    known = np.isfinite(view)
    found = auc(_sample(happened[known], who[known]), view[known], replicates=0).value
    return 0.5 if found is None else max(found, 1 - found)


def _sample(happened: Array, who: Array) -> Sample:
    return Sample(np.unique(who, return_inverse=True)[1], np.zeros(len(who), dtype=int), happened)


def _either_way(
    view: Array, happened: Array, who: Array, above: float
) -> tuple[float, float] | None:
    """Returns AUC and lower bound in the better direction; None where the bound is not above."""
    if len(np.unique(who[happened])) < FEWEST_LEAVERS or happened.all():
        return None
    sample = _sample(happened, who)
    single = auc(sample, view, replicates=0).value
    assert single is not None
    if max(single, 1 - single) <= above:
        return None
    figure = auc(sample, view if single > 0.5 else -view)
    if figure.value is None or figure.lower is None or figure.lower <= above:
        return None
    return figure.value, figure.lower


def _views(column: Array, happened: Array, who: Array) -> Iterator[tuple[str, Array]]:
    texts = [None if each is None else str(each).strip() or None for each in column]
    numbers = np.array([_number(each) for each in texts])
    is_text = _is_text(texts, numbers)
    yield "whether it is known", (np.isfinite(numbers) | is_text).astype(float)
    if not is_text.any():
        yield "its value", numbers
        return
    parts: dict[str, Callable[[str], str]] = {
        "what it says": lambda text: text,
        "its first letter": lambda text: text[0],
        "its last letter": lambda text: text[-1],
    }
    for what, part in parts.items():
        said = [None if each is None else part(each) for each in texts]
        yield what, _rates(said, happened, who)
    ranks = {text: rank for rank, text in enumerate(sorted({each for each in texts if each}))}

    def of(what: Callable[[str], float]) -> Array:
        return np.array([np.nan if each is None else what(each) for each in texts])

    yield "its place in the alphabet", of(lambda text: float(ranks[text]))
    yield "its length", of(len)
    yield (
        "the number in it",
        of(lambda text: _number("".join(filter(str.isdigit, text))[:15] or None)),
    )


def _is_text(texts: Sequence[str | None], numbers: Array) -> Array:
    nothing = {"nan", "inf", "-inf", "infinity", "-infinity"}
    return np.array(
        [
            each is not None and not np.isfinite(number) and each.lower() not in nothing
            for each, number in zip(texts, numbers, strict=True)
        ]
    )


def _number(text: str | None) -> float:
    try:
        number = float(text or "nan")
    except ValueError:
        return np.nan
    return number if np.isfinite(number) else np.nan


def _rates(parts: Sequence[str | None], happened: Array, who: Array) -> Array:
    """Returns how often it happened to the other half of the people with the same text."""
    code = {part: place for place, part in enumerate(dict.fromkeys(parts))}
    category = np.array([code[part] for part in parts])
    half = who % 2
    result = np.full(len(parts), np.nan)
    for own in (0, 1):
        others, mine = half != own, half == own
        usual = happened[others].mean() if others.any() else 0.5
        n = np.bincount(category[others], minlength=len(code))
        k = np.bincount(category[others], happened[others], minlength=len(code))
        result[mine] = ((k + usual) / (n + 1))[category[mine]]
    return result


def _plain(number: float) -> float | None:
    return None if np.isnan(number) else float(number)
