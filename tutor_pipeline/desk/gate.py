"""What every request passes first, and every answer last: host, form, length, headers.

Belongs here: what holds for all pages alike. Does not belong here: who is signed in (`site`).
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tutor_pipeline.desk.options import Options

API = "/v1/"
"""How the addresses of the API of events begin."""
MAX_BODY = 256 * 1024
"""Bytes of a form."""
TOO_LONG = f"That is too much for one form: {MAX_BODY // 1024} kB at most. Nothing was changed."
MAX_HEADERS = 16 * 1024
"""Bytes of all headers of a request."""
MAX_COOKIE = 4 * 1024
"""Bytes of the cookies of a request: parsing odd ones takes long."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    # With `no-referrer` Chrome sends `Origin: null` with forms of our own.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-store",
}
"""Of every answer, unless it says otherwise itself."""

_CHANGES_NOTHING = {"GET", "HEAD"}
_FORM = "application/x-www-form-urlencoded"


class Gate:
    """An ASGI application in front of the desk, and of the API of events: programs call that, with
    bodies and signatures of their own, and no cookie counts there.
    """

    def __init__(self, app: ASGIApp, api: ASGIApp, options: Options) -> None:
        self._app = app
        self._api = api
        self._options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses a request or hands it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with_headers = self._adding_headers(send)
        headers = Headers(scope=scope)
        if scope["path"].startswith(API):
            refused = self._of_anybody(headers)
            await (refused or self._api)(scope, receive, with_headers)
            return
        refused = self._of_anybody(headers) or self._refusal(scope["method"], headers)
        if refused is not None:
            await refused(scope, receive, with_headers)
            return
        await self._app(scope, _limited(receive), with_headers)

    def _of_anybody(self, headers: Headers) -> PlainTextResponse | None:
        cookies = sum(len(value) for name, value in headers.raw if name == b"cookie")
        everything = sum(len(name) + len(value) for name, value in headers.raw)
        if cookies > MAX_COOKIE or everything > MAX_HEADERS:
            return PlainTextResponse(
                "The request's headers are too long. Remove this site's cookies and try again.\n",
                431,
            )
        host = headers.get("host", "")
        if not self._options.is_our_host(host):
            return PlainTextResponse(
                "The desk is not asked by this name. Open it at its own address"
                f" ({self._options.url}), or name this one in TUTOR_DESK_URL.\n",
                421,
            )
        return None

    def _refusal(self, method: str, headers: Headers) -> PlainTextResponse | None:
        host = headers.get("host", "")
        if int(headers.get("content-length") or 0) > MAX_BODY:
            return _too_long()
        if method == "POST" and headers.get("content-type", _FORM).split(";")[0] != _FORM:
            return PlainTextResponse(
                "The desk takes forms of its own pages, and no files. Events go to"
                " /v1/events/SOURCE.\n",
                415,
            )
        if method not in _CHANGES_NOTHING and not self._is_own_form(headers, host):
            return PlainTextResponse(
                "This form was not sent by a page of the desk; nothing was changed.\n"
                "Open the page and send it from there.\n",
                403,
            )
        return None

    def _is_own_form(self, headers: Headers, host: str) -> bool:
        """Whether a page of ours sent it. Browsers say so, and a foreign page can't change that."""
        if (site := headers.get("sec-fetch-site")) is not None:
            return site == "same-origin"
        return self._options.is_our_origin(headers.get("origin", ""), host)

    def _adding_headers(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if self._options.is_https:
                    headers.setdefault("Strict-Transport-Security", "max-age=31536000")
            await send(message)

        return sending


def _limited(receive: Receive) -> Receive:
    taken = 0

    async def receiving() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MAX_BODY:
            raise HTTPException(413, TOO_LONG)
        return message

    return receiving


def _too_long() -> PlainTextResponse:
    return PlainTextResponse(f"{TOO_LONG}\n", 413)
