"""What is old goes, and nobody who reads these tables notices."""

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.types.json import Jsonb

from tutor_pipeline.core.findings import Kind
from tutor_pipeline.core.warehouse import refresh_runs, retention
from tutor_pipeline.core.warehouse.retention import KEPT, RULES, delete_old, sizes
from tutor_pipeline.judgement.lifecycle import store
from tutor_pipeline.judgement.quality import guard
from tutor_pipeline.people.reports import finding_queries
from tutor_pipeline.sources.changes.ledger import LOOKBACK

NOW = datetime(2026, 11, 20, 5, tzinfo=UTC)

# A row of each table that has a rule, but for its key and its age.
ROWS = {
    "dq_results": {
        "run_id": "r", "asset": "marts/fct_sessions", "check_name": "c", "owner": "suite",
        "says": "…", "severity": "error", "blocking": True, "status": "passed", "as_of": NOW,
        "evaluated_at": NOW,
    },
    "rule_coverage": {
        "run_id": "r", "kind": "alert", "rule_id": "no_show", "as_of": NOW, "tutors": 1,
        "evaluated": 1, "evaluated_at": NOW,
    },
    "validation_reports": {
        "run_id": "r", "made_at": NOW, "as_of": NOW, "verdict": "sound", "file": "f.html",
        "summary": Jsonb({}),
    },
    "reconcile_runs": {
        "kind": "alert", "run_id": "r", "as_of": NOW, "profile": "conservative", "tutors": 1,
        "evaluated": 1, "opened": 0, "confirmed": 0, "escalated": 0, "resolved": 0,
        "suppressed": 0, "skipped": Jsonb({}), "applied_at": NOW,
    },
    "refresh_runs": {"run_id": "r", "as_of": NOW, "is_full": True, "started_at": NOW},
    "refresh_scope": {"run_id": "r", "as_of": NOW, "tutor_id": "T1"},
    "refresh_passes": {
        "run_id": "r/1", "taken_at": NOW, "settled_at": NOW, "changes": 1, "tutors": 1,
        "seconds": Jsonb({}),
    },
    "source_states": {"accepted_at": NOW, "as_of": NOW, "why": "nothing was missing"},
    "session_ledger": {
        "tutor_id": "T1", "session_id": "S1", "scheduled_start": NOW, "processed_at": NOW,
        "version": 1,
    },
    "score_references": {
        "version": 1, "scorer": "departure_v1", "as_of": NOW, "fitted_at": NOW, "tutors": 3,
        "reference": Jsonb({}),
    },
    "rule_references": {
        "version": 1, "as_of": NOW, "fitted_at": NOW, "profile": "adaptive", "tutors": 3,
        "reference": Jsonb({}),
    },
    "feature_log": {
        "subject": "tutor", "as_of_date": NOW.date(), "tutor_id": "T1", "numbers": [1.0],
    },
    "incidents": {
        "kind": "drift", "subject": "s", "title": "t", "details": Jsonb({}),
        "opened_at": NOW - timedelta(days=9999), "last_seen_at": NOW, "closed_at": NOW,
    },
    "outbox": {
        "audience": "critical", "kind": "alert", "tutor_id": "T1", "subject_id": "a",
        "transition": "opened 1", "occurred_at": NOW, "due_at": NOW, "message_id": "m",
    },
    "messages": {
        "message_id": "m", "audience": "critical", "kind": "alert", "items": 1, "subject": "s",
        "text_body": "t", "html_body": "h", "made_at": NOW,
    },
    "event_inbox": {
        "source": "shop", "event_id": "e", "received_at": NOW - timedelta(days=9999),
        "type": "session.completed", "body": "{}", "digest": b"d", "state": "applied",
        "state_at": NOW,
    },
    "event_rejections": {
        "hour": NOW - timedelta(days=9999), "source": "shop", "reason": "r", "requests": 1,
        "last_at": NOW, "last_id": "e",
    },
    "event_secrets": {
        "source": "shop", "secret": b"s" * 32, "added_at": NOW - timedelta(days=9999),
    },
    "deliveries": {
        "message_id": "m", "target": "file", "state": "sent", "due_at": NOW, "ended_at": NOW,
    },
}  # fmt: skip


def ago(days):
    return NOW - timedelta(days=days)


def insert(warehouse, table, *rows):
    with warehouse.connect() as database:
        for row in rows:
            values = ROWS[table] | row
            database.execute(
                sql.SQL("insert into {} ({}) values ({})").format(
                    sql.Identifier("ops", table),
                    sql.SQL(", ").join(map(sql.Identifier, values)),
                    sql.SQL(", ").join(map(sql.Placeholder, values)),
                ),
                values,
            )


def left(warehouse, table, *columns):
    with warehouse.connect() as database:
        rows = database.execute(
            sql.SQL("select {} from {} order by 1").format(
                sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier("ops", table)
            )
        ).fetchall()
    return [row if len(columns) > 1 else row[0] for row in rows]


def clean(warehouse, now=NOW):
    """Delete what is old; a second time there is nothing left to delete."""
    with warehouse.connect(autocommit=True) as database:
        deleted = delete_old(database, now)
        assert set(delete_old(database, now).values()) == {0}
    return {table: rows for table, rows in deleted.items() if rows}


@pytest.fixture(autouse=True)
def empty(warehouse):
    with warehouse.connect() as database:
        database.execute(f"truncate {', '.join(f'ops.{table}' for table in ROWS)}")


def test_every_table_of_ops_has_a_rule_or_a_reason(warehouse):
    with warehouse.connect() as database:
        tables = set(sizes(database, "ops"))
    ruled = {rule.table for rule in RULES}
    assert not ruled & set(KEPT)
    assert ruled | set(KEPT) == tables


def test_keys_are_the_primary_keys(warehouse):
    with warehouse.connect() as database:
        keys = dict(
            database.execute(
                "select relname, array_agg(attname::text order by place)"
                " from pg_constraint join pg_class on pg_class.oid = conrelid"
                " cross join unnest(conkey) with ordinality as key (number, place)"
                " join pg_attribute on attrelid = conrelid and attnum = number"
                " where contype = 'p' and relnamespace = 'ops'::regnamespace group by relname"
            ).fetchall()
        )
    assert {rule.table: list(rule.key) for rule in RULES} == {
        rule.table: keys[rule.table] for rule in RULES
    }


def test_of_each_check_the_newest_evaluation_stays(warehouse):
    insert(
        warehouse,
        "dq_results",
        {"run_id": "old", "evaluated_at": ago(200)},
        {"run_id": "p/1", "evaluated_at": ago(8)},
        {"run_id": "month", "evaluated_at": ago(30)},
        {"run_id": "new", "evaluated_at": ago(1)},
        {"run_id": "old", "check_name": "no longer evaluated", "evaluated_at": ago(200)},
        {"run_id": "p/1", "check_name": "of a pass", "evaluated_at": ago(200)},
    )
    assert clean(warehouse) == {"dq_results": 2}
    assert left(warehouse, "dq_results", "run_id", "check_name") == [
        ("month", "c"), ("new", "c"), ("old", "no longer evaluated"), ("p/1", "of a pass"),
    ]  # fmt: skip


def test_headers_of_passes_go_first_and_the_newest_stay(warehouse):
    asked = {"snapshot_from": ago(900).date(), "snapshot_until": ago(899).date()}
    insert(
        warehouse,
        "refresh_runs",
        {"run_id": "days", "started_at": ago(899), **asked},
        {"run_id": "1 ancient", "started_at": ago(800)},
        {"run_id": "2 the one before", "started_at": ago(700)},
        {"run_id": "3 the newest", "started_at": ago(600)},
        {"run_id": "p/1", "started_at": ago(9), "is_full": False},
        {"run_id": "p/2", "started_at": ago(8), "is_full": False},
    )
    insert(
        warehouse,
        "refresh_scope",
        *({"run_id": run_id} for run_id in ("p/1", "p/2", "without header")),
    )
    assert clean(warehouse) == {"refresh_runs": 2, "refresh_scope": 2}
    assert left(warehouse, "refresh_runs", "run_id") == [
        "2 the one before", "3 the newest", "days", "p/2",
    ]  # fmt: skip
    assert left(warehouse, "refresh_scope", "run_id") == ["p/2"]


def test_what_waits_stays_in_the_ledger(warehouse):
    insert(
        warehouse,
        "session_ledger",
        {"session_id": "1 in the window", "scheduled_start": ago(90)},
        {"session_id": "2 beyond it", "scheduled_start": ago(92)},
        {"session_id": "3 waits", "scheduled_start": ago(92), "pending_since": ago(1)},
        {"session_id": "4 no start", "scheduled_start": None, "processed_at": ago(90)},
        {"session_id": "5 no start", "scheduled_start": None, "processed_at": ago(92)},
        {"session_id": "6 new", "scheduled_start": None, "processed_at": None,
         "pending_since": ago(99), "version": None},
    )  # fmt: skip
    assert clean(warehouse) == {"session_ledger": 2}
    assert [name[0] for name in left(warehouse, "session_ledger", "session_id")] == list("1346")


def test_the_ledger_of_a_platform_at_rest_is_never_empty(warehouse):
    insert(
        warehouse,
        "session_ledger",
        {"session_id": "S1", "scheduled_start": ago(200)},
        {"session_id": "S2", "scheduled_start": ago(100)},
    )
    assert clean(warehouse) == {"session_ledger": 1}
    assert left(warehouse, "session_ledger", "session_id") == ["S2"]


@pytest.mark.parametrize(
    ("table", "name", "age", "days"),
    [
        ("dq_results", "run_id", "evaluated_at", 90),
        ("rule_coverage", "run_id", "evaluated_at", 90),
        ("validation_reports", "run_id", "made_at", 90),
        ("reconcile_runs", "run_id", "applied_at", 365),
        ("refresh_passes", "run_id", "settled_at", 30),
        ("source_states", "why", "accepted_at", 30),
        ("session_ledger", "session_id", "scheduled_start", LOOKBACK.days + 1),
        ("incidents", "subject", "closed_at", 365),
        ("outbox", "subject_id", "occurred_at", 90),
        ("event_inbox", "event_id", "state_at", 30),
        ("event_rejections", "reason", "last_at", 30),
        ("event_secrets", "source", "ends_at", 7),
        ("messages", "message_id", "made_at", 90),
    ],
)
def test_a_row_goes_once_it_is_older_than_that(warehouse, table, name, age, days):
    moments = {"as old": ago(days), "older": ago(days) - timedelta(seconds=1), "newest": NOW}
    more = ("as_of",) if table == "reconcile_runs" else ()
    insert(
        warehouse,
        table,
        *({name: each, **dict.fromkeys((age, *more), at)} for each, at in moments.items()),
    )
    assert clean(warehouse) == {table: 1}
    assert left(warehouse, table, name) == ["as old", "newest"]


def test_events_stay_by_what_became_of_them(warehouse):
    insert(
        warehouse,
        "event_inbox",
        *(
            {"event_id": f"{state} {days}", "state": state, "state_at": ago(days)}
            for state in ("waiting", "applied", "quarantined", "unknown", "dead", "dropped")
            for days in (31, 91, 999)
        ),
    )
    insert(warehouse, "event_secrets", {"source": "good"}, {"source": "old", "ends_at": ago(8)})
    assert clean(warehouse) == {"event_inbox": 11, "event_secrets": 1}
    assert left(warehouse, "event_inbox", "event_id") == [
        "dead 31", "dropped 31", "quarantined 31", "unknown 31",
        "waiting 31", "waiting 91", "waiting 999",
    ]  # fmt: skip
    assert left(warehouse, "event_secrets", "source") == ["good"]


def test_entries_of_events_that_are_deleted_are_closed(warehouse):
    days = {"kept": 1, "gone": 91}
    insert(
        warehouse,
        "event_inbox",
        *(
            {"event_id": id_, "state": "quarantined", "state_at": ago(age)}
            for id_, age in days.items()
        ),
    )
    with warehouse.connect() as database:
        database.execute(
            "insert into ops.quarantine (source, row_key, payload, reasons, first_seen, last_seen)"
            " select source, key, '{{}}', '{{x}}', %s, %s from (values ('events:shop', 'kept'),"
            " ('events:shop', 'gone'), ('events:other', 'kept'), ('csv:sessions.csv', 'gone'))"
            " as entry (source, key)",
            (ago(91), ago(91)),
        )
    assert clean(warehouse) == {"event_inbox": 1}
    with warehouse.connect() as database:
        assert database.execute(
            "delete from ops.quarantine returning source, row_key, resolved_at"
        ).fetchall() == [
            ("events:shop", "kept", None), ("csv:sessions.csv", "gone", None),
            ("events:shop", "gone", NOW), ("events:other", "kept", NOW),
        ]  # fmt: skip


def test_other_tables(warehouse):
    insert(
        warehouse,
        "rule_coverage",
        {"run_id": "1", "evaluated_at": ago(100)},
        {"run_id": "2", "evaluated_at": ago(95)},
        {"run_id": "2", "kind": "insight", "evaluated_at": ago(95)},
        {"run_id": "3", "evaluated_at": ago(1)},
    )
    insert(
        warehouse,
        "validation_reports",
        {"run_id": "1", "made_at": ago(100)},
        {"run_id": "2", "made_at": ago(91)},
    )
    insert(
        warehouse,
        "reconcile_runs",
        {"run_id": "full", "as_of": ago(300), "applied_at": ago(300)},
        {"run_id": "p/1", "as_of": ago(20), "applied_at": ago(20)},
        {"run_id": "p/2", "as_of": ago(10), "applied_at": ago(10)},  # the newest moment
        {"run_id": "p/3", "as_of": ago(9), "applied_at": ago(9), "evaluated": 0},
    )
    insert(
        warehouse,
        "refresh_passes",
        {"run_id": "r/1", "settled_at": ago(31)},
        {"run_id": "r/2", "settled_at": ago(29)},
    )
    insert(
        warehouse,
        "incidents",
        {"subject": "over", "closed_at": ago(366)},
        {"subject": "over this year", "closed_at": ago(364)},
        {"subject": "open", "closed_at": None},
    )
    assert clean(warehouse) == {
        "rule_coverage": 2, "validation_reports": 1, "reconcile_runs": 1, "refresh_passes": 1,
        "incidents": 1,
    }  # fmt: skip
    assert left(warehouse, "rule_coverage", "run_id", "kind") == [("2", "insight"), ("3", "alert")]
    assert left(warehouse, "validation_reports", "run_id") == ["2"]
    assert left(warehouse, "reconcile_runs", "run_id") == ["full", "p/2", "p/3"]
    assert left(warehouse, "refresh_passes", "run_id") == ["r/2"]
    assert left(warehouse, "incidents", "subject") == ["open", "over this year"]


@pytest.mark.parametrize(
    ("fitted", "stay"),
    [
        ([100, 95, 1], [2, 3]),  # the second one was in use until yesterday
        ([100, 89, 1], [1, 2, 3]),
        ([300], [1]),
        ([300, 200], [2]),
    ],
)
def test_what_is_usual_stays_as_long_as_scores_may_name_it(warehouse, fitted, stay):
    rows = [{"version": n + 1, "fitted_at": ago(days)} for n, days in enumerate(fitted)]
    insert(warehouse, "score_references", *rows)
    deleted = len(fitted) - len(stay)
    assert clean(warehouse) == ({"score_references": deleted} if deleted else {})
    assert left(warehouse, "score_references", "version") == stay


def test_what_evidence_said_is_kept_for_half_a_year(warehouse):
    days = [ago(days).date() for days in (184, 183, 1)]
    insert(warehouse, "feature_log", *({"as_of_date": day} for day in days))
    assert clean(warehouse) == {"feature_log": 1}
    assert left(warehouse, "feature_log", "as_of_date") == days[1:]


def test_what_is_usual_of_one_scorer_is_not_followed_by_another_s(warehouse):
    rows = [
        {"version": n + 1, "fitted_at": ago(days), "scorer": scorer}
        for n, (scorer, days) in enumerate([("a", 300), ("b", 200), ("a", 1)])
    ]
    insert(warehouse, "score_references", *rows)
    assert clean(warehouse) == {}
    assert left(warehouse, "score_references", "version") == [1, 2, 3]


AGES = st.integers(0, 1000)
RUN_IDS = st.sampled_from(["a", "b", "c", "a/1", "a/2", "b/1", "c/1"])
HEADERS = st.lists(
    st.tuples(RUN_IDS, AGES, st.booleans()), max_size=7, unique_by=lambda row: row[0]
)
OUTCOMES = st.lists(
    st.tuples(RUN_IDS, st.sampled_from("xy"), AGES, st.sampled_from(["passed", "failed"])),
    max_size=10,
    unique_by=lambda row: row[:2],
)
RECONCILED = st.lists(
    st.tuples(RUN_IDS, st.sampled_from(Kind), AGES, AGES, st.integers(0, 1)),
    max_size=10,
    unique_by=lambda row: row[:2],
)


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(HEADERS, OUTCOMES, RECONCILED)
def test_readers_say_the_same_as_before(warehouse, headers, outcomes, reconciled):
    with warehouse.connect() as database:
        database.execute("truncate ops.refresh_runs, ops.dq_results, ops.reconcile_runs")
    for run_id, age, is_of_days in headers:
        row = {"run_id": run_id, "started_at": ago(age), "as_of": ago(age)}
        days = {"snapshot_from": ago(age).date(), "snapshot_until": ago(age).date()}
        row |= {"is_full": "/" not in run_id} | (days if is_of_days else {})
        insert(warehouse, "refresh_runs", row)
    for run_id, check, age, status in outcomes:
        row = {"run_id": run_id, "check_name": check, "evaluated_at": ago(age), "status": status}
        insert(warehouse, "dq_results", row)
    for run_id, kind, age, as_of, evaluated in reconciled:
        row = {"run_id": run_id, "kind": kind, "applied_at": ago(age), "as_of": ago(as_of)}
        insert(warehouse, "reconcile_runs", row | {"evaluated": evaluated, "profile": run_id})

    before = read(warehouse)
    clean(warehouse)
    assert read(warehouse) == before


def read(warehouse):
    """What those say who read the newest of something."""
    with warehouse.connect() as database:
        required = [guard.Required("marts/fct_sessions", name) for name in "xyz"]
        return {
            "guard": guard.objections(database, required),
            "moment": refresh_runs.moment(database, "another run")
            if database.execute("select 1 from ops.refresh_runs").fetchone()
            else None,
            "applied": [store.last_applied(database, kind) for kind in (None, *Kind)],
            "profile": store.profile_in_force(database),
            "skipped": [
                finding_queries.skipped_tutors(database, kind, "another run") for kind in Kind
            ],
            "days": database.execute(
                "select run_id from ops.refresh_runs where snapshot_from is not null order by 1"
            ).fetchall(),
        }


def test_many_rows_go_in_batches(warehouse, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 3)
    for number in range(7):
        insert(warehouse, "refresh_passes", {"run_id": f"r/{number}", "settled_at": ago(40)})
    transactions = "select count(distinct xmax::text) from ops.refresh_passes"
    with (
        warehouse.connect() as reader,
        warehouse.connect(autocommit=True) as database,
    ):
        reader.execute("set transaction isolation level repeatable read")
        assert reader.execute(transactions).fetchone() == (1,)
        assert delete_old(database, NOW)["refresh_passes"] == 7
        # An earlier snapshot still sees the rows, and by which transactions they were deleted.
        assert reader.execute(transactions).fetchone() == (3,)


def test_a_change_seen_meanwhile_stays(warehouse):
    """A session that comes to wait while it is being deleted is not forgotten."""
    insert(warehouse, "session_ledger", {"scheduled_start": ago(100)}, {"session_id": "S2"})

    def work():
        with warehouse.connect(autocommit=True) as database:
            delete_old(database, NOW)

    with warehouse.connect() as peek, warehouse.connect(autocommit=True) as watch:
        peek.execute(
            "update ops.session_ledger set pending_since = %s where session_id = 'S1'", (NOW,)
        )
        thread = Thread(target=work)
        thread.start()
        while (
            thread.is_alive()
            and not watch.execute(
                "select 1 from pg_stat_activity where datname = current_database()"
                " and wait_event_type = 'Lock' and query like 'delete%'"
            ).fetchone()
        ):
            time.sleep(0.01)
        peek.commit()
        thread.join()
    assert left(warehouse, "session_ledger", "session_id") == ["S1", "S2"]


def test_sizes_are_counted(warehouse):
    for number in range(5):
        insert(warehouse, "refresh_passes", {"run_id": f"r/{number}"})
    with warehouse.connect() as database:
        found = sizes(database, "ops")
        assert sizes(database, "no such schema") == {}
    assert Counter({table: found[table].rows for table in ROWS}) == Counter(refresh_passes=5)
    assert found["refresh_passes"].bytes > 0


def test_messages_stay_until_they_have_arrived(warehouse):
    insert(
        warehouse,
        "messages",
        {"message_id": "new", "made_at": ago(89)},
        {"message_id": "old", "made_at": ago(91)},
        {"message_id": "on its way", "made_at": ago(91)},
    )
    insert(
        warehouse,
        "deliveries",
        {"message_id": "new"},
        {"message_id": "old"},
        {"message_id": "on its way"},
        {"message_id": "on its way", "target": "mail", "state": "waiting", "ended_at": None},
    )
    assert clean(warehouse) == {"messages": 1, "deliveries": 1}
    assert left(warehouse, "messages", "message_id") == ["new", "on its way"]


def test_what_was_told_is_remembered_longer_than_it_can_be_found_again(warehouse):
    insert(
        warehouse,
        "outbox",
        {"subject_id": "told", "occurred_at": ago(91)},
        {"subject_id": "lately", "occurred_at": ago(89)},
        {"subject_id": "dropped", "occurred_at": ago(91), "message_id": None, "dropped": "gone"},
        {"subject_id": "not yet told", "occurred_at": ago(91), "message_id": None},
    )
    assert clean(warehouse) == {"outbox": 2}
    assert left(warehouse, "outbox", "subject_id") == ["lately", "not yet told"]
