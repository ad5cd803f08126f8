"""A role with the limits that administrators give: for statements, locks, idle transactions."""

from __future__ import annotations

import psycopg
import pytest

from tests.integration.conftest import Project
from tests.postgres import USER, PostgresServer

LIMITS = {
    "statement_timeout": "8s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "10s",
}


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_full_refresh_of_3000_tutors_works(starts_something, tmp_path, zygote):
    with PostgresServer() as server:
        server.create("limited")
        with psycopg.connect(server.url()) as connection:
            for name, value in LIMITS.items():
                connection.execute(f"alter role {USER} set {name} = '{value}'")
        project = Project(tmp_path, server.url("limited"), zygote)
        project.run("generate", "--tutors", "3000", "--days", "30", "--sessions-per-day", "1500")
        project.run("enrich")
        assert project.query("select count(*) > 2000 from marts.tutor_aggregates") == [(True,)]
        assert project.json("enrich", "--only", "alerts")["success"]
