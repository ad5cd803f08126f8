"""A database of an earlier version keeps its alerts; the new tables refuse what they must."""

import psycopg
import pytest
from psycopg.rows import dict_row

from tutor_pipeline.core.findings import Resolution
from tutor_pipeline.core.warehouse import migrate
from tutor_pipeline.core.warehouse.database import Schemas, Warehouse
from tutor_pipeline.judgement.lifecycle import alert_actions
from tutor_pipeline.judgement.lifecycle.store import apply

# As version 0002 wrote them: one open, one acknowledged and snoozed, one resolved by hand.
ALERTS = """
insert into {ops}.alerts (
    tutor_id, alert_id, alert_type, occurrence, severity, title, description, recommended_action,
    session_id, evidence_session_ids, metrics, excess, rule_profile, rule_version, triggered_date,
    last_confirmed_at, known_session_ids, acknowledged_at, acknowledged_by, snoozed_until,
    snoozed_by, resolved_at, resolved_by, resolution, action_taken
)
select
    tutor_id, 'a' || n, 'no_show', 1, 'critical', 'No-Show', '3 no-shows', 'Call', 'S1', '{{S1}}',
    '{{"no_shows": {{"value": 3, "threshold": 3, "exposure": 20}}}}', 0.5, 'conservative', 'v1',
    %(then)s, %(then)s, '{{S1}}', acknowledged_at, by_1, snoozed_until, by_1, resolved_at, by_2,
    resolution, action_taken
from (values
    (1, 'T1', null, null, null, null, null, null, null),
    (2, 'T2', %(then)s, 'ada', %(then)s + interval '9 days', null, null, null, null),
    (3, 'T3', null, null, null, %(then)s, 'bob', 'coached', 'a talk')
) as rows (
    n, tutor_id, acknowledged_at, by_1, snoozed_until, resolved_at, by_2, resolution, action_taken
)
"""
EVENTS = """
insert into {ops}.alert_events (tutor_id, alert_id, event_no, event, at, actor, details)
values
    ('T1', 'a1', 1, 'opened', %(then)s, 'pipeline', '{{}}'),
    ('T2', 'a2', 1, 'opened', %(then)s, 'pipeline', '{{}}'),
    ('T2', 'a2', 2, 'acknowledged', %(then)s, 'ada', '{{}}'),
    ('T3', 'a3', 1, 'opened', %(then)s, 'pipeline', '{{}}'),
    ('T3', 'a3', 2, 'resolved', %(then)s, 'bob', '{{"resolution": "coached"}}')
"""


@pytest.fixture(params=["", "tutor_"])
def old(databases, move, request):
    """A database at 0002 with alerts in it; under a prefix too."""
    warehouse = Warehouse(databases.create(migrated=False), Schemas(prefix=request.param))
    move(warehouse, "0002")
    return warehouse


def rows(warehouse, name):
    with warehouse.connect(row_factory=dict_row) as database:
        return database.execute(f"select * from {{ops}}.{name} order by 1, 2, 3").fetchall()


def test_an_upgrade_keeps_every_row_and_goes_on(old, make):
    then = {"then": make.day(0)}
    with old.connect() as database:
        database.execute(ALERTS, then)
        database.execute(EVENTS, then)
        database.execute(
            "create table {marts}.fct_sessions (tutor_id text, session_id text,"
            " session_on date, scheduled_start timestamptz, status text,"
            " student_id text, subject_id text, subject text)"
        )
    before = kept(old)
    assert [len(each) for each in before.values()] == [3, 5]

    assert migrate.upgrade(old) is True
    assert all(row["subject_id"] == row["tutor_id"] for row in rows(old, "alerts"))
    assert kept(old) == before
    with old.connect() as database:
        evaluation = make.evaluation(*(make.finding(tutor) for tutor in ("T1", "T2", "T3")), at=1)
        run = {"run_id": "r1", "active_tutors": {"T1", "T2", "T3"}}
        applied = apply(database, evaluation, **run)
        # T3's was resolved by hand and shows nothing that was not known then.
        assert (applied.confirmed, applied.opened, applied.suppressed) == (2, 0, 1)
        by_ada = {"by": "ada", "at": make.day(2)}
        assert alert_actions.reopen(database, ["a3"], **by_ada).changed == ("a3",)
        done = alert_actions.resolve(database, ["a2"], reason=Resolution.FIXED, **by_ada)
        assert done.changed == ("a2",)
    events = [(each["alert_id"], each["event_no"]) for each in rows(old, "alert_events")]
    assert events == [
        ("a1", 1), ("a2", 1), ("a2", 2), ("a2", 3), ("a3", 1), ("a3", 2), ("a3", 3),
    ]  # fmt: skip
    assert [row["tutor_id"] for row in rows(old, "tutors_needing_attention")] == ["T1", "T3"]


def test_down_and_up_again_keeps_the_alerts(old, move, make):
    with old.connect() as database:
        database.execute(ALERTS, {"then": make.day(0)})
    before = {name: rows(old, name) for name in ("alerts", "tutors_needing_attention")}
    for need in before["tutors_needing_attention"]:
        del need["newest_age"]
    migrate.upgrade(old)
    move(old, "0002")
    after = {name: rows(old, name) for name in before}
    for need in after["tutors_needing_attention"]:
        del need["newest_age"]
    assert after == before
    assert migrate.upgrade(old) is True


def tables(warehouse):
    """What stands in `ops`: columns, constraints, indexes, views."""
    with warehouse.connect() as database:
        return database.execute(
            "select relname, relkind, obj_description(pg_class.oid), reloptions,"
            " case when relkind = 'v' then pg_get_viewdef(pg_class.oid) end,"
            " (select array_agg((attname, format_type(atttypid, atttypmod), attnotnull,"
            " attidentity, pg_get_expr(adbin, adrelid))::text"
            " order by attname) from pg_attribute left join pg_attrdef on adrelid = attrelid and"
            " adnum = attnum where attrelid = pg_class.oid and attnum > 0 and not attisdropped),"
            " (select array_agg(pg_get_constraintdef(oid) order by 1) from"
            " (select oid from pg_constraint where conrelid = pg_class.oid"
            " order by pg_get_constraintdef(oid)) as constraints),"
            " (select array_agg(pg_get_indexdef(indexrelid) order by indexrelid::regclass::text)"
            " from pg_index where indrelid = pg_class.oid)"
            " from pg_class where relnamespace = to_regnamespace(%s) and relkind in ('r', 'v')"
            " order by relname",
            (warehouse.schemas.ops,),
        ).fetchall()


def functions(warehouse):
    with warehouse.connect() as database:
        return database.execute(
            "select proname, pg_get_functiondef(oid) from pg_proc"
            " where pronamespace = to_regnamespace(%s) order by 1",
            (warehouse.schemas.ops,),
        ).fetchall()


def shape(warehouse):
    return tables(warehouse), functions(warehouse)


def kept(warehouse):
    """Alerts and events, without what 0022 and 0023 say of all of them."""
    found = {name: rows(warehouse, name) for name in ("alerts", "alert_events")}
    for row in found["alerts"]:
        assert row.pop("subject_kind", "tutor") == "tutor"
        assert row.pop("subject_id", row["tutor_id"]) == row["tutor_id"]
        assert row.pop("owner", None) is None
    return found


def test_every_revision_goes_up_and_down_and_keeps_the_alerts(old, move, make):
    with old.connect() as database:
        database.execute(ALERTS, {"then": make.day(0)})
        database.execute(EVENTS, {"then": make.day(0)})
    before = kept(old)
    revisions = [f"{number:04}" for number in range(2, int(migrate.head()) + 1)]
    shapes = {}
    for revision in revisions:
        move(old, revision)
        shapes[revision] = shape(old)
        assert kept(old) == before
    # 0021 makes the functions anew, which every migration does, and changes no table.
    assert shapes.pop("0021") == shapes["0020"]
    assert len({str(each) for each in shapes.values()}) == len(shapes)
    shapes["0021"] = shapes["0020"]
    for revision in reversed(revisions):
        move(old, revision)
        assert shape(old) == shapes[revision]
        assert kept(old) == before
        # From here in one go, as who skipped versions does.
        assert migrate.upgrade(old) is (revision != migrate.head())
        assert shape(old) == shapes[migrate.head()]


# The weights.


def add(warehouse, version, **weights):
    with warehouse.connect() as database:
        for factor, weight in weights.items():
            database.execute(
                "insert into {ops}.churn_algorithm_weights values (%s, %s, %s, now(), null)",
                (version, factor, weight),
            )


def test_weights_of_a_version_sum_to_one_and_are_never_changed(warehouse):
    add(warehouse, 1, a=0.1, b=0.2, c=0.7)  # their sum is not exactly 1 in floating point
    add(warehouse, 2, a=0.5, b=0.5)
    for weights in ({"a": 0.5}, {"a": 0.5, "b": 0.6}, {"a": 0.5, "b": 0.499}):
        with pytest.raises(psycopg.errors.CheckViolation, match="version 3 sum to"):
            add(warehouse, 3, **weights)
    with pytest.raises(psycopg.errors.CheckViolation):
        add(warehouse, 3, a=1.5, b=-0.5)
    for change in (
        "update ops.churn_algorithm_weights set notes = 'x' where version = 1",
        "delete from ops.churn_algorithm_weights where factor = 'b'",
        "delete from ops.churn_algorithm_weights where version = 2",
    ):
        with (
            pytest.raises(psycopg.errors.RestrictViolation, match="add a version"),
            warehouse.connect() as database,
        ):
            database.execute(change)
    with warehouse.connect() as database:
        assert database.execute(
            "select version, count(*) from ops.churn_algorithm_weights group by version order by 1"
        ).fetchall() == [(1, 3), (2, 2)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"level": "Huge"},
        {"status": "late"},
        {"score": "NaN"},
        {"score": "Infinity"},
        {"reasons": '{"code": "late"}'},
        {"status": "insufficient_data"},  # with a level: it would raise an alert
    ],
)
def test_a_score_that_no_scorer_gives_is_refused(warehouse, wrong):
    right = {"score": 0.7, "level": "High", "reasons": "[]", "status": "ok"}
    insert = (
        "insert into ops.current_tutor_risk (tutor_id, as_of, scorer, version, is_probability,"
        " score, level, reasons, status) values ('T1', now(), 'rules', 'v1', true, %(score)s,"
        " %(level)s, %(reasons)s, %(status)s)"
    )
    with warehouse.connect() as database:
        with pytest.raises(psycopg.errors.CheckViolation), database.transaction():
            database.execute(insert, right | wrong)
        for fine in (right, right | {"status": "insufficient_data", "level": None}):
            with database.transaction(force_rollback=True):
                database.execute(insert, fine)
