"""Verbs on alerts that read: list, show, activity, export."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tutor_pipeline.cli import alert_actions
from tutor_pipeline.cli.console import STYLES, done, emit_json, note, out
from tutor_pipeline.cli.installation import Session, open_session
from tutor_pipeline.cli.options import AsJson, IdForm, IdsAs
from tutor_pipeline.core.errors import TutorPipelineError, UsageError
from tutor_pipeline.core.findings import Severity
from tutor_pipeline.core.formatting import count
from tutor_pipeline.judgement.lifecycle import outcomes
from tutor_pipeline.people.reports import alert_queries, tutor_queries


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    group = typer.Typer(
        help="Alerts: list, show, assign, acknowledge, snooze, resolve, reopen, activity, export.",
        no_args_is_help=True,
    )
    group.command("list")(list_)
    group.command()(show)
    alert_actions.register(group)
    group.command()(activity)
    group.command()(export)
    app.add_typer(group, name="alerts")


def list_(
    tutor_id: Annotated[str | None, typer.Option("--tutor", metavar="ID")] = None,
    student: Annotated[
        str | None, typer.Option(metavar="ID", help="Alerts about this student.")
    ] = None,
    alert_type: Annotated[str | None, typer.Option("--type", metavar="TYPE")] = None,
    severity: Annotated[Severity | None, typer.Option()] = None,
    everything: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
    ids_as: IdsAs = IdForm.SHORT,
    as_json: AsJson = False,
) -> None:
    """Open alerts, newest first.

    Example: [bold]tutor-pipeline alerts list --severity critical[/bold]
    """
    session = open_session(note)
    with session.warehouse.connect() as database:
        tutor_id = alert_actions.checked(session, database, tutor_id, alert_type)
        rows = alert_queries.alerts(
            database,
            tutor=tutor_id,
            student=student,
            alert_type=alert_type,
            severity=severity,
            include_resolved=everything,
        )
        short: Mapping[str, str] = (
            tutor_queries.short_ids(database) if ids_as is IdForm.SHORT else {}
        )
    if as_json:
        emit_json(rows)
        return
    if not rows:
        about = f" about student {escape(student)}" if student is not None else ""
        out.print(f"No {'' if everything else 'open '}alerts{about}.")
        return
    table = Table(box=None)
    for heading in ("id", "about", "severity", "alert", "since"):
        table.add_column(heading, no_wrap=True)
    table.add_column("state")
    table.add_column("why", min_width=40)
    for row in rows:
        table.add_row(
            row["alert_id"],
            escape(alert_actions.about(row, short)),
            Text(row["severity"], style=STYLES[row["severity"]]),
            escape(row["alert_type"]),
            f"{row['triggered_date']:%Y-%m-%d}",
            _state(row),
            escape(row["description"]),
        )
    out.print(table)


def show(
    alert_id: Annotated[str, typer.Argument(help="The id, or its first characters.")],
    as_json: AsJson = False,
) -> None:
    """Show one alert: reason, evidence, numbers, history.

    Example: [bold]tutor-pipeline alerts show 3fa2[/bold]
    """
    session = open_session(note)
    with session.warehouse.connect() as database:
        row = alert_queries.alert(database, alert_id)
    if as_json:
        emit_json(row)
        return
    table = Table(show_header=False, box=None)
    for name in (
        "alert_id",
        "alert_type",
        "tutor_id",
        "subject_kind",
        "subject_id",
        "severity",
        "title",
        "description",
        "recommended_action",
        "evidence_session_ids",
        "triggered_date",
        "last_confirmed_at",
        "rule_profile",
        "resolution",
        "resolved_at",
    ):
        value = row[name]
        shown = ", ".join(value) if isinstance(value, list) else value
        table.add_row(f"[bold]{name}[/bold]", "–" if shown is None else escape(str(shown)))
    table.add_row("[bold]state[/bold]", _state(row))
    for metric, reading in row["metrics"].items():
        table.add_row(f"[bold]{metric}[/bold]", escape(_reading(reading)))
    for event in row["events"]:
        table.add_row(
            f"[bold]event {event['event_no']}[/bold]",
            f"{event['at']:%Y-%m-%d %H:%M} {event['event']} by {escape(event['actor'])}"
            + escape(_said(event["details"])),
        )
    out.print(table)


def activity(
    days: Annotated[
        int, typer.Option(min=1, max=3650, help="Number of days, including today.")
    ] = 30,
    by_day: Annotated[bool, typer.Option("--by-day", help="A line per day and type.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the outcomes of alerts by type, for tuning thresholds.

    Example: [bold]tutor-pipeline alerts activity --days 7[/bold]
    """
    session = open_session(note)
    now = datetime.now(UTC)
    since = now.astimezone(ZoneInfo(session.warehouse.timezone)).date() - timedelta(days=days - 1)
    with session.warehouse.connect() as database:
        rows = alert_queries.activity(database, since, by_day=by_day)
        ended, _ = outcomes.read(database, now)
    if as_json:
        emit_json(rows)
        return
    if ended.ended:
        out.print(f"{ended.headline}:")
        for words, is_met in ended.sentences:
            mark = {True: "[green]✓[/green]", False: "[yellow]![/yellow]", None: " "}[is_met]
            out.print(f" {mark} {words}")
        out.print()
    if not rows:
        out.print(f"Nothing happened to an alert since {since}.")
        return
    columns = {**({"day": "day"} if by_day else {}), "alert_type": "alert", **_ACTIVITY}
    table = Table(box=None)
    for name, heading in columns.items():
        table.add_column(heading, overflow="fold", no_wrap=name in ("day", "alert_type"))
    for row in rows:
        table.add_row(*(_figure(name, row[name]) for name in columns))
    out.print(table)
    out.print("[dim]5 to 10 % of sessions opening an alert is usual over all types[/dim]")


_ACTIVITY = {
    "opened": "opened",
    "reopened": "reopened",
    "escalated": "escalated",
    "acknowledged": "acked",
    "snoozed": "snoozed",
    "resolved_by_hand": "resolved by hand",
    "resolved_auto": "auto",
    "resolved_retired": "retired",
    "mean_hours_to_acknowledge": "hours to ack",
    "median_hours_to_acknowledge": "median",
    "mean_hours_to_resolve": "hours to resolve",
    "median_hours_to_resolve": "median",
    "not_actionable_share": "not actionable",
    "coached_share": "coached",
    "opened_session_share": "of sessions",
}


def _figure(name: str, value: Any) -> str:
    if value is None:
        return "all" if name == "alert_type" else "–"
    if name.endswith("_share"):
        return f"{value:.1%}".replace("%", " %")
    return f"{value:.1f}" if isinstance(value, float) else escape(str(value))


def export(
    target: Annotated[Path, typer.Argument(help="A file ending in .csv or .json.")],
    everything: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
) -> None:
    """Write alerts to a file.

    Example: [bold]tutor-pipeline alerts export alerts.csv --all[/bold]
    """
    session = open_session(note)
    done(f"Wrote {export_alerts(session, target, include_resolved=everything)}")


def export_alerts(session: Session, target: Path, *, include_resolved: bool) -> Path:
    """Write alerts as CSV or JSON, by the file's suffix. Replaces an existing file atomically."""
    if target.suffix not in (".csv", ".json"):
        raise UsageError(f"{target}: name a file ending in .csv or .json")
    with session.warehouse.connect() as database:
        rows = alert_queries.alerts(database, include_resolved=include_resolved)
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8", newline="") as file:
            if target.suffix == ".json":
                json.dump(rows, file, default=str, ensure_ascii=False, indent=2)
            else:
                _write_csv(file, rows)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise TutorPipelineError(f"cannot write {target}: {error.strerror}") from error
    return target


_EXPORTED = (
    "alert_id",
    "tutor_id",
    "alert_type",
    "severity",
    "title",
    "description",
    "recommended_action",
    "session_id",
    "evidence_session_ids",
    "metrics",
    "rule_profile",
    "rule_version",
    "triggered_date",
    "last_confirmed_at",
    "resolved_at",
    "resolution",
)


def _write_csv(file: Any, rows: Iterable[Mapping[str, Any]]) -> None:
    writer = csv.writer(file)
    writer.writerow(_EXPORTED)
    for row in rows:
        writer.writerow(_cell(row[name]) for name in _EXPORTED)


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        value = " ".join(value)
    if isinstance(value, dict):
        return json.dumps(value, default=str)
    if isinstance(value, datetime):
        return value.isoformat()
    # A spreadsheet evaluates text that begins like this as a formula.
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value


def _state(row: Mapping[str, Any]) -> str:
    if row["resolved_at"] is not None:
        return f"resolved ({row['resolution']})"
    if row["snoozed_until"] is not None and row["snoozed_until"] > datetime.now(UTC):
        return f"snoozed until {row['snoozed_until']:%Y-%m-%d}"
    owned = f", {row['owner']} works on it" if row["owner"] else ""
    return f"{'acknowledged' if row['acknowledged'] else 'open'}{escape(owned)}"


def _said(details: Mapping[str, Any]) -> str:
    """Describe the details of an event, except its numbers: severities, end of snooze, reason."""
    parts = []
    if "was" in details and "severity" in details:
        parts.append(f"{details['was']} → {details['severity']}")
    parts += [
        f"{name.replace('_', ' ')}: {details[name]}"
        for name in ("owner", "until", "resolution", "action_taken", "note")
        if details.get(name)
    ]
    return f" ({'; '.join(parts)})" if parts else ""


def _reading(reading: Mapping[str, Any]) -> str:
    value, exposure = reading["value"], reading.get("exposure")
    shown = f"{value:.2f}" if isinstance(value, float) else str(value)
    behind = "" if exposure is None else f", over {count(exposure, 'session')}"
    limits = reading["threshold"]
    threshold = " and ".join(map(str, limits)) if isinstance(limits, list) else limits
    return f"{shown} (threshold {threshold}{behind})"
