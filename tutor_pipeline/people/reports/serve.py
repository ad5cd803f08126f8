"""Serves the validation reports over HTTP: a browser opens no local file from the Dagster UI.

Belongs here: read access to the *.html files of one folder, without login, on the UI's address.
Does not belong here: anything else.
"""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Set
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

from tutor_pipeline.people.reports.publish import NEWEST
from tutor_pipeline.people.reports.render import CONTENT_SECURITY_POLICY

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.html")
_HEADERS = {
    "Content-Security-Policy": f"{CONTENT_SECURITY_POLICY}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def serve(folder: Path, host: str, port: int, public_url: str | None = None) -> ThreadingHTTPServer:
    """Serves a folder's reports from a thread until `shutdown()` or the end of the process.

    `/` is the newest report. Port 0 takes a free port. `public_url` is the address of a reverse
    proxy in front. Raises OSError when the port is taken.
    """
    names = {"localhost", host, urlsplit(public_url or "").hostname or host}
    server = _server(host)((host, port), partial(_Handler, folder, names))
    Thread(target=server.serve_forever, name="reports", daemon=True).start()
    return server


def read_report(folder: Path, name: str) -> bytes | None:
    """Returns a report of the folder; None for anything else, symbolic links included."""
    if not _NAME.fullmatch(name):
        return None
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(folder / name, flags)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)


def _server(host: str) -> type[ThreadingHTTPServer]:
    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Keeps errors of clients that disconnect out of the terminal of `up`."""

    return Server


class _Handler(BaseHTTPRequestHandler):
    server_version = "tutor-pipeline"
    sys_version = ""
    timeout = 30  # seconds, so that a silent client does not hold a thread for ever

    def __init__(self, folder: Path, names: Set[str], *args: Any) -> None:
        self._folder = folder
        self._names = names
        super().__init__(*args)

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _refuse(self) -> None:
        self.send_error(HTTPStatus.METHOD_NOT_ALLOWED, explain="Reports are read, nothing else")

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse  # noqa: N815

    def end_headers(self) -> None:
        """Adds the headers that every answer carries, errors included."""
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Keeps requests out of the terminal of `up`."""

    def _answer(self) -> None:
        if not self._is_for_this_host():
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, explain="Ask by the server's own name")
            return
        try:
            name = unquote(urlsplit(self.path).path).removeprefix("/") or NEWEST
        except ValueError:
            name = "no path"
        page = read_report(self._folder, name)
        if page is None:
            hint = "No report was written yet: run tutor-pipeline enrich"
            self.send_error(
                HTTPStatus.NOT_FOUND, explain=hint if name == NEWEST else "There is no such report"
            )
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(page)

    def _is_for_this_host(self) -> bool:
        """Returns whether the Host header names this server, an IP address included.

        A foreign page could otherwise point its own name at this address and read the reports (DNS
        rebinding).
        """
        try:
            name = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
            return name in self._names or bool(ip_address(name))
        except ValueError:
            return False
