"""Verbs that let events in: events serve, events secrets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from tutor_pipeline.cli.console import done, emit_json, note, out
from tutor_pipeline.cli.desk import is_loopback
from tutor_pipeline.cli.installation import Session, open_session
from tutor_pipeline.cli.options import AsJson
from tutor_pipeline.cli.platform_data import EVENTS, SYNTHETIC, last_load, remember_load
from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.formatting import count
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.platform import ensure_platform
from tutor_pipeline.sources.events import secrets

Source = Annotated[str, typer.Argument(help="The name of who sends, part of the address.")]


def add_to(events: typer.Typer) -> None:
    """Add these verbs."""
    events.command()(serve)
    of_secrets = typer.Typer(
        help="The secrets with which sources sign: add, rotate, list, revoke.",
        no_args_is_help=True,
    )
    of_secrets.command()(add)
    of_secrets.command()(rotate)
    of_secrets.command("list")(list_)
    of_secrets.command()(revoke)
    events.add_typer(of_secrets, name="secrets")


def serve(
    port: Annotated[int | None, typer.Option(help="Default: TUTOR_EVENTS_PORT, 3050.")] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; default TUTOR_EVENTS_HOST, 127.0.0.1.")
    ] = None,
) -> None:
    """Take events that a platform pushes, without the desk (which takes them too). Ctrl-C stops.

    Example: [bold]tutor-pipeline events serve --port 3051[/bold]
    """
    import uvicorn

    from tutor_pipeline.sources.events.receiver.alone import create_app

    session = open_session(note)
    with session.warehouse.connect() as database:
        ensure_platform(database, note)
    settings = session.settings
    host, port = host or settings.events_host, port or settings.events_port
    if not is_loopback(host):
        note("Events carry names and words of people: put a proxy with TLS in front")
    done(f"Taking events at http://{host}:{port}/v1/events/SOURCE; the API: /v1/docs")
    uvicorn.run(
        create_app(session.warehouse, lambda: datetime.now(UTC)),
        host=host,
        port=port,
        # It bounds the headers of a request, which the faster one does not.
        http="h11",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=500,
        timeout_graceful_shutdown=3,
    )


def add(source: Source, as_json: AsJson = False) -> None:
    """Make a secret for a source, beside those that it has, and print it once.

    Example: [bold]tutor-pipeline events secrets add shop[/bold]
    """
    session = open_session(note)
    now = datetime.now(UTC)
    with session.warehouse.connect() as database:
        # Events are written only to a platform that is ours.
        ensure_platform(database, note)
        secret = secrets.add(database, source, now)
        _remember_door(database, session, now)
    _print(session, source, secret, as_json)


def rotate(
    source: Source,
    keep: Annotated[
        float, typer.Option(min=0, metavar="HOURS", help="How long the secrets before stay good.")
    ] = secrets.KEPT.total_seconds() / 3_600,
    as_json: AsJson = False,
) -> None:
    """Make a new secret for a source and print it once; those before end after a day.

    Example: [bold]tutor-pipeline events secrets rotate shop --keep 2[/bold]
    """
    session = open_session(note)
    kept, now = timedelta(hours=keep), datetime.now(UTC)
    with session.warehouse.connect() as database:
        secret = secrets.rotate(database, source, now, kept)
    _print(session, source, secret, as_json)
    if not as_json:
        note(f"The secrets before are good until {_moment(now + kept)}; sooner: secrets revoke")


def revoke(
    source: Source,
    secret: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="This one, as `list` shows it.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
) -> None:
    """End a secret of a source, or all. What is signed with it is refused within two seconds.

    Example: [bold]tutor-pipeline events secrets revoke shop --secret 3[/bold]
    """
    if (secret is None) != everything:
        raise UsageError(
            "which? Say --secret NUMBER (tutor-pipeline events secrets list), or --all"
        )
    session = open_session(note)
    with session.warehouse.connect() as database:
        ended = secrets.revoke(database, source, datetime.now(UTC), secret)
    done(f"Ended {count(ended, 'secret')} of {source}")


def list_(as_json: AsJson = False) -> None:
    """List sources and their secrets, without the secrets themselves.

    Example: [bold]tutor-pipeline events secrets list[/bold]
    """
    session = open_session(note)
    now = datetime.now(UTC)
    with session.warehouse.connect() as database:
        rows = secrets.listed(database)
    if as_json:
        emit_json(rows)
        return
    if not rows:
        out.print("No source yet. Add one: tutor-pipeline events secrets add SOURCE")
        return
    table = Table("source", "number", "added", "state", box=None)
    for row in rows:
        ends = row["ends_at"]
        state = "good" if ends is None else f"{'ends' if ends > now else 'ended'} {_moment(ends)}"
        table.add_row(escape(row["source"]), str(row["number"]), _moment(row["added_at"]), state)
    out.print(table)


def _remember_door(database: Database, session: Session, now: datetime) -> None:
    """What fills a platform is known, so that `generate` does not replace it unasked."""
    last = last_load(session)
    if last is None:
        remember_load(database, EVENTS, {}, replaced=None)
    elif last == SYNTHETIC:
        note("The platform is made up (generate): events are added to it")


def _print(session: Session, source: str, secret: str, as_json: bool) -> None:
    address = f"{session.settings.desk_address}/v1/events/{source}"
    if as_json:
        emit_json({"source": source, "secret": secret, "address": address})
        return
    done(f"A secret for {source}. It is shown this once; whoever has it can send events:")
    out.print(secret, soft_wrap=True)
    note(f"Send events to {address} (the desk), or the address of tutor-pipeline events serve")


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M UTC}"
