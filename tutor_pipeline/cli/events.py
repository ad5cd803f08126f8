"""Verbs on events that a platform pushes: list, show, dead, rejected, replay, types; those of
events_in.py let them in.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from tutor_pipeline.cli import events_in
from tutor_pipeline.cli.console import done, emit_json, note, out, progress_bar
from tutor_pipeline.cli.installation import Session, open_session
from tutor_pipeline.cli.options import AsJson, moment
from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.formatting import candidates, count, visible
from tutor_pipeline.core.formatting import moment as shown_moment
from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.sources.events import (
    aliases,
    applying,
    holding,
    inbox,
    overview,
    rejections,
)
from tutor_pipeline.sources.events.bodies import again
from tutor_pipeline.sources.events.catalogue import EventType, Field, load_types
from tutor_pipeline.sources.events.inbox import State
from tutor_pipeline.sources.events.reading import remarks_on

_REJECTED_FOR = timedelta(days=7)

EventId = Annotated[str, typer.Argument(metavar="ID", help="The id of the event, webhook-id.")]
OfSource = Annotated[
    str | None, typer.Option("--source", metavar="SOURCE", help="Only events of this source.")
]
Since = Annotated[
    str | None, typer.Option(metavar="MOMENT", help="A day, or a moment as 2026-01-31T09:00.")
]
Limit = Annotated[int, typer.Option(min=1, max=1_000_000, help="How many to show.")]


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    events = typer.Typer(help="Events that a platform pushes.", no_args_is_help=True)
    events.command("list")(list_)
    for verb in (show, dead, rejected, replay, types):
        events.command()(verb)
    events_in.add_to(events)
    app.add_typer(events, name="events")


def list_(
    state: Annotated[
        list[State] | None, typer.Option("--state", help="Only these; may be given repeatedly.")
    ] = None,
    source: OfSource = None,
    kind: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="Only events of this type.")
    ] = None,
    about: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The id of an event, a tutor, a student or a session."),
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List events, the newest first, with what became of each and why.

    Example: [bold]tutor-pipeline events list --state quarantined --about T0042[/bold]
    """
    session = open_session(note)
    with session.warehouse.connect() as database:
        rows = inbox.listed(
            database, state or tuple(State), source=source, kind=kind, about=about, limit=limit + 1
        )
    _print_events(rows, limit, as_json)


def dead(source: OfSource = None, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List events on which applying failed, with the error.

    Example: [bold]tutor-pipeline events dead[/bold]
    """
    session = open_session(note)
    with session.warehouse.connect() as database:
        rows = inbox.listed(database, [State.DEAD], source=source, limit=limit + 1)
    _print_events(rows, limit, as_json)
    if rows and not as_json:
        note("Once the cause is mended: tutor-pipeline events replay --id ID")


def _print_events(rows: list[Row], limit: int, as_json: bool) -> None:
    if as_json:
        emit_json(rows[:limit])
        return
    if not rows:
        out.print("No such event.")
        return
    table = Table(box=None)
    for heading in ("received", "source", "id", "type", "state"):
        table.add_column(heading, no_wrap=heading in ("received", "state"), overflow="fold")
    table.add_column("why", min_width=20, overflow="fold")
    for row in rows[:limit]:
        table.add_row(
            shown_moment(row["received_at"]),
            *(_text(row[name]) for name in ("source", "event_id", "type", "state")),
            _text(row["error"] or ", ".join(row["reasons"])),
        )
    out.print(table)
    if len(rows) > limit:
        out.print(f"… and more: --limit {2 * limit}")


def show(event_id: EventId, source: OfSource = None, as_json: AsJson = False) -> None:
    """Show an event: what it says, what it waits for, which fields of which rows are its own now.

    Example: [bold]tutor-pipeline events show evt-2[/bold]
    """
    session = open_session(note)
    now = datetime.now(UTC)
    with session.warehouse.connect() as database:
        found = [
            row
            | {
                "rows": holding.held_by(database, row["source"], event_id, row["body"], now),
                "ignored": remarks_on(again(row["body"]), event_id, now).get("ignored", []),
            }
            for row in _found(database, event_id, source)
        ]
    for number, row in enumerate(found):
        row["digest"] = bytes(row["digest"]).hex()
        if as_json:
            row["body"] = again(row["body"]).value or row["body"]
            row["rows"] = [asdict(each) for each in row["rows"]]
            continue
        if number:
            out.print()
        _show(row)
    if as_json:
        emit_json(found)


def _found(database: Database, event_id: str, source: str | None) -> list[Row]:
    """The events of this id. Raise UsageError without one."""
    rows = inbox.shown(database, event_id)
    found = [row for row in rows if source in (None, row["source"])]
    if found:
        return found
    if rows:
        there = ", ".join(row["source"] for row in rows)
        raise UsageError(f"{source} has sent no event {event_id!r}; these have: {there}")
    about = inbox.listed(database, about=event_id, limit=1)
    following = f"--about {event_id}" if about else "--about ID, of a tutor, student or session"
    raise UsageError(
        f"no event has the id {event_id!r}; it was never received, or is older than events are"
        f" kept.\nFind events with: tutor-pipeline events list {following}"
    )


def _show(row: Mapping[str, Any]) -> None:
    facts = {
        "id": row["event_id"],
        **{name: row[name] for name in ("source", "type")},
        "received": shown_moment(row["received_at"]),
        "happened": row["event_at"] and shown_moment(row["event_at"]),
        "state": f"{row['state']} since {shown_moment(row['state_at'])}",
        "why": row["error"] or ", ".join(row["reasons"]),
        "tried again": row["due_at"] and shown_moment(row["due_at"]),
        **{name.replace("_id", ""): row[name] for name in ("tutor_id", "student_id", "session_id")},
    }
    table = Table(show_header=False, box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value:
            table.add_row(name, _text(value))
    for held in row["rows"]:
        table.add_row("row", _text(held.row))
        for what, said in _of_row(held):
            table.add_row("", _text(f"{what} {said}"))
    if ignored := row["ignored"]:
        table.add_row("not read", _text(", ".join(ignored)))
    out.print(table)
    if not row["body"]:
        out.print("It named somebody who was erased: nothing of it is left.")
        return
    value = again(row["body"]).value
    body = row["body"] if value is None else json.dumps(value, indent=2, ensure_ascii=False)
    out.print(Text(visible(body, len(body), lines=True)), soft_wrap=True)


def _of_row(held: holding.Held) -> Iterable[tuple[str, str]]:
    if held.deletes:
        yield "is gone because of it", ""
    if held.fields:
        yield "has from it:", ", ".join(held.fields)
    by_event: dict[str, list[str]] = {}
    for field, event in held.overruled.items():
        by_event.setdefault(event, []).append(field)
    for event, fields in by_event.items():
        yield f"has from {event or 'elsewhere'}:", ", ".join(fields)
    if held.waits_on:
        yield "cannot be written yet; waits for", ", ".join(held.waits_on)


def rejected(since: Since = None, as_json: AsJson = False) -> None:
    """List requests that were not accepted, by hour and true reason; default the last 7 days.

    Example: [bold]tutor-pipeline events rejected --since 2026-01-31[/bold]
    """
    session = open_session(note)
    began = _moment(session, since) or datetime.now(UTC) - _REJECTED_FOR
    with session.warehouse.connect() as database:
        rows = rejections.listed(database, began)
    if as_json:
        emit_json(rows)
        return
    if not rows:
        out.print("Every request was accepted.")
        return
    table = Table(box=None)
    for heading in ("hour", "source"):
        table.add_column(heading, no_wrap=True)
    table.add_column("reason", overflow="fold")
    table.add_column("requests", justify="right")
    for heading in ("last", "its id"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(
            shown_moment(row["hour"]), _text(row["source"]), _text(row["reason"]),
            f"{row['requests']:,}", shown_moment(row["last_at"]), _text(row["last_id"]),
        )  # fmt: skip
    out.print(table)


def replay(
    event_id: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="Try this one again, which is not applied."),
    ] = None,
    source: OfSource = None,
    since: Since = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Apply events anew: all that are kept, those received since a moment, or one.

    Without --id, it makes the platform's rows as these events say, in one transaction, as if they
    had not been applied before: what a fault of ours made of them is mended. What other doors
    brought stays. Meanwhile events are received and wait.

    Example: [bold]tutor-pipeline events replay --since 2026-01-31T09:00[/bold]
    """
    if event_id is not None:
        if since is not None:
            raise UsageError("--id names one event, --since many: say one of the two")
        _try_again(event_id, source, as_json)
        return
    if source is not None:
        raise UsageError("--source belongs to --id: what one source says depends on the others")
    if not yes and not sys.stdin.isatty():
        raise UsageError("replay asks first, and nobody can answer here: say --yes")
    session = open_session(note)
    began = _moment(session, since)
    with session.warehouse.connect(autocommit=True) as database:
        if not yes:
            _ask(overview.kept(database, began), session)
        with progress_bar("Applying events anew") as update:
            events = applying.replay(
                database,
                datetime.now(UTC),
                since=began,
                progress=lambda completed, total: update("Applying events anew", completed, total),
            )
    if as_json:
        emit_json({"applied": events})
    else:
        done(f"Applied {count(events, 'event')} anew; a refresh follows as after any change")


def _ask(events: int, session: Session) -> None:
    typer.confirm(
        f"Apply {count(events, 'event')} anew to the platform's rows in"
        f" {session.warehouse.masked_url}? Until that is done, nobody else writes to the platform.",
        abort=True,
        err=True,
    )


def _try_again(event_id: str, source: str | None, as_json: bool) -> None:
    session = open_session(note)
    with session.warehouse.connect() as database:
        found = _found(database, event_id, source)
        if len(found) > 1:
            sources = ", ".join(row["source"] for row in found)
            raise UsageError(f"several sources have sent {event_id!r}: say --source, of {sources}")
        (row,) = found
        if not inbox.try_again(database, row["source"], event_id):
            raise UsageError(_NOT_AGAIN[State(row["state"])].format(id=event_id))
    if as_json:
        emit_json({"source": row["source"], "event_id": event_id, "state": State.WAITING})
        return
    done(f"{event_id} of {row['source']} waits to be applied, within seconds where the desk or")
    note("`tutor-pipeline events serve` runs. What became of it: tutor-pipeline events show")


_NOT_AGAIN = {
    State.WAITING: "{id} waits to be applied already: the desk or `tutor-pipeline events serve`"
    " applies it",
    State.APPLIED: "{id} is applied. To apply it and what came after it anew: tutor-pipeline events"
    " replay --since MOMENT",
    State.DROPPED: "{id} named somebody who was erased: nothing of it is left to apply",
}


def types(
    name: Annotated[str | None, typer.Argument(metavar="TYPE", help="Show this type.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the types of events; with a type its fields and an example. Needs no database.

    Example: [bold]tutor-pipeline events types session.completed[/bold]
    """
    known = load_types().types
    if name is None:
        _list_types(known, as_json)
    elif name in known:
        _show_type(known[name], as_json)
    elif name in aliases.NAMES:
        if as_json:
            emit_json({"type": name, "says": aliases.NAMES[name]})
        else:
            out.print(
                Text(f"{name}: an older name, taken as it is. Its data: {aliases.NAMES[name]}")
            )
    else:
        near = get_close_matches(name, [*known, *aliases.NAMES], 3)
        raise UsageError(
            f"there is no type {visible(name)!r}{candidates(near)}.\n"
            "See them all: tutor-pipeline events types"
        )


def _list_types(known: Mapping[str, EventType], as_json: bool) -> None:
    rows = [
        {"type": each.name, "says": each.says,
         "tables": list(dict.fromkeys(target.table for target in each.targets))}
        for each in known.values()
    ]  # fmt: skip
    rows += [{"type": name, "says": f"An older name, with the data {data}", "tables": []}
             for name, data in aliases.NAMES.items()]  # fmt: skip
    if as_json:
        emit_json(rows)
        return
    table = Table("type", "says", box=None)
    for row in rows:
        table.add_row(_text(row["type"]), _text(row["says"]))
    out.print(table)
    note("The fields of a type: tutor-pipeline events types TYPE")


def _show_type(kind: EventType, as_json: bool) -> None:
    # Its module imports the API's framework.
    from tutor_pipeline.sources.events.receiver.pages import example

    made = example(kind)
    if as_json:
        emit_json({"type": kind.name, "says": kind.says, "data": kind.schema(), "example": made})
        return
    out.print(Text(f"{kind.name}: {kind.says}"))
    table = Table("field", "is", "", "means", box=None)
    for field in kind.fields.values():
        needed = "needed" if field.is_key or field.is_required else ""
        table.add_row(_text(field.name), _text(_values(field)), needed,
                      _text(" ".join(field.column.description.split())))  # fmt: skip
    out.print(table)
    out.print(Text(json.dumps(made, indent=2, ensure_ascii=False)), soft_wrap=True)


def _values(field: Field) -> str:
    """What a field may be, in words."""
    if field.accepted:
        return " | ".join(field.accepted)
    low, high = field.column.minimum, field.column.maximum
    bounds = "" if low is None and high is None else f", {'' if low is None else low}…"
    bounds += "" if high is None else f"{high}"
    return field.column.type + bounds


def _moment(session: Session, text: str | None) -> datetime | None:
    return None if text is None else moment(text, "--since", session.settings.timezone)


def _text(value: Any) -> Text:
    """A value as text, uncut, without markup and without characters that control the terminal."""
    text = str(value)
    return Text(visible(text, len(text)))
