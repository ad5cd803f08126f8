"""Ends waits on a server that no longer answers.

A connection whose other end is frozen (a stopped proxy, a hung host behind a load balancer) fails
never: the kernel over there still acknowledges, so keepalives find nothing. A statement that takes
long looks the same from here. So a thread asks the server over a second connection on the same
path. A server that answers, if only with a refusal, is alive, and nothing is touched. One that
does not answer loses this process's connections: each wait ends with an error that its caller
knows how to handle.

Lost hosts are found by TCP: see `database.KEEPALIVE`.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import psycopg

from tutor_pipeline.core.formatting import agree, count

EVERY_SECONDS = 15.0
"""Between two questions."""
PATIENCE_SECONDS = 20.0
"""How long an answer may take."""
STRIKES = 2
"""Unanswered questions in a row after which the server counts as gone: within 90 seconds."""

_watched: set[tuple[int, frozenset[tuple[str, int]]]] = set()
"""Process and servers: a thread does not survive a fork."""
_guard = threading.Lock()


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between questions and for an answer, and how many may be left unanswered."""

    every: float = EVERY_SECONDS
    patience: float = PATIENCE_SECONDS
    strikes: int = STRIKES


def watch(
    url: str, tell: Callable[[str], None] = lambda _: None, pace: Pace | None = None
) -> threading.Event:
    """Watches the server of a URL for this process, once however often it is asked to.

    A wait that is ended raises what its library raises for a lost connection. A server over a
    socket of this machine needs no watching. Setting the returned event ends the watch.
    """
    stop = threading.Event()
    servers = (os.getpid(), frozenset(_addresses(url)))
    with _guard:
        if not servers[1] or servers in _watched:
            return stop
        _watched.add(servers)

    def work() -> None:
        try:
            _watch(url, stop, tell, pace or Pace())
        finally:
            with _guard:
                _watched.discard(servers)

    threading.Thread(target=work, name="watchdog", daemon=True).start()
    return stop


def _watch(url: str, stop: threading.Event, tell: Callable[[str], None], pace: Pace) -> None:
    unanswered = 0
    while not stop.wait(pace.every):
        if answers(url, pace.patience):
            unanswered = 0
            continue
        unanswered += 1
        if unanswered >= pace.strikes:
            ended = _shut(url)
            if ended:
                tell(
                    f"the database has not answered for {pace.patience * unanswered:.0f} s:"
                    f" {count(ended, 'connection')} to it {agree(ended, 'is', 'are')} given up"
                )
            unanswered = 0


def answers(url: str, seconds: float) -> bool:
    """Returns whether the server of a URL answers within some seconds: it does if it refuses."""
    answered = threading.Event()

    def ask() -> None:
        try:
            # Without a statement: a pooler whose connections all work answers none, and is alive.
            psycopg.connect(url, connect_timeout=int(seconds) + 1).close()
        except psycopg.errors.ConnectionTimeout:
            return
        except psycopg.Error:
            # A refusal, or an address where nobody listens: waits there end by themselves.
            pass
        answered.set()

    # Another thread: what hangs while it connects may outlive the limit.
    threading.Thread(target=ask, name="watchdog asks", daemon=True).start()
    return answered.wait(seconds)


def _shut(url: str) -> int:
    """Shuts down this process's connections to the server of a URL. Returns how many."""
    peers = _addresses(url)
    ended = 0
    for each in psutil.Process().net_connections(kind="tcp"):
        if not each.raddr or (each.raddr.ip, each.raddr.port) not in peers or each.fd < 0:
            continue
        try:
            with socket.socket(fileno=os.dup(each.fd)) as ours:
                ours.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue  # it was closed meanwhile
        ended += 1
    return ended


def _addresses(url: str) -> set[tuple[str, int]]:
    """The addresses and ports of the hosts in a URL, as the kernel shows them."""
    parts = psycopg.conninfo.conninfo_to_dict(url)
    hosts = str(parts.get("hostaddr") or parts.get("host") or "").split(",")
    ports = str(parts.get("port") or 5432).split(",")
    found: set[tuple[str, int]] = set()
    for number, host in enumerate(hosts):
        if not host or host.startswith(("/", "@")):
            continue
        port = int(ports[number] if number < len(ports) else ports[-1])
        try:
            known = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            continue
        found |= {(str(address[0]), port) for *_, address in known}
    return found
