"""Sentences with placeholders for metrics: `{metric}`, `{metric:.1f}`, `{metric:one|many}`, and
for thresholds: `{threshold.late_after_minutes:minute|minutes}` (`core.thresholds`).

Supports less than `str.format` on purpose: a placeholder is a declared metric with a format, so a
user's catalogue can read no attribute and run no code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from tutor_pipeline.core import formatting
from tutor_pipeline.core.thresholds import PREFIX, Threshold, fill, value_of, written
from tutor_pipeline.judgement.rules.inputs import Inputs, Scale, read

_PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*){0,2})(?::([^{}]*))?\}")
_NUMBER_FORMAT = re.compile(r"[+-]?(\.[0-9]{1,2})?[f%]")
_UNKNOWN = "unknown"
NONE: Mapping[str, Threshold] = {}
"""No thresholds that a sentence may name."""


@dataclass(frozen=True, slots=True)
class Template:
    """A sentence and its placeholders, each as (text before, metric, scale, format).

    The scale None marks the threshold of the rule's condition on the metric: an exception of the
    tutor may replace it. `text` has the numbers of all thresholds, as they are in the catalogue.
    """

    text: str
    placeholders: tuple[tuple[str, str, Scale | None, str], ...]
    tail: str

    @property
    def metrics(self) -> frozenset[str]:
        """The metrics that the sentence names."""
        return frozenset(metric for _, metric, _, _ in self.placeholders)

    def render(self, row: Mapping[str, object], thresholds: Mapping[str, Threshold] = NONE) -> str:
        """Return the sentence for one row, with `unknown` for NULL. `thresholds` are those that the
        rule's conditions had for this row, by metric. Raises BadValueError.
        """
        if not self.placeholders:
            return self.tail
        parts = (
            before
            + (
                written(thresholds[metric], form)
                if scale is None
                else _write(read(row, metric, scale), form)
            )
            for before, metric, scale, form in self.placeholders
        )
        return "".join(parts) + self.tail


def parse(
    text: str,
    inputs: Inputs,
    thresholds: Mapping[str, Threshold] = NONE,
    own: Mapping[str, Threshold] = NONE,
) -> Template:
    """Parse a sentence and check it against the declared inputs. Raises ValueError.

    `thresholds` are those that every sentence may name, `own` are those of the rule's conditions,
    by metric. Formats of a number are `.1f`, `+.1f`, `.0%` (as "12 %"), and `session|sessions` for
    a count with its noun.
    """
    known = {**thresholds, **own}
    shown = fill(text, known)
    placeholders: list[tuple[str, str, Scale | None, str]] = []
    before, end = "", 0
    for match in _PLACEHOLDER.finditer(text):
        metric, form = match[1], match[2] or ""
        before += text[end : match.start()]
        end = match.end()
        scale: Scale | None
        if metric.startswith(PREFIX):
            metric, scale = metric.removeprefix(PREFIX), None
            if metric not in own:
                before += written(value_of(metric, known), form)
                continue
        else:
            if metric not in inputs:
                raise ValueError(f"unknown metric {metric}{inputs.nearest(metric)}")
            scale = inputs.scale(metric)
            _check_form(metric, scale, form)
            form = form or (".1f" if scale is Scale.NUMBER else "")
        placeholders.append((before, metric, scale, form))
        before = ""
    outside = _PLACEHOLDER.sub("", text)
    if "{" in outside or "}" in outside:
        raise ValueError("a brace that is no placeholder: write {metric} or {metric:.1f}")
    return Template(shown, tuple(placeholders), before + text[end:])


def _check_form(metric: str, scale: Scale, form: str) -> None:
    if scale in (Scale.SESSIONS, Scale.FLAG, Scale.OTHER):
        raise ValueError(f"{metric} can't be written in a sentence")
    if not form:
        return
    if "|" in form:
        fits = scale is Scale.COUNT and form.count("|") == 1
    else:
        fits = scale in (Scale.COUNT, Scale.NUMBER) and bool(_NUMBER_FORMAT.fullmatch(form))
    if not fits:
        raise ValueError(f"{metric} is a {scale}, which can't be written as {form!r}")


def _write(value: object, form: str) -> str:
    if value is None:
        return _UNKNOWN
    return value if isinstance(value, str) else formatting.written(cast(float, value), form)
