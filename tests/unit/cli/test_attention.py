"""`attention`: its first line says how many tutors, and as of when the alerts are."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from psycopg.types.json import Jsonb

from tutor_pipeline.cli.attention import _panel, show_attention
from tutor_pipeline.cli.console import out

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


def test_a_name_is_no_markup():
    row = {"tutor_id": "T1", "name": "[bold]Ana[/bold] [/x]", "attention_rank": 1,
           "is_high_reschedule": False, "alerts": []}  # fmt: skip
    with out.capture() as shown:
        out.print(_panel(row))
    assert "1. [bold]Ana[/bold] [/x] T1" in shown.get()
