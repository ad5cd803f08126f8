"""Verbs on scores: backtest, judge, accept, crossval."""

from __future__ import annotations

import csv
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from tutor_pipeline.cli.accept import accept
from tutor_pipeline.cli.backtest import backtest
from tutor_pipeline.cli.console import emit_json, out, progress_bar, warn
from tutor_pipeline.cli.judge import judge
from tutor_pipeline.cli.options import AsJson
from tutor_pipeline.errors import RefusedError, UsageError
from tutor_pipeline.words import visible

_HEADINGS = {
    "auc": "AUC (ranks right)",
    "average_precision": "average precision",
    "recall_at_15_percent_false_flags": "found at 15 % false flags",
    "brier": "Brier score",
    "brier_of_constant": "Brier score of a constant",
    "calibration_slope": "calibration slope (1 is right)",
}


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    group = typer.Typer(help="Scores: how well what is learned does.", no_args_is_help=True)
    group.callback()(_group)
    group.command()(backtest)
    group.command()(judge)
    group.command()(accept)
    group.command()(crossval)
    app.add_typer(group, name="scores")


def _group() -> None:
    """Scores: how well what is learned does."""


def crossval(
    file: Annotated[Path, typer.Option("--csv", metavar="FILE", help="A table, with a header.")],
    target: Annotated[
        str, typer.Option(metavar="COLUMN", help="What to forecast: a column with two values.")
    ],
    positive: Annotated[
        str | None,
        typer.Option(
            metavar="VALUE",
            help="The value that means it happened. Default: a word for yes, else the rarer one.",
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Do not learn from this column. May be repeated."),
    ] = None,
    folds: Annotated[int, typer.Option(metavar="N", help="In how many parts.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Try the learning code on any table: each row is forecast by learners that never saw it.

    Needs no database. Intervals are of 90 %. Columns that look like ids are dropped and named.

    Example: [bold]tutor-pipeline scores crossval --csv attrition.csv --target Attrition[/bold]
    """
    from tutor_pipeline.scores.crossval import cross_validate

    with progress_bar("reading the table") as update:
        found = cross_validate(
            _read(file), target, positive=positive, drop=drop or [], folds=folds, progress=update
        )
    if as_json:
        emit_json(asdict(found))
        return
    for name, why in found.dropped.items():
        warn(f"column {visible(name)} is not used: {why}")
    if found.unknown:
        warn(f"{found.unknown:,} rows have no {visible(target)} and are left out")
    out.print(
        f"{found.rows:,} rows, {found.positives:,} of them {escape(visible(found.positive))}"
        f" ({found.positives / found.rows:.1%}), {len(found.columns)} columns, {found.folds} folds"
    )
    table = Table("", *(name.replace("_", " ") for name in found.figures), box=None)
    for metric, heading in _HEADINGS.items():
        cells = [
            _figure({str(key): asdict(each) for key, each in figures.items()}[metric])
            for figures in found.figures.values()
        ]
        table.add_row(heading, *cells)
    out.print(table)


def _figure(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "–"
    if figure["lower"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} ({figure['lower']:.3f} to {figure['upper']:.3f})"


def _read(file: Path) -> dict[str, list[str]]:
    """The table's columns as text. Raises UsageError where there is no file, RefusedError where it
    is no table with a header.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            text = lines.read()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RefusedError(f"{file} is no CSV file: it is not text in UTF-8") from error
    if "\0" in text:
        raise RefusedError(f"{file} is no CSV file: it holds zero bytes")
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    try:
        rows = [
            row
            for row in csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
            if row
        ]
    except csv.Error as error:
        raise RefusedError(f"{file} is no CSV file: {error}") from error
    if len(rows) < 2 or len(rows[0]) < 2:
        raise RefusedError(f"{file} is no table: it needs a header, two columns and rows")
    names = [name.strip() for name in rows[0]]
    if twice := {name for name in names if names.count(name) > 1}:
        raise RefusedError(f"{file} has two columns called {min(twice)}")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(names):
            raise RefusedError(
                f"{file} is no CSV file: row {number} has {len(row)} cells, the header {len(names)}"
            )
    return {name: [row[n] for row in rows[1:]] for n, name in enumerate(names)}
