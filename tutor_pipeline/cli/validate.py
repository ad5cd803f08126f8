"""The verb validate: whether the data is sound."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from tutor_pipeline.cli.console import done, emit_json, note, out, warn
from tutor_pipeline.cli.installation import open_session
from tutor_pipeline.cli.options import AsJson
from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.formatting import age, agree, count, label, moment, percent, value, visible
from tutor_pipeline.people.reports import validation_reader
from tutor_pipeline.people.reports.validation import Check, Level, State, Validation

_LEVELS = {Level.SOUND: "bold green", Level.WARNINGS: "bold yellow", Level.BLOCKED: "bold red"}
_SAMPLE, _MAX_ROW = 3, 300
"""Failing rows shown per check, and characters of each; the report and `--json` have more."""


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command()(validate)


def validate(
    run: Annotated[bool, typer.Option("--run", help="Evaluate the suites first.")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report to a file as well.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show whether the data is sound: the verdict, failing checks, changes.

    Reads the newest outcome of every check. Exit status 1 if a check stops alerts, insights
    and achievements (with --run also if a suite could not be evaluated).

    Example: [bold]tutor-pipeline validate[/bold], [bold]tutor-pipeline validate --run --json[/bold]
    """
    session = open_session(note)
    incomplete = False
    if run:
        from tutor_pipeline.cli import launch

        outcome = launch.run_checks(done)
        for step, message in outcome.failed.items():
            if message != launch.STOPPED_BY_A_CHECK:
                warn(f"{step} failed: {message}")
                incomplete = True
    with session.warehouse.connect() as database:
        found = validation_reader.gather(database, datetime.now(UTC))
    if html is not None:
        _write(found, html)
    if as_json:
        emit_json(found.as_dict())
    else:
        _show(found)
    raise typer.Exit(1 if incomplete or found.verdict.level is Level.BLOCKED else 0)


def _write(found: Validation, file: Path) -> None:
    from tutor_pipeline.people.reports.publish import write_whole
    from tutor_pipeline.people.reports.render import render

    try:
        write_whole(file, render(found))
    except OSError as error:
        raise TutorPipelineError(f"cannot write {file}: {error.strerror}") from error
    done(f"Wrote {file}")


def _show(found: Validation) -> None:
    verdict = found.verdict
    out.print(f"[{_LEVELS[verdict.level]}]{escape(verdict.sentence)}[/]", soft_wrap=True)
    for check in found.attention:
        _show_check(check, found)
    _show_changes(found)
    for each in found.forced:
        out.print(
            f"[yellow]forced[/yellow] {escape(visible(each.asset))} by"
            f" {escape(visible(each.forced_by))} at {moment(each.forced_at)}, although:"
        )
        for objection in each.objections:
            out.print(f"  {escape(visible(objection))}")
    _show_data(found)
    _show_findings(found)


def _show_data(found: Validation) -> None:
    """Checks, quarantine, freshness."""
    if found.checks:
        _heading(
            "Checks",
            f"{found.passed:,} of {count(len(found.checks), 'check')}"
            f" {agree(found.passed, 'holds', 'hold')}",
        )
        _lines(
            (asset, f"{holding:,} of {len(checks):,} {agree(holding, 'holds', 'hold')}")
            for asset, checks in found.by_table()
            for holding in [sum(check.is_sound for check in checks)]
        )
    quarantine = found.quarantine
    _heading("Quarantine", count(quarantine.open, "open row"))
    _lines(
        (f"{each.source}: {label(each.reason)}", count(each.rows, "row"))
        for each in quarantine.reasons
    )
    fresh = found.freshness
    _heading("Freshness", "")
    _lines(
        (name, f"{moment(at)} ({age(at, found.made_at)})" if at else "–")
        for name, at in (
            ("Newest completed session", fresh.newest_session),
            ("Computed as of", fresh.as_of),
            ("Alerts as of", fresh.alerts_as_of),
            ("Refreshed at", fresh.refreshed_at),
        )
    )
    if fresh.loaded_since:
        out.print("  The platform was loaded anew since then: tutor-pipeline enrich")


def _show_findings(found: Validation) -> None:
    """Alerts, insights, achievements, and which rules could be evaluated."""
    critical = sum(each.critical for each in found.alerts)
    warnings = sum(each.warning for each in found.alerts)
    under = f" (rules {found.rules})" if found.rules else ""
    _heading("Open alerts", f"{critical:,} critical, {count(warnings, 'warning')}{under}")
    _lines(
        (each.title, f"{each.critical:,} critical, {count(each.warning, 'warning')}")
        for each in found.alerts
    )
    for insight_type, heading in (
        ("strength", "Strengths"),
        ("growth_area", "Growth areas"),
        ("at_threshold", "At the threshold of an alert"),
    ):
        insights = [each for each in found.insights if each.insight_type == insight_type]
        _heading(heading, f"{sum(each.tutors for each in insights):,}")
        _lines((label(each.category), count(each.tutors, "tutor")) for each in insights)
    _heading("Achievements", f"{sum(each.held for each in found.achievements):,}")
    _lines((each.title, count(each.held, "tutor")) for each in found.achievements)
    whole = [each for each in found.coverage if each.evaluated == each.tutors]
    _heading(
        "Rule coverage",
        f"{len(whole):,} of {count(len(found.coverage), 'rule')} evaluated for every tutor",
    )
    _lines(
        (
            f"{label(each.rule_id)} ({each.kind})",
            f"{each.evaluated:,} of {count(each.tutors, 'tutor')} ({percent(100 * each.share)})",
        )
        for each in found.coverage
        if each not in whole
    )


def _show_check(check: Check, found: Validation) -> None:
    style = "red" if check.is_error else "yellow"
    stops = " [red](stops findings)[/red]" if check.stops else ""
    out.print(f"\n[{style}]{check.state.upper()}[/{style}] {escape(visible(check.says))}{stops}")
    lines = [f"[dim]{escape(visible(f'{check.asset}: {check.name}'))}[/dim]"]
    if check.state is State.MISSING:
        lines.append(
            f"evaluated last at {moment(check.evaluated_at)}"
            f" ({age(check.evaluated_at, found.made_at)}), not since the newest refresh began"
        )
    else:
        if check.rows_failing is not None:
            lines.append(_breaking(check.rows_failing, check))
        if check.observed:
            lines.append(f"observed: {escape(visible(check.observed))}")
        if check.message:
            lines.append(escape(visible(check.message, 1000, lines=True)))
        for row in check.sample[:_SAMPLE]:
            values = ", ".join(f"{visible(name)} = {value(each)}" for name, each in row.items())
            lines.append(escape(values if len(values) <= _MAX_ROW else f"{values[:_MAX_ROW]}…"))
    for line in lines:
        out.print(_indented(line))


def _breaking(rows: int, check: Check) -> str:
    """Returns how many rows break a check, of how many."""
    verb = agree(rows, "breaks", "break")
    if check.rows_checked is None:
        return f"{count(rows, 'row')} {verb} it"
    share = f" ({percent(check.percent_failing)})" if check.rows_checked else ""
    return f"{rows:,} of {count(check.rows_checked, 'row')} {verb} it{share}"


def _show_changes(found: Validation) -> None:
    changes = found.changes
    if changes.since is None:
        _heading("What changed", "no report was written before")
        return
    _heading("What changed", f"since the report of {moment(changes.since)}")
    lines = [
        *((check.says, f"no longer holds ({check.state})") for check in changes.began),
        *((check.says, "holds again") for check in changes.mended),
        *(
            (label(each.name), f"{each.now:,} ({each.change:+,})")
            for each in changes.counts
            if each.change
        ),
    ]
    _lines(lines or [("Nothing", "")])


def _heading(title: str, text: str) -> None:
    out.print(f"\n[bold]{title}[/bold]" + (f"  {escape(text)}" if text else ""), soft_wrap=True)


def _lines(pairs: Iterable[tuple[str, str]]) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, text in pairs:
        table.add_row(escape(visible(name, 80)), escape(text))
    if table.row_count:
        out.print(_indented(table))


def _indented(what: str | Table) -> Padding:
    return Padding(what, (0, 0, 0, 2), expand=False)
