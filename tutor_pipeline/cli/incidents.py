"""The verb incidents: what broke in the pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.markup import escape

from tutor_pipeline.cli.console import emit_json, note, out
from tutor_pipeline.cli.installation import open_session
from tutor_pipeline.cli.options import AsJson
from tutor_pipeline.core.formatting import age, count, moment, visible
from tutor_pipeline.people import incidents as reading


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command()(incidents)


def incidents(
    everything: Annotated[bool, typer.Option("--all", help="Also show closed incidents.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many to show.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show what broke in the pipeline: each cause once, its meaning and what to do next.

    Example: [bold]tutor-pipeline incidents --all[/bold]
    """
    session = open_session(note)
    with session.warehouse.connect() as database:
        rows = reading.listed(database, include_closed=everything, limit=limit)
    if as_json:
        emit_json([row | dict(zip(("means", "next"), _meaning(row), strict=True)) for row in rows])
        return
    if not rows:
        out.print("Nothing is broken." if not everything else "Nothing has broken yet.")
        return
    now = datetime.now(UTC)
    for number, row in enumerate(rows):
        if number:
            out.print()
        _show(row, now)


def _show(row: Mapping[str, Any], now: datetime) -> None:
    is_open = row["closed_at"] is None
    style, word = ("bold red", "OPEN") if is_open else ("green", "over")
    out.print(
        f"[{style}]{word}[/] {escape(visible(row['title']))}"
        f" [dim]{row['kind']}, {escape(visible(row['subject']))}[/dim]",
        soft_wrap=True,
    )
    times = [f"since {moment(row['opened_at'])} ({age(row['opened_at'], now)})"]
    if row["occurrences"] > 1:
        times.append(f"{count(row['occurrences'], 'time')}, last {age(row['last_seen_at'], now)}")
    if not is_open:
        times.append(f"over {moment(row['closed_at'])}")
    if row["run_id"]:
        times.append(f"run {escape(visible(row['run_id']))}")
    out.print("  " + "; ".join(times), soft_wrap=True)
    if why := row["details"].get("why"):
        out.print(f"  {escape(visible(str(why), 1_000))}", soft_wrap=True)
    means, following = _meaning(row)
    out.print(f"  It means: {means}", soft_wrap=True)
    if is_open:
        out.print(f"  → {following}", soft_wrap=True)


def _meaning(row: Mapping[str, Any]) -> tuple[str, str]:
    return reading.MEANING[reading.Kind(row["kind"])]
