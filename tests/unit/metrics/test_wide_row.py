"""The wide row equals straightforward SQL written independently of it (the benchmark's)."""

from __future__ import annotations

import importlib.util
import math
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest

from tutor_pipeline.metrics.catalogue import metric_columns

AS_OF = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)
TUTORS = [f"t{number}" for number in range(12)]
BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "metrics.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_metrics", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def filled(bench: Any) -> Any:
    """Tutors with many sessions, with few, with none, with planned ones only; one has left."""
    bench.insert("tutors", [{"user_id": tutor} for tutor in [*TUTORS, "idle", "planned"]])
    bench.add("tutors", user_id="gone", active_status=False)
    rng = random.Random(11)
    bench.fill(rng, TUTORS[:8], 900)
    bench.fill(rng, [*TUTORS, "gone"], 40)
    bench.book()
    for days in (1, 2):
        bench.add(
            "sessions", id=f"low{days}", tutor_id="t9", status="completed",
            scheduled_start=AS_OF.replace(hour=23) - timedelta(days=days), overall_session_score=3,
        )  # fmt: skip
    bench.execute(
        "delete from {platform}.sessions"
        " where tutor_id = 't9' and id not like 'low%%' and scheduled_start > %s",
        AS_OF - timedelta(days=2),
    )
    bench.add(
        "sessions", id="later", tutor_id="planned", status="completed",
        scheduled_start=AS_OF + timedelta(hours=1),
    )  # fmt: skip
    return bench


def differences(bench: Any, benchmark: ModuleType, **facts: bool) -> list[tuple[Any, ...]]:
    """(tutor, column, ours, straightforward) wherever they differ; also the order of columns."""
    query = benchmark.straightforward(bench.warehouse, as_of=AS_OF, **facts)
    with bench.warehouse.connect(row_factory=psycopg.rows.dict_row) as database:
        expected = {row["tutor_id"]: row for row in database.execute(query).fetchall()}
    ours = {row["tutor_id"]: row for row in bench.rows("select * from {marts}.tutor_aggregates")}
    assert ours.keys() == expected.keys()
    assert list(metric_columns()["tutor_aggregates"]) == list(next(iter(expected.values())))
    return [
        (tutor, column, value, expected[tutor][column])
        for tutor, row in ours.items()
        for column, value in row.items()
        if not same(value, expected[tutor][column])
    ]


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, Decimal):
        theirs = float(theirs)
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=1e-6, abs_tol=2e-6)
    return bool(ours == theirs)


def test_every_column_equals_straightforward_sql(filled: Any, benchmark: ModuleType) -> None:
    filled.refresh(AS_OF)
    assert differences(filled, benchmark) == []
    rows = filled.rows("select * from {marts}.tutor_aggregates")
    silent = [name for name in rows[0] if all(row[name] in (None, 0, []) for row in rows)]
    assert silent == [], "no random row fills them: see PARTS in conftest.py"


def test_rebooking_is_counted_from_pairs_without_the_platforms_column(
    filled: Any, benchmark: ModuleType
) -> None:
    filled.execute("alter table {platform}.sessions rename follow_up_booked to unknown")
    filled.refresh(AS_OF)
    assert differences(filled, benchmark, has_follow_up=False) == []
    filled.execute("alter table {platform}.sessions rename unknown to follow_up_booked")


def test_reschedules_are_unknown_where_nobody_records_them(
    filled: Any, benchmark: ModuleType
) -> None:
    filled.execute("update {platform}.sessions set rescheduled_by = null")
    filled.refresh(AS_OF)
    assert differences(filled, benchmark, has_reschedules=False) == []
    row = filled.row("select * from {marts}.tutor_aggregates where tutor_id = 't0'")
    assert row["sessions_30d"] > 0
    assert row["tutor_reschedules_30d"] is row["reschedule_rate_30d"] is None
    assert row["is_high_reschedule"] is None

    # The first one makes them known for everybody, also in a refresh of one tutor.
    filled.add(
        "sessions", id="first", tutor_id="t1", status="rescheduled", rescheduled_by="tutor",
        scheduled_start=AS_OF - timedelta(days=3),
    )  # fmt: skip
    filled.refresh(AS_OF, tutors=["t1"])
    counts = {
        row["tutor_id"]: row["tutor_reschedules_30d"]
        for row in filled.rows("select * from {marts}.tutor_aggregates")
    }
    assert (counts["t1"], counts["t0"], counts["idle"]) == (1, 0, 0)
