"""The validation report as one HTML file: no script, nothing loaded from outside, all text escaped.

Belongs here: how the report looks. Does not belong here: what it says (`validation`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Template

from tutor_pipeline.core import formatting, templates
from tutor_pipeline.metrics.thresholds import thresholds
from tutor_pipeline.people.reports.validation import Day, Validation

CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""A browser that shows the report loads nothing and runs no script."""

MAX_CELL = 120
MAX_QUERY = 20_000
TEMPLATES = Path(__file__).with_name("templates")

_STEP, _HEIGHT = 10, 100


def render(validation: Validation) -> str:
    """Returns the report as HTML."""
    return _template().render(
        report=validation,
        policy=CONTENT_SECURITY_POLICY,
        trend=_charts(validation.quarantine.days),
        age=lambda since: formatting.age(since, validation.made_at),
        max_query=MAX_QUERY,
    )


@cache
def _template() -> Template:
    return template("validation.html.j2", table=_columns_and_cells)


def template(file: str, **filters: Callable[..., Any]) -> Template:
    """Returns a template of this package's pages."""
    return templates.template(TEMPLATES, file, thresholds(), **filters)


def _columns_and_cells(sample: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Returns failing rows, which are JSON of any shape, as column names and cells."""
    names = list(dict.fromkeys(name for row in sample for name in row))
    cells = [
        [formatting.value(row[name], MAX_CELL) if name in row else "" for name in names]
        for row in sample
    ]
    return [formatting.visible(name, MAX_CELL) for name in names], cells


def _charts(days: Sequence[Day]) -> dict[str, Any]:
    """Returns the shapes of two charts in SVG units: rows open, and rows opened and resolved."""
    top = max(1, *(day.open for day in days))
    most = max(1, *(max(day.opened, day.resolved) for day in days))

    def bar(number: int, share: float, *, down: bool) -> dict[str, float]:
        height = round(share * _HEIGHT / 2, 2)
        y = _HEIGHT / 2 if down else _HEIGHT / 2 - height
        return {"x": number * _STEP + 1, "y": y, "width": _STEP - 2, "height": height}

    steps = "".join(
        f"V{round(_HEIGHT * (1 - day.open / top), 2)}H{(number + 1) * _STEP}"
        for number, day in enumerate(days)
    )
    return {
        "width": len(days) * _STEP,
        "height": _HEIGHT,
        "top": top,
        "most": most,
        "area": f"M0 {_HEIGHT}{steps}V{_HEIGHT}Z",
        "opened": [bar(n, day.opened / most, down=False) for n, day in enumerate(days)],
        "resolved": [bar(n, day.resolved / most, down=True) for n, day in enumerate(days)],
        "is_empty": not any(day.open or day.opened or day.resolved for day in days),
    }
