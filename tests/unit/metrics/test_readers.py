"""What others built on our tables: views, grants, indexes; and the schema made for them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.unit.metrics.conftest import AS_OF
from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse import migrate, reporting

MARTS = ("tutor_aggregates", "dim_tutors", "recent_sessions", "tutor_performance_snapshots")
WIDE = ["tutor_aggregates"]


@pytest.fixture(scope="module")
def built(bench: Any) -> Any:
    bench.add("tutors", user_id="t1", active_status=True)
    bench.add("users", id="t1", email="t1@example.com", role="tutor")
    bench.add("sessions", id="s1", tutor_id="t1", scheduled_start=AS_OF, status="completed")
    bench.refresh()
    return bench


@pytest.fixture(autouse=True)
def schema_of_theirs(built: Any) -> Iterator[None]:
    built.execute("create schema theirs")
    yield
    built.execute("drop schema theirs cascade")
    built.execute("drop index if exists marts.theirs, marts.by_score")
    built.execute("drop view if exists reporting.tutor_aggregates")
    built.execute("alter table marts.tutor_aggregates drop column if exists retired")
    built.execute("select ops.show_in_reporting('marts.tutor_aggregates', 'reporting')")


@pytest.fixture
def reader(built: Any) -> Iterator[str]:
    name = f"reader_{uuid4().hex[:8]}"
    built.execute(f"create role {name} login")
    yield name
    built.execute(f"drop owned by {name} cascade")
    built.execute(f"drop role {name}")


def columns_of(bench: Any, relation: str) -> list[str]:
    return [
        row["attname"]
        for row in bench.rows(
            "select attname from pg_attribute where attrelid = %s::regclass"
            " and attnum > 0 and not attisdropped order by attnum",
            relation,
        )
    ]


def test_every_mart_has_a_view_with_descriptions(built: Any) -> None:
    views = {
        row["relname"]: row["said"]
        for row in built.rows(
            "select relname, obj_description(oid, 'pg_class') as said from pg_class"
            " where relnamespace = 'reporting'::regnamespace"
        )
    }
    marts = {
        row["relname"]
        for row in built.rows(
            "select relname from pg_class"
            " where relnamespace = 'marts'::regnamespace and relkind = 'r'"
        )
    }
    assert marts >= set(MARTS)
    assert marts <= set(views)
    assert {"alerts", "tutor_insights", "achievements", "tutor_scores"} <= set(views)
    assert all(views[mart] for mart in marts)
    undescribed = built.rows(
        "select attname from pg_attribute where attrelid = 'reporting.tutor_aggregates'::regclass"
        " and attnum > 0 and col_description(attrelid, attnum) is null"
    )
    assert undescribed == []
    for mart in MARTS:
        assert columns_of(built, f"reporting.{mart}") == columns_of(built, f"marts.{mart}")


def test_a_migration_changes_findings_under_the_views_of_others(built: Any) -> None:
    with built.warehouse.connect() as database, database.transaction(force_rollback=True):
        database.execute("create view theirs.told as select icon from reporting.achievements")
        reporting.take_back(database)
        database.execute("alter table {ops}.achievements drop column icon")
        database.execute("alter table {ops}.achievements add column sort text default 'new'")
        reporting.show(database, migrate.head())
        assert database.rows("select * from theirs.told") == []
        shown = database.execute("select * from reporting.achievements").description
        assert [column.name for column in shown or ()][-1] == "sort"


@pytest.mark.parametrize("refreshes", [1, pytest.param(20, marks=pytest.mark.long)])
def test_what_readers_built_survives_refreshes(built: Any, reader: str, refreshes: int) -> None:
    for statement in (
        f"grant usage on schema reporting, marts to {reader}",
        f"grant select on reporting.tutor_aggregates to {reader}",
        f"grant select on marts.tutor_aggregates to {reader} with grant option",
        f"grant select (tutor_id, name) on marts.dim_tutors to {reader}",
        f"grant usage, create on schema theirs to {reader}",
        f"set role {reader}; create view theirs.few as"
        " select tutor_id, sessions_30d from reporting.tutor_aggregates",
        "create materialized view theirs.kept as select * from reporting.recent_sessions",
        "create view theirs.direct as select tutor_id from marts.dim_tutors",
        "create materialized view theirs.fixed as select session_id from marts.fct_sessions",
        "create index theirs on marts.tutor_performance_snapshots (tutor_id)",
        "create index by_score on marts.tutor_aggregates (overall_score)",
    ):
        built.execute(statement)
    other = f"t{uuid4().hex[:6]}"
    for number in range(refreshes):
        built.refresh(AS_OF + timedelta(minutes=number))
        built.refresh(AS_OF + timedelta(minutes=number), tutors=["t1"])
    built.add("tutors", user_id=other, active_status=True)
    built.refresh(AS_OF + timedelta(hours=1))
    with built.warehouse.connect() as database:
        database.execute(f"set role {reader}")
        for table in ("theirs.few", "reporting.tutor_aggregates", "marts.tutor_aggregates"):
            assert database.value(f"select count(*) from {table} where tutor_id = '{other}'") == 1
        assert database.value("select count(tutor_id) from marts.dim_tutors") > 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege), database.transaction():
            database.value("select email from marts.dim_tutors")
        with pytest.raises(psycopg.errors.InsufficientPrivilege), database.transaction():
            database.value("select count(*) from marts.fct_sessions")
        database.execute("reset role")
        database.execute("refresh materialized view theirs.kept")
        database.execute("refresh materialized view theirs.fixed")
        assert database.value(f"select 1 from theirs.direct where tutor_id = '{other}'") == 1
        for index in ("marts.theirs", "marts.by_score"):
            assert database.value("select to_regclass(%s) is not null", (index,))


def test_who_reads_meanwhile_goes_on_reading_and_delays_nothing(built: Any) -> None:
    other = f"t{uuid4().hex[:6]}"
    built.add("tutors", user_id=other, active_status=True)
    with built.warehouse.connect() as database, database.connection.cursor("theirs") as cursor:
        cursor.itersize = 1
        cursor.execute("select tutor_id from reporting.tutor_aggregates")
        before = cursor.fetchone()
        built.refresh(AS_OF + timedelta(hours=2))
        assert other not in {row[0] for row in [before, *cursor]}
    found = built.row(
        "select count(*) as n from reporting.tutor_aggregates where tutor_id = %s", other
    )
    assert found["n"] == 1


def test_columns_of_an_older_version_stay_in_the_view_and_new_ones_come_last(built: Any) -> None:
    now = columns_of(built, "marts.tutor_aggregates")
    for statement in (
        "drop view reporting.tutor_aggregates",
        "alter table marts.tutor_aggregates add column retired integer",
        "alter table marts.tutor_aggregates drop column late_rate_30d",
        "select ops.show_in_reporting('marts.tutor_aggregates', 'reporting')",
        "create view theirs.few as select tutor_id, retired from reporting.tutor_aggregates",
        "create view theirs.direct as select tutor_id from marts.tutor_aggregates",
        "create index theirs on marts.tutor_aggregates (overall_score)",
    ):
        built.execute(statement)
    built.refresh(AS_OF + timedelta(hours=3), select=WIDE)
    assert columns_of(built, "marts.tutor_aggregates") == now
    expected = [name for name in now if name != "late_rate_30d"]
    assert columns_of(built, "reporting.tutor_aggregates") == [
        *expected,
        "retired",
        "late_rate_30d",
    ]
    assert {row["retired"] for row in built.rows("select retired from theirs.few")} == {None}
    tables = built.rows(
        "select distinct refobjid::regclass::text as name from pg_depend"
        " inner join pg_rewrite on pg_rewrite.oid = objid"
        " where ev_class = 'theirs.direct'::regclass and refobjid <> ev_class"
        " and refclassid = 'pg_class'::regclass"
    )
    assert tables == [{"name": "marts.tutor_aggregates"}]
    assert built.rows("select 1 as n from pg_class where relname = 'theirs' and relkind = 'i'")


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (
            "create materialized view theirs.fixed as select tutor_id from marts.tutor_aggregates",
            "materialized view theirs.fixed depends on marts.tutor_aggregates",
        ),
        (
            "create view theirs.fixed as select retired from marts.tutor_aggregates",
            "view theirs.fixed stands in the way",
        ),
    ],
)
def test_what_cannot_be_made_again_stops_the_refresh_and_is_named(
    built: Any, statement: str, named: str
) -> None:
    built.execute("alter table marts.tutor_aggregates add column retired integer")
    built.execute(statement)
    with pytest.raises(TutorPipelineError) as refused:
        built.refresh(AS_OF + timedelta(hours=4), select=WIDE)
    first = str(refused.value).splitlines()[0]
    assert named in first
    assert "reporting.tutor_aggregates" in str(refused.value).replace('"', "")
    assert built.rows("select * from theirs.fixed") != []
    kind = "materialized view" if "materialized" in statement else "view"
    built.execute(f"drop {kind} theirs.fixed")
    built.refresh(AS_OF + timedelta(hours=4), select=WIDE)
    assert "retired" not in columns_of(built, "marts.tutor_aggregates")


def test_a_schema_of_that_name_of_somebody_else_is_left_alone(built: Any) -> None:
    built.execute("comment on schema reporting is 'of the finance team'")
    built.execute("alter table marts.tutor_aggregates add column retired integer")
    built.execute("drop view reporting.dim_tutors")
    built.refresh(AS_OF + timedelta(hours=5), select=["dim_tutors", *WIDE])
    assert not built.rows(
        "select 1 as n from pg_class where relname = 'dim_tutors'"
        " and relnamespace = 'reporting'::regnamespace"
    )
    built.execute("comment on schema reporting is 'Made by tutor-pipeline'")
    built.refresh(AS_OF + timedelta(hours=5), select=["dim_tutors", *WIDE])
    assert columns_of(built, "reporting.dim_tutors") == columns_of(built, "marts.dim_tutors")
