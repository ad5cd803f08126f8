"""Where a server may be, and what its database and password may be called, tried for real."""

from __future__ import annotations

import socket

import psycopg
import pytest

from tests.integration.conftest import Project
from tests.postgres import PostgresServer

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

NAME = "my school: 100%"


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def server(starts_something):
    addresses = "127.0.0.1, ::1" if has_ipv6() else "127.0.0.1"
    with PostgresServer(listen_addresses=addresses) as server:
        yield server


@pytest.mark.parametrize("by", ["IPv6", "socket"])
def test_everybody_gets_there(server, by, tmp_path, zygote):
    """Our own connections, dbt, and Dagster with a database that is made beside ours."""
    if by == "IPv6" and not has_ipv6():
        pytest.skip("this machine has no ::1")
    name = f"{NAME} by {by}"
    server.create(name)
    url = server.url(name, host="[::1]") if by == "IPv6" else server.socket_url(name)
    project = Project(tmp_path, url, zygote)
    project.run("generate", "--tutors", "8", "--days", "10")
    project.run("enrich")
    assert project.json("status")["last_run"]["status"] == "SUCCESS"
    with psycopg.connect(server.url(f"{name}_dagster")) as connection:
        assert connection.execute("select count(*) from runs").fetchone()[0] > 0
    client = "inet_client_addr() is null" if by == "socket" else "family(inet_client_addr()) = 6"
    assert project.query(f"select {client}") == [(True,)]
