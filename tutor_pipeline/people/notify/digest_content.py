"""The content of the weekly digest: who needs attention, what was done, who moved. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tutor_pipeline.core.formatting import agree, count, label, percent, visible
from tutor_pipeline.core.warehouse.database import Row
from tutor_pipeline.judgement.lifecycle.outcomes import Outcomes
from tutor_pipeline.people.notify.digest_data import MAX_LISTED
from tutor_pipeline.people.notify.wording import day_and_month, joined, who

_MAX_OLDEST = 5
OF_TUTORS = ("new", "oldest", "resolved", "rising", "falling", "badges")
"""The parts of a week whose rows are about a tutor each."""


def digest(week: Row, ids: Mapping[str, str]) -> dict[str, Any]:
    """Returns the values of the template for the data of a week (`digest_data.week_data`).

    `ids` are those of tutors that are not shown whole.
    """
    week = {**week, **{part: _named(week[part], ids) for part in OF_TUTORS}}
    in_need, before, at = week["in_need"], week["in_need_before"], week["at"]
    verb = agree(in_need, "needs", "need")
    were = agree(before, "was", "were")
    than = (
        "As many as a week before" if in_need == before else f"A week before it {were} {before:,}"
    )
    still_open = [row for row in week["new"] if not row["resolved_at"] or row["resolved_at"] >= at]
    first, last = day_and_month(week["first_day"]), day_and_month(week["last_day"])
    return {
        "period": f"The week from {first} to {last}",
        "headline": f"{count(in_need, 'tutor')} {verb} attention",
        "lead": f"{than}. {_sessions(week['sessions'])}",
        "new": _listed([_new(row) for row in still_open]),
        "oldest": _listed([_oldest(row, at) for row in week["oldest"]], _MAX_OLDEST),
        "resolved": _resolved(week["resolved"]),
        "outcomes": _outcomes(week["outcomes"]),
        "rising": [_mover(row) for row in week["rising"]],
        "falling": [_mover(row) for row in week["falling"]],
        "badges": _badges(week["badges"]),
        "trend": [_trend(row) for row in week["trend"]],
    }


def _named(rows: Sequence[Row], ids: Mapping[str, str]) -> list[Row]:
    return [{**row, "who": who(row, ids)} for row in rows]


def _sessions(row: Row) -> str:
    """Returns a sentence about the sessions of the week, and one about their score."""
    if not row["sessions"]:
        return "There was no session in the week."
    parts = [f"{count(row['sessions'], 'session')} in the week, {row['completed']:,} completed"]
    if row["no_shows"]:
        parts.append(f"the tutor did not come to {row['no_shows']:,}")
    if row["reschedules"]:
        parts.append(f"tutors rescheduled {row['reschedules']:,}")
    score = "" if row["score"] is None else f" The average score was {row['score']:.1f} of 10."
    return f"{', '.join(parts)}.{score}"


def _listed(rows: Sequence[Mapping[str, Any]], limit: int = MAX_LISTED) -> dict[str, Any]:
    return {"listed": rows[:limit], "left_out": max(0, len(rows) - limit)}


def _new(row: Row) -> dict[str, Any]:
    return {**row, "state": _acknowledged(row)}


def _oldest(row: Row, at: datetime) -> dict[str, Any]:
    days = (at - row["triggered_date"]).days
    on_it = _acknowledged(row) or "nobody is on it yet"
    state = f"{row['severity']}, open for {count(days, 'day')}, {on_it}"
    return {**row, "state": state}


def _acknowledged(row: Row) -> str:
    by = row["acknowledged_by"]
    return f"{visible(by)} is on it" if by else ""


def _resolved(rows: Sequence[Row]) -> dict[str, Any]:
    """Returns how many alerts people and the pipeline resolved, and a list of those by people."""
    by_hand = [row for row in rows if row["resolved_by"] != "pipeline"]
    by_itself = len(rows) - len(by_hand)
    recovered = "the numbers recovered, or the tutor left"
    if not rows:
        words = "None."
    elif not by_hand:
        words = f"{count(len(rows), 'alert')}, none by people: {recovered}."
    elif not by_itself:
        words = f"{count(len(rows), 'alert')}, all by people."
    else:
        words = (
            f"{count(len(rows), 'alert')}: {len(by_hand):,} by people, of {by_itself:,}"
            f" {recovered}."
        )
    return {"words": words, "listed": [_resolution(row) for row in by_hand[:MAX_LISTED]]}


def _resolution(row: Row) -> dict[str, Any]:
    parts = [label(row["resolution"]).lower(), f"by {visible(row['resolved_by'])}"]
    if row["action_taken"]:
        parts.append(visible(row["action_taken"]))
    return {**row, "state": ", ".join(parts)}


def _outcomes(found: Outcomes) -> str:
    """Returns what became of critical alerts in a sentence; nothing where none ended."""
    said = "; ".join(words for words, _ in found.sentences)
    return f"{found.headline}: {said}." if said else ""


def _mover(row: Row) -> dict[str, str]:
    return {
        "who": row["who"],
        "change": f"{row['change']:+.1f}".replace("-", "−"),
        "detail": f"{row['before']:.1f} → {row['now']:.1f}, {count(row['n'], 'session')}",
    }


def _badges(rows: Sequence[Row]) -> dict[str, Any]:
    """Returns the badges earned, the most frequent first, each with its tutors."""
    earned: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        earned.setdefault((row["icon"], row["title"]), []).append(row["who"])
    most = Counter({key: len(tutors) for key, tutors in earned.items()}).most_common()
    return {
        "listed": [
            {"icon": icon, "title": title, "tutors": joined(earned[icon, title])}
            for (icon, title), _ in most
        ]
    }


def _trend(row: Row) -> dict[str, Any]:
    """Returns a metric of the platform, its value before, and the change in words."""
    if row["change"] is None:
        change = "–"
    elif row["trend"] == "neutral":
        change = "unchanged"
    else:
        change = f"{'▲' if row['change'] > 0 else '▼'} {abs(row['change']):.0%}".replace("%", " %")
    return {
        "words": row["words"],
        "now": _figure(row["now"], row["form"]),
        "before": _figure(row["before"], row["form"]),
        "change": change,
        "is_good": row["is_good"],
    }


def _figure(value: float | None, form: str) -> str:
    if value is None:
        return "–"
    if form == "percent":
        return percent(round(100 * value, 1))
    return f"{value:,.0f}" if form == "number" else f"{value:.2f}"
