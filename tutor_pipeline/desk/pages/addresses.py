"""Addresses of messages: who is told what, without secrets, and whether a test arrives."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock, Thread

from starlette.responses import Response

from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.desk.site import Place, Visit
from tutor_pipeline.people.access.roles import Role
from tutor_pipeline.people.notify import targets, trial
from tutor_pipeline.people.notify.message import Setting
from tutor_pipeline.people.notify.targets import FILE, DeliveryError, Outgoing, Target

_LOOK_AGAIN_SECONDS = "3"
_lock = Lock()
_results: dict[tuple[str, str], str | None] = {}
"""What became of the newest test of an address in this process: None = it is under way."""


def show(visit: Visit) -> Response:
    """GET /settings/messages; looks again while a test is under way."""
    page = _page(visit)
    with _lock:
        if None in _results.values():
            page.headers["Refresh"] = _LOOK_AGAIN_SECONDS
    return page


def test(visit: Visit) -> Response:
    """POST /settings/messages/test: sends a test to one address."""
    audience, name = visit.text("audience"), visit.text("address")
    if audience not in list(Audience):
        raise UsageError("The form names no audience: open its page anew")
    target = _read(visit)[Audience(audience)].get(name)
    if target is None or name == FILE:
        raise UsageError("No setting names this address any more: open the page anew")
    key = (audience, name)
    message = _message(visit, Audience(audience))
    with _lock:
        is_under_way = _results.get(key, "") is None
        if not is_under_way:
            _results[key] = None
    if not is_under_way:
        # A server that is slow or down takes minutes: nobody waits for it here.
        Thread(target=_send, args=(key, target, message), daemon=True).start()
    return visit.back("/settings/messages")


def _send(key: tuple[str, str], target: Target, message: Outgoing) -> None:
    try:
        target.send(message)
        said = "arrived"
    except DeliveryError as error:
        said = str(error)
    except Exception as error:  # its text may repeat a secret
        said = f"{type(error).__name__} in the sender"
    with _lock:
        _results[key] = said


def _message(visit: Visit, audience: Audience) -> Outgoing:
    options = visit.site.options
    setting = Setting(options.ui_url, "", visit.zone.key, visit.now, desk=options.url)
    made = trial.message(audience, setting)
    test_id = f"test-{audience}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    return Outgoing(test_id, audience, made.kind, made.subject, made.text, made.html, visit.now)


def _read(visit: Visit) -> Mapping[Audience, Mapping[str, Target]]:
    return targets.read(visit.site.options.addresses, Path())


def _page(visit: Visit) -> Response:
    with _lock:
        results = dict(_results)
    return visit.page(
        "addresses.html.j2",
        audiences=[
            {
                "audience": audience,
                "setting": f"TUTOR_NOTIFY_{audience.upper()}",
                "for_whom": trial.FOR_WHOM[audience],
                "addresses": [
                    {"name": target.name, "problem": target.problem,
                     "is_tried": (audience, target.name) in results,
                     "result": results.get((audience, target.name))}
                    for target in own.values() if target.name != FILE
                ],
            }
            for audience, own in _read(visit).items()
        ],
    )  # fmt: skip


PLACES = (
    Place("/settings/messages", show, Role.ADMIN),
    Place("/settings/messages/test", test, Role.ADMIN, "POST"),
)
