"""Each error of a database that people meet has a sentence that says what to do."""

from __future__ import annotations

import psycopg
import pytest

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse import remedies
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.locate import _for_sqlalchemy


@pytest.mark.parametrize(
    ("change", "cause", "remedy"),
    [
        ("nobody:none@", "password authentication failed", "Set a user and a password"),
        ("/nowhere", 'database "nowhere" does not exist', "Have the database created"),
        ("@nowhere.invalid:5432", "nowhere.invalid", "Correct the host"),
        ("?sslmode=require", "does not support SSL", "Take sslmode out"),
        ("@127.0.0.1:1", "Connection refused", "Is the server up"),
    ],
)
def test_a_connection_that_fails_says_why_and_what_to_do(
    server_url: str, change: str, cause: str, remedy: str
) -> None:
    user, rest = server_url.removeprefix("postgresql://").split("@")
    host, database = rest.split("/")
    if change.startswith("/"):
        url = f"postgresql://{user}@{host}{change}"
    elif change.startswith("?"):
        url = f"{server_url}{change}"
    elif change.startswith("@"):
        url = f"postgresql://{user}{change}/{database}"
    else:
        url = f"postgresql://{change}{rest}"
    with pytest.raises(TutorPipelineError) as failed:
        Warehouse(url, named_by="TUTOR_OTHER_URL").connect()
    first, last = str(failed.value).splitlines()
    assert first.startswith("cannot connect to postgresql://")
    assert cause in first
    assert "connection to server" not in first
    assert last.startswith(remedy)
    assert "TUTOR_DATABASE_URL" not in last


@pytest.mark.parametrize(
    ("statement", "remedy"),
    [
        ("set transaction read only; create table public.x ()", "The pipeline writes: name the"),
        ("set local statement_timeout = 1; select pg_sleep(1)", "Have the limit lifted for"),
        ("set role pg_monitor; create temporary table x ()", "Have `deploy/roles.sql` run"),
        ("set role pg_monitor; create schema x", "Have `deploy/roles.sql` run"),
        ("set role pg_monitor; select * from ops.alerts", "Have the right granted"),
        ("select * from ops.gone", "Its tables may have changed"),
    ],
)
def test_a_statement_that_fails_says_what_to_do(
    warehouse: Warehouse, statement: str, remedy: str
) -> None:
    with warehouse.connect() as database, pytest.raises(psycopg.Error) as failed:
        database.execute(f"revoke temporary on database {database.info.dbname} from public")
        database.execute(statement)
    assert (remedies.of_statement(str(failed.value)) or "").startswith(remedy)


def test_an_error_of_unknown_cause_gets_no_advice() -> None:
    assert remedies.of_statement("division by zero") is None


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:p%40s%25s@127.0.0.1:5999,127.0.0.1:5432/school_dagster",
        "postgresql://ada@127.0.0.1/my%20school%20100%25_dagster?sslmode=disable",
        "postgresql://[::1]:5432/school_dagster",
    ],
)
def test_dagster_connects_where_libpq_does(url: str) -> None:
    from sqlalchemy import make_url
    from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

    _, given = PGDialect_psycopg2().create_connect_args(make_url(_for_sqlalchemy(url)))
    renamed = {"username": "user", "database": "dbname"}
    found = {renamed.get(name, name): str(value) for name, value in given.items()}
    assert found == psycopg.conninfo.conninfo_to_dict(url)
