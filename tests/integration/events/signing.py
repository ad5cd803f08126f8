"""Requests to a receiver, byte for byte as a test wants them, and a strict verifier of our own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException, HTTPResponse
from typing import Any, Self

from standardwebhooks import Webhook

Headers = list[tuple[bytes, bytes]]
PATIENCE_SECONDS = 60
TOLERANCE_SECONDS = 300


@dataclass(frozen=True)
class Answer:
    """What the receiver says."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def said(self) -> str:
        """The status of a single event."""
        return str(self.json["status"])


class Connection:
    """One connection to a receiver, opened again whenever it was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def open(self) -> socket.socket:
        """The connection's socket."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), PATIENCE_SECONDS)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._socket

    def send(self, *parts: bytes) -> Answer:
        """Sends bytes as they are. Raises OSError when the receiver goes meanwhile."""
        was_open = self._socket is not None
        try:
            self.open().sendall(b"".join(parts))
            return self.answer()
        except (OSError, HTTPException) as error:
            self.close()
            if was_open:  # nothing was sent for a while, so it was closed
                return self.send(*parts)
            raise OSError(str(error)) from error

    def answer(self) -> Answer:
        """Reads an answer."""
        response = HTTPResponse(self.open(), method="POST")
        response.begin()
        body = response.read()
        headers = {name.lower(): value for name, value in response.getheaders()}
        if response.will_close:
            self.close()
        return Answer(response.status, headers, body)

    def post(self, path: str, headers: Headers, body: bytes) -> Answer:
        """Posts a body of its true length."""
        return self.send(head(path, [*headers, (b"content-length", b"%d" % len(body))]), body)


def head(path: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The lines of a request before its body."""
    lines = [b"POST " + path.encode() + b" HTTP/1.1", b"host: 127.0.0.1"]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def chunked(body: bytes, size: int) -> bytes:
    """A body in chunks."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@dataclass
class Sender:
    """Somebody who has a secret of a source, and signs with the public library."""

    port: int
    source: str
    secret: str
    connection: Connection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = Connection(self.port)

    @property
    def path(self) -> str:
        return f"/v1/events/{self.source}"

    def headers(self, id_: str, body: bytes, at: datetime | None = None) -> Headers:
        """The headers that sign a body."""
        at = at or datetime.now(UTC)
        text = Webhook(self.secret).sign(id_, at, body.decode())
        return [
            (b"webhook-id", id_.encode()),
            (b"webhook-timestamp", b"%d" % int(at.timestamp())),
            (b"webhook-signature", text.encode()),
        ]

    def event(self, id_: str, event: Any) -> Answer:
        """Sends one event: a dict, or its bytes."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        return self.connection.post(self.path, self.headers(id_, body), body)

    def batch(self, id_: str, events: Sequence[Any]) -> Answer:
        """Sends many, one a line."""
        body = b"\n".join(
            each if isinstance(each, bytes) else json.dumps(each).encode() for each in events
        )
        return self.connection.post(f"{self.path}/batch", self.headers(id_, body), body)


_NAMES = (b"webhook-id", b"webhook-timestamp", b"webhook-signature")
_ID = re.compile(rb"[!-~]{1,256}")
_SIGNATURE = re.compile(rb"v1,[A-Za-z0-9+/]{43}=")
_OTHER = re.compile(rb"v(?!1,)\d{1,2}[a-z]?,[A-Za-z0-9+/]{1,200}={0,2}")


def is_signed(headers: Headers, body: bytes, secrets: Iterable[bytes], now: float) -> bool:
    """Whether a request is signed as the contract says, decided without the code under test."""
    found = [(name.lower(), value.strip(b" \t")) for name, value in headers]
    found = [each for each in found if each[0] in _NAMES]
    if sorted(name for name, _ in found) != sorted(_NAMES):
        return False
    id_, timestamp, signatures = (dict(found)[name] for name in _NAMES)
    texts = signatures.split(b" ")
    ours = [each for each in texts if not _OTHER.fullmatch(each)]
    if (
        not _ID.fullmatch(id_)
        or not re.fullmatch(rb"[0-9]{10}", timestamp)
        or abs(int(timestamp) - now) > TOLERANCE_SECONDS
        or len(texts) > 10
        or not all(_SIGNATURE.fullmatch(each) for each in ours)
        or body.decode(errors="replace").encode() != body
    ):
        return False
    message = id_ + b"." + timestamp + b"." + body
    return any(
        base64.b64encode(hmac.digest(secret, message, hashlib.sha256)) == text[3:]
        for secret in secrets
        for text in ours
    )


def until(is_so: Any, what: str, *, seconds: float = PATIENCE_SECONDS) -> None:
    """Waits until something is so. Fails with what did not come."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
