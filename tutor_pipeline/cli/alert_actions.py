"""Verbs that act on alerts: assign, acknowledge, snooze, wake, resolve, reopen.

They take one alert, several, or all of a tutor or a type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.markup import escape

from tutor_pipeline.cli.console import done, emit_json, note, out, warn
from tutor_pipeline.cli.installation import Session, open_session
from tutor_pipeline.cli.options import AsJson, By, IdForm, IdsAs, Note, actor, moment
from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.findings import Kind, Resolution, SubjectKind
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.judgement.lifecycle import alert_actions
from tutor_pipeline.judgement.rules.catalogue import load_catalogue
from tutor_pipeline.judgement.rules.inputs import nearest
from tutor_pipeline.metrics import wide_rows
from tutor_pipeline.metrics.thresholds import thresholds
from tutor_pipeline.people.reports import alert_queries, tutor_queries

Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID]...", help="Ids of alerts, or their first characters."),
]
OfTutor = Annotated[
    str | None,
    typer.Option("--tutor", metavar="ID", help="All alerts of this tutor."),
]
OfType = Annotated[
    str | None, typer.Option("--type", metavar="TYPE", help="All alerts of this type.")
]


class Reason(StrEnum):
    """Why a person resolves an alert."""

    COACHED = "coached"
    FIXED = "fixed"
    NOT_ACTIONABLE = "not_actionable"
    OTHER = "other"


def register(group: typer.Typer) -> None:
    """Add these verbs to the group `alerts`."""
    group.command()(assign)
    group.command("ack")(acknowledge)
    group.command()(snooze)
    group.command()(wake)
    group.command()(resolve)
    group.command()(reopen)


def assign(
    ids: Ids = None,
    tutor: OfTutor = None,
    alert_type: OfType = None,
    to: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who works on them. Default: you.")
    ] = None,
    nobody: Annotated[bool, typer.Option("--nobody", help="Nobody works on them.")] = False,
    by: By = None,
    ids_as: IdsAs = IdForm.SHORT,
    as_json: AsJson = False,
) -> None:
    """Say who works on alerts. They stay open.

    Example: [bold]tutor-pipeline alerts assign 3fa2 --to ada[/bold]
    """
    who = actor(by)
    if nobody and to is not None:
        raise UsageError("say either --to NAME or --nobody")
    owner = None if nobody else actor(to or who)
    _act(
        f"assigned to {owner or 'nobody'}",
        ids,
        tutor,
        alert_type,
        lambda database, chosen: alert_actions.assign(
            database, chosen, by=who, at=datetime.now(UTC), owner=owner
        ),
        as_json,
        ids_as,
    )


def wake(
    ids: Ids = None,
    tutor: OfTutor = None,
    alert_type: OfType = None,
    by: By = None,
    ids_as: IdsAs = IdForm.SHORT,
    as_json: AsJson = False,
) -> None:
    """End the snooze of alerts: they count and are shown again.

    Example: [bold]tutor-pipeline alerts wake --tutor T0064[/bold]
    """
    who = actor(by)
    _act(
        "woken",
        ids,
        tutor,
        alert_type,
        lambda database, chosen: alert_actions.wake(database, chosen, by=who, at=datetime.now(UTC)),
        as_json,
        ids_as,
    )


def acknowledge(
    ids: Ids = None,
    tutor: OfTutor = None,
    alert_type: OfType = None,
    by: By = None,
    note: Note = None,
    ids_as: IdsAs = IdForm.SHORT,
    as_json: AsJson = False,
) -> None:
    """Record that somebody works on alerts. They stay open.

    Example: [bold]tutor-pipeline alerts ack 3fa2 --note "calling at 3 pm"[/bold]
    """
    who = actor(by)
    _act(
        "acknowledged",
        ids,
        tutor,
        alert_type,
        lambda database, chosen: alert_actions.acknowledge(
            database, chosen, by=who, at=datetime.now(UTC), note=note
        ),
        as_json,
        ids_as,
    )


def snooze(
    ids: Ids = None,
    tutor: OfTutor = None,
    alert_type: OfType = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Until the start of this day, or a time (…T09:00)."),
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, max=3650, help="For this many days.")] = None,
    by: By = None,
    note: Note = None,
    ids_as: IdsAs = IdForm.SHORT,
    as_json: AsJson = False,
) -> None:
    """Hide alerts from attention and messages for a while. They are still updated.

    Example: [bold]tutor-pipeline alerts snooze --tutor T0064 --days 7 --note "on leave"[/bold]
    """
    who = actor(by)
    if (until is None) == (days is None):
        raise UsageError("until when? Say either --until 2026-01-31 or --days 7")

    def act(database: Database, chosen: list[str]) -> alert_actions.ActionResult:
        now = datetime.now(UTC)
        end = (
            now + timedelta(days=days)
            if days is not None
            else moment(until or "", "--until", database.timezone)
        )
        return alert_actions.snooze(database, chosen, by=who, at=now, until=end, note=note)

    _act("snoozed", ids, tutor, alert_type, act, as_json, ids_as)


def resolve(
    reason: Annotated[Reason, typer.Option(help="Why they are closed.")],
    ids: Ids = None,
    tutor: OfTutor = None,
    alert_type: OfType = None,
    action: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What was done about it.")
    ] = None,
    by: By = None,
    ids_as: IdsAs = IdForm.SHORT,
    as_json: AsJson = False,
) -> None:
    """Close alerts. They open again only for a session first processed after that.

    Example: [bold]tutor-pipeline alerts resolve 3fa2 --reason coached --action "call"[/bold]
    """
    who = actor(by)
    _act(
        "resolved",
        ids,
        tutor,
        alert_type,
        lambda database, chosen: alert_actions.resolve(
            database,
            chosen,
            by=who,
            at=datetime.now(UTC),
            reason=Resolution(reason),
            action_taken=action,
        ),
        as_json,
        ids_as,
    )


def reopen(
    ids: Ids = None,
    tutor: OfTutor = None,
    alert_type: OfType = None,
    by: By = None,
    note: Note = None,
    ids_as: IdsAs = IdForm.SHORT,
    as_json: AsJson = False,
) -> None:
    """Reopen resolved alerts, as the same rows. --tutor and --type select those people resolved.

    The next refresh resolves them again if their rules no longer hold.

    Example: [bold]tutor-pipeline alerts reopen 3fa2 --note "closed by mistake"[/bold]
    """
    who = actor(by)
    _act(
        "reopened",
        ids,
        tutor,
        alert_type,
        lambda database, chosen: alert_actions.reopen(
            database, chosen, by=who, at=datetime.now(UTC), note=note
        ),
        as_json,
        ids_as,
        resolved_by_hand=True,
    )


def checked(
    session: Session, database: Any, tutor: str | None, alert_type: str | None
) -> str | None:
    """Return the whole id of the tutor. Raise UsageError, with the nearest name, for an unknown
    tutor or type of alert.
    """
    whole = None if tutor is None else str(tutor_queries.profile_of(database, tutor)["tutor_id"])
    if alert_type is None:
        return whole
    catalogue = load_catalogue(session.settings.rule_profile, wide_rows.rule_inputs(), thresholds())
    known = {rule.id for rule in catalogue.rules if rule.kind is Kind.ALERT}
    known |= alert_queries.alert_types(database)
    if alert_type not in known:
        near = nearest(alert_type, dict.fromkeys(known))
        raise UsageError(
            f"there is no type of alert {alert_type}{near}.\n"
            "See them with: tutor-pipeline rules list --kind alert"
        )
    return whole


def _act(
    done_word: str,
    ids: list[str] | None,
    tutor: str | None,
    alert_type: str | None,
    act: Callable[[Database, list[str]], alert_actions.ActionResult],
    as_json: bool,
    ids_as: IdForm,
    *,
    resolved_by_hand: bool = False,
) -> None:
    """Select the alerts, act on them in one transaction, print the result of each."""
    by_filter = tutor is not None or alert_type is not None
    if bool(ids) == by_filter:
        raise UsageError(
            "which alerts? Name them by id, or all of a tutor (--tutor) or a type (--type);"
            " `tutor-pipeline alerts list` shows them"
        )
    session = open_session(note)
    with session.warehouse.connect() as database:
        if ids:
            chosen = alert_queries.alert_ids(database, ids)
        else:
            tutor = checked(session, database, tutor, alert_type)
            chosen = alert_queries.alert_ids_of(
                database, tutor=tutor, alert_type=alert_type, resolved_by_hand=resolved_by_hand
            )
        acted = act(database, chosen) if chosen else alert_actions.ActionResult((), {})
        rows = alert_queries.alerts_by_id(database, chosen)
        short = tutor_queries.short_ids(database) if ids_as is IdForm.SHORT else {}
    if as_json:
        emit_json({"changed": list(acted.changed), "unchanged": dict(acted.unchanged)})
        return
    for alert_id in acted.changed:
        row = rows[alert_id]
        until = row["snoozed_until"] if done_word == "snoozed" else None
        when = f", until {until:%Y-%m-%d %H:%M UTC}" if until else ""
        done(f"{done_word} {alert_id}: {about(row, short)} {row['title']}{when}")
    for alert_id, why in acted.unchanged.items():
        warn(f"{alert_id}: {why}")
    if not chosen:
        out.print(f"No alert of {escape(tutor or alert_type or '')} to be {done_word}.")


def about(alert: Mapping[str, Any], short: Mapping[str, str]) -> str:
    """Whom or what an alert is about: a tutor's id, others with a word for what they are."""
    if alert["subject_kind"] == SubjectKind.TUTOR:
        return short.get(alert["tutor_id"], alert["tutor_id"])
    return f"{alert['subject_kind']} {alert['subject_id']}"
