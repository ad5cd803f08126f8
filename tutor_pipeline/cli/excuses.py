"""Verbs of excuses: sessions that are struck from what speaks against a tutor."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from tutor_pipeline.cli.console import done, emit_json, note, out
from tutor_pipeline.cli.installation import open_session
from tutor_pipeline.cli.options import AsJson, By, IdForm, IdsAs, actor
from tutor_pipeline.core.formatting import visible
from tutor_pipeline.judgement.lifecycle import excuses
from tutor_pipeline.judgement.lifecycle.excuses import ExcuseKind
from tutor_pipeline.people.reports import tutor_queries

group = typer.Typer(
    help="Sessions that are struck from what speaks against a tutor.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Adds the group `excuses`."""
    app.add_typer(group, name="excuses")


@group.command()
def add(
    session_id: Annotated[str, typer.Argument(metavar="SESSION", help="Id of the session.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why.")],
    kind: Annotated[
        ExcuseKind, typer.Option(help="What the session is excused from.")
    ] = ExcuseKind.ALL,
    tutor: Annotated[
        str | None,
        typer.Option("--tutor", metavar="ID", help="Whose session it is, if two have this id."),
    ] = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Excuse a session: metrics and alerts of that kind no longer count it, from today on.

    Example: [bold]tutor-pipeline excuses add S004711 --kind reschedule
    --reason "the student asked for it"[/bold]
    """
    who = actor(by)
    session = open_session(note)
    with session.warehouse.connect() as database:
        if tutor is not None:
            tutor_id = tutor_queries.profile_of(database, tutor)["tutor_id"]
        else:
            tutor_id = tutor_queries.tutor_of_session(database, session_id)
        number = excuses.excuse(
            database, tutor_id, session_id, kind, reason=reason, by=who, at=datetime.now(UTC)
        )
    if as_json:
        emit_json({"excuse_id": number, "tutor_id": tutor_id, "session_id": session_id})
        return
    done(
        f"Excused {session_id} of {tutor_id} ({kind}), number {number}. Alerts follow with the next"
        " pass: within seconds where `tutor-pipeline up` runs, else with `tutor-pipeline enrich`"
    )


@group.command()
def undo(
    number: Annotated[int, typer.Argument(help="Number of the excuse: `excuses list`.")],
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """End an excuse: from today on the session counts again.

    Example: [bold]tutor-pipeline excuses undo 12[/bold]
    """
    who = actor(by)
    session = open_session(note)
    with session.warehouse.connect() as database:
        ended = excuses.undo(database, number, by=who, at=datetime.now(UTC))
    if as_json:
        keys = ("excuse_id", "tutor_id", "session_id")
        emit_json({key: ended[key] for key in keys})
        return
    done(f"{ended['session_id']} of {ended['tutor_id']} counts again ({ended['kind']})")


@group.command("list")
def list_(
    tutor: Annotated[
        str | None, typer.Option("--tutor", metavar="ID", help="Only of this tutor.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="Made in so many days.")] = 90,
    everything: Annotated[bool, typer.Option("--all", help="Undone ones too.")] = False,
    ids_as: IdsAs = IdForm.SHORT,
    as_json: AsJson = False,
) -> None:
    """List the excuses in force, newest first.

    Example: [bold]tutor-pipeline excuses list --tutor T0064[/bold]
    """
    session = open_session(note)
    since = datetime.now(UTC) - timedelta(days=days)
    with session.warehouse.connect() as database:
        short = tutor_queries.short_ids(database)
        of = None if tutor is None else [tutor_queries.id_of(tutor, dict.fromkeys(short))]
        rows = excuses.made(database, of, since, undone=everything)
    if as_json:
        emit_json(rows)
        return
    if not rows:
        out.print("No session is excused.")
        return
    names: dict[str, str] = short if ids_as is IdForm.SHORT else {}
    table = Table(box=None)
    for heading in ("no", "tutor", "session", "from", "reason", "by", "since"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("no", "since"))
    for row in rows:
        since_when = f"{row['excused_at']:%Y-%m-%d %H:%M} UTC"
        if row["undone_at"] is not None:
            by_whom = visible(row["undone_by"] or "")
            since_when += f", undone {row['undone_at']:%Y-%m-%d} by {by_whom}"
        tutor_id: str = row["tutor_id"]
        table.add_row(
            str(row["excuse_id"]),
            escape(visible(names.get(tutor_id, tutor_id))),
            escape(visible(row["session_id"])),
            row["kind"],
            escape(visible(row["reason"])),
            escape(visible(row["excused_by"])),
            escape(since_when),
        )
    out.print(table)
