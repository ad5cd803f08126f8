"""The verb export: findings and metrics as CSV files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tutor_pipeline.cli.console import done, emit_json, note
from tutor_pipeline.cli.installation import open_session
from tutor_pipeline.cli.options import AsJson
from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.formatting import count
from tutor_pipeline.people.reports.export import export as write


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command()(export)


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Created if missing.")],
    as_json: AsJson = False,
) -> None:
    """Write tutor_aggregates.csv, alerts.csv, insights.csv and achievements.csv into a folder.

    Existing files of these names are replaced. In tutor_aggregates.csv, churn_probability is the
    score signals_v1, which only ranks, and churn_signals_detected are the points behind it. A text
    that a spreadsheet would run as a formula has an apostrophe before it.

    Example: [bold]tutor-pipeline export ./out[/bold]
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a folder")
    session = open_session(note)
    with session.warehouse.connect() as database:
        written = write(database, folder)
    if as_json:
        emit_json(written)
        return
    for name, rows in written.items():
        done(f"Wrote {folder / name}: {count(rows, 'row')}")
