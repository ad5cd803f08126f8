"""Compares a tutor with the others: is a figure more than chance and more than is usual here? Pure.

Belongs here: what is usual among the tutors, and how sure it is that one of them is beyond it.
Does not belong here: which rule asks for what (`rule_schema`), where the result is stored.

A count of sessions is binomial; its rate has a beta prior with the mean and the spread of the
others' rates. An average has a normal prior in the same way. The observed spread is used, chance
included: a prior must not be more certain than the data. The tutor's own sessions are excluded
from those of the others.

What is usual is fitted over all tutors and stored. A refresh of some tutors reads it, so a result
never depends on which other tutors the refresh covers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

FEWEST_OTHERS = 5
"""With fewer other tutors there is no comparison: the threshold alone counts."""

MOST_IN_VAIN = 0.10
"""The expected share of chance hits among the tutors that a rule lists."""

LEVEL, KEEPS, MOST = 0.95, 0.80, 0.01
"""Defaults: the probability that opens an alert, the probability that keeps it open, and the
largest share of the tutors that a rule lists.
"""

_HELD_FACTOR = 2.0  # an open alert stays among this multiple of the tutors that `most` allows
_MIN_PRIOR_SESSIONS = 2.0  # the least weight of a rate's prior
_TINY = 1e-9
_RARE = 0.4  # a rate below it is written as "1 of n"
_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Unusual:
    """What a rule requires in addition to its conditions: the tutor is surely beyond the others.

    A count of sessions (`is_count`) or a share of them must be over `times` the others' rate. An
    average must differ from the others' by `by` (in its unit; negative means lower). For an
    average, `scatter` is the column with the standard deviation of single sessions, and `means` is
    2 if the metric is a difference of two means.
    """

    metric: str
    exposure: str
    is_count: bool
    times: float | None = None
    by: float | None = None
    scatter: str | None = None
    means: int = 1
    level: float = LEVEL
    keeps: float = KEEPS
    most: float = MOST

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        names = (self.metric, self.exposure, self.scatter)
        return tuple(name for name in names if name is not None)


@dataclass(frozen=True, slots=True)
class Usual:
    """What is usual for one rule: sums over `tutors`, each weighted by its `sessions`.

    `single` is the variance of one session's value, for an average. `opens_from` and `keeps_from`
    are the values of `Seen.surely` from which a tutor is among the few that are listed. `certain`
    is the least probability if too many of those listed would be chance hits.
    """

    tutors: int
    sessions: float
    total: float
    squares: float
    single: float | None = None
    opens_from: float | None = None
    keeps_from: float | None = None
    certain: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads back exactly."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Usual:
        """Return the object that `to_json` wrote."""
        return cls(**stored)


@dataclass(frozen=True, slots=True)
class Seen:
    """How a tutor compares with the others.

    `probability` is the probability that the tutor is beyond what the rule asks; `surely` is the
    value that the tutor's rate or average reaches with probability `Unusual.level`. Both are None
    if nothing is known of the others. `now` and `others` are the two figures in words.
    """

    now: str
    others: str
    usual: float | None
    probability: float | None
    surely: float | None

    def opens(self, asked: Unusual, usual: Usual) -> bool:
        """Whether this opens an alert."""
        if self.probability is None or self.surely is None:
            return True
        is_sure = self.probability >= max(asked.level, usual.certain)
        return is_sure and _reaches(self.surely, usual.opens_from)

    def stays(self, asked: Unusual, usual: Usual) -> bool:
        """Whether this keeps an open alert open."""
        if self.probability is None or self.surely is None:
            return True
        is_sure = self.probability >= max(asked.keeps, usual.certain)
        return is_sure and _reaches(self.surely, usual.keeps_from)


@dataclass(frozen=True, slots=True)
class Value:
    """What a rule reads of one tutor: the metric, the sessions behind it, and for an average the
    standard deviation of a session. `is_candidate` says that the rule's conditions hold, `is_open`
    that its alert is open.
    """

    value: float
    sessions: int
    scatter: float | None = None
    is_candidate: bool = False
    is_open: bool = False


def fit(asked: Unusual, values: Iterable[Value]) -> Usual:
    """Return what is usual among these tutors, and from where on one is listed. Their order does
    not matter.
    """
    known = [each for each in values if each.sessions > 0]
    sums = [_sums(asked, each) for each in known]
    usual = Usual(
        tutors=len(known),
        sessions=float(sum(each.sessions for each in known)),
        total=_rounded(math.fsum(total for total, _ in sums)),
        squares=_rounded(math.fsum(squares for _, squares in sums)),
        single=_single(known),
    )
    candidates = [
        (each.is_open, seen)
        for each in known
        if each.is_candidate
        and (seen := look(asked, usual, each.value, each.sessions)).surely is not None
    ]
    few = max(math.ceil(asked.most * len(known)), 1)
    reached = sorted((seen.surely or 0.0 for _, seen in candidates), reverse=True)
    usual = replace(
        usual,
        opens_from=_beyond(reached, few),
        keeps_from=_beyond(reached, math.ceil(_HELD_FACTOR * few)),
    )
    listed = [
        seen.probability or 0.0
        for is_open, seen in candidates
        if seen.opens(asked, usual) or (is_open and seen.stays(asked, usual))
    ]
    return replace(usual, certain=_certain(listed))


def look(asked: Unusual, usual: Usual, value: float, sessions: int) -> Seen:
    """Return how a tutor with this value over so many sessions compares with the others.

    Assumes that `usual` includes the tutor. For one who is new since, the difference is small.
    """
    own_total, own_squares = _sums(asked, Value(value, sessions))
    others = Usual(
        usual.tutors - 1,
        usual.sessions - sessions,
        usual.total - own_total,
        max(usual.squares - own_squares, 0.0),
        usual.single,
    )
    is_rate = asked.times is not None
    if is_rate:
        others = replace(others, total=min(max(others.total, 0.0), max(others.sessions, 0.0)))
    now = _rate_now(own_total, sessions) if is_rate else _average(value, asked.means)
    if others.tutors < FEWEST_OTHERS or others.sessions < 1:
        return Seen(now, "not known yet", None, None, None)
    if is_rate:
        return _look_at_rate(asked, others, own_total, sessions, now)
    return _look_at_average(asked, others, value, sessions, now)


def _look_at_rate(asked: Unusual, others: Usual, happened: float, sessions: int, now: str) -> Seen:
    assert asked.times is not None
    mean = (others.total + 0.5) / (others.sessions + 1)
    squared = others.squares - 2 * mean * others.total + mean**2 * others.sessions
    # The spread that chance alone produces if all tutors are the same.
    chance = mean * (1 - mean) * others.tutors / others.sessions
    spread = max(squared / others.sessions, chance)
    alike = max(mean * (1 - mean) / spread - 1, _MIN_PRIOR_SESSIONS)
    # Also compares what did not happen: nobody reaches 1.5 times a rate of 7 in 10.
    limit = min(asked.times * mean, 1 - (1 - mean) / asked.times)
    a = mean * alike + happened
    b = (1 - mean) * alike + max(sessions - happened, 0.0)
    special = _special()
    return Seen(
        now,
        _rate(others.total, others.sessions),
        _rounded(others.total / others.sessions),
        _rounded(1 - special.betainc(a, b, limit)),
        _rounded(special.betaincinv(a, b, 1 - asked.level)),
    )


def _look_at_average(asked: Unusual, others: Usual, value: float, sessions: int, now: str) -> Seen:
    assert asked.by is not None
    mean = others.total / others.sessions
    told = _average(mean, asked.means)
    if others.single is None:
        return Seen(now, told, _rounded(mean), None, None)
    single = max(others.single * asked.means, _TINY)
    between = max(
        others.squares / others.sessions - mean**2, single * others.tutors / others.sessions
    )
    chance = single / sessions
    sign = 1.0 if asked.by > 0 else -1.0
    away = sign * (value - mean) * between / (between + chance)
    deviation = math.sqrt(between * chance / (between + chance))
    special = _special()
    return Seen(
        now,
        told,
        _rounded(mean),
        _rounded(special.ndtr((away - abs(asked.by)) / deviation)),
        _rounded(away + special.ndtri(1 - asked.level) * deviation),
    )


def _sums(asked: Unusual, each: Value) -> tuple[float, float]:
    """Return what a tutor adds to the sums: the total, and the squares per session."""
    if asked.times is None:
        return each.sessions * each.value, each.sessions * each.value**2
    happened = each.value if asked.is_count else each.value * each.sessions
    happened = min(max(happened, 0.0), float(each.sessions))
    return happened, happened**2 / each.sessions


def _single(values: Sequence[Value]) -> float | None:
    """Return the variance of one session's value around its tutor's mean, over all tutors."""
    known = [
        (each.sessions - 1, each.scatter)
        for each in values
        if each.scatter is not None and each.sessions > 1
    ]
    freedom = sum(n for n, _ in known)
    return _rounded(math.fsum(n * sd**2 for n, sd in known) / freedom) if freedom else None


def _beyond(reached: Sequence[float], few: int) -> float | None:
    """Return the lowest of the `few` highest values (`reached` is sorted, highest first); None if
    there are no more than `few`.
    """
    return reached[few - 1] if len(reached) > few else None


def _certain(listed: Iterable[float]) -> float:
    """Return the least probability at which at most MOST_IN_VAIN of those listed are chance."""
    doubts = 0.0
    for number, probability in enumerate(sorted(listed, reverse=True), start=1):
        doubts += 1 - probability
        if doubts > MOST_IN_VAIN * number:
            return _rounded(probability + 10**-_DIGITS)  # excludes all with this probability
    return 0.0


def _reaches(surely: float, least: float | None) -> bool:
    return least is None or surely >= least


def _rate_now(happened: float, sessions: int) -> str:
    return f"{round(happened):,} of {sessions:,}"


def _rate(happened: float, sessions: float) -> str:
    """Return a rate as people say it: 1 of 16, 7 of 10, none of 210."""
    rate = happened / sessions
    if happened < 0.5:
        return f"none of {sessions:,.0f}"
    return f"1 of {1 / rate:,.0f}" if rate < _RARE else f"{10 * rate:.0f} of 10"


def _average(value: float, means: int) -> str:
    value = round(value, 1) + 0.0  # no -0.0
    return f"{value:+.1f}" if means > 1 and value else f"{value:.1f}"


def _rounded(value: float) -> float:
    return round(float(value), _DIGITS)


@cache
def _special() -> Any:
    """Return `scipy.special`, imported on first use: most commands do not need it."""
    from scipy import special

    return special
