"""Our schemas: made, marked, migrated; somebody else's are refused."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from tutor_pipeline.core.errors import RefusedError, TutorPipelineError
from tutor_pipeline.core.warehouse import marked_schemas, migrate, reporting
from tutor_pipeline.core.warehouse.database import Schemas, Warehouse
from tutor_pipeline.core.warehouse.migrations.helpers import statements_of
from tutor_pipeline.core.warehouse.platform import ensure_platform, is_ours


def test_upgrade_twice_changes_nothing(databases):
    warehouse = Warehouse(databases.create(migrated=False))
    assert migrate.upgrade(warehouse) is True
    assert migrate.upgrade(warehouse) is False
    with warehouse.connect() as database:
        assert migrate.current(database) == migrate.head()
        for schema in warehouse.schemas.ours:
            assert marked_schemas.schema_mark(database.connection, schema) == marked_schemas.MARK


def test_two_upgrades_at_once(databases):
    warehouse = Warehouse(databases.create(migrated=False))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: migrate.upgrade(warehouse), range(4)))
    with warehouse.connect() as database:
        assert migrate.current(database) == migrate.head()


@pytest.mark.parametrize("taken", ["ops", "marts"])
def test_a_schema_of_somebody_else_is_refused_and_a_prefix_helps(databases, taken):
    warehouse = Warehouse(databases.create(migrated=False))
    with warehouse.connect() as database:
        database.execute(f"create schema {taken}")
        database.execute(f"create table {taken}.theirs (a int)")
    with pytest.raises(RefusedError, match=f'"{taken}".*\n.*TUTOR_SCHEMA_PREFIX'):
        migrate.upgrade(warehouse)
    with warehouse.connect() as database:
        left = database.execute(
            "select nspname from pg_namespace where nspname in ('ops', 'marts', 'staging')"
        ).fetchall()
    assert left == [(taken,)]
    assert migrate.upgrade(Warehouse(warehouse.url, Schemas(prefix="tutor_")))


def test_a_newer_database_is_refused(databases):
    warehouse = Warehouse(databases.create())
    with warehouse.connect() as database:
        database.execute("update ops.alembic_version set version_num = '9999'")
    with pytest.raises(RefusedError, match="9999"):
        migrate.upgrade(warehouse)


def test_a_live_platform_schema_is_never_written(databases):
    warehouse = Warehouse(databases.create(), Schemas(platform="public"))
    with warehouse.connect() as database:
        assert not is_ours(database)
        with pytest.raises(RefusedError, match="platform's own"):
            ensure_platform(database)


def test_our_platform_schema_is_made_once_by_two_at_once(databases):
    warehouse = Warehouse(databases.create())

    def make(_):
        with warehouse.connect() as database:
            ensure_platform(database)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(4)))
    with warehouse.connect() as database:
        assert is_ours(database)
        assert database.execute("select count(*) from platform.sessions").fetchone() == (0,)


def test_a_schema_that_went_is_made_again_with_its_mark(databases):
    warehouse = Warehouse(databases.create())
    with warehouse.connect() as database:
        database.execute("drop schema staging cascade")
    assert migrate.upgrade(warehouse)
    with warehouse.connect() as database:
        assert marked_schemas.schema_mark(database.connection, "staging") == marked_schemas.MARK
    assert not migrate.upgrade(warehouse)


def test_views_for_readers_that_went_are_made_again(databases):
    warehouse = Warehouse(databases.create())
    for gone in ("drop view reporting.alerts cascade", "drop schema reporting cascade"):
        with warehouse.connect() as database:
            database.execute(gone)
        assert migrate.upgrade(warehouse)
        with warehouse.connect() as database:
            assert database.value("select count(*) from reporting.alerts") == 0
        assert not migrate.upgrade(warehouse)


def test_a_schema_reporting_of_somebody_else_is_left_alone(databases):
    warehouse = Warehouse(databases.create(migrated=False))
    with warehouse.connect() as database:
        database.execute("create schema reporting")
        database.execute("create view reporting.alerts as select 7 as theirs")
    assert migrate.upgrade(warehouse)
    assert not migrate.upgrade(warehouse)
    with warehouse.connect() as database:
        # As the next migration does.
        reporting.take_back(database)
        reporting.show(database, migrate.head())
        assert database.rows("select * from reporting.alerts") == [{"theirs": 7}]
        found = "select relname from pg_class where relnamespace = 'reporting'::regnamespace"
        assert database.rows(found) == [{"relname": "alerts"}]
        assert "somebody else" in reporting.described(database)
    assert migrate.upgrade(Warehouse(warehouse.url, Schemas(reporting_name="theirs_not")))


def test_who_may_not_migrate_is_told_so(databases, move):
    warehouse = Warehouse(databases.create())
    move(warehouse, "0006")
    name = f"reader_{uuid4().hex[:8]}"
    with warehouse.connect() as database:
        database.execute(f"create role {name} login password 'none'")
        database.execute(f"grant usage on schema ops to {name}")
        database.execute(f"grant select on all tables in schema ops to {name}")
    url = warehouse.url.replace(warehouse.url.split("@")[0], f"postgresql://{name}:none")
    try:
        with pytest.raises(TutorPipelineError, match="this role may not change them") as caught:
            migrate.upgrade(Warehouse(url))
        assert "none@" not in str(caught.value)
    finally:
        with warehouse.connect() as database:
            database.execute(f"drop owned by {name}")
            database.execute(f"drop role {name}")


@pytest.mark.parametrize(
    ("script", "statements"),
    [
        ("select 1", ["select 1"]),
        ("select 1;\n  select 2;\n", ["select 1", "select 2"]),
        (";; -- nothing;\n /* here; */ ;", []),
        ("-- a; comment\nselect 1 /* ; */; -- the end", ["-- a; comment\nselect 1 /* ; */"]),
        ("select ';', 'it''s; '; select \"a;b\"", ["select ';', 'it''s; '", 'select "a;b"']),
        ("do $$ begin; end $$; do $x$ $$; $x$", ["do $$ begin; end $$", "do $x$ $$; $x$"]),
        ("select $1; select a$b$c; select 2", ["select $1", "select a$b$c", "select 2"]),
    ],
)
def test_a_script_is_sent_statement_by_statement(script, statements):
    assert list(statements_of(script)) == statements
