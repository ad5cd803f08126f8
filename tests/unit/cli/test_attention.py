"""`attention`: its first line says how many tutors, and as of when the alerts are."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from psycopg.types.json import Jsonb

from tests.unit.people.reports.conftest import Ops
from tutor_pipeline.cli.attention import _entry, _left_out, show_attention
from tutor_pipeline.cli.console import out
from tutor_pipeline.people.reports.alert_queries import attention, not_told

METRICS_AS_OF = datetime(2026, 3, 10, 18, 50, tzinfo=UTC)
ALERTS_AS_OF = datetime(2026, 3, 8, 3, 0, tzinfo=UTC)


@pytest.fixture
def applied(warehouse):
    """The metrics of one moment, and a run over alerts as of another."""
    with warehouse.connect() as database:
        for table in ("tutor_aggregates", "dim_tutors"):
            database.execute(f"drop table if exists {{marts}}.{table} cascade")
        database.execute("create table {marts}.dim_tutors (tutor_id text, name text)")
        database.execute(
            "create table {marts}.tutor_aggregates as"
            " select 'T1' as tutor_id, %s as as_of, false as is_high_reschedule",
            (METRICS_AS_OF,),
        )
        database.execute("truncate {ops}.reconcile_runs")

    def apply(as_of, evaluated=1, kind="alert"):
        numbers = ("tutors", "opened", "confirmed", "escalated", "resolved", "suppressed")
        values = {"kind": kind, "run_id": f"{kind} {as_of}", "as_of": as_of, "applied_at": as_of,
                  "profile": "conservative", "evaluated": evaluated, "skipped": Jsonb({}),
                  **dict.fromkeys(numbers, 0)}  # fmt: skip
        with warehouse.connect() as database:
            database.execute(
                f"insert into {{ops}}.reconcile_runs ({', '.join(values)})"
                f" values ({', '.join(['%s'] * len(values))})",
                list(values.values()),
            )

    return apply


def first_line(warehouse):
    with out.capture() as shown:
        show_attention(SimpleNamespace(warehouse=warehouse), 8)
    return shown.get().splitlines()[0]


def test_it_says_as_of_when_the_alerts_are_and_not_the_metrics(warehouse, applied):
    applied(ALERTS_AS_OF)
    applied(METRICS_AS_OF, kind="insight")
    assert first_line(warehouse) == (
        "0 of 1 active tutor need attention (as of 2026-03-08 03:00 UTC, rules conservative)"
    )


def test_a_run_that_evaluated_nothing_has_no_moment(warehouse, applied):
    applied(ALERTS_AS_OF, evaluated=0)
    assert first_line(warehouse) == "0 of 1 active tutor need attention (rules conservative)"


def test_who_is_left_out_is_said():
    none = {"snoozed": 0, "unreadable": 0, "unknown_risk": 0}
    assert _left_out(none, 150) == ""
    assert _left_out({**none, "snoozed": 1, "unknown_risk": 3}, 1_500) == (
        "1 tutor whose alerts are snoozed; 3 tutors of 1,500 whose risk is unknown, as too little"
        " is recorded"
    )


def test_snoozed_and_unreadable_tutors_are_counted(warehouse, applied):
    applied(ALERTS_AS_OF)
    with warehouse.connect() as database:
        ops = Ops(database)
        until = datetime(9000, 1, 1, tzinfo=UTC)
        ops.alert("T1", alert_id="a1", snoozed_until=until, snoozed_by="ana")
        ops.alert("T2", alert_id="a2", snoozed_until=until, snoozed_by="ana")
        ops.alert("T2", alert_id="a3", alert_type="another")
        database.execute('update {ops}.reconcile_runs set skipped = \'{{"T9": "no number"}}\'')
        assert not_told(database) == {"snoozed": 1, "unreadable": 1, "unknown_risk": 0}
        database.execute("truncate {ops}.alerts, {ops}.alert_events")


def test_an_alert_about_a_student_makes_no_tutor_one_who_needs_attention(warehouse, applied):
    applied(ALERTS_AS_OF)
    until = datetime(9000, 1, 1, tzinfo=UTC)
    about = {"subject_kind": "student", "subject_id": "P1"}
    with warehouse.connect() as database:
        ops = Ops(database)
        ops.alert("T1", alert_id="a1", alert_type="late")
        ops.alert("T1", alert_id="a2", alert_type="silent", title="Silent", **about)
        ops.alert("T2", alert_id="a3", snoozed_until=until, snoozed_by="ana", **about)
        ops.alert("", alert_id="a4", snoozed_until=until, snoozed_by="ana", **about)
        assert not_told(database)["snoozed"] == 0
        (tutor,) = attention(database, 8)
        assert (tutor["tutor_id"], [each["alert_id"] for each in tutor["alerts"]]) == ("T1", ["a1"])
    try:
        assert first_line(warehouse).startswith("1 of 1 active tutor needs attention")
    finally:
        with warehouse.connect() as database:
            database.execute("truncate {ops}.alerts, {ops}.alert_events")


def test_a_name_is_no_markup():
    row = {"tutor_id": "T1", "name": "[bold]Ana[/bold] [/x]", "attention_rank": 1,
           "is_high_reschedule": False, "alerts": []}  # fmt: skip
    assert shown(row) == ["", "1. [bold]Ana[/bold] [/x] T1"]


def shown(row, tutor_id="T1", sessions=None):
    return [line.plain for line in _entry(row, tutor_id, sessions or {})]


UUID = "3f2a9c1e-7d41-4b5c-9a10-0c0ffee0{:04d}"


def in_need(sessions):
    alert = {
        "alert_id": "7ed2aa9ca58f", "severity": "critical", "triggered_date": datetime.now(UTC),
        "title": "High Reschedule Rate Detected", "owner": None, "acknowledged_by": None,
        "description": "6 sessions rescheduled by the tutor in the last 30 days, of 17 (35 %)."
        " Others: 1 of 11.",
        "recommended_action": "Review schedule availability and workload",
        "evidence_session_ids": sessions,
    }  # fmt: skip
    return {"tutor_id": UUID.format(1), "name": "Daniel Okafor", "attention_rank": 1,
            "is_high_reschedule": True, "alerts": [alert]}  # fmt: skip


def test_other_alerts_of_a_tutor_take_a_line_each():
    row = in_need(["S1"])
    more = {"severity": "warning", "title": "Poor First Session Pattern Detected", "alert_id": "3d"}
    row["alerts"].append({**row["alerts"][0], **more})
    assert shown(row)[5:] == ["   also WARNING Poor First Session Pattern Detected · alert 3d"]


def test_a_tutor_with_long_ids_takes_a_few_lines():
    sessions = [UUID.format(number) for number in range(5)]
    short = {each: each[:8] for each in sessions}
    lines = shown(in_need(sessions), "3f2a9c", short)
    assert lines[:2] == ["", "1. Daniel Okafor 3f2a9c  · reschedules over 15 %"]
    assert len(lines) == 5
    assert max(map(len, lines)) <= 100
    assert UUID.format(1) not in "".join(lines)
    whole = shown(in_need(sessions), UUID.format(1))
    assert UUID.format(1) in whole[1]
    assert all(each in "".join(whole) for each in sessions)
