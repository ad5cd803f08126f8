"""What people do: to alerts, one or several at once, and notes.

Each alert of a form is named with the newest event that the reader saw, `ID:NUMBER`. If something
happened since, one alert is answered with what it was and with the form again, as it was filled in;
of several alerts those are left as they are, and listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import parse_qsl

from starlette.responses import Response

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.findings import BY_HAND, Resolution, Subject, SubjectKind
from tutor_pipeline.core.formatting import count, visible
from tutor_pipeline.desk import queries, words
from tutor_pipeline.desk.filters import AlertFilter
from tutor_pipeline.desk.formats import sentence
from tutor_pipeline.desk.pages import alerts, tutors
from tutor_pipeline.desk.pages.alerts import MAX_AT_ONCE
from tutor_pipeline.desk.site import Limit, NotFoundError, Place, Visit
from tutor_pipeline.judgement.lifecycle import alert_actions, notes
from tutor_pipeline.judgement.lifecycle.alert_actions import ActionResult
from tutor_pipeline.people.access.roles import Role
from tutor_pipeline.people.reports import alert_queries

_LONGEST_SNOOZE = timedelta(days=3650)

VERBS = {
    "assign": "assigned",
    "acknowledge": "acknowledged",
    "snooze": "snoozed",
    "wake": "woken",
    "resolve": "resolved",
    "reopen": "reopened",
}
"""Acts on alerts, each with the word for what is done."""
_EVENT = {"snooze": "snoozed", "resolve": "resolved"}


def act(visit: Visit) -> Response:
    """POST /alerts/act: acts on the alerts of the form, or on all that match its filter."""
    verb = visit.text("verb")
    if verb == "note":
        return _note_at_alert(visit)
    if verb not in VERBS:
        raise UsageError("Say what to do with the alerts: press one of the buttons of the form")
    if visit.text("all") == "1":
        return _act_on_all(visit, verb)
    seen = _seen(visit)
    if not seen:
        raise UsageError("No alert was chosen: tick at least one")
    done = _do(visit, verb, list(seen), seen)
    if len(seen) > 1 or visit.text("bulk") == "1":
        return _told(visit, verb, done)
    (alert_id,) = seen
    if done.moved:
        return _conflict(visit, alert_id, done.unchanged[alert_id])
    if done.unchanged:
        return alerts.show(
            visit, alert_id, 200, conflict=f"Nothing was changed: {done.unchanged[alert_id]}.",
            filled=_filled(visit),
        )  # fmt: skip
    return visit.back(f"/alerts/{alert_id}", done=alert_id)


def add_note(visit: Visit) -> Response:
    """POST /notes: writes a note about a tutor."""
    tutor_id = visit.text("tutor_id")
    if not visit.is_built or not queries.profiles(visit.database, [tutor_id]):
        raise NotFoundError(f"There is no tutor {visible(tutor_id, 80)}. Your note was not kept.")
    try:
        notes.add(
            visit.database, Subject.tutor(tutor_id), visit.text("text"),
            by=visit.account, at=visit.now,
            is_known=lambda: bool(queries.profiles(visit.database, [tutor_id])),
        )  # fmt: skip
    except UsageError as error:
        return tutors.show(visit, tutor_id, 400, filled=_filled(visit) | {"why": str(error)})
    return visit.back("/")


def remove_note(visit: Visit) -> Response:
    """POST /notes/remove: removes a note of one's own."""
    number = visit.text("note_id")
    if number.isdecimal() and len(number) < 19:
        notes.remove(visit.database, visit.text("tutor_id"), int(number), by=visit.account)
    return visit.back("/")


def _note_at_alert(visit: Visit) -> Response:
    seen = _seen(visit)
    if len(seen) != 1:
        raise UsageError("A note is written at one alert")
    (alert_id,) = seen
    row = _alert(visit, alert_id)
    about = Subject(row["tutor_id"], SubjectKind(row["subject_kind"]), row["subject_id"])
    try:
        notes.add(
            visit.database, about, visit.text("text"),
            by=visit.account, at=visit.now, alert_id=alert_id,
            is_known=lambda: bool(alert_queries.alerts_by_id(visit.database, [alert_id])),
        )  # fmt: skip
    except UsageError as error:
        return alerts.show(
            visit, alert_id, 400, conflict=sentence(str(error)) + ".", filled=_filled(visit)
        )
    return visit.back(f"/alerts/{alert_id}")


def _act_on_all(visit: Visit, verb: str) -> Response:
    """Acts on all alerts that match a filter, if they are as the reader saw them."""
    asked = AlertFilter.of(dict(parse_qsl(visit.text("filter").removeprefix("?"))))
    seen = queries.all_that_match(
        visit.database, asked, visit.now, MAX_AT_ONCE + 1, by_student=visit.may_search_students
    )
    if len(seen) > MAX_AT_ONCE:
        raise UsageError(
            f"more than {MAX_AT_ONCE} alerts match, which are the most at once: narrow the filter"
        )
    if visit.text("match") != alerts.fingerprint(seen):
        return alerts.show_list(
            visit, asked, 409,
            "Meanwhile something happened to the alerts that match; now they are"
            f" {len(seen):,}. Nothing was changed: look at the list and send it again.",
        )  # fmt: skip
    return _told(visit, verb, _do(visit, verb, list(seen), seen) if seen else ActionResult((), {}))


def _do(visit: Visit, verb: str, ids: Sequence[str], seen: dict[str, int] | None) -> ActionResult:
    """Acts. Raises UsageError for what is not filled in."""
    shared: dict[str, Any] = {"by": visit.account, "at": visit.now, "seen": seen}
    # In the form for several alerts each act has words of its own.
    text = " ".join((visit.text("text") or visit.text(f"text_{verb}")).split()) or None
    if text and len(text) > notes.MAX_CHARACTERS:
        raise UsageError(f"The note is too long: {notes.MAX_CHARACTERS:,} characters are the most")
    _known(visit, ids)
    database = visit.database
    match verb:
        case "assign":
            return alert_actions.assign(database, ids, owner=_owner(visit), **shared)
        case "acknowledge":
            return alert_actions.acknowledge(database, ids, note=text, **shared)
        case "snooze":
            return alert_actions.snooze(database, ids, until=_until(visit), note=text, **shared)
        case "wake":
            return alert_actions.wake(database, ids, **shared)
        case "reopen":
            return alert_actions.reopen(database, ids, note=text, **shared)
    reason = visit.text("reason")
    if reason not in BY_HAND:
        raise UsageError("Say why they are resolved: choose a reason")
    return alert_actions.resolve(
        database, ids, reason=Resolution(reason), action_taken=text, **shared
    )


def _known(visit: Visit, ids: Sequence[str]) -> None:
    known = alert_queries.alerts_by_id(visit.database, ids)
    if unknown := [each for each in ids if each not in known]:
        raise NotFoundError(
            f"There is no alert {', '.join(visible(each, 40) for each in unknown[:5])}."
            " Nothing was changed."
        )


def _seen(visit: Visit) -> dict[str, int]:
    """The alerts of the form, each with the newest event that the reader saw."""
    found = {}
    for value in visit.form.getlist("alert"):
        alert_id, _, number = str(value).rpartition(":")
        if not alert_id or not number.isdecimal() or len(number) > 9 or "\0" in alert_id:
            raise UsageError("The form names an alert wrongly: open its page anew")
        found[alert_id] = int(number)
    if len(found) > MAX_AT_ONCE:
        raise UsageError(
            f"{count(len(found), 'alert')} were chosen, {MAX_AT_ONCE} are the most at once"
        )
    return found


def _owner(visit: Visit) -> str | None:
    """Who is to work on it: the visitor, nobody, or a name."""
    owner = " ".join(visit.text("owner").split())
    if owner == "-":
        return None
    if owner and owner not in queries.colleagues(visit.database, visit.account):
        raise UsageError(f"There is no account {visible(owner, 64)} that may act on alerts")
    return owner or visit.account


def _until(visit: Visit) -> datetime:
    """The end of a snooze: the beginning of a day in the pipeline's zone. Raises UsageError."""
    days, text = visit.text("days"), visit.text("until")
    today = visit.now.astimezone(visit.zone).date()
    try:
        if text:
            until = date.fromisoformat(text)
        elif days.isdecimal() and len(days) < 6 and 0 < int(days) <= _LONGEST_SNOOZE.days:
            until = today + timedelta(days=int(days))
        else:
            raise ValueError
    except ValueError as error:
        raise UsageError("Until when? Choose a number of days, or write a day as 2026-01-31"
                         ) from error  # fmt: skip
    if not today < until <= today + _LONGEST_SNOOZE:
        raise UsageError(f"{until} is past: an alert is snoozed until a later day" if until <= today
                         else f"{until} is too far away: ten years are the most")  # fmt: skip
    return datetime.combine(until, time(), visit.zone)


def _conflict(visit: Visit, alert_id: str, what: str) -> Response:
    """Answers who saw an older state: what happened, and the form again."""
    row = _alert(visit, alert_id)
    newest = queries.newest_events(visit.database, [row]).get(alert_id, {})
    is_mine = newest.get("newest_actor") == visit.account
    who = "You did that in another window" if is_mine else f"Somebody was faster: {what}"
    filled = _filled(visit)
    told = ""
    if filled["text"].strip():
        told = " What you wrote is kept below."
        if filled["verb"] not in _possible(row, visit.now):
            # Its form is gone; the words are not.
            filled["verb"] = "note"
            told = " What you wrote is kept below: keep it as a note, if it still holds."
    return alerts.show(
        visit, alert_id, 409, conflict=f"{who}. Nothing was changed.{told}", filled=filled
    )


def _possible(alert: Mapping[str, Any], now: datetime) -> set[str]:
    """The acts that the page of an alert offers."""
    if alert["resolved_at"] is not None:
        return {"reopen"}
    found = {"resolve", "snooze", "assign"}
    if alert["snoozed_until"] is not None and alert["snoozed_until"] > now:
        return found | {"wake"}
    return found if alert["acknowledged_at"] is not None else found | {"acknowledge"}


def _filled(visit: Visit) -> dict[str, str]:
    """What was filled in, to be shown again."""
    return {name: visit.text(name) for name in
            ("verb", "text", "days", "until", "reason", "owner")}  # fmt: skip


def _told(visit: Visit, verb: str, done: ActionResult) -> Response:
    """The page that says what an act on several alerts changed, and what not and why."""
    ids = [*done.changed, *done.unchanged]
    rows = alert_queries.alerts_by_id(visit.database, ids)
    events = queries.newest_events(visit.database, rows.values())
    names = queries.tutor_names(visit.database, {row["tutor_id"] for row in rows.values()})
    named = {
        row["alert_id"]: row
        for row in alerts.with_subjects(
            visit, [row | {"name": names.get(row["tutor_id"])} for row in rows.values()]
        )
    }
    return visit.page(
        "acted.html.j2",
        409 if done.moved and not done.changed else 200,
        word=VERBS[verb],
        # One may have been erased since.
        changed=[named[each] for each in done.changed if each in named and each in events],
        unchanged=[(named[each], why) for each, why in done.unchanged.items() if each in named],
        undo=words.UNDO.get(_EVENT.get(verb, "")) if done.changed else None,
        events=events,
        back=visit.text("back") or "/alerts",
    )


def _alert(visit: Visit, alert_id: str) -> dict[str, Any]:
    _known(visit, [alert_id])
    return alert_queries.alerts_by_id(visit.database, [alert_id])[alert_id]


PLACES = (
    Place("/alerts/act", act, Role.COACH, "POST", limit=Limit.ACTS),
    Place("/notes", add_note, Role.COACH, "POST", limit=Limit.ACTS),
    Place("/notes/remove", remove_note, Role.COACH, "POST"),
)
