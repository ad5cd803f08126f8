"""The rules of a cluster, on planted cases and on every string of SQL in the package."""

import re
from pathlib import Path

import pytest
import yaml
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tests.architecture import cluster_rules as rules
from tests.architecture.test_physical_rules import DISTRIBUTED, VIEWS
from tutor_pipeline.core.warehouse import migrate
from tutor_pipeline.core.warehouse.database import Warehouse

PACKAGE = Path(__file__).parents[2] / "tutor_pipeline"
MIGRATIONS = PACKAGE / "core" / "warehouse" / "migrations" / "versions"


def strings():
    """(where, text) of all SQL of the package. Migrations are looked at as they are sent."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.parent != MIGRATIONS:
            where = path.relative_to(PACKAGE)
            found += [(f"{where}:{line}", text) for line, text in rules.python_sql(path)]
    for path in sorted(PACKAGE.rglob("*.sql")):
        found.append((str(path.relative_to(PACKAGE)), path.read_text(encoding="utf-8")))
    for path in sorted((PACKAGE / "judgement" / "quality" / "suites").glob("*.yml")):
        for check in yaml.safe_load(path.read_text(encoding="utf-8"))["checks"]:
            if query := check.get("kwargs", {}).get("query"):
                found.append((f"{path.name}: {check['name']}", query))
    return [(where, rules.plain(text)) for where, text in found]


@pytest.fixture(scope="module")
def sent(databases, move):
    """What migrations send on the way up, down, and up again, string by string."""
    found = []

    def note(_connection, _cursor, statement, *_):
        found.append(rules.without_comments(statement))

    warehouse = Warehouse(databases.create(migrated=False))
    event.listen(Engine, "before_cursor_execute", note)
    try:
        for revision in ("0001", migrate.head(), "0001", migrate.head()):
            move(warehouse, revision)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    return found


# -- the package -----------------------------------------------------------------------------------


def test_the_strings_of_the_package_are_found():
    names = {re.split("[:.]", where)[0] for where, _ in strings()}
    modules = {
        "sources/changes/ledger",
        "judgement/lifecycle/store",
        "people/reports/alert_queries",
        "core/warehouse/retention",
    }
    files = {"core/warehouse/sql/platform", "judgement/quality/sql/newest_results"}
    assert modules | files | {"incoming_sessions"} <= names
    assert len(strings()) > 300


@pytest.mark.parametrize(
    "rule",
    [
        lambda text: rules.mixed_with_ddl(text, DISTRIBUTED),
        rules.empty_select_lists,
        rules.parameters_in_conflict_conditions,
        lambda text: rules.correlated_over_made_rows(text, DISTRIBUTED, VIEWS),
    ],
    ids=["ddl", "select lists", "on conflict", "correlated"],
)
def test_every_string_of_the_package_keeps(rule):
    assert {where: found for where, text in strings() if (found := rule(text))} == {}


def test_what_migrations_send_keeps_the_rules(sent):
    assert any("create table" in text for text in sent)
    assert any("drop table" in text for text in sent)
    for text in sent:
        assert rules.mixed_with_ddl(text, DISTRIBUTED) == []
        assert rules.empty_select_lists(text) == []
        assert rules.constraints_not_alone(text, DISTRIBUTED) == []


# -- the rules -------------------------------------------------------------------------------------


def test_statements_and_ddl_of_a_distributed_table_in_one_string():
    tables = {"ops.alerts"}
    for broken in (
        "alter table {ops}.alerts add column a int; select 1",
        "create table {ops}.small (a int); create index i on {ops}.alerts (alert_id);",
        'update {ops}.small set a = 1; comment on column "db"."ops"."alerts".a is \'x\'',
        'begin; drop table "db"."ops"."alerts"',
        "create index i on ops.alerts (a); create table ops.alerts_2 (a int)",
    ):
        assert rules.mixed_with_ddl(rules.plain(broken), tables), broken
    for sound in (
        "alter table {ops}.alerts add column a int;",
        "alter table {ops}.alerts add column a text default 'a; b'; -- select 1; select 2",
        "delete from {ops}.alerts; delete from {ops}.small",
        "alter table {ops}.small add column a int; select * from {ops}.alerts",
        "drop table if exists few; create temporary table few as select * from {ops}.alerts",
        'create table "db"."ops"."alerts" (a int); comment on column "db"."ops"."alerts".a is null',
    ):
        assert not rules.mixed_with_ddl(rules.plain(sound), tables), sound


def test_empty_select_lists():
    for broken in (
        "select exists (select from t)",
        "select\n  from t",
        "(select limit 1)",
        "(select)",
    ):
        assert rules.empty_select_lists(rules.plain(broken)), broken
    for sound in (
        "select 1 from t",
        "select '(select from t)'",
        "select from_day from t",
        "select ",
    ):
        assert not rules.empty_select_lists(rules.plain(sound)), sound


def test_parameters_in_the_condition_of_a_conflict():
    insert = "insert into t as k (a, b) values (%(a)s, %s) on conflict (a)"
    for broken in (
        f"{insert} do update set b = 1 where k.b < %(now)s",
        f"{insert} where b > %s do nothing",
        f"select 1; {insert} do update set b = excluded.b where k.b is null and k.a = %s",
    ):
        assert rules.parameters_in_conflict_conditions(rules.plain(broken)), broken
    for sound in (
        f"{insert} do update set b = %(b)s where k.b is null",
        f"{insert} do update set b = excluded.b where k.b < excluded.b returning %s",
        f"{insert} do nothing; update t set b = 1 where a = %s",
        f"{insert} do update set b = 1 where k.c = '%%s'",
    ):
        assert not rules.parameters_in_conflict_conditions(rules.plain(sound)), sound


@pytest.mark.parametrize(
    "broken",
    [
        # Over a view, a CTE, generated rows, what a LIMIT left, a view within a sub-query.
        "select (select max(a.x) from ops.alerts as a where a.id = v.id) from ops.seen as v",
        "with c as (select * from ops.alerts) select * from c"
        " cross join lateral (select * from ops.alerts as a where a.id = c.id limit 1) as one",
        "select d from generate_series(1, 9) as g (d)"
        " where exists (select 1 from ops.alerts as a where a.day = g.d)",
        "select * from (select * from ops.alerts limit 3) as few"
        " where exists (select 1 from ops.alerts as a where a.id = few.id)",
        "select * from (select * from ops.seen as v) as few"
        " where few.x = any(select a.x from ops.alerts as a where a.id = few.id)",
        "update ops.alerts as a set x = f.x from unnest(%s::text[]) as f (x)"
        " where exists (select 1 from ops.alerts as b where b.x = f.x)",
        # The rows that are looked up are the made ones.
        "select * from ops.alerts as a"
        " where exists (select 1 from ops.seen as v where v.id = a.id)",
        "with c as (select * from ops.alerts) select * from ops.alerts as a"
        " where a.x > (select max(c.x) from c where c.id = a.id)",
        "select * from unnest(%s) as u (id)"
        " where exists (select 1 from {table} as t where t.id = u.id)",
    ],
)
def test_correlated_over_made_rows(broken):
    assert rules.correlated_over_made_rows(rules.plain(broken), {"ops.alerts"}, {"ops.seen"})


@pytest.mark.parametrize(
    "sound",
    [
        # Of tables as they are, joined, not correlated, of small tables alone.
        "select (select max(a.x) from ops.alerts as a where a.id = b.id) from ops.alerts as b",
        "select * from ops.alerts as b"
        " cross join lateral (select * from ops.alerts as a where a.id = b.id limit 1) as one",
        "with c as (select * from ops.alerts) select * from c join ops.alerts as a on a.id = c.id",
        "select d from generate_series(1, 9) as g (d)"
        " where g.d in (select a.day from ops.alerts as a)",
        "select * from unnest(%s) as u (id)"
        " where exists (select 1 from ops.small as s where s.id = u.id)",
        "with c as (select * from ops.small) select * from c"
        " where exists (select 1 from ops.small as s where s.id = c.id)",
        "select * from ops.alerts as a cross join lateral unnest(a.ids) as u (id)",
        "select * from ops.alerts as a"
        " where exists (select 1 from unnest(%s) as u (x) where u.x = a.x)",
        "select * from (select id from ops.alerts) as a"
        " where exists (select 1 from ops.alerts as b where b.id = a.id)",
        "select '(select max(a.x) from ops.alerts as a where a.id = v.id)' from ops.seen as v",
    ],
)
def test_not_correlated_over_made_rows(sound):
    assert not rules.correlated_over_made_rows(rules.plain(sound), {"ops.alerts"}, {"ops.seen"})


def test_constraints_are_added_alone_and_by_name():
    alter, tables = "alter table ops.alerts", {"ops.alerts"}
    for broken in (
        f"{alter} add column a int check (a > 0)",
        f"{alter} drop constraint c, add constraint c check (a in (1, 2))",
    ):
        assert rules.constraints_not_alone(broken, tables), broken
    for sound in (
        f"{alter} add column a int, add column b int default coalesce(1, 2)",
        f"{alter} add constraint c check (a in (1, 2))",
        "alter table ops.small add column a int check (a > 0), add check (a < 9)",
    ):
        assert not rules.constraints_not_alone(sound, tables), sound


def test_strings_are_found_in_whatever_form(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        '''"""select of words"""
_PART = "a > %s"
_WHOLE = f"select 1 from t where {_PART} and {{x}}"
def f(name):
    """Update nothing."""
    g("select 1"
      " from u", f"delete from {name}", "select 2 from " + name + " limit 1", "words",
      "or (select 1)")
'''
    )
    assert sorted(text for _, text in rules.python_sql(path)) == [
        "delete from {value}",
        "or (select 1)",
        "select 1 from t where a > %s and {x}",
        "select 1 from u",
        "select 2 from {value} limit 1",
    ]
