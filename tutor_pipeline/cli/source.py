"""Verbs on the platform's own tables: check-source, source propose. They only read them."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer
from rich.markup import escape
from rich.table import Table

from tutor_pipeline.cli.console import done, emit_json, err, note, out
from tutor_pipeline.cli.installation import open_session
from tutor_pipeline.cli.options import AsJson, SourceMap

if TYPE_CHECKING:
    from tutor_pipeline.sources.platform_check import ColumnFound, SourceReport, TableFound

REFUSED = 3


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command("check-source")(check_source)
    group = typer.Typer(
        help="The platform's own tables: draft how they are read.", no_args_is_help=True
    )
    group.callback()(_group)
    group.command()(propose)
    app.add_typer(group, name="source")


def _group() -> None:
    """The platform's own tables: draft how they are read."""


def check_source(source_map: SourceMap = None, as_json: AsJson = False) -> None:
    """Show what the platform's tables hold, what is missing, and what that costs. Only reads.

    With a mapping it names, by line, what in it does not fit the database.

    Example: [bold]TUTOR_PLATFORM_SCHEMA=public tutor-pipeline check-source --map source.yml[/bold]
    """
    from tutor_pipeline.sources.contract import load_contract
    from tutor_pipeline.sources.platform_check import check_source as check

    if source_map is not None:
        os.environ["TUTOR_SOURCE_MAP"] = str(source_map)
    session = open_session(note, only_reads=True)
    with session.warehouse.connect() as database:
        report = check(database, load_contract(), datetime.now(UTC), session.settings.source_map)
    if as_json:
        emit_json(report.as_dict())
    else:
        _print_source(report)
    raise typer.Exit(REFUSED if report.problems else 0)


def propose() -> None:
    """Draft a mapping of the platform's tables from their names and some values. Only reads.

    Example: [bold]TUTOR_PLATFORM_SCHEMA=public tutor-pipeline source propose > source.yml[/bold]
    """
    from tutor_pipeline.sources.mapping.draft.drafting import propose as draft

    # The schema as it is, whatever a mapping says of it.
    os.environ.pop("TUTOR_SOURCE_MAP", None)
    session = open_session(note, only_reads=True)
    with session.warehouse.connect() as database:
        typer.echo(draft(database), nl=False)
    note("Correct the draft, then run: tutor-pipeline check-source --map source.yml")


def _print_source(report: SourceReport) -> None:
    table = Table("table", "is a", "rows", "columns found", box=None)
    for found in report.tables:
        rows = "–" if found.rows is None else f"{found.rows:,}{'+' if found.more else ''}"
        table.add_row(found.name, escape(found.kind), rows, str(len(found.columns)))
    out.print(table)
    for found in report.tables:
        _print_columns(found)
    if report.statuses:
        statuses = Table("status of sessions", "rows", "", box=None)
        for status in report.statuses:
            known = "" if status.known else "[yellow]not in the contract[/yellow]"
            statuses.add_row(escape(status.value or "none"), f"{status.rows:,}", known)
        out.print()
        out.print(statuses)
    if report.gaps:
        missing = Table("missing", "what that costs", box=None)
        for gap in sorted(report.gaps, key=lambda gap: gap.column is not None):
            name = gap.table if gap.column is None else f"{gap.table}.{gap.column}"
            missing.add_row(escape(name), escape(gap.costs))
        out.print()
        out.print(missing)
    for remark in report.remarks:
        note(remark)
    for problem in report.problems:
        err.print(f"[bold red]problem:[/bold red] {escape(problem)}", soft_wrap=True)
    if not report.problems:
        newest = report.newest_session
        done(f"Usable; newest session: {f'{newest:%Y-%m-%d %H:%M %Z}' if newest else 'none yet'}")


_HEADS = ("type", "no value", "from", "to", "for example")


def _print_columns(found: TableFound) -> None:
    if not found.rows:
        return
    is_mapped = any(column.comes_from != column.name for column in found.columns)
    table = Table(found.name, *(["is"] if is_mapped else []), *_HEADS, box=None)
    for column in found.columns:
        # The ends of numbers and moments say more than some of them.
        values = " · ".join(column.values) if column.low is None else ""
        cells = (column.type, _share(column), column.low or "", column.high or "", values)
        comes_from = " ".join(column.comes_from.split())
        names = (column.name, comes_from) if is_mapped else (column.name,)
        table.add_row(*map(escape, (*names, *cells)))
    out.print()
    out.print(table)


def _share(column: ColumnFound) -> str:
    if not column.nulls:
        return ""
    return "all" if column.nulls == 1 else f"{column.nulls:.0%}" if column.nulls > 0.005 else "<1%"
