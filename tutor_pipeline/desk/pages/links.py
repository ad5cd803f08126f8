"""A signed link of a mail: one alert of it, who has taken it, and saying that one sees to it.

It signs nobody in and shows no more than the mail and who acted. A scanner that opens every link
changes nothing: only the form acts.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.warehouse.database import Row
from tutor_pipeline.desk import queries
from tutor_pipeline.desk.site import Limit, Place, Visit
from tutor_pipeline.judgement.lifecycle import alert_actions, notes
from tutor_pipeline.people.notify import links, wording
from tutor_pipeline.people.notify.links import NoLinkError, OverError, Told

_PATH = "/link/{token}"


def show(visit: Visit) -> Response:
    """GET /link/TOKEN."""
    return _with_alert(visit, _page)


def acknowledge(visit: Visit) -> Response:
    """POST /link/TOKEN: acknowledges the alert as the address that was told."""
    return _with_alert(visit, _acknowledge)


def _with_alert(visit: Visit, answer: Any) -> Response:
    try:
        told = links.follow(visit.database, visit.path("token"), visit.site.options.keys, visit.now)
    except NoLinkError:
        return visit.page(
            "message.html.j2", 404, title="This is no link of ours",
            text="It may be cut off: copy the whole address from the mail, or sign in and look for"
            " the alert there.",
        )  # fmt: skip
    except OverError as error:
        return visit.page(
            "message.html.j2", 410, title="This link is over",
            text=f"{error} Sign in to see how it stands.",
        )  # fmt: skip
    found = queries.alert(visit.database, told.alert_id)
    if found is None or found["tutor_id"] != told.tutor_id:
        return visit.page(
            "message.html.j2", 410, title="This link is over",
            text="What it was about is gone: it was erased.",
        )  # fmt: skip
    response: Response = answer(visit, told, found)
    return response


def _page(
    visit: Visit, told: Told, found: Row, status: int = 200, said: str | None = None
) -> Response:
    who = wording.who(
        found | {"about_kind": found["subject_kind"], "about_id": found["subject_id"]}, {}
    )
    return visit.page(
        "link.html.j2",
        status,
        alert=found,
        about=who,
        address=told.address,
        may_acknowledge=found["resolved_at"] is None and found["acknowledged_at"] is None,
        said=said,
        text=visit.text("text"),
    )


def _acknowledge(visit: Visit, told: Told, found: Row) -> Response:
    text = " ".join(visit.text("text").split()) or None
    seen = visit.text("seen")
    if not seen.isdecimal() or len(seen) > 9:
        raise UsageError("The form is incomplete: open the link again")
    if text and len(text) > notes.MAX_CHARACTERS:
        raise UsageError(f"The note is too long: {notes.MAX_CHARACTERS:,} characters are the most")
    done = alert_actions.acknowledge(
        visit.database, [told.alert_id], by=f"{told.address} (by link)", at=visit.now, note=text,
        seen={told.alert_id: int(seen)},
    )  # fmt: skip
    now_is = queries.alert(visit.database, told.alert_id) or found
    if done.changed:
        return _page(visit, told, now_is, said="Thank you. Everybody sees now that you are on it.")
    why = done.unchanged[told.alert_id]
    return _page(visit, told, now_is, 409, said=f"Nothing was changed: {why}.")


PLACES = (
    Place(_PATH, show, None),
    Place(_PATH, acknowledge, None, "POST", limit=Limit.ACTS),
)
