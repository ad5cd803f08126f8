"""The rules that let the same SQL run on one server and on a cluster, checked on the catalog of a
built database and on the SQL that dbt compiled (docs/scaling.md says what they are for)."""

import re
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from tests.architecture import cluster_rules as rules
from tutor_pipeline.core.warehouse import erasure
from tutor_pipeline.core.warehouse.personal_data import Role
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun, write_header
from tutor_pipeline.metrics import dbt
from tutor_pipeline.sources.synthetic.generator import generate
from tutor_pipeline.sources.synthetic.load import load
from tutor_pipeline.sources.synthetic.parameters import Parameters

PROJECT = Path(__file__).parents[2]
AS_OF = datetime(2026, 3, 2, tzinfo=UTC)

BIG = {
    "marts.fct_sessions",
    "marts.fct_session_students",
    "marts.tutor_aggregates",
    "marts.tutor_aggregates_history",
    "marts.tutor_performance_snapshots",
    "intermediate.int_tutor_days",
    "intermediate.int_tutor_logins",
    "ops.alerts",
    "ops.alert_events",
    "ops.notes",
    "ops.session_excuses",
    "ops.tutor_insights",
    "ops.achievements",
    "ops.current_tutor_risk",
    "ops.tutor_student_churn",
    "ops.session_ledger",
    "ops.tutor_scores",
    "ops.tutor_health",
    "marts.tutor_features",
    "marts.tutor_features_history",
    "marts.tutor_evidence",
    "marts.tutor_evidence_history",
    "marts.tutor_departures",
}
# Small, or on the coordinator: queues, headers, what arrives, what has another key.
LOCAL = {
    "intermediate.int_import_days",
    "marts.dim_students",
    "marts.platform_metrics",
    "marts.recent_sessions",
    "marts.tutor_scoreboard",
    "staging.session_rows",
    "ops.refresh_runs",
    "ops.refresh_scope",
    "ops.session_changes",
    "ops.refresh_passes",
    "ops.history_repairs",
    "ops.incidents",
    "ops.outbox",
    "ops.messages",
    "ops.deliveries",
    "ops.quarantine",
    "ops.platform_loads",
    "ops.event_inbox",
    "ops.event_versions",
    "ops.event_secrets",
    "ops.event_rejections",
    "ops.event_erasures",
    "ops.event_erasure_key",
    "ops.source_states",
    "ops.reconcile_runs",
    "ops.session_days",
    "ops.pipeline_zone",
    "ops.churn_algorithm_weights",
    "ops.student_scores",
    "ops.student_health",
    "ops.score_references",
    "ops.rule_references",
    "ops.model_versions",
    "ops.feature_log",
    "ops.feature_log_days",
    "ops.accepted_columns",
    "ops.churn_weight_history",
    "ops.churn_weight_levels",
    "ops.backtest_runs",
    "ops.backtest_metrics",
    "marts.student_aggregates",
    "marts.student_aggregates_history",
    "marts.student_evidence",
    "marts.student_evidence_history",
    "ops.dq_results",
    "ops.dq_overrides",
    "ops.validation_reports",
    "ops.rule_coverage",
    "ops.erasures",
    "ops.accounts",
    "ops.sign_ins",
    "ops.sign_in_links",
    "ops.sign_in_failures",
    "ops.downloads",
    "ops.alembic_version",
}
BY_TUTOR = {"marts.dim_tutors", "ops.rule_overrides", "ops.set_aside_tutors"}
# By student.
BY_STUDENT = {
    "marts.student_aggregates",
    "marts.student_aggregates_history",
    "marts.student_evidence",
    "marts.student_evidence_history",
    "ops.student_scores",
    "ops.student_health",
}
# Whose rows lie on every node.
DISTRIBUTED = BIG | BY_STUDENT | {"marts.dim_tutors", "ops.rule_overrides"}
VIEWS = {
    f"ops.{name}"
    for name in (
        "alert_activity",
        "alert_history",
        "critical_alert_summary",
        "tutors_needing_attention",
    )
}


@pytest.fixture(scope="module")
def sent():
    """What dbt sends, string by string, models and all that goes with them."""
    from dbt.adapters.sql import SQLConnectionManager

    strings = []
    send = SQLConnectionManager.add_query

    def add_query(self, sql, *args, **kwargs):
        strings.append(rules.without_comments(sql))
        return send(self, sql, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SQLConnectionManager, "add_query", add_query)
        yield strings


@pytest.fixture(scope="module")
def built(platform_warehouse, sent):
    warehouse = platform_warehouse
    day = AS_OF.date() - timedelta(days=1)
    with warehouse.connect() as database:
        load(database, generate(Parameters.preset("dev", day)))
    home = Path(tempfile.mkdtemp())
    run = RefreshRun("physical", AS_OF, snapshot_from=day, snapshot_until=day)
    write_header(warehouse, run)
    dbt.invoke(["run"], dbt.dbt_environment(warehouse, run.run_id, home))
    # And of a few, into tables that stand, with a repair of history.
    with warehouse.connect() as connection:
        few = connection.execute("select array_agg(tutor_id) from marts.dim_tutors").fetchone()[0]
        connection.execute(
            "insert into ops.history_repairs (tutor_id, changed_on, noted_at)"
            " values (%s, %s, now())",
            (few[0], day),
        )
    run = RefreshRun("physical again", AS_OF, tuple(few[:2]), day, day)
    write_header(warehouse, run)
    dbt.invoke(["run"], dbt.dbt_environment(warehouse, run.run_id, home))
    compiled = {
        path.stem: path.read_text()
        for path in (dbt.target_dir(home) / "compiled").rglob("models/**/*.sql")
    }
    return warehouse, compiled


def query(built, sql):
    with built[0].connect() as database:
        return database.execute(sql).fetchall()


def test_every_table_of_ours_is_either_big_or_local(built):
    tables = {
        f"{schema}.{table}"
        for schema, table in query(
            built,
            "select schemaname, tablename from pg_tables"
            " where schemaname in ('staging', 'intermediate', 'marts', 'ops')",
        )
    }
    assert tables == BIG | LOCAL | BY_TUTOR


def test_of_every_table_it_is_said_how_a_person_is_erased_from_it(built):
    rules = {rule.table: rule for rule in erasure.RULES}
    assert not rules.keys() & erasure.NOTHING_PERSONAL.keys()
    assert rules.keys() | erasure.NOTHING_PERSONAL.keys() == BIG | LOCAL | BY_TUTOR
    columns = query(
        built,
        """
        select c.relnamespace::regnamespace::text || '.' || c.relname, a.attname
        from pg_class as c
        join pg_attribute as a on a.attrelid = c.oid
        where c.relkind = 'r' and a.attname ~ '(tutor|student)_ids?$'
            and c.relnamespace::regnamespace::text in ('staging', 'intermediate', 'marts', 'ops')
        """,
    )
    for table, column in columns:
        role = Role.TUTOR if "tutor" in column else Role.STUDENT
        # Messages are found by their texts, too.
        assert rules[table].of(role) or table == "ops.messages", (table, column)


@pytest.mark.parametrize("role", list(Role))
def test_a_person_is_erased_from_every_table(built, role):
    """History and features are there, too: tables that `enrich` alone does not make."""
    warehouse, _ = built
    named = {rule.table for rule in erasure.RULES if rule.of(role)}
    # Here nobody takes part in a lesson of several.
    of_a_few = {"marts.recent_sessions", "marts.tutor_scoreboard", "marts.fct_session_students"}
    chosen = f"select {role}_id from marts.fct_sessions where {role}_id is not null"
    ((id_,),) = query(built, f"{chosen} group by 1 order by count(*) desc, 1 limit 1")
    with warehouse.connect() as database, database.transaction(force_rollback=True):
        # These days are too few for a past week, and for anybody to have left.
        for table in ("student_aggregates", "student_evidence"):
            database.execute(
                f"insert into marts.{table}_history select * from marts.{table} as now"
                f" where not exists (select from marts.{table}_history)"
            )
        if role is Role.TUTOR:
            departed = "insert into marts.tutor_departures values (%s, current_date)"
            database.execute(departed, (id_,))
        person = erasure.known(database, role, id_)
        erased = erasure.erase(database, person)
        assert {each for each in named - of_a_few if not each.startswith("ops.")} <= erased.keys()
        assert erasure.left(database, person, warehouse.schemas.ours) == []


def test_tutor_id_is_text_not_null_and_first_in_every_unique_index(built):
    columns = query(
        built,
        """
        select n.nspname || '.' || c.relname, format_type(a.atttypid, null), a.attnotnull
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        join pg_attribute as a on a.attrelid = c.oid and a.attname = 'tutor_id'
        where c.relkind = 'r' and n.nspname in ('intermediate', 'marts', 'ops')
        """,
    )
    found = {name: (kind, required) for name, kind, required in columns}
    for name in BIG | BY_TUTOR:
        assert found[name] == ("text", True), name
    for name, kind in ((name, kind) for name, (kind, _) in found.items()):
        assert kind == "text", name
    leading = query(
        built,
        """
        select n.nspname || '.' || c.relname, a.attname
        from pg_index as i
        join pg_class as c on c.oid = i.indrelid
        join pg_namespace as n on n.oid = c.relnamespace
        join pg_attribute as a on a.attrelid = c.oid and a.attnum = i.indkey[0]
        where i.indisunique and n.nspname in ('intermediate', 'marts', 'ops')
        """,
    )
    uniques = {}
    for name, column in leading:
        uniques.setdefault(name, set()).add(column)
    for name in BIG:
        assert uniques.get(name) == {"tutor_id"}, name


def test_no_view_of_ours_stands_on_a_table_that_others_replace(built):
    """dbt swaps its tables and the platform alters its own: a view on either would hinder them."""
    dependencies = query(
        built,
        """
        select distinct vn.nspname || '.' || v.relname, tn.nspname
        from pg_rewrite as r
        join pg_class as v on v.oid = r.ev_class
        join pg_namespace as vn on vn.oid = v.relnamespace
        join pg_depend as d on d.objid = r.oid and d.classid = 'pg_rewrite'::regclass
        join pg_class as t on t.oid = d.refobjid and d.refclassid = 'pg_class'::regclass
        join pg_namespace as tn on tn.oid = t.relnamespace
        where vn.nspname in ('staging', 'intermediate', 'marts', 'ops') and t.oid <> v.oid
        """,
    )
    assert dependencies, "the views of ops should be seen here"
    assert {schema for _, schema in dependencies} == {"ops"}


def test_no_trigger_on_a_distributed_table_no_real_no_foreign_key(built):
    ours = "('staging', 'intermediate', 'marts', 'ops')"
    triggers = query(
        built,
        "select distinct c.relnamespace::regnamespace::text || '.' || c.relname from pg_trigger"
        " join pg_class as c on c.oid = tgrelid"
        f" where c.relnamespace::regnamespace::text in {ours} and not tgisinternal",
    )
    assert {name for (name,) in triggers} <= LOCAL
    assert (
        query(
            built,
            "select attrelid::regclass, attname from pg_attribute"
            " join pg_class as c on c.oid = attrelid"
            f" where c.relnamespace::regnamespace::text in {ours}"
            " and atttypid in ('real'::regtype, 'real[]'::regtype) and attnum > 0",
        )
        == []
    )
    assert (
        query(
            built,
            "select conrelid::regclass from pg_constraint join pg_class as c on c.oid = conrelid"
            f" where contype = 'f' and c.relnamespace::regnamespace::text in {ours}",
        )
        == []
    )


def test_compiled_sql_uses_nothing_that_a_cluster_refuses(built):
    _, compiled = built
    assert {"tutor_aggregates", "fct_sessions", "int_tutor_days"} <= compiled.keys()
    banned = re.compile(
        r"\bmerge\s+into\b|\brollup\b|\bwith\s+recursive\b|\bctid\b|::real\b|::float4\b"
        r"|\breltuples\b|\bnot\s+exists\b|\bnow\s*\(\s*\)|\bcurrent_timestamp\b",
        re.IGNORECASE,
    )
    for name, sql in compiled.items():
        assert not (hit := banned.search(sql)), (name, hit)


def test_what_dbt_compiles_and_sends_keeps_the_rules_of_a_cluster(built, sent):
    _, compiled = built
    texts = [*compiled.values(), *sent]
    assert any("delete from" in text and "fct_sessions" in text for text in sent)
    assert any("history_rows_due" in text for text in sent)
    assert [each for text in texts if (each := rules.empty_select_lists(text))] == []
    assert [each for text in sent if (each := rules.mixed_with_ddl(text, DISTRIBUTED))] == []
    assert [
        each
        for text in texts
        if (each := rules.correlated_over_made_rows(text, DISTRIBUTED, VIEWS))
    ] == []


def test_the_views_keep_the_rules_of_a_cluster(built):
    """As they stand; what earlier migrations made of them nobody reads."""
    views = query(
        built,
        "select schemaname || '.' || viewname, definition from pg_views where schemaname = 'ops'",
    )
    assert {name for name, _ in views} == VIEWS
    for name, definition in views:
        assert rules.correlated_over_made_rows(definition, DISTRIBUTED, VIEWS) == [], name


def test_joins_between_big_tables_carry_tutor_id(built):
    _, compiled = built
    checked = 0
    for name in ("fct_sessions", "tutor_aggregates", "recent_sessions", "tutor_scoreboard"):
        for join in sqlglot.parse_one(compiled[name], dialect="postgres").find_all(exp.Join):
            if join.kind == "CROSS":
                continue  # a lateral over the row itself
            parts = (join.args.get("on"), *(join.args.get("using") or ()))
            condition = " ".join(part.sql() for part in parts if part is not None)
            assert "tutor_id" in condition, (name, join.sql()[:200])
            checked += 1
    assert checked >= 5


def test_our_own_statements_name_no_moment_in_an_upsert():
    """`now()` and volatile functions do not go into DO UPDATE: the moment is a parameter."""
    for path in (PROJECT / "tutor_pipeline").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(r"do update set(.*?)(?:\"\"\"|where|;|$)", text, re.S | re.I):
            assert "now()" not in match[1], path


def test_big_models_name_the_column_they_are_distributed_by():
    for name in BIG:
        schema, table = name.split(".")
        if schema != "ops":
            text = (PROJECT / "dbt_project" / "models" / schema / f"{table}.sql").read_text()
            assert "'distribute_by': 'tutor_id'" in text, name
    migrations = "".join(
        path.read_text()
        for path in (PROJECT / "tutor_pipeline/core/warehouse/migrations/versions").glob("0*.py")
    )
    for table in ("alerts", "alert_events"):
        assert re.search(rf'distribute\(.*|"{table}"', migrations)
    project = (PROJECT / "dbt_project" / "dbt_project.yml").read_text()
    assert '+post-hook: "{{ distribute() }}"' in project
