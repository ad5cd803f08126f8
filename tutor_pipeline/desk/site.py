"""A visit: one request of one person, with a connection; and how handlers become routes.

Belongs here: who is signed in and may what, errors as pages. A handler is a function from a `Visit`
to an answer; it runs in a thread, on a connection in autocommit mode.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import Enum
from functools import cached_property
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

import psycopg
from jinja2 import Environment
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from tutor_pipeline.core import formatting
from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.migrate import current, head
from tutor_pipeline.core.warehouse.pool import NoConnectionError, Pool
from tutor_pipeline.desk import formats, queries, words
from tutor_pipeline.desk.options import Options, StudentNames
from tutor_pipeline.judgement.lifecycle import excuses
from tutor_pipeline.judgement.lifecycle.excuses import ExcuseKind
from tutor_pipeline.people.access import sign_ins
from tutor_pipeline.people.access.roles import Role
from tutor_pipeline.people.access.sign_ins import Who

log = logging.getLogger(__name__)

MAX_FIELDS = 1_100
"""Fields of a form: the most alerts that are acted on at once, twice."""
_TRIES, _PAUSE_SECONDS = 3, 0.1
_FORM_SECONDS = 20
RETRY_SECONDS = 5
"""How soon a page that found no database asks again by itself."""


@dataclass(frozen=True)
class Site:
    """What all visits share."""

    pool: Pool
    options: Options
    zone: ZoneInfo
    templates: Environment
    clock: Callable[[], datetime]
    bands: dict[tuple[str, tuple[date, ...]], list[tuple[date, float, float]]] = field(
        default_factory=dict
    )
    """What all tutors had of a metric on some days (`pages.cards`)."""


_MOST_WAIT = 8


class Limit(Enum):
    """What only a few may do at once, so that the others have connections: how many, and how long
    the next one waits.
    """

    PASSWORDS = (2, 0.0, "Too many people sign in at this moment")
    ACTS = (2, 5.0, "The pipeline is writing alerts, or others act, at this moment")
    LARGE = (2, 5.0, "Others read large lists at this moment")

    def __init__(self, size: int, seconds: float, why: str) -> None:
        self._slots = BoundedSemaphore(size)
        # Whoever waits holds a thread that others need.
        self._places = BoundedSemaphore(size + _MOST_WAIT)
        self._seconds = seconds
        self.why = why

    @contextmanager
    def taken(self) -> Iterator[bool]:
        """Waits for a turn. Gives whether it came: at once not where many wait already."""
        if not self._places.acquire(blocking=False):
            yield False
            return
        has_turn = self._slots.acquire(timeout=self._seconds)
        try:
            yield has_turn
        finally:
            if has_turn:
                self._slots.release()
            self._places.release()


class NotFoundError(Exception):
    """There is no such thing; the text says what was looked for."""


@dataclass
class Visit:
    """One request. `who` is None where nobody needs to be signed in."""

    site: Site
    request: Request
    database: Database
    now: datetime
    who: Who | None
    form: FormData = field(default_factory=FormData)

    @property
    def zone(self) -> ZoneInfo:
        """The pipeline's time zone, in which everything is shown."""
        return self.site.zone

    @property
    def account(self) -> str:
        """The name of who is signed in."""
        assert self.who is not None
        return self.who.account

    def may(self, role: Role) -> bool:
        """Whether the visitor may do what a role may."""
        return self.who is not None and self.who.role.may(role)

    @property
    def may_search_students(self) -> bool:
        """Whether the visitor finds students by name: who reads initials alone must not guess."""
        return self.may(Role.COACH) or self.site.options.student_names is StudentNames.FULL

    @cached_property
    def is_built(self) -> bool:
        """Whether there is anything to show."""
        return queries.is_built(self.database)

    @property
    def asked(self) -> Mapping[str, str]:
        """The query of the address. NUL, which PostgreSQL does not store, is left out."""
        return {name: value.replace("\0", "") for name, value in self.request.query_params.items()}

    def path(self, name: str) -> str:
        """A part of the address, without NUL."""
        return str(self.request.path_params[name]).replace("\0", "")

    def text(self, name: str) -> str:
        """A field of the form, '' without it; without NUL."""
        value = self.form.get(name)
        return value.replace("\0", "") if isinstance(value, str) else ""

    def page(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """Returns a page."""
        told: list[str] = []
        facts: dict[str, Any] | None = None
        if self.who is not None and status < 500 and self.is_built:
            facts = queries.facts(self.database)
            facts["counts"] = queries.counts(self.database, self.now)
            told = words.banner(facts, self.zone, self.now)
            values.setdefault("done", self._done())
            if self.may(Role.COACH):
                values.setdefault("people", queries.colleagues(self.database, self.account))
        return render(
            self.site, self.request, template, status, self.now,
            who=self.who, may=self.may, banner=told, facts=facts, **values,
        )  # fmt: skip

    def _done(self) -> dict[str, Any] | None:
        """What the visitor has just done, to the alert or by the excuse that the address names
        (`done`, `excused`), with the form that undoes it.
        """
        if excuse_id := self.asked.get("excused"):
            return self._excused(excuse_id)
        if not (alert_id := self.asked.get("done")):
            return None
        found = queries.alert(self.database, alert_id)
        if found is None or found["newest_actor"] != self.account:
            return None
        what = words.happened(found["events"][-1], self.zone, self.now)
        verb = words.UNDO.get(found["newest_event"])
        fields = {"alert": f"{alert_id}:{found['event_no']}", "verb": verb}
        return {
            "words": f"You {what}. ({formats.title(found['title'])},"
            f" {formatting.visible(found['name'] or found['subject_id'], 80)})",
            "undo": {"action": "/alerts/act", "fields": fields} if verb else None,
        }

    def _excused(self, excuse_id: str) -> dict[str, Any] | None:
        number = int(excuse_id) if excuse_id.isdecimal() and len(excuse_id) < 19 else 0
        excuse = excuses.find(self.database, number)
        if excuse is None:
            return None
        what = words.EXCUSED[ExcuseKind(excuse["kind"])]
        fields = {"excuse_id": excuse_id}
        soon = "Numbers and alerts follow within seconds: then load the page again."
        if excuse["undone_at"] is None and excuse["excused_by"] == self.account:
            told = f"You excused {what} of the session. {soon}"
            return {"words": told, "undo": {"action": "/excuses/undo", "fields": fields}}
        if excuse["undone_by"] == self.account:
            return {"words": f"The session counts again ({what}). {soon}", "undo": None}
        return None

    def back(self, default: str = "/", **changes: str) -> RedirectResponse:
        """Sends the browser back to the page that its form was on."""
        return redirect(_local(self.text("back"), default), **changes)


def render(
    site: Site, request: Request, template: str, status: int, now: datetime, **values: Any
) -> HTMLResponse:
    """Returns a page of a template; dates are written in the pipeline's zone as of `now`."""
    today = now.astimezone(site.zone).date()
    text = site.templates.get_template(template).render(
        path=request.url.path,
        here=request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        zone_name=site.zone.key,
        options=site.options,
        now=now,
        today=today,
        ago=lambda at: formats.ago(at, now),
        moment=lambda at: formats.moment(at, site.zone, now),
        clock=lambda at: formats.clock(at, site.zone, now),
        day=lambda on: formats.day(on, today),
        falls_below_on=lambda alert: words.falls_below_on(
            alert["metrics"], alert["sessions"], today
        ),
        day_of=lambda at: formats.day(at.astimezone(site.zone).date(), today),
        since=lambda on: formats.since(on, today),
        student=lambda row, student_id: formats.student(
            row, student_id, site.options.student_names
        ),
        state=lambda alert: words.state(alert, now, site.zone),
        happened=lambda event: words.happened(event, site.zone, now),
        local=lambda at: at.astimezone(site.zone).isoformat(),
        **(
            {
                "who": None,
                "may": lambda role: False,
                "banner": [],
                "facts": None,
                "done": None,
                "people": [],
            }
            | values
        ),
    )
    return HTMLResponse(text, status)


def redirect(path: str, **changes: str) -> RedirectResponse:
    """Sends the browser to another page of ours."""
    path, _, fragment = path.partition("#")
    base, _, query = path.partition("?")
    kept = [part for part in query.split("&") if part and part.partition("=")[0] not in changes]
    added = [urlencode({name: value}) for name, value in changes.items() if value]
    query = "&".join([*kept, *added])
    address = base + (f"?{query}" if query else "") + (f"#{fragment}" if fragment else "")
    return RedirectResponse(address, 303)


def _local(path: str, default: str) -> str:
    """A path of ours; never another site, whatever a form says."""
    is_ours = path.startswith("/") and path[1:2] not in ("/", "\\") and path.isprintable()
    return path if is_ours and len(path) < 2_000 else default


Handler = Callable[[Visit], Response]


@dataclass(frozen=True, slots=True)
class Place:
    """A route: what a browser asks for, what answers, and who may. `least` None = everybody. `nav`:
    its position among the pages, and its name there. `limit`: what only a few may do at once.
    """

    path: str
    handler: Handler
    least: Role | None
    method: str = "GET"
    nav: tuple[int, str] | None = None
    limit: Limit | None = None


def endpoint(site: Site, place: Place) -> Callable[[Request], Awaitable[Response]]:
    """Returns what Starlette calls for a route."""

    async def answer(request: Request) -> Response:
        form = FormData()
        if request.method == "POST":
            try:
                async with (
                    asyncio.timeout(_FORM_SECONDS),
                    request.form(max_files=0, max_fields=MAX_FIELDS) as sent,
                ):
                    form = FormData(sent.multi_items())
            except TimeoutError:
                return PlainTextResponse("The form took too long. Nothing was changed.\n", 408)
        return await run_in_threadpool(_in_turn, site, request, form, place)

    return answer


def _in_turn(site: Site, request: Request, form: FormData, place: Place) -> Response:
    """The answer, when its turn comes; before that it takes no connection."""
    if place.limit is None:
        return _answer(site, request, form, place)
    with place.limit.taken() as has_turn:
        if has_turn:
            return _answer(site, request, form, place)
    unchanged = "Nothing was changed. " if request.method == "POST" else ""
    text = f"{place.limit.why}. {unchanged}Try again in a few seconds."
    if _is_for_programs(request):
        return PlainTextResponse(f"{text}\n", 429)
    return render(site, request, "message.html.j2", 429, site.clock(), title="One moment",
                  text=text)  # fmt: skip


def _answer(site: Site, request: Request, form: FormData, place: Place) -> Response:
    now = site.clock()

    def told(status: int, title: str, text: str) -> Response:
        if _is_for_programs(request):
            return PlainTextResponse(f"{title}. {text}\n", status)
        page = render(site, request, "message.html.j2", status, now, title=title, text=text)
        if status == 503:
            page.headers["Retry-After"] = page.headers["Refresh"] = str(RETRY_SECONDS)
            if request.method != "GET":
                del page.headers["Refresh"]
        return page

    try:
        with site.pool.connection() as database:
            if (found := current(database)) != head():
                return told(
                    503,
                    "The database is being updated",
                    f"{_of_versions(found)} This page asks again by itself.",
                )
            secret = _cookie(request, site.options.cookie)
            who = sign_ins.who_is(database, secret, now) if secret else None
            visit = Visit(site, request, database, now, who, form)
            if (refused := _refusal(visit, place.least)) is not None:
                return refused
            return _explained(place.handler, visit)
    except psycopg.errors.UndefinedTable:
        return told(503, "Not there yet", "A table is being made: the first refresh is at work.")
    except psycopg.errors.QueryCanceled:
        log.warning("canceled after its time was over: %s", place.path)
        return told(
            503, "This takes too long", "The database is busy. Try again in a moment; look first"
            " whether a form that you sent took effect.",
        )  # fmt: skip
    except (NoConnectionError, psycopg.OperationalError) as error:
        # Not the address: it may hold the secret of a link, or an id.
        log.warning("no database for %s: %s", place.path, type(error).__name__)
        kept = (
            " This page asks again by itself."
            if request.method != "POST"
            else " Nothing was changed: send the form again in a moment."
            if isinstance(error, NoConnectionError)
            else " Look whether your form took effect before you send it again."
        )
        return told(503, "The database does not answer", f"Your data is safe.{kept}")


def _cookie(request: Request, name: str) -> str | None:
    """A cookie of ours, which is never quoted."""
    for part in request.headers.get("cookie", "").split(";"):
        found, _, value = part.strip().partition("=")
        if found == name:
            return value
    return None


def _refusal(visit: Visit, least: Role | None) -> Response | None:
    """What somebody gets who may not; None = may."""
    if least is None:
        return None
    if visit.who is None:
        return _to_sign_in(visit.request)
    if visit.who.role.may(least):
        return None
    return visit.page(
        "message.html.j2",
        403,
        title="This is not yours to do",
        text=f"You are signed in as {visit.account}, a {visit.who.role}; this takes the role"
        f" {least}. An admin can give it to you.",
    )


def _explained(handler: Handler, visit: Visit) -> Response:
    """What a handler answers; what it raises for people, as a page."""
    try:
        return _handled(handler, visit)
    except NotFoundError as error:
        status, title, text = 404, "Not found", str(error)
    except UsageError as error:
        status, title, text = 400, "That can't be done", _plain(error)
    if _is_for_programs(visit.request):
        return PlainTextResponse(f"{title}. {text}\n", status)
    return visit.page("message.html.j2", status, title=title, text=text)


def _handled(handler: Handler, visit: Visit) -> Response:
    """What a handler answers. Tables are replaced while they are read; then reading is repeated."""
    for _ in range(_TRIES if visit.request.method != "POST" else 0):
        try:
            return handler(visit)
        except (
            psycopg.errors.UndefinedTable,
            psycopg.InternalError,
            psycopg.errors.DeadlockDetected,
        ):
            time.sleep(_PAUSE_SECONDS)
    return handler(visit)


def _plain(error: Exception) -> str:
    return formats.sentence(str(error).removesuffix(".")) + "."


def _of_versions(found: str | None) -> str:
    newest = head()
    if found is None or found < newest:
        return (
            f"It is at migration {found or 'none'}, this desk needs {newest}: whoever runs the"
            " pipeline updates it with `tutor-pipeline status`."
        )
    return (
        f"It is at migration {found}, this desk knows only up to {newest}: whoever runs it"
        " installs the newer program."
    )


def _is_for_programs(request: Request) -> bool:
    return request.url.path.endswith((".csv", ".json"))


def _to_sign_in(request: Request) -> Response:
    if _is_for_programs(request):
        return PlainTextResponse("Sign in first, with a browser.\n", 401)
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if request.method != "GET" or here == "/":
        return redirect("/sign-in")
    return redirect(f"/sign-in?next={quote(here, safe='')}")


def templates(folder: Path, make: Callable[[Path], Environment]) -> Environment:
    """Returns the environment of the desk's templates, with its filters."""
    environment = make(folder)
    environment.filters |= {
        "figure": formats.figure,
        "metric": formats.metric,
        "sentence": formats.sentence,
        "title": formats.title,
        "tutor_name": formats.tutor,
        "usual": formats.usual,
        "flags": lambda session: list(words.flags(session)),
        "risk": words.risk,
        "ended": words.ended,
        "said": words.said,
        "id": lambda text: quote(str(text), safe=""),
        "same": lambda value: (value, formatting.visible(str(value), 60)),
        "tie": lambda value: (value, formatting.visible(formatting.label(str(value)), 60)),
    }
    environment.globals |= {
        "Role": Role,
        "REASONS": words.REASONS,
        "EXCUSES": words.EXCUSES,
        "fitting": excuses.fitting,
        "EXCUSED": words.EXCUSED,
        "SNOOZES": words.SNOOZES,
        "RISK": words.RISK,
        "STATUS": words.STATUS,
        "one_day": timedelta(days=1),
    }
    return environment
