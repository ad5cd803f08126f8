"""Real servers on this machine for tests of delivery: SMTP that may misbehave, and HTTP."""

from __future__ import annotations

import email
import json
import socket
import threading
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller


class MailServer:
    """An SMTP server: `mails` are those it took. `answer` may be changed to misbehave: it gets the
    envelope and returns what the server answers to the final dot, or raises.
    """

    def __init__(self, **options: Any) -> None:
        self.envelopes: list[Any] = []
        self.answer: Callable[[Any], str] = lambda envelope: "250 OK"
        self.refuses: set[str] = set()
        self._options = options
        self._controller: Controller | None = None
        self.port = free_port()

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if address in self.refuses:
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        answer = self.answer(envelope)
        if answer.startswith("2"):
            self.envelopes.append(envelope)
        return answer

    @property
    def mails(self) -> list[EmailMessage]:
        return [parsed(each.content) for each in self.envelopes]

    @property
    def is_up(self) -> bool:
        return self._controller is not None

    def start(self) -> None:
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, **self._options)
        self._controller.start()

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def url(self, *recipients: str, options: str = "") -> str:
        """An address of Apprise."""
        to = ",".join(recipients or ("ops@example.com",))
        return f"mailto://127.0.0.1:{self.port}?from=pipeline@example.com&to={to}{options}"


def parsed(content: bytes) -> EmailMessage:
    """A mail, as a mail program reads it."""
    found = email.message_from_bytes(content, policy=default)
    assert isinstance(found, EmailMessage)
    return found


def part(mail: EmailMessage, kind: str) -> str:
    """The text or HTML of a mail."""
    body = mail.get_body((kind,))
    assert body is not None
    return str(body.get_content())


class WebServer:
    """An HTTP endpoint: `requests` are (path, JSON), `status` is what it answers."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, Any]] = []
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if outer.status < 300:
                    outer.requests.append((self.path, json.loads(body)))
                self.send_response(outer.status)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
