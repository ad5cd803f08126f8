"""Verbs on messages: notify test, status, show, send, digest, retry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.markup import escape
from rich.table import Table

from tutor_pipeline.cli.console import done, emit_json, note, out, warn
from tutor_pipeline.cli.installation import open_session
from tutor_pipeline.cli.options import AsJson, day
from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.formatting import age, count, moment, visible
from tutor_pipeline.core.settings import Settings, load_settings
from tutor_pipeline.people.notify import deliver, delivery_status, targets
from tutor_pipeline.people.notify.targets import FILE, DeliveryError, Outgoing

_COLOURS = {"sent": "green", "waiting": "yellow", "dead": "bold red", "dropped": "dim"}

verbs = typer.Typer(
    help="Messages: test the addresses, see what arrived, send again.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.add_typer(verbs, name="notify")
    for verb in (test, status, show, send, digest, retry):
        verbs.command()(verb)


def test(
    to: Annotated[
        Audience | None, typer.Option("--to", help="Only the addresses of this audience.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send a test message to each address of the settings TUTOR_NOTIFY_…, and print the results.

    Example: [bold]tutor-pipeline notify test --to critical[/bold]
    """
    settings = load_settings()
    results = _try_addresses(settings, to, (lambda _: None) if as_json else note)
    if as_json:
        emit_json(results)
    elif not results:
        which = f"TUTOR_NOTIFY_{to.upper()} holds" if to else "The settings TUTOR_NOTIFY_… hold"
        out.print(f"{which} no address: messages are written to {settings.messages_dir} only.")
    else:
        for result in results:
            where = f"{result['address']} ({result['audience']})"
            if result["error"] is None:
                done(f"{where}: sent")
            else:
                warn(f"{where}: {result['error']}")
    if any(result["error"] is not None for result in results):
        raise typer.Exit(1)


def _try_addresses(
    settings: Settings, to: Audience | None, tell: Callable[[str], None]
) -> list[dict[str, str | None]]:
    """Send to each address of the audience (None = all). Returns the error of each."""
    now = datetime.now(UTC)
    results: list[dict[str, str | None]] = []
    for audience, own in targets.read(settings.addresses, settings.messages_dir).items():
        for target in own.values():
            if target.name == FILE or to not in (None, audience):
                continue
            tell(f"Sending to {target.name} ({audience})")
            error = None
            try:
                target.send(_test_message(settings, audience, now))
            except DeliveryError as problem:
                error = str(problem)
            except Exception as problem:  # its text may repeat a secret
                error = f"{type(problem).__name__} in the sender"
            results.append({"audience": audience, "address": target.name, "error": error})
    return results


def _test_message(settings: Settings, audience: Audience, now: datetime) -> Outgoing:
    from tutor_pipeline.people.notify import trial
    from tutor_pipeline.steps.tell import setting

    made = trial.message(audience, setting(settings, now))
    test_id = f"test-{audience}-{now:%Y%m%dT%H%M%S%f}"
    return Outgoing(test_id, audience, made.kind, made.subject, made.text, made.html, now)


def status(
    everything: Annotated[
        bool, typer.Option("--all", help="Also list delivered messages.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many to list.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show addresses, deliveries of the last 7 days, waiting and dead messages with reasons.

    Example: [bold]tutor-pipeline notify status --all[/bold]
    """
    session = open_session(note)
    now = datetime.now(UTC)
    with session.warehouse.connect() as database:
        counts = delivery_status.counts(database)
        rows = delivery_status.by_target(database, now)
        shown = None if everything else ("waiting", "dead")
        listed = delivery_status.listed(database, states=shown, limit=limit)
    configured = _configured(session.settings)
    if as_json:
        emit_json(
            {"counts": counts, "configured": configured, "addresses": rows, "deliveries": listed}
        )
        return
    out.print(
        f"{count(counts['noted'], 'thing')} to be told later, {counts['waiting']:,} on their way"
        f" ({counts['failing']:,} failed and are tried again), {counts['dead']:,} dead"
    )
    out.print()
    for audience, own in configured.items():
        names = ", ".join(escape(each["address"]) for each in own) or "[dim]files only[/dim]"
        out.print(f"[bold]{audience}[/bold]: {names}", soft_wrap=True)
        for each in own:
            if each["problem"]:
                warn(f"{each['address']}: {each['problem']}")
    if rows:
        out.print()
        out.print(_addresses(rows, now))
    for row in listed:
        _print_delivery(row, now)
    if counts["dead"]:
        out.print("\nTo try the dead ones again: tutor-pipeline notify retry")


def show(
    message_id: Annotated[
        str, typer.Argument(metavar="ID", help="The id, or its first characters.")
    ],
    as_html: Annotated[bool, typer.Option("--html", help="The HTML part, for a browser.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one message as it was sent, and its delivery to each address.

    Example: [bold]tutor-pipeline notify show 3fa2[/bold]
    """
    session = open_session(note)
    with session.warehouse.connect() as database:
        row = delivery_status.message(database, message_id)
    if as_json:
        emit_json(row)
    elif as_html:
        typer.echo(row["html_body"])
    else:
        out.print(f"[bold]{escape(row['subject'])}[/bold]", soft_wrap=True)
        out.print(f"[dim]{row['message_id']}, {row['audience']}, {moment(row['made_at'])}[/dim]")
        out.print()
        out.print(escape(row["text_body"]), soft_wrap=True)
        now = datetime.now(UTC)
        for each in row["deliveries"]:
            _print_delivery(each | {"subject": None}, now)


def send() -> None:
    """Make messages of what is due and send them now, as the sensor `outbox` does.

    Example: [bold]tutor-pipeline enrich && tutor-pipeline notify send[/bold]
    """
    from tutor_pipeline.cli.launch import deliver_messages

    open_session(note)
    _tell(deliver_messages())


def digest(
    week: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Any day of the week. Default: the last whole week."),
    ] = None,
) -> None:
    """Make and send the digest of a week, as the schedule does on Mondays. Once per week.

    Example: [bold]tutor-pipeline notify digest --week 2026-01-26[/bold]
    """
    from tutor_pipeline.cli.launch import deliver_messages

    chosen = None if week is None else day(week, "--week")
    today = datetime.now(ZoneInfo(load_settings().timezone)).date()
    if chosen is not None and chosen > today - timedelta(days=today.weekday() + 1):
        raise UsageError(f"--week {week}: that week is not over, its digest comes when it is")
    open_session(note)
    outcome = deliver_messages(digest=True, week=None if chosen is None else chosen.isoformat())
    if not outcome.metadata.get("digest", {}).get("is_new", True):
        note("The digest of that week was made before: tutor-pipeline notify status --all")
    _tell(outcome)


def _tell(outcome: Any) -> None:
    made = outcome.metadata.get("ops/messages")
    if made is None:
        for step, why in outcome.failed.items():
            warn(f"{step}: {why}")
        raise typer.Exit(1)
    out.print(
        f"{count(made['sent'], 'delivery', 'deliveries')} made, {made['failed']} failed and tried"
        f" again later, {made['dead_letters']} dead"
    )
    if made["failed"] or made["dead_letters"]:
        out.print("Why: tutor-pipeline notify status")
        raise typer.Exit(1)


def retry(
    message_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Messages; default: all.")
    ] = None,
) -> None:
    """Retry dead deliveries, all or those of some messages, with all attempts again; and outbox
    rows that gave no message.

    Example: [bold]tutor-pipeline notify retry[/bold]
    """
    session = open_session(note)
    warehouse = session.warehouse
    with warehouse.connect() as database:
        from tutor_pipeline.people.notify import compose  # with what it takes to make messages

        ids = message_ids and [
            delivery_status.message(database, each)["message_id"] for each in message_ids
        ]
        revived = deliver.retry(database, ids or None, datetime.now(UTC))
        untold = 0 if ids else compose.retry(database)
    if untold:
        done(f"Of {count(untold, 'thing')} a message will be made again")
    if not revived and not untold:
        out.print("Nothing is dead.")
        return
    if revived:
        done(f"{count(revived, 'delivery', 'deliveries')} will be tried again")
    out.print("`up` does so by itself; without it: tutor-pipeline notify send")


def _configured(settings: Settings) -> dict[Audience, list[dict[str, Any]]]:
    """{audience: its addresses}, without secrets."""
    return {
        audience: [
            {"address": target.name, "problem": target.problem}
            for target in own.values()
            if target.name != FILE
        ]
        for audience, own in targets.read(settings.addresses, settings.messages_dir).items()
    }


def _addresses(rows: list[dict[str, Any]], now: datetime) -> Table:
    table = Table(box=None)
    for heading in ("address", "audiences", "sent, 7 days", "waiting", "dead", "last sent"):
        is_number = heading in ("sent, 7 days", "waiting", "dead")
        table.add_column(heading, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        last = row["last_sent_at"]
        table.add_row(
            escape(row["target"]),
            ", ".join(row["audiences"]),
            f"{row['sent']:,}",
            f"{row['waiting']:,}",
            f"[bold red]{row['dead']:,}[/]" if row["dead"] else "0",
            "–" if last is None else age(last, now),
        )
    return table


def _print_delivery(row: Mapping[str, Any], now: datetime) -> None:
    at = row["ended_at"] or row["due_at"]
    when = age(at, now) if row["ended_at"] else f"next try {moment(at)}"
    tries = "" if row["attempts"] <= 1 else f", {count(row['attempts'], 'try', 'tries')}"
    subject = (
        f"{escape(visible(row['subject']))} [dim]{row['message_id'][:8]}[/dim] → "
        if (row["subject"])
        else ""
    )
    out.print(
        f"[{_COLOURS[row['state']]}]{row['state']}[/] {subject}{escape(row['target'])}"
        f" [dim]({when}{tries})[/dim]",
        soft_wrap=True,
    )
    if row["last_error"]:
        out.print(f"  {escape(visible(row['last_error'], 500))}", soft_wrap=True)
