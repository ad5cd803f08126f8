"""Output of commands: progress and errors to stderr, results to stdout, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed

# Piped output goes to programs and logs, so it is not cut to the width of a terminal.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, highlight=False)

STYLES = {"critical": "bold red", "warning": "yellow"}


def note(text: str) -> None:
    """Print a line of progress."""
    err.print(f"[dim]·[/dim] {escape(text)}", soft_wrap=True)


def done(text: str) -> None:
    """Print that a step is finished."""
    err.print(f"[green]✓[/green] {escape(text)}", soft_wrap=True)


def warn(text: str) -> None:
    """Print a warning."""
    err.print(f"[yellow]![/yellow] {escape(text)}", soft_wrap=True)


def emit_json(value: Any) -> None:
    """Print one JSON document to stdout, in ASCII, so that no value can control the terminal."""
    typer.echo(json.dumps(value, default=_plain, indent=2))


@contextmanager
def progress_bar(text: str) -> Iterator[Any]:
    """Show a progress bar on stderr. Yields `update(step, done, total)`."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Elapsed(),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(text, total=None)

        def update(step: str, completed: int, total: int) -> None:
            progress.update(task, completed=completed, total=total, description=step)

        yield update


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return str(value)
