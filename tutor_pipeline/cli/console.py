"""How commands talk: progress and errors to stderr, results to stdout, JSON for programs."""

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

# Piped text is read by programs and in logs: nothing in it is cut to a terminal's width.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, highlight=False)

STYLES = {"critical": "bold red", "warning": "yellow"}


def note(text: str) -> None:
    """A line of progress."""
    err.print(f"[dim]·[/dim] {escape(text)}", soft_wrap=True)


def done(text: str) -> None:
    """A step that is finished."""
    err.print(f"[green]✓[/green] {escape(text)}", soft_wrap=True)


def warn(text: str) -> None:
    """Something to know that stops nothing."""
    err.print(f"[yellow]![/yellow] {escape(text)}", soft_wrap=True)


def emit_json(value: Any) -> None:
    """One JSON document on stdout, in ASCII: what is no letter there cannot move the terminal."""
    typer.echo(json.dumps(value, default=_plain, indent=2))


@contextmanager
def progress_bar(text: str) -> Iterator[Any]:
    """A bar on stderr: yields `update(step, done, total)`."""
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
