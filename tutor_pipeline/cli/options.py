"""Options that several verbs share, and parsing of days and moments."""

from __future__ import annotations

import getpass
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from tutor_pipeline.core.errors import UsageError

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document for programs.")]

SourceMap = Annotated[
    Path | None,
    typer.Option(
        "--map",
        metavar="FILE",
        help="File that says what the platform, or its export, calls its tables, files and"
        " columns. Default: TUTOR_SOURCE_MAP.",
    ),
]

AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="DATE|latest",
        help="Compute as of the end of this day, or of the newest completed session's day."
        " Default: now.",
    ),
]


class IdForm(StrEnum):
    """How long ids are shown."""

    SHORT = "short"
    FULL = "full"


IdsAs = Annotated[
    IdForm,
    typer.Option("--ids", help="short: as many characters as tell ids apart, which commands take."),
]

By = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="Your name. Default: the login name.")
]

Note = Annotated[str | None, typer.Option(metavar="TEXT", help="A note for the history.")]


def actor(by: str | None) -> str:
    """The given name, else the login name. Raises UsageError if there is neither."""
    if by is not None and by.strip():
        return by.strip()
    try:
        return getpass.getuser()
    except (OSError, KeyError) as error:
        raise UsageError("who acts? This account has no name: say --by NAME") from error


def day(text: str, option: str) -> date:
    """Parse a day like 2026-01-31. Raises UsageError naming the option."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError as error:
        raise UsageError(f"{option} {text}: write a day as 2026-01-31") from error


def moment(text: str, option: str, timezone: str) -> datetime:
    """Parse a day (its start) or a moment (2026-01-31T09:00), in `timezone` unless it has one."""
    try:
        parsed = datetime.fromisoformat(text)
        if parsed.tzinfo is None:
            parsed = parsed.replace(tzinfo=ZoneInfo(timezone))
        return parsed.astimezone(UTC)  # a moment on the edge of the calendar has none
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{option} {text}: write a day as 2026-01-31 or a moment as 2026-01-31T09:00"
        ) from error


def check_as_of(text: str | None) -> None:
    """Raise UsageError unless it is a date or `latest`."""
    if text is not None and text != "latest":
        try:
            day(text, "--as-of")
        except UsageError as error:
            raise UsageError(f"{error} or latest") from error
