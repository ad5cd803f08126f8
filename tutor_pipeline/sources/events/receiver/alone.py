"""The receiver as an application of its own, beside no desk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from starlette.applications import Starlette
from starlette.routing import Mount

from tutor_pipeline.core.warehouse import health
from tutor_pipeline.core.warehouse.database import Warehouse
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

    app = Starlette(
        routes=[*health.routes(pool), Mount("/", receiver.app)],
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app
