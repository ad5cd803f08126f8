"""The verb `scores crossval`: the learning code on any table."""

from __future__ import annotations

import csv
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from tutor_pipeline.cli.console import emit_json, out, progress_bar, warn
from tutor_pipeline.cli.options import AsJson
from tutor_pipeline.core.errors import RefusedError, UsageError
from tutor_pipeline.core.formatting import count, visible

if TYPE_CHECKING:
    from tutor_pipeline.judgement.scores.crossval import Validation

_HEADINGS = {
    "auc": "AUC (ranks right)",
    "average_precision": "average precision",
    "recall_at_15_percent_false_flags": "found at 15 % false flags",
    "brier": "Brier score",
    "brier_of_constant": "Brier score of a constant",
    "calibration_slope": "calibration slope (1 is right)",
}
_NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
"""Accepted delimiters."""


def crossval(
    file: Annotated[Path, typer.Option("--csv", metavar="FILE", help="A table, with a header.")],
    target: Annotated[
        str, typer.Option(metavar="COLUMN", help="What to forecast: a column with two values.")
    ],
    positive: Annotated[
        str | None,
        typer.Option(
            metavar="VALUE",
            help="The positive value. Default: a word for yes, else the rarer value.",
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="The person of a row, if a person has several: all their rows stay in one fold.",
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Do not learn from this column. May be repeated."),
    ] = None,
    folds: Annotated[int, typer.Option(metavar="N", help="Number of folds.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Cross-validate the learning code on any table: each row is forecast by a model without it.

    The logistic regression is the one that learns who leaves; boosting is shown for comparison.
    Needs no database. Intervals are 90 %. Columns that look like ids are reported and not used.

    Example: [bold]tutor-pipeline scores crossval --csv attrition.csv --target Attrition[/bold]
    """
    from tutor_pipeline.judgement.scores.crossval import cross_validate

    with progress_bar("reading the table") as update:
        found = cross_validate(
            _read(file),
            target,
            positive=positive,
            group=group,
            drop=drop or [],
            folds=folds,
            progress=update,
        )
    if as_json:
        emit_json(asdict(found))
    else:
        _report(found, target, group)


def _report(found: Validation, target: str, group: str | None) -> None:
    for name, why in found.dropped.items():
        if name != group:
            warn(f"column {visible(name) or '(without a name)'} is not used: {why}")
    if found.unknown:
        warn(f"{count(found.unknown, 'row')} without {visible(target)}: left out")
    for warning in found.warnings:
        warn(warning)
    of_groups = f" of {found.groups:,} {visible(group or '')}" if found.groups is not None else ""
    out.print(
        escape(
            f"{count(found.rows, 'row')}{of_groups}, {found.positives:,} of them"
            f" {visible(found.positive)} ({found.positives / found.rows:.1%}),"
            f" {count(len(found.columns), 'column')}, {count(found.folds, 'fold')}"
        ),
        soft_wrap=True,
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
    """Read the table's columns as text. Raises UsageError if the file is missing, RefusedError if
    it is not a table with a header.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            text = lines.read()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RefusedError(
            f"{file} is no CSV file: it is not text in UTF-8; save it as CSV in UTF-8"
        ) from error
    if "\0" in text:
        raise RefusedError(f"{file} is no CSV file: it holds zero bytes; save it as CSV in UTF-8")
    if not text.strip():
        raise RefusedError(f"{file} is empty: it needs a header, two columns and rows")
    header = text.lstrip().split("\n", 1)[0]
    delimiter = max(_NAMES, key=header.count)
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    number = 0
    try:
        for number, row in enumerate(reader, start=1):
            if rows and row and len(row) != len(rows[0]):
                raise RefusedError(
                    f"{file} is no CSV file: row {number} has {count(len(row), 'cell')}, the header"
                    f" {len(rows[0])}; a cell that holds {_NAMES[delimiter]} needs quotes"
                )
            if row:
                rows.append(row)
    except csv.Error as error:
        raise RefusedError(f"{file} is no CSV file: row {number + 1}: {error}") from error
    if len(rows[0]) < 2 or len(rows) < 2:
        raise RefusedError(
            f"{file} is no table: it needs a header, two columns and rows"
            f" ({'no row' if len(rows) < 2 else 'one column'} found; cells are parted by"
            " a comma, a semicolon or a tab)"
        )
    names = [name.strip() for name in rows[0]]
    if twice := [name for n, name in enumerate(names) if name in names[:n]]:
        called = f"called {visible(twice[0])}" if twice[0] else "without a name"
        raise RefusedError(f"{file} has two columns {called}: rename one, or take it out")
    return {name: list(cells) for name, *cells in zip(names, *rows[1:], strict=True)}
