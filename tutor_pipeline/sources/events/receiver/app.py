"""The HTTP API: a request is bounded, verified, stored and answered, in that order.

Belongs here: requests and answers. Does not belong here: what the events change (`applying`).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any

import psycopg
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.pool import Pool
from tutor_pipeline.sources.events import rejections
from tutor_pipeline.sources.events.bodies import parse
from tutor_pipeline.sources.events.inbox import Answer, Incoming
from tutor_pipeline.sources.events.reading import remarks_on
from tutor_pipeline.sources.events.receiver import lines, pages
from tutor_pipeline.sources.events.receiver.applier import Applier
from tutor_pipeline.sources.events.receiver.known_secrets import KnownSecrets
from tutor_pipeline.sources.events.receiver.limits import Limits, Pace
from tutor_pipeline.sources.events.receiver.lines import Line
from tutor_pipeline.sources.events.receiver.storing import NotStoredError, Storing
from tutor_pipeline.sources.events.signatures import (
    BadSignatureError,
    Signed,
    Verifier,
    read_headers,
)

log = logging.getLogger(__name__)

NOT_SIGNED = (
    "The signature was not accepted. Usual causes: another secret than that of this source, or one"
    " that has ended; a body that was changed after it was signed (it is signed and sent byte for"
    " byte); a timestamp that is more than 5 minutes from now (the header Date of this answer says"
    " what time it is here), or is not whole seconds; a header that is missing, comes twice, or is"
    " malformed: webhook-id (up to 256 printable characters without blanks), webhook-timestamp"
    " (10 digits), webhook-signature (v1,<base64>). Whoever runs the pipeline sees the true cause:"
    " tutor-pipeline events rejected"
)
_RETRY_SECONDS = 5
_FLUSH_SECONDS = 1.0


class _RefusedError(Exception):
    """A request is not taken. `reason` is for who runs the pipeline, empty = nothing to count.
    `id_`: the webhook-id, where it is known.
    """

    def __init__(
        self,
        status: int,
        message: str,
        reason: str = "",
        *,
        id_: str = "",
        retry_after: float | None = None,
        closes: bool = False,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.reason, self.id = status, message, reason, id_
        self.retry_after, self.closes = retry_after, closes

    def answer(self) -> Response:
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        if self.closes:
            headers["Connection"] = "close"
        return JSONResponse({"message": self.message}, self.status, headers)


class Receiver:
    """Takes events for a warehouse. `app` is its ASGI application; `running` is what it does
    meanwhile.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        pool: Pool,
        clock: Callable[[], datetime],
        limits: Limits | None = None,
    ) -> None:
        self._pool = pool
        self._limits = limits or Limits()
        self._clock = clock
        self._pace = Pace(self._limits)
        self._secrets = KnownSecrets(pool, clock)
        self._rejected = rejections.Counts()
        self._applier = Applier(warehouse, clock)
        self._storing = Storing(pool, self._applier.wake)
        self._unverified = 0
        self.app = self._app()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Stores and applies events until the context ends."""
        self._storing.start()
        self._applier.start()
        flushing = asyncio.get_running_loop().create_task(self._flush())
        try:
            yield
        finally:
            flushing.cancel()
            with suppress(asyncio.CancelledError):
                await flushing
            await self._write_rejected()
            await self._storing.stop()
            await run_in_threadpool(self._applier.stop)

    def _app(self) -> FastAPI:
        app = FastAPI(
            title="Events of a tutoring platform",
            version="1",
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
        )

        @app.post("/v1/events/{source}", **pages.SINGLE)
        async def one(source: str, request: Request) -> Response:
            return await self._answered(source, request, self._one, self._limits.event)

        @app.post("/v1/events/{source}/batch", **pages.BATCH)
        async def batch(source: str, request: Request) -> Response:
            return await self._answered(source, request, self._batch, self._limits.body)

        @app.exception_handler(HTTPException)
        async def not_there(request: Request, error: HTTPException) -> Response:
            message = "Events go by POST to /v1/events/SOURCE, many to /v1/events/SOURCE/batch."
            return JSONResponse({"message": message}, error.status_code, error.headers)

        described = pages.described(app)
        page = pages.html(described)

        @app.get("/v1/openapi.json", include_in_schema=False)
        async def openapi() -> Response:
            return JSONResponse(described)

        @app.get("/v1/docs", include_in_schema=False)
        async def docs() -> Response:
            return HTMLResponse(page, headers=pages.HEADERS)

        @app.get("/v1/docs.css", include_in_schema=False)
        async def style() -> Response:
            return Response(pages.style(), media_type="text/css")

        return app

    async def _answered(
        self,
        source: str,
        request: Request,
        take: Callable[[str, str, bytes], Any],
        most_bytes: int,
    ) -> Response:
        """Verifies a request and hands its body on; answers whatever happens."""
        ends_at = asyncio.get_running_loop().time() + self._limits.seconds
        id_ = ""
        try:
            signed, body = await self._verified(source, request, most_bytes, ends_at)
            id_ = signed.id
            async with _until(ends_at, _away()):
                response: Response = await take(source, id_, body)
                return response
        except _RefusedError as refused:
            if refused.reason:
                self._note(source, refused.reason, id_ or refused.id)
            return refused.answer()
        except NotStoredError:
            return _away().answer()
        except ClientDisconnect:
            return Response(status_code=400)

    async def _verified(
        self, source: str, request: Request, most_bytes: int, ends_at: float
    ) -> tuple[Signed, bytes]:
        if self._unverified >= self._limits.unverified:
            raise _come_again("Too many requests come in at this moment.", "too many at once", 1)
        self._unverified += 1
        claimed = ""
        try:
            async with _until(ends_at, _away()):
                known = await self._secrets_of(source)
            if request.headers.get("content-encoding", "identity") != "identity":
                raise _RefusedError(
                    415, "Send the body as it is, not compressed.", "compressed body"
                )
            signed = read_headers(request.headers.raw)
            claimed = signed.id
            verifier = Verifier(signed, known)
            async with _until(ends_at, self._too_slow(claimed)):
                await self._take_in(request, verifier, most_bytes)
            return signed, verifier.body()
        except BadSignatureError as problem:
            raise _RefusedError(401, NOT_SIGNED, str(problem), id_=claimed) from problem
        finally:
            self._unverified -= 1

    async def _secrets_of(self, source: str) -> Sequence[bytes]:
        try:
            return await self._secrets.of(source)
        except psycopg.errors.InsufficientPrivilege as error:
            raise _RefusedError(
                403,
                "No events are taken at this address. They have one of their own: that of"
                " tutor-pipeline events serve.",
            ) from error
        except (psycopg.Error, TutorPipelineError) as error:
            raise _away() from error

    async def _take_in(self, request: Request, verifier: Verifier, most_bytes: int) -> None:
        said = request.headers.get("content-length", "0")
        if not said.isdecimal() or int(said) > most_bytes:
            raise _too_long(most_bytes)
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > most_bytes:
                raise _too_long(most_bytes)
            verifier.update(part)

    def _too_slow(self, id_: str) -> _RefusedError:
        # Whoever still sends it must not keep the connection.
        return _RefusedError(
            408, f"The request took longer than {self._limits.seconds:g} s; send it again.",
            "it took too long to come in", id_=id_, closes=True,
        )  # fmt: skip

    async def _one(self, source: str, id_: str, raw: bytes) -> Response:
        self._keep_pace(source, 1)
        event = Incoming(source, id_, parse(raw))
        (answer,) = await self._storing.store([event])
        if answer is Answer.CONFLICT:
            raise _RefusedError(
                409,
                "Another event has this webhook-id already; the one that came first counts. Give"
                " each event an id of its own, and send the same one again with the same body.",
                "an id with another body",
            )
        return JSONResponse(self._told(event, answer))

    async def _batch(self, source: str, id_: str, raw: bytes) -> Response:
        # In a thread: other requests go on meanwhile.
        cut = await run_in_threadpool(lines.cut, raw, self._limits.lines)
        if len(cut) > self._limits.lines:
            raise _RefusedError(
                413, f"A batch has up to {self._limits.lines:,} lines; send several.",
                "too many lines",
            )  # fmt: skip
        self._keep_pace(source, len(cut))
        found = await run_in_threadpool(lines.read, cut, source, id_, self._limits.event)
        events = [line.event for line in found if line.event is not None]
        answers = await self._storing.store(events)
        told = await run_in_threadpool(self._all_told, found, answers)
        for each in told:
            if each["status"] == Answer.CONFLICT:
                self._note(source, "an id with another body", each["id"])
        return JSONResponse({"events": told})

    def _all_told(self, found: Sequence[Line], answers: Sequence[Answer]) -> list[dict[str, Any]]:
        left = iter(answers)
        return [
            {"id": line.id, "status": "too_long"}
            if line.event is None
            else self._told(line.event, next(left))
            for line in found
        ]

    def _told(self, event: Incoming, answer: Answer) -> dict[str, Any]:
        told: dict[str, Any] = {"id": event.event_id, "status": answer}
        # What can be said at once: the rest depends on what else is there.
        if answer is Answer.ACCEPTED:
            told |= remarks_on(event.body, event.event_id, self._clock())
        return told

    def _keep_pace(self, source: str, events: int) -> None:
        if seconds := self._pace.wait_for(source, events):
            raise _RefusedError(
                429, "Too many events a second; send this request again later.", "too fast",
                retry_after=seconds,
            )  # fmt: skip

    def _note(self, source: str, reason: str, id_: str) -> None:
        known = source if self._secrets.is_source(source) else rejections.UNKNOWN
        self._rejected.add(known, reason, id_, self._clock())

    async def _flush(self) -> None:
        """Tells of requests that were not accepted, once a second: anybody may send any number."""
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            await self._write_rejected()

    async def _write_rejected(self) -> None:
        if counts := self._rejected.taken():
            for (_, source, reason), each in counts.items():
                log.warning("not accepted from %s: %s (%d)", source, reason, each.requests)
            await run_in_threadpool(self._write, counts)

    def _write(self, counts: Any) -> None:
        try:
            with self._pool.connection() as database:
                rejections.write(database, counts)
        except (psycopg.Error, TutorPipelineError) as error:
            log.warning("rejected requests are not counted: %s", error)


@asynccontextmanager
async def _until(ends_at: float, otherwise: _RefusedError) -> AsyncIterator[None]:
    """Ends what is done within at a time of the loop, and raises `otherwise` then."""
    try:
        async with asyncio.timeout_at(ends_at):
            yield
    except TimeoutError:
        raise otherwise from None


def _away() -> _RefusedError:
    return _come_again("Nothing was stored: the database does not answer.")


def _come_again(message: str, reason: str = "", seconds: float = _RETRY_SECONDS) -> _RefusedError:
    return _RefusedError(503, f"{message} Send it again later.", reason, retry_after=seconds)


def _too_long(most_bytes: int) -> _RefusedError:
    return _RefusedError(
        413,
        f"The body is longer than {most_bytes // 1024:,} kB. Several events go to …/batch, one"
        " a line.",
        "body too long",
    )
