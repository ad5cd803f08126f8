"""The receiver as an application of its own, beside no desk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.migrate import current, head
from tutor_pipeline.core.warehouse.pool import Pool
from tutor_pipeline.sources.events.receiver.app import Receiver
from tutor_pipeline.sources.events.receiver.limits import Limits

_CONNECTIONS, _WAIT_SECONDS, _LONGEST_SECONDS = 2, 2.0, 30.0


def create_app(
    warehouse: Warehouse, clock: Callable[[], datetime], limits: Limits | None = None
) -> Starlette:
    """Returns the receiver of a warehouse, with /healthz and /readyz."""
    pool = Pool(warehouse, size=_CONNECTIONS, seconds=_WAIT_SECONDS, longest=_LONGEST_SECONDS)
    receiver = Receiver(warehouse, pool, clock, limits)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        with pool:
            async with receiver.running():
                yield

    def ready() -> Response:
        try:
            with pool.connection() as database:
                is_ready = current(database) == head()
        except TutorPipelineError:
            is_ready = False
        return PlainTextResponse("ready\n" if is_ready else "not ready\n", 200 if is_ready else 503)

    async def readyz(_: Request) -> Response:
        return await run_in_threadpool(ready)

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    app = Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Mount("/", receiver.app),
        ],
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app
