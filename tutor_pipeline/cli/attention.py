"""Verbs that answer who and why: attention, tutor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tutor_pipeline.cli.console import STYLES, emit_json, note, out, warn
from tutor_pipeline.cli.installation import Session, open_session
from tutor_pipeline.cli.options import AsJson, IdForm, IdsAs
from tutor_pipeline.core import formatting
from tutor_pipeline.judgement.lifecycle import store
from tutor_pipeline.judgement.lifecycle.active import tutors_in_need
from tutor_pipeline.metrics.thresholds import told
from tutor_pipeline.people.reports import alert_queries, status_queries, tutor_queries
from tutor_pipeline.sources.losses import headline


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command()(attention)
    app.command()(tutor)


def attention(
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many tutors to show.")] = 8,
    ids_as: IdsAs = IdForm.SHORT,
    as_json: AsJson = False,
) -> None:
    """Who needs a call today, and why: the most urgent first.

    Example: [bold]tutor-pipeline attention --limit 20[/bold]
    """
    session = open_session(note)
    if as_json:
        with session.warehouse.connect() as database:
            emit_json(alert_queries.attention(database, limit))
    else:
        show_attention(session, limit, ids_as)


def show_attention(
    session: Session, limit: int, ids_as: IdForm = IdForm.SHORT
) -> list[dict[str, Any]]:
    """Print and return the tutors in need of attention, with reasons, evidence and what to do."""
    with session.warehouse.connect() as database:
        rows = alert_queries.attention(database, limit)
        in_need = tutors_in_need(database, datetime.now(UTC))
        counts = status_queries.status(database)
        stale = status_queries.is_stale(database)
        stopped = status_queries.stopped_refresh(database)
        rules = store.profile_in_force(database)
        short: Mapping[str, str] = {}
        short_sessions: Mapping[str, Mapping[str, str]] = {}
        if ids_as is IdForm.SHORT:
            short = tutor_queries.short_ids(database)
            shown = [row["tutor_id"] for row in rows]
            short_sessions = tutor_queries.short_session_ids(database, shown)
    tutors = counts["rows"][f"{session.warehouse.schemas.marts}.tutor_aggregates"]
    if tutors is None:
        out.print(
            "Nothing is computed yet. Have a platform to read (tutor-pipeline generate, import, or"
            " TUTOR_PLATFORM_SCHEMA), then run: tutor-pipeline enrich"
        )
        return []
    if rules is None:
        out.print("No rule was evaluated since the last `clear`. To find who needs attention:")
        out.print("tutor-pipeline enrich")
        return []
    with session.warehouse.connect() as database:
        not_told = alert_queries.not_told(database)
    verb = formatting.agree(in_need, "needs", "need")
    # The as-of of the alerts, not of the metrics: a blocking check stops alerts but not metrics.
    as_of = counts["data"]["alerts_as_of"]
    when = f"as of {as_of}, " if as_of else ""
    out.print(
        f"[bold]{in_need:,} of {formatting.count(tutors, 'active tutor')} {verb} attention[/bold]"
        f" [dim]({when}rules {escape(rules)})[/dim]"
    )
    if left_out := _left_out(not_told, tutors):
        out.print(f"[dim]beside that: {left_out}[/dim]")
    if missing := counts["data"]["missing_rows"]:
        warn(f"{headline(missing)}. Alerts stay as they were; see tutor-pipeline incidents")
    if stopped and not missing:
        warn(
            f"the refresh of {formatting.moment(stopped)} ended before it made alerts, so this is"
            " what the one before it found; see tutor-pipeline status and tutor-pipeline validate"
        )
    if stale:
        warn("the platform was loaded anew since then; to compute: tutor-pipeline enrich")
    for row in rows:
        tutor_id: str = row["tutor_id"]
        for line in _entry(row, short.get(tutor_id, tutor_id), short_sessions.get(tutor_id, {})):
            out.print(line)
    if any(len(row["alerts"]) > 1 for row in rows):
        out.print("\n[dim]Reasons and evidence of every alert: tutor-pipeline tutor ID[/dim]")
    if in_need > len(rows):
        more = f"{in_need - len(rows):,} more"
        out.print(f"… and {more}: tutor-pipeline attention --limit {in_need}")
    return rows


def _left_out(counts: Mapping[str, int], tutors: int) -> str:
    """Returns of whom too little is known, or nothing is to be said now; empty for nobody."""
    return "; ".join(
        f"{formatting.count(counts[name], 'tutor')} {words}"
        for name, words in (
            ("snoozed", "whose alerts are snoozed"),
            ("unreadable", "whose metrics could not be read (tutor-pipeline validate)"),
            ("unknown_risk", f"of {tutors:,} whose risk is unknown, as too little is recorded"),
        )
        if counts[name]
    )


def tutor(
    tutor_id: Annotated[
        str, typer.Argument(metavar="ID", help="The id, its first characters, or the whole name.")
    ],
    everything: Annotated[bool, typer.Option("--all", help="Every metric.")] = False,
    as_json: AsJson = False,
) -> None:
    """One tutor: profile, metrics, scores with their reasons, open alerts, insights, badges.

    Example: [bold]tutor-pipeline tutor T0007[/bold], or [bold]tutor "Sarah Chen"[/bold]
    """
    session = open_session(note)
    with session.warehouse.connect() as database:
        facts = tutor_queries.tutor(database, tutor_id)
    if as_json:
        emit_json(facts)
        return
    profile = facts["profile"]
    out.print(f"[bold]{escape(_who(profile.get('name'), profile['tutor_id']))}[/bold]")
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
    if facts["scores"]:
        _print_scores(facts)
    _print_alerts(facts)
    for insight_type, heading in _INSIGHTS.items():
        found = [row for row in facts["insights"] if row["insight_type"] == insight_type]
        if found:
            out.print(f"\n[bold]{heading}: {len(found)}[/bold]")
        for row in found:
            out.print(escape(row["display_text"]))
            if row["coaching_tip"]:
                out.print(f"  → {escape(row['coaching_tip'])}")
            sessions = ", ".join(row["sample_sessions"]) or "–"
            out.print(f"  [dim]sessions {escape(sessions)}[/dim]")
    if facts["achievements"]:
        out.print(f"\n[bold]Badges: {len(facts['achievements'])}[/bold]")
    for row in facts["achievements"]:
        since = f"since {row['earned_date']:%Y-%m-%d}"
        held = "" if row["is_active"] else ", not met at present"
        out.print(
            f"{row['icon']} {escape(row['title'])} [dim]({since}{held})[/dim]"
            f" {escape(row['description'])}"
        )


def _print_scores(facts: Mapping[str, Any]) -> None:
    """Print the champion's risk with its reasons, then the other scores, then health."""
    risk = facts["risk"]
    if risk is not None:
        level = risk["level"] or _UNKNOWN.get(risk["status"], "unknown")
        out.print(
            f"\n[bold]Risk of leaving: {level}[/bold] ({_chance(risk)})"
            f" [dim]{risk['scorer']} version {risk['version']},"
            f" as of {risk['as_of']:%Y-%m-%d %H:%M UTC}[/dim]"
        )
        if risk["known_share"] is None:
            _print_reasons(risk["reasons"])
        else:
            for reason in risk["reasons"]:
                out.print(f"  {escape(reason['label'])}")
        _print_known(risk)
    health = facts["health"]
    if health is not None and health["segment"] is not None:
        out.print(
            f"\n[bold]Health: {_number(health['health_score'])} of 100, {health['segment']}[/bold]"
            f" [dim]since {health['segment_since']:%Y-%m-%d}[/dim]"
        )
        for each in health["recommendations"]:
            out.print(f"  → {escape(each['text'])} [dim]({escape(_trigger(each))})[/dim]")
    out.print("\n[bold]All scores[/bold]")
    for row in facts["scores"]:
        horizon = f" {row['horizon_days']} d" if row["horizon_days"] else ""
        level = f" {row['level']}" if row["level"] else ""
        status = "" if row["status"] == "ok" else f" ({row['status'].replace('_', ' ')})"
        what = f"{row['target'].replace('_', ' ')}{horizon}"
        shown = _chance(row) if row["known_share"] is not None else _number(row["score"])
        out.print(
            f"{what}: {shown}{level} [dim]{row['scorer']} version {row['version']}{status}[/dim]"
        )
        if row["level"] not in (None, "Low") and row["known_share"] is None:
            _print_reasons(each for each in row["reasons"] if each["contribution"] > 0)


def _print_alerts(facts: Mapping[str, Any]) -> None:
    active = [row for row in facts["alerts"] if row["resolved_at"] is None]
    out.print(f"\n[bold]Open alerts: {len(active)}[/bold]")
    for row in active:
        out.print(Text(f"{row['severity']}: {row['title']}", style=STYLES[row["severity"]]))
        out.print(f"  {escape(row['description'])}")
        out.print(f"  → {escape(row['recommended_action'])}")
        snoozed = row["snoozed_until"]
        if snoozed is not None and snoozed > datetime.now(UTC):
            out.print(f"  snoozed until {snoozed:%Y-%m-%d %H:%M UTC}")
        out.print(f"  [dim]{escape(' · '.join(_small_print(row)))}[/dim]")


def _print_reasons(reasons: Iterable[Mapping[str, Any]]) -> None:
    for reason in reasons:
        out.print(f"  {escape(reason['label'])} [dim](adds {reason['contribution']:.2f})[/dim]")


_UNKNOWN = {
    "little_known": "unknown, too little is known to call it Low",
    "insufficient_data": "unknown, nothing is known",
}
"""Text for a missing level, by the status of the score."""


def _chance(row: Mapping[str, Any]) -> str:
    return formatting.chance(
        row["score"], row["is_probability"], row["lower"], row["upper"], row["base_rate"]
    )


def _print_known(risk: Mapping[str, Any]) -> None:
    """The known share of the scorer's evidence, if the scorer reports it."""
    if risk["known_share"] is None:
        return
    unknown = ", ".join(risk["not_known"])
    out.print(
        f"  [dim]{risk['known_share']:.0%} of the evidence is known"
        f"{escape(f'; not known: {unknown}') if unknown else ''}[/dim]"
    )


def _trigger(recommendation: Mapping[str, Any]) -> str:
    trigger = recommendation["trigger"]
    threshold = trigger["threshold"]
    against = "" if threshold is None else f", threshold {_number(threshold)}"
    return f"{trigger['metric']} {_number(trigger['value'])}{against}"


_INSIGHTS = {
    "strength": "Strengths",
    "growth_area": "Could be better",
    "at_threshold": "At the threshold of an alert, no reason to call",
}


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
"""The metrics that a coach reads first; `--all` shows the rest."""


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


_WIDTH = 100
"""The most characters of a line about a tutor."""
_HIGH_RESCHEDULE = "  [yellow]· reschedules over {threshold.high_reschedule_rate:.0%}[/yellow]"


def _entry(row: Mapping[str, Any], tutor_id: str, sessions: Mapping[str, str]) -> Iterator[Text]:
    """Yield the lines of one tutor: who, the first alert with what to do and its small print, and
    the other alerts by name.

    `tutor_id` and `sessions` are the ids as they are shown.
    """
    badge = told(_HIGH_RESCHEDULE) if row["is_high_reschedule"] else ""
    name = escape(_who(row["name"], tutor_id))
    yield Text()
    yield from _wrapped(Text.from_markup(f"[bold]{row['attention_rank']}. {name}[/bold]{badge}"))
    for number, alert in enumerate(row["alerts"] or ()):
        text = Text("also " if number else "")
        text.append(alert["severity"].upper(), style=STYLES[alert["severity"]])
        text.append(f" {alert['title']}", style="bold")
        if number:
            text.append(f" · alert {alert['alert_id']}", style="dim")
            yield from _wrapped(text, left=3)
            continue
        text.append(f": {alert['description']} → {alert['recommended_action']}")
        small = Text(" · ".join(_small_print(alert, sessions)), style="dim")
        yield from _wrapped(text, left=3)
        yield from _wrapped(small, left=3)


def _wrapped(text: Text, left: int = 0) -> Iterator[Text]:
    """Yield the lines of a text, `left` from the edge."""
    for line in text.wrap(out, min(out.width, _WIDTH) - left):
        line.rstrip()
        yield Text(" " * left) + line


def _small_print(alert: Mapping[str, Any], sessions: Mapping[str, str] | None = None) -> list[str]:
    """Evidence, age, who works on it or acknowledged it, and the id for the commands on alerts.
    `sessions` are the ids of sessions as they are shown.
    """
    parts = [f"alert {alert['alert_id']}", f"since {_since(alert['triggered_date'])}"]
    if ids := alert["evidence_session_ids"]:
        parts.insert(0, f"sessions {', '.join((sessions or {}).get(each, each) for each in ids)}")
    if alert["owner"]:
        parts.append(f"{alert['owner']} works on it")
    if alert["acknowledged_by"]:
        why = f" ({alert['acknowledged_note']})" if alert["acknowledged_note"] else ""
        parts.append(f"acknowledged by {alert['acknowledged_by']}{why}")
    return parts


def _who(name: str | None, tutor_id: str) -> str:
    """Name and id, or the id alone for a source without names."""
    return f"{name} {tutor_id}" if name and name != tutor_id else tutor_id


def _since(moment: str | datetime) -> str:
    begun = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    days = (datetime.now(UTC) - begun).days
    return f"{begun:%Y-%m-%d}" + (f" ({formatting.count(days, 'day')})" if days > 1 else "")
