"""The back-test's report as one HTML file: no script, nothing from outside, all text escaped.

Belongs here: how the report reads and looks.
Does not belong here: the figures, which come as plain values (`scores.backtest.Result.content`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from functools import cache
from typing import Any

from jinja2 import Template

from tutor_pipeline.core import formatting
from tutor_pipeline.metrics.thresholds import told
from tutor_pipeline.people.reports.render import template

FOUND_GOAL, FALSE_FLAGS_GOAL = 0.80, 0.15
"""The goal: the share of tutors at risk that is found, and the share of the others that may be
flagged.
"""

SCORERS = {
    "signals_v1": "Signals, the literal rule",
    "departure_v1": "Forecast: documented weights and recorded departures",
    "departure_v1_priors": "The same, nothing learned",
    "departures_alone": "Taught on departures alone",
    "student_departure_v1": "Forecast: documented weights and recorded departures",
    "student_departure_v1_priors": "The same, nothing learned",
    "gradient_boosting": "Gradient boosting on the same columns",
    "weighted_v1": "Seven weighted factors",
    "weighted_v1_first": "The same, weights of version 1",
    "student_health_v1": "Health (100 − health)",
    "oracle": "Ceiling: sees the hidden state",
}

COLUMNS = (
    ("auc", "Ranks right", "How often one it happened to ranks above one it did not (AUC)"),
    ("average_precision", "Average precision", "Precision over all thresholds"),
    (
        "recall_at_15_percent_false_flags",
        "Found at 15 %",
        "Share found while at most 15 % of the others are flagged",
    ),
    ("precision_at_3", "Right of 3", "Share of a day's 3 highest to whom it happened"),
    ("precision_at_5", "Right of 5", "Share of a day's 5 highest to whom it happened"),
    ("precision_at_8", "Right of 8", "Share of a day's 8 highest to whom it happened"),
    ("recall_at_3", "Found in 3", "Share of those it happened to among a day's 3 highest"),
    ("recall_at_5", "Found in 5", "Share of those it happened to among a day's 5 highest"),
    ("recall_at_8", "Found in 8", "Share of those it happened to among a day's 8 highest"),
    ("lift_over_signals_v1", "Lift", "Average precision as a multiple of the literal rule's"),
    ("brier", "Brier", "Mean squared error of the probability; lower is better"),
    ("brier_of_constant", "Constant's Brier", "What the same probability for all would give"),
    ("calibration_slope", "Calibration slope", "1 is right; below 1 the forecasts are too extreme"),
)

LEFT_OUT = {
    "silent_too_long": "the tutor had not completed a session for over"
    " {threshold.asked_silence_days:day|days}",
    "departure_not_yet_known": "whether the tutor left within the window is not known yet"
    " (departures only)",
    "state_unknown": "the state of that day is not known (state only)",
    "only_learned_from": "of the days that the learned scores needed to learn from",
    "left_at_an_unknown_time": "the tutor has left, and never completed a session to date it by",
    "recorded_later": "held something that was recorded after the day it is for",
}

_SIDE = 100
"""Width and height of a plot: its units are percent."""


def render(content: Mapping[str, Any], made_on: date) -> str:
    """Returns the report of a back-test (`scores.backtest.Result.content`) as HTML."""
    targets = [_target(target) for target in content["targets"]]
    return _template().render(
        report=content,
        targets=targets,
        made_on=made_on,
        left_out=[
            (told(LEFT_OUT.get(name, formatting.label(name))), number)
            for name, number in content["left_out"].items()
        ],
        goal=_goal(content["targets"]),
        found_goal=FOUND_GOAL,
        false_flags_goal=FALSE_FLAGS_GOAL,
    )


@cache
def _template() -> Template:
    return template(
        "backtest.html.j2",
        figure=_figure,
        percent=lambda share: "–" if share is None else formatting.percent(round(100 * share, 1)),
    )


def _target(target: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a target as the page shows it: its scorers, the columns with a figure, the plots."""
    scorers = [
        {**scorer, "name": SCORERS.get(scorer["scorer"], formatting.label(scorer["scorer"]))}
        for scorer in target["scorers"]
    ]
    columns = [
        (name, heading, says)
        for name, heading, says in COLUMNS
        if any(_value(scorer, name) is not None for scorer in scorers)
    ]
    return {
        **target,
        "who": "student" if target["target"].startswith("student") else "tutor",
        "share": target["positives"] / target["rows"] if target["rows"] else None,
        "scorers": scorers,
        "columns": columns,
        "levels": [scorer for scorer in scorers if scorer["levels"]],
        "curves": [
            {"name": scorer["name"], "number": number, "path": _path(scorer["curve"])}
            for number, scorer in enumerate(scorers)
            if scorer["curve"]
        ],
        "calibration": [
            _calibration(scorer, number) for number, scorer in enumerate(scorers) if scorer["bins"]
        ],
    }


def _goal(targets: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Returns how the scorers meet the goal for the target `state`, and the ceiling's AUC for the
    target `departure`; None without a figure for `state`.
    """
    by_name = {target["target"]: target for target in targets}
    if "state" not in by_name:
        return None
    metric = "recall_at_15_percent_false_flags"
    reached = [
        {
            "name": SCORERS.get(scorer["scorer"], formatting.label(scorer["scorer"])),
            **scorer["figures"][metric],
        }
        for scorer in by_name["state"]["scorers"]
        if not scorer["is_ceiling"] and _value(scorer, metric) is not None
    ]
    if not reached:
        return None
    best = max(reached, key=lambda each: each["value"])
    ceilings = [
        scorer["figures"]["auc"]
        for scorer in by_name.get("departure", {"scorers": []})["scorers"]
        if scorer["is_ceiling"] and _value(scorer, "auc") is not None
    ]
    return {
        "best": best,
        "all": sorted(reached, key=lambda each: (-each["value"], each["name"])),
        "is_met": best["value"] >= FOUND_GOAL,
        "is_sure": best["lower"] is not None and best["lower"] >= FOUND_GOAL,
        "ceiling": ceilings[0] if ceilings else None,
    }


def _value(scorer: Mapping[str, Any], metric: str) -> float | None:
    found: float | None = scorer["figures"].get(metric, {"value": None})["value"]
    return found


def _path(curve: Sequence[Sequence[float]]) -> str:
    """Returns an SVG path through points of (recall, precision)."""
    points = [f"{_SIDE * recall:.1f} {_SIDE * (1 - precision):.1f}" for recall, precision in curve]
    return "M" + "L".join(points)


def _calibration(scorer: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Returns the plot of forecasts against what happened. Both axes end at the highest value."""
    top = max(max(forecast, happened) for forecast, happened, _ in scorer["bins"]) or 1.0
    points = [
        {
            "x": round(_SIDE * forecast / top, 1),
            "y": round(_SIDE * (1 - happened / top), 1),
            "says": f"foretold {formatting.percent(round(100 * forecast, 1))}, happened"
            f" {formatting.percent(round(100 * happened, 1))}, {formatting.count(rows, 'row')}",
        }
        for forecast, happened, rows in scorer["bins"]
    ]
    line = "M" + "L".join(f"{point['x']} {point['y']}" for point in points)
    return {
        "name": scorer["name"],
        "number": number,
        "top": top,
        "points": points,
        "path": line,
    }


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if 0 < abs(value) < 0.1 else f"{value:.2f}"
