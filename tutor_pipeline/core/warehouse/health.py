"""What a server tells whoever asks how it is: /healthz that the process lives, /readyz that the
database is there and of this version. Neither tells more.
"""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.migrate import current, head
from tutor_pipeline.core.warehouse.pool import Pool


def routes(pool: Pool) -> list[Route]:
    """Returns the two routes of a server that reads through a pool."""

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

    return [Route("/healthz", healthz), Route("/readyz", readyz)]
