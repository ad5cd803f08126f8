"""Verbs on quarantined rows, which broke their contract: list, show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from tutor_pipeline.cli.console import emit_json, note, out
from tutor_pipeline.cli.installation import open_session
from tutor_pipeline.cli.options import AsJson
from tutor_pipeline.core.formatting import visible
from tutor_pipeline.people.reports import quarantined_rows

_KEY_SHOWN = 12


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    group = typer.Typer(
        help="Quarantined rows, which broke their contract: list, show.", no_args_is_help=True
    )
    group.command("list")(list_)
    group.command()(show)
    app.add_typer(group, name="quarantine")


def list_(
    source: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="platform.sessions, or csv:<file name>."),
    ] = None,
    reason: Annotated[
        str | None, typer.Option(metavar="REASON", help="Only rows with this reason.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many to show.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List quarantined rows, newest first, with position and reasons.

    Example: [bold]tutor-pipeline quarantine list --source csv:sessions.csv[/bold]
    """
    session = open_session(note)
    with session.warehouse.connect() as database:
        count, rows = quarantined_rows.entries(
            database, source=source, reason=reason, include_resolved=everything, limit=limit
        )
    if as_json:
        emit_json(rows)
        return
    if not rows:
        out.print("Nothing is in quarantine.")
        return
    table = Table(box=None)
    for heading in ("key", "source", "line", "id", "since", *(["resolved"] if everything else [])):
        table.add_column(heading, no_wrap=heading in ("key", "since"), overflow="fold")
    table.add_column("reasons", min_width=30)
    for row in rows:
        resolved = [_day(row["resolved_at"])] if everything else []
        table.add_row(
            _short(row["row_key"]),
            _text(row["source"]),
            _text(row["line"]),
            _text(row["business_key"]),
            _day(row["first_seen"]),
            *resolved,
            _text(", ".join(row["reasons"])),
        )
    out.print(table)
    if count > len(rows):
        out.print(f"… and {count - len(rows):,} more: --limit {count}")


def show(
    row_key: Annotated[
        str, typer.Argument(metavar="KEY", help="The key, or its first characters (3fa2, 3fa2#1).")
    ],
    as_json: AsJson = False,
) -> None:
    """Show one quarantined row: reasons, since when, and all values of its source.

    Example: [bold]tutor-pipeline quarantine show 3fa2[/bold]
    """
    session = open_session(note)
    with session.warehouse.connect() as database:
        row = quarantined_rows.entry(database, row_key)
    if as_json:
        emit_json(row)
        return
    payload = row.pop("payload")
    row["reasons"] = ", ".join(row["reasons"])
    for part in (row, payload):
        out.print(_facts(part))


def _text(value: Any) -> Text:
    """A value as text, uncut, without markup and without characters that control the terminal."""
    text = "–" if value is None else str(value)
    return Text(visible(text, len(text)))


def _facts(values: Mapping[str, Any]) -> Table:
    table = Table(show_header=False, box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in values.items():
        table.add_row(_text(name), _text(value))
    return table


def _short(row_key: str) -> str:
    digest, _, number = row_key.partition("#")
    return f"{digest[:_KEY_SHOWN]}#{number}"


def _day(moment: Any) -> str:
    return "–" if moment is None else f"{moment:%Y-%m-%d}"
