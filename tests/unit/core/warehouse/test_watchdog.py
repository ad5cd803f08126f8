"""A server that no longer answers: a real proxy, stopped with a signal."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
import psycopg2
import pytest

from tests.postgres import Proxy
from tutor_pipeline.core.warehouse.watchdog import Pace, answers, watch

QUICK = Pace(every=0.5, patience=1, strikes=2)


@contextmanager
def watched(url: str, tell: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    stop = watch(url, tell, QUICK)
    try:
        yield
    finally:
        stop.set()


@pytest.fixture
def proxy(server_url: str) -> Iterator[Proxy]:
    proxy = Proxy(server_url)
    yield proxy
    proxy.stop()


@pytest.mark.parametrize("library", [psycopg, psycopg2])
def test_a_wait_on_a_server_that_no_longer_answers_ends(proxy: Proxy, library: object) -> None:
    told: queue.Queue[str] = queue.Queue()
    connection = library.connect(proxy.url)  # type: ignore[attr-defined]
    with (
        watched(proxy.url, told.put),
        proxy.frozen(),
        pytest.raises(library.OperationalError),  # type: ignore[attr-defined]
        connection.cursor() as cursor,
    ):
        cursor.execute("select 1")
    assert "has not answered" in told.get(timeout=60)
    assert answers(proxy.url, 30), "it works again after the thaw"


def test_a_long_statement_on_a_live_server_goes_on(proxy: Proxy) -> None:
    told: list[str] = []
    with watched(proxy.url, told.append), psycopg.connect(proxy.url) as connection:
        row = connection.execute("select 1 from pg_sleep(5)").fetchone()
    assert row == (1,)
    assert told == []


def test_a_refusal_is_an_answer_and_silence_is_none(proxy: Proxy) -> None:
    user = urlsplit(proxy.url)
    refused = user._replace(netloc=f"nobody:x@127.0.0.1:{user.port}").geturl()
    assert answers(refused, 30)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"postgresql://x@127.0.0.1:{free.getsockname()[1]}/x"
    assert answers(nobody, 30)
    with proxy.frozen():
        assert not answers(proxy.url, 1)


def test_connections_to_other_servers_stay(proxy: Proxy, server_url: str) -> None:
    told: list[str] = []
    with psycopg.connect(server_url) as other, watched(proxy.url, told.append):
        hanging = psycopg.connect(proxy.url)
        with proxy.frozen(), pytest.raises(psycopg.OperationalError):
            hanging.execute("select 1")
        assert other.execute("select 1").fetchone() == (1,)


def test_a_server_is_watched_once(proxy: Proxy) -> None:
    def threads() -> int:
        return [each.name for each in threading.enumerate()].count("watchdog")

    others = threads()
    with watched(proxy.url), watched(proxy.url + "?application_name=other"):
        assert threads() == others + 1
    deadline = time.monotonic() + 300
    while threads() > others:
        assert time.monotonic() < deadline
        time.sleep(0.05)
