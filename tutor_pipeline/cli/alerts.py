"""Verbs that read: attention, alerts list/show/export, tutor."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tutor_pipeline.cli.console import STYLES, done, emit_json, note, out, warn
from tutor_pipeline.cli.session import Session, open_session
from tutor_pipeline.errors import TutorPipelineError, UsageError
from tutor_pipeline.reports import queries

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document for programs.")]


class Level(StrEnum):
    """Severities, for `--severity`."""

    CRITICAL = "critical"
    WARNING = "warning"


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command()(attention)
    app.command()(tutor)
    group = typer.Typer(help="Alerts: list, show, export.", no_args_is_help=True)
    group.command("list")(list_)
    group.command()(show)
    group.command()(export)
    app.add_typer(group, name="alerts")


def attention(
    limit: Annotated[int, typer.Option(min=1, help="How many tutors to show.")] = 8,
    as_json: AsJson = False,
) -> None:
    """Who needs a call today, and why: the most urgent first.

    Example: [bold]tutor-pipeline attention --limit 20[/bold]
    """
    session = open_session(note)
    if as_json:
        with session.warehouse.connect() as connection:
            emit_json(queries.attention(connection, session.warehouse)[:limit])
    else:
        show_attention(session, limit)


def show_attention(session: Session, limit: int) -> list[dict[str, Any]]:
    """Print the tutors in need of attention, each with reasons, evidence and what to do."""
    with session.warehouse.connect() as connection:
        rows = queries.attention(connection, session.warehouse)
        counts = queries.status(connection, session.warehouse)
        stale = queries.is_stale(connection, session.warehouse)
    tutors = counts["rows"][f"{session.warehouse.schemas.marts}.tutor_aggregates"]
    as_of = counts["data"]["computed_as_of"]
    if tutors is None:
        out.print(
            "Nothing is computed yet. Have a platform to read (tutor-pipeline generate, import, or"
            " TUTOR_PLATFORM_SCHEMA), then run: tutor-pipeline enrich"
        )
        return []
    verb = "needs" if len(rows) == 1 else "need"
    out.print(
        f"[bold]{len(rows)} of {tutors:,} active tutors {verb} attention[/bold]"
        f" [dim](as of {as_of})[/dim]"
    )
    if stale:
        warn("the platform was loaded anew since then; to compute: tutor-pipeline enrich")
    for row in rows[:limit]:
        out.print(_panel(row))
    if len(rows) > limit:
        out.print(f"… and {len(rows) - limit} more: tutor-pipeline attention --limit {len(rows)}")
    return rows


def list_(
    tutor_id: Annotated[str | None, typer.Option("--tutor", metavar="ID")] = None,
    alert_type: Annotated[str | None, typer.Option("--type", metavar="TYPE")] = None,
    severity: Annotated[Level | None, typer.Option()] = None,
    everything: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Open alerts, newest first.

    Example: [bold]tutor-pipeline alerts list --severity critical[/bold]
    """
    session = open_session(note)
    with session.warehouse.connect() as connection:
        rows = queries.alerts(
            connection,
            session.warehouse,
            tutor=tutor_id,
            alert_type=alert_type,
            severity=severity,
            include_resolved=everything,
        )
    if as_json:
        emit_json(rows)
        return
    if not rows:
        out.print("No alerts." if everything else "No open alerts.")
        return
    table = Table("id", "tutor", "severity", "alert", "since", "state", "why", box=None)
    for row in rows:
        table.add_row(
            row["alert_id"],
            escape(row["tutor_id"]),
            Text(row["severity"], style=STYLES[row["severity"]]),
            row["alert_type"],
            f"{row['triggered_date']:%Y-%m-%d}",
            _state(row),
            escape(row["description"]),
        )
    out.print(table)


def show(
    alert_id: Annotated[str, typer.Argument(help="The id, or its beginning.")],
    as_json: AsJson = False,
) -> None:
    """One alert: reason, evidence, numbers, history.

    Example: [bold]tutor-pipeline alerts show 3fa2[/bold]
    """
    session = open_session(note)
    with session.warehouse.connect() as connection:
        row = queries.alert(connection, session.warehouse, alert_id)
    if as_json:
        emit_json(row)
        return
    table = Table(show_header=False, box=None)
    for name in (
        "alert_id",
        "tutor_id",
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
            f"{event['at']:%Y-%m-%d %H:%M} {event['event']} by {escape(event['actor'])}",
        )
    out.print(table)


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
    """Write alerts as CSV or JSON, by the file's ending; an existing file is replaced whole."""
    if target.suffix not in (".csv", ".json"):
        raise UsageError(f"{target}: name a file ending in .csv or .json")
    with session.warehouse.connect() as connection:
        rows = queries.alerts(connection, session.warehouse, include_resolved=include_resolved)
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
        return " ".join(value)
    if isinstance(value, dict):
        return json.dumps(value, default=str)
    if isinstance(value, datetime):
        return value.isoformat()
    # A spreadsheet runs a text that begins like this as a formula.
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value


def tutor(
    tutor_id: Annotated[str, typer.Argument(metavar="ID")],
    everything: Annotated[bool, typer.Option("--all", help="Every metric.")] = False,
    as_json: AsJson = False,
) -> None:
    """One tutor: profile, metrics with the sessions behind them, alerts.

    Example: [bold]tutor-pipeline tutor T0007[/bold]
    """
    session = open_session(note)
    with session.warehouse.connect() as connection:
        facts = queries.tutor(connection, session.warehouse, tutor_id)
    if as_json:
        emit_json(facts)
        return
    profile = facts["profile"]
    out.print(f"[bold]{escape(_who(profile.get('name'), tutor_id))}[/bold]")
    known = [
        f"{name} {_number(profile[name])}" for name in _PROFILE if profile.get(name) is not None
    ]
    if known:
        out.print(f"[dim]{escape(' · '.join(known))}[/dim]")
    metrics = facts["metrics"]
    if metrics is None:
        out.print("Not active: no metrics are computed.")
    else:
        _print_metrics(metrics, None if everything else _SHOWN)
        out.print("[dim]– = nothing to judge by, which is not the same as 0[/dim]")
    active = [row for row in facts["alerts"] if row["resolved_at"] is None]
    out.print(f"\n[bold]Open alerts: {len(active)}[/bold]")
    for row in active:
        out.print(Text(f"{row['severity']}: {row['title']}", style=STYLES[row["severity"]]))
        out.print(f"  {escape(row['description'])}")
        out.print(f"  → {escape(row['recommended_action'])}")
        out.print(f"  [dim]sessions {escape(', '.join(row['evidence_session_ids']))}[/dim]")


_PROFILE = ("primary_subject", "months_experience", "certification_level", "member_since")

_SHOWN = (
    "overall_score",
    "sessions_30d",
    "sessions_completed_30d",
    "days_since_last_session",
    "avg_session_score_30d",
    "score_change_14d",
    "low_score_streak",
    "avg_rating_30d",
    "avg_engagement_30d",
    "no_show_tutor_30d",
    "tutor_reschedules_30d",
    "reschedule_rate_30d",
    "is_high_reschedule",
    "late_count_30d",
    "frustration_sessions_14d",
    "poor_first_sessions_60d",
    "talk_ratio_last5",
)
"""What a coach looks at first; `--all` shows the rest."""


def _print_metrics(metrics: Mapping[str, Any], names: Iterable[str] | None) -> None:
    table = Table(show_header=False, box=None)
    for name in names or metrics:
        if name in metrics and name != "tutor_id":
            table.add_row(name, escape(_number(metrics[name])))
    out.print(table)


def _number(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "–"
    if isinstance(value, float):
        return f"{value:.2f}"
    return str(value)


def _panel(row: Mapping[str, Any]) -> Panel:
    body = Text()
    for number, alert in enumerate(row["alerts"] or ()):
        if number:
            body.append("\n\n")
        body.append(alert["severity"].upper(), style=STYLES[alert["severity"]])
        body.append(f"  {alert['title']}\n", style="bold")
        body.append(f"{alert['description']}\n")
        body.append(f"→ {alert['recommended_action']}\n")
        evidence = ", ".join(alert["evidence_session_ids"] or ()) or "–"
        body.append(f"sessions {evidence} · since {_since(alert['triggered_date'])}", style="dim")
    badge = "  [yellow]· reschedules over 15 %[/yellow]" if row["is_high_reschedule"] else ""
    name = escape(_who(row["name"], row["tutor_id"]))
    title = f"[bold]{row['attention_rank']}. {name}[/bold]{badge}"
    return Panel(body, title=title, title_align="left", width=min(out.width, 100))


def _who(name: str | None, tutor_id: str) -> str:
    """Name and id; a source without names has the id alone."""
    return f"{name} {tutor_id}" if name and name != tutor_id else tutor_id


def _since(moment: str) -> str:
    age = datetime.now(UTC) - datetime.fromisoformat(moment)
    return moment[:10] + (f" ({age.days} days)" if age.days > 1 else "")


def _state(row: Mapping[str, Any]) -> str:
    if row["resolved_at"] is not None:
        return f"resolved ({row['resolution']})"
    if row["snoozed_until"] is not None and row["snoozed_until"] > datetime.now(UTC):
        return f"snoozed until {row['snoozed_until']:%Y-%m-%d}"
    return "acknowledged" if row["acknowledged"] else "open"


def _reading(reading: Mapping[str, Any]) -> str:
    value, exposure = reading["value"], reading.get("exposure")
    shown = f"{value:.2f}" if isinstance(value, float) else str(value)
    behind = "" if exposure is None else f", over {exposure} sessions"
    return f"{shown} (threshold {reading['threshold']}{behind})"
