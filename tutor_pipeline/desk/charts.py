"""Lines as SVG paths: a person's values, the platform's band behind them, the threshold. Pure.

Gaps are gaps: a day without a value ends the line, and the next one begins another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

Point = tuple[date, float | None]
Range = tuple[date, float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """What the macro of a sparkline draws, in a box of `width` × `height` units. `rows` are the
    values as a table: day, value, low, high.
    """

    width: int
    height: int
    path: str
    band: str
    threshold_y: float | None
    last: tuple[float, float] | None
    last_value: float | None
    low: float
    high: float
    rows: tuple[tuple[date, float | None], ...]


def line(
    points: Sequence[Point],
    band: Sequence[Range] = (),
    threshold: float | None = None,
    *,
    width: int = 240,
    height: int = 48,
) -> Line | None:
    """Returns a line of daily values, in order; None with fewer than two values."""
    values = [value for _, value in points if value is not None]
    if len(values) < 2:
        return None
    edges = [*values, *(each for _, low, high in band for each in (low, high))]
    edges += [threshold] if threshold is not None else []
    low, high = min(edges), max(edges)
    room = (high - low) or 1.0
    first = min([points[0][0], *(day for day, _, _ in band)])
    last = max([points[-1][0], *(day for day, _, _ in band)])
    days = max(1, (last - first).days)
    margin = 4

    def x(day: date) -> float:
        return round(margin + (width - 2 * margin) * (day - first).days / days, 1)

    def y(value: float) -> float:
        return round(height - margin - (height - 2 * margin) * (value - low) / room, 1)

    path, is_new = [], True
    for day, value in points:
        if value is None:
            is_new = True
            continue
        path.append(f"{'M' if is_new else 'L'}{x(day)} {y(value)}")
        is_new = False
    upper = [f"{x(day)} {y(most)}" for day, _, most in band]
    lower = [f"{x(day)} {y(least)}" for day, least, _ in reversed(band)]
    end = next((day, value) for day, value in reversed(points) if value is not None)
    return Line(
        width=width,
        height=height,
        path=" ".join(path),
        band=f"M{' L'.join([*upper, *lower])} Z" if len(band) > 1 else "",
        threshold_y=None if threshold is None else y(threshold),
        last=(x(end[0]), y(end[1])) if end[1] is not None else None,
        last_value=end[1],
        low=low,
        high=high,
        # A table of the weeks is enough to hear what the line shows.
        rows=tuple(points[::-7][::-1]),
    )


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars of a chart by day: x, y, height of each, with its day and value."""

    width: int
    height: int
    bar: float
    bars: tuple[tuple[float, float, float, date, int], ...]
    most: int


def bars(points: Sequence[tuple[date, int]], *, width: int = 640, height: int = 96) -> Bars | None:
    """Returns bars of daily counts, in order; None without any."""
    if not points or not any(value for _, value in points):
        return None
    most = max(value for _, value in points)
    step = width / len(points)
    return Bars(
        width=width,
        height=height,
        bar=round(max(1.0, step - 2), 1),
        bars=tuple(
            (
                round(number * step + 1, 1),
                round(height - (height - 4) * value / most, 1),
                round((height - 4) * value / most, 1),
                day,
                value,
            )
            for number, (day, value) in enumerate(points)
        ),
        most=most,
    )
