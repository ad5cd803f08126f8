"""The verb `scores backtest`: compares what every scorer would have said with what happened."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.markup import escape
from rich.table import Table

from tutor_pipeline.cli.console import done, emit_json, note, out
from tutor_pipeline.cli.enrich import report as report_run
from tutor_pipeline.cli.installation import Session, open_session
from tutor_pipeline.cli.launch import learn, snapshots
from tutor_pipeline.cli.options import AsJson
from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.formatting import count
from tutor_pipeline.core.warehouse.refresh_runs import built_moment
from tutor_pipeline.people.reports import backtest_queries

_SHOWN = {
    "auc": "AUC",
    "average_precision": "average precision",
    "recall_at_15_percent_false_flags": "found at 15 % false flags",
    "precision_at_5": "right among the first 5",
}


def backtest(
    weeks: Annotated[
        int, typer.Option(min=1, max=52, help="Number of dates, a week apart, up to yesterday.")
    ] = 26,
    as_json: AsJson = False,
) -> None:
    """Measure how well each scorer would have done on past days, then learn from them.

    Missing days of the history are built first. The forecast departure_v1 learns from every
    recorded departure, student_departure_v1 from every student who left. The weights of the
    student churn score are replaced only if past days prove others better.

    Example: [bold]tutor-pipeline scores backtest --weeks 12[/bold]
    """
    session = open_session(note)
    _make_history(session, _days(session, weeks))
    outcome = learn(weeks)
    if not outcome.success:
        report_run(outcome, as_json)
        raise typer.Exit(1)
    with session.warehouse.connect() as database:
        metrics = backtest_queries.backtest(database, outcome.run_id)
    decisions = {
        "model": outcome.metadata["ops/model_versions"]["decision"],
        "students": outcome.metadata["ops/model_versions"].get("students_decision"),
        "weights": outcome.metadata["ops/churn_weight_history"]["reason"],
    }
    # Dagster's metadata is one text.
    said = outcome.metadata["ops/backtest_metrics"].get("notes", "none")
    notes = [] if said == "none" else said.split("; ")
    file = session.settings.backtest_report
    if as_json:
        emit_json({"metrics": metrics, "decisions": decisions, "notes": notes, "report": str(file)})
        return
    _show(metrics)
    for each in [*notes, *_left_out(outcome.metadata["ops/backtest_metrics"])]:
        note(each)
    for what, decision in decisions.items():
        if decision is None:
            continue
        out.print(f"[bold]{what}[/bold]: {escape(decision)}", soft_wrap=True)
    if metrics:
        done(f"Report {file}")


def _days(session: Session, weeks: int) -> list[date]:
    """The days to test. Raises TutorPipelineError if there is none."""
    from tutor_pipeline.steps.backtest_tutors import WARM_UP_DAYS, dates_to_test

    start = session.settings.history_start
    with session.warehouse.connect() as database:
        as_of = built_moment(database)
        began = backtest_queries.first_session_on(database)
    last = as_of.astimezone(ZoneInfo(session.warehouse.timezone)).date() - timedelta(days=1)
    possible = [start + timedelta(days=n) for n in range((last - start).days + 1)]
    days = dates_to_test(possible, began, weeks)
    if not days:
        raise TutorPipelineError(
            f"nothing to test yet: the first session is of {began}, a day can be tested from"
            f" {WARM_UP_DAYS} days later on, and the newest full day is {last}"
            f" (TUTOR_HISTORY_START is {start})"
        )
    return days


def _make_history(session: Session, days: list[date]) -> None:
    """Build the days to test that the history lacks."""
    with session.warehouse.connect() as database:
        recorded = backtest_queries.days_of_history(database)
    missing = [day for day in days if day not in recorded]
    if not missing:
        return
    note(f"Making the history from {missing[0]} to {missing[-1]}")
    outcome = snapshots(missing[0], missing[-1])
    if not outcome.success:
        report_run(outcome, as_json=False)
        raise typer.Exit(1)


def _show(metrics: list[dict[str, Any]]) -> None:
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in metrics:
        found.setdefault(row["target"], {}).setdefault(row["scorer"], {})[row["metric"]] = row
    for target, scorers in found.items():
        some = next(iter(next(iter(scorers.values())).values()))
        who = "student" if target.startswith("student") else "tutor"
        out.print(
            f"\n[bold]{target}[/bold] [dim]{count(some['rows'], 'row')} of"
            f" {count(some['tutors'], who)}, {some['positives']:,} positive, of"
            f" {count(some['leavers'], who)}[/dim]"
        )
        table = Table("scorer", *_SHOWN.values(), box=None)
        for scorer, figures in scorers.items():
            table.add_row(scorer, *(_figure(figures.get(name)) for name in _SHOWN))
        out.print(table)


def _left_out(told: Mapping[str, Any]) -> list[str]:
    """The rows that no figure counts, by reason."""
    begin = "left_out_"
    return [
        f"not counted: {count(rows, 'row')} ({name.removeprefix(begin).replace('_', ' ')})"
        for name, rows in told.items()
        if name.startswith(begin) and rows
    ]


def _figure(row: dict[str, Any] | None) -> str:
    if row is None or row["value"] is None:
        return "–"
    if row["lower"] is None:
        return f"{row['value']:.2f}"
    return f"{row['value']:.2f} [dim]({row['lower']:.2f} to {row['upper']:.2f})[/dim]"
