"""The desk as an ASGI application: its routes, each with the role that it takes."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from tutor_pipeline.core.templates import environment
from tutor_pipeline.core.warehouse import health
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.pool import Pool
from tutor_pipeline.desk.gate import TOO_LONG, Gate
from tutor_pipeline.desk.options import Options
from tutor_pipeline.desk.pages import places
from tutor_pipeline.desk.site import Site, endpoint, render, templates
from tutor_pipeline.metrics.thresholds import thresholds
from tutor_pipeline.sources.events.receiver.app import Receiver

_FOLDER = Path(__file__).parent
_CONNECTIONS = 4
_WAIT_SECONDS = 1.5
_LONGEST_SECONDS = 15
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
          ".svg": "image/svg+xml"}  # fmt: skip


PLACES = places()
"""Every page and act, with the role that it takes."""


def create_app(
    warehouse: Warehouse,
    options: Options,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> ASGIApp:
    """Returns the desk of a warehouse. It connects when it starts to serve."""
    pool = Pool(warehouse, size=_CONNECTIONS, seconds=_WAIT_SECONDS, longest=_LONGEST_SECONDS)
    made = templates(_FOLDER / "templates", partial(environment, thresholds=thresholds()))
    made.globals["places"] = sorted(
        (place for place in PLACES if place.nav), key=lambda place: place.nav or (0, "")
    )
    static = {file.name: file.read_bytes() for file in (_FOLDER / "static").iterdir()}
    made.globals["asset"] = {
        name: f"/static/{name}?v={hashlib.sha256(content).hexdigest()[:12]}"
        for name, content in static.items()
    }
    site = Site(pool, options, ZoneInfo(warehouse.timezone), made, clock)
    receiver = Receiver(warehouse, pool, clock)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        with pool:
            async with receiver.running():
                yield

    async def file(request: Request) -> Response:
        """A file's address changes with it, so a browser keeps it for ever."""
        name = request.path_params["file"]
        if name not in static:
            raise HTTPException(404)
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(static[name], media_type=_TYPES[Path(name).suffix], headers=headers)

    async def not_there(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        title, text = {
            405: ("That is not how", "Open the page, and use its buttons."),
            413: ("Too much", TOO_LONG),
            400: ("This form can't be read", "Open the page anew and send it again."),
        }.get(status, ("Not found", "There is no such page."))
        return render(site, request, "message.html.j2", status, clock(), title=title, text=text)

    async def broken(request: Request, _: Exception) -> Response:
        return render(
            site, request, "message.html.j2", 500, clock(), title="This page is broken",
            text="The fault is the desk's, not yours; its log says what happened. If you sent a"
            " form, look whether it took effect before you send it again.",
        )  # fmt: skip

    app = Starlette(
        routes=[
            *health.routes(pool),
            Route("/static/{file}", file),
            *(Route(place.path, endpoint(site, place), methods=[place.method]) for place in PLACES),
        ],
        exception_handlers={HTTPException: not_there, 500: broken},
        lifespan=lifespan,
    )
    # An id may end in a slash; an address is never guessed.
    app.router.redirect_slashes = False
    return Gate(app, receiver.app, options)
