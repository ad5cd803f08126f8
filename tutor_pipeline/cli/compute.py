"""Verbs that compute, by materializing assets: enrich, backfill, clear."""

from __future__ import annotations

import sys
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated

import typer
from rich.markup import escape

from tutor_pipeline.cli.console import done, emit_json, err, note, out, warn
from tutor_pipeline.cli.launch import Outcome, refresh
from tutor_pipeline.cli.session import Session, open_session
from tutor_pipeline.errors import UsageError

LAST = "last"
"""As of the moment of the alerts that are there."""

STALE_DAYS = 7
"""Newest session older than this: the windows of today are empty, so say so."""

AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="DATE|latest",
        help="Compute as of the end of this day, or of the newest completed session's day."
        " Default: now.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document for programs.")]


class Step(StrEnum):
    """What `enrich --only` can name."""

    ALERTS = "alerts"


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command()(enrich)
    app.command()(backfill)
    app.command()(clear)


def enrich(
    only: Annotated[
        Step | None, typer.Option(help="Only this step, from the tables as they are.")
    ] = None,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Recompute everything: metrics (dbt), then alerts.

    Example: [bold]tutor-pipeline enrich --as-of latest[/bold]
    """
    check_as_of(as_of)
    session = open_session(note)
    outcome = refresh(as_of=as_of, only=[f"ops/{only}"] if only else None)
    report(outcome, as_json)
    if not as_json and only is None and as_of is None:
        hint_at_stale_data(session)
    raise typer.Exit(0 if outcome.success else 1)


def backfill(
    tutor: Annotated[
        list[str] | None, typer.Option("--tutor", metavar="ID", help="This tutor; may be repeated.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="The tutors with a session since this day."),
    ] = None,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Recompute some tutors (all, when none is named) and show what each has now.

    Example: [bold]tutor-pipeline backfill --tutor T0007 --tutor T0012[/bold]
    """
    from tutor_pipeline.reports import queries

    check_as_of(as_of)
    first = _day(since, "--since") if since else None
    session = open_session(note)
    with session.warehouse.connect() as connection:
        chosen = queries.tutors_to_refresh(connection, session.warehouse, tutor or None, first)
        age = queries.newest_session_age_days(connection, session.warehouse)
    if not chosen:
        done(f"No tutor has a session since {since}: nothing to do")
        return
    if as_of is None and age is not None and age > STALE_DAYS:
        # Old data is looked at as of its own days: one tutor must not be moved to today.
        as_of = LAST
    outcome = refresh(as_of=as_of, tutors=chosen if tutor or since else None)
    with session.warehouse.connect() as connection:
        rows = queries.open_alerts_by_tutor(connection, session.warehouse, chosen)
    if as_json:
        emit_json({**outcome.as_dict(), "tutors": rows})
    else:
        for number, row in enumerate(rows, 1):
            name = row["name"] or row["tutor_id"]
            out.print(f"Tutor {number}/{len(rows)}: {escape(name)}: {row['alerts']} alerts")
        critical = sum(1 for row in rows if row["critical"])
        warning = sum(1 for row in rows if row["warning"])
        out.print(
            f"{sum(row['alerts'] for row in rows)} alerts; tutors with critical alerts: {critical},"
            f" with warnings: {warning}"
        )
        report(outcome, False)
    skipped = outcome.metadata.get("ops/alerts", {}).get("skipped") or 0
    raise typer.Exit(0 if outcome.success and not skipped else 1)


def clear(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what the pipeline found (alerts and their events), never the platform's rows.

    Example: [bold]tutor-pipeline clear --yes[/bold]
    """
    from tutor_pipeline.lifecycle import store

    session = open_session(note)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("clear asks first, and nobody can answer here: say --yes")
        typer.confirm(
            f"Remove all alerts, open and resolved, from {session.warehouse.masked_url}?",
            abort=True,
        )
    with session.warehouse.connect() as connection:
        removed = store.clear(connection, session.warehouse)
    if as_json:
        emit_json({"removed": removed})
    else:
        done(f"Removed {removed:,} rows; `tutor-pipeline enrich` finds what is true today again")


def report(outcome: Outcome, as_json: bool) -> None:
    """Print how a run ended: its times, what failed, what was left out because of it."""
    if as_json:
        emit_json(outcome.as_dict())
        return
    for step, message in outcome.failed.items():
        err.print(f"[bold red]failed:[/bold red] {escape(f'{step}: {message}')}", soft_wrap=True)
    if outcome.skipped:
        warn(f"not made, because of that: {', '.join(outcome.skipped)}")
    times = ", ".join(
        f"{name} {outcome.seconds[name]:.1f} s"
        for name in ("start", "dbt", "rules", "write")
        if name in outcome.seconds
    )
    if outcome.success:
        done(f"Run {outcome.run_id[:8]} finished ({times})")
    else:
        warn(f"Run {outcome.run_id[:8]} failed ({times}); `tutor-pipeline up` shows its log")


def hint_at_stale_data(session: Session) -> None:
    """Say it when windows are empty because the data is old, not because all is well."""
    from tutor_pipeline.lifecycle import store
    from tutor_pipeline.reports import queries

    with session.warehouse.connect() as connection:
        age = queries.newest_session_age_days(connection, session.warehouse)
        applied = store.last_applied(connection, session.warehouse)
    if age is not None and age > STALE_DAYS:
        # What was found as of today bars the way back.
        before = "tutor-pipeline clear --yes && " if applied is not None else ""
        warn(
            f"the newest session is {age} days old, so windows of 7 to 30 days hold little or"
            f" nothing. To compute as of that day: {before}tutor-pipeline enrich --as-of latest"
        )


def check_as_of(text: str | None) -> None:
    """Raises UsageError unless it is a date or `latest`."""
    if text is not None and text != "latest":
        _day(text, "--as-of")


def _day(text: str, option: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError as error:
        allowed = " or latest" if option == "--as-of" else ""
        raise UsageError(f"{option} {text}: write a day as 2026-01-31{allowed}") from error
