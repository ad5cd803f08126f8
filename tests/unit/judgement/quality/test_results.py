"""Outcomes as they are kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.judgement.quality.outcome import MAX_SAMPLE, Outcome, Status, first_rows, plain
from tutor_pipeline.judgement.quality.results import record

AS_OF = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)
OUTCOME = Outcome(
    "marts/things", "known", "suite", "Every thing is known.", "error", True, Status.FAILED,
    rows_checked=8, rows_failing=2, sample=[{"id": "t1", "known": None}],
    query="select 1", seconds=0.5,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _empty(warehouse: Warehouse) -> Iterator[None]:
    yield
    with warehouse.connect() as database:
        database.execute("truncate {ops}.dq_results")


def keep(warehouse: Warehouse, run_id: str, outcomes: Sequence[Outcome]) -> None:
    with warehouse.connect() as database:
        record(database, run_id, AS_OF, outcomes)


def kept(warehouse: Warehouse) -> list[dict[str, Any]]:
    with warehouse.connect(row_factory=psycopg.rows.dict_row) as database:
        return database.execute(
            "select * from {ops}.dq_results order by run_id, asset, check_name"
        ).fetchall()


def test_an_outcome_is_kept_whole(warehouse: Warehouse) -> None:
    keep(warehouse, "r1", [OUTCOME])
    (row,) = kept(warehouse)
    assert row.pop("evaluated_at") is not None
    assert row == {
        "run_id": "r1", "asset": "marts/things", "check_name": "known", "owner": "suite",
        "says": "Every thing is known.", "severity": "error", "blocking": True,
        "status": "failed", "observed": None, "rows_checked": 8, "rows_failing": 2,
        "sample": [{"id": "t1", "known": None}], "query": "select 1", "message": None,
        "as_of": AS_OF, "seconds": 0.5,
    }  # fmt: skip


def test_evaluated_again_in_a_run_the_last_counts(warehouse: Warehouse) -> None:
    keep(warehouse, "r1", [OUTCOME, replace(OUTCOME, check="other")])
    first = kept(warehouse)
    passed = replace(
        OUTCOME, status=Status.PASSED, rows_failing=0, sample=(), query=None, severity="warn"
    )
    keep(warehouse, "r1", [passed])
    known, other = kept(warehouse)
    assert (known["status"], known["rows_failing"], known["sample"]) == ("passed", 0, [])
    assert (known["query"], known["severity"]) == (None, "warn")
    assert known["evaluated_at"] > first[0]["evaluated_at"]
    assert other == first[1]


def test_runs_make_a_history(warehouse: Warehouse) -> None:
    keep(warehouse, "r1", [OUTCOME])
    keep(warehouse, "r2", [replace(OUTCOME, status=Status.PASSED)])
    keep(warehouse, "r2", [replace(OUTCOME, asset="marts/others")])
    assert [(row["run_id"], row["asset"], row["status"]) for row in kept(warehouse)] == [
        ("r1", "marts/things", "failed"),
        ("r2", "marts/others", "failed"),
        ("r2", "marts/things", "passed"),
    ]


def test_all_or_nothing(warehouse: Warehouse) -> None:
    with pytest.raises(psycopg.Error):
        keep(warehouse, "r1", [OUTCOME, replace(OUTCOME, check="other", owner="somebody")])
    assert kept(warehouse) == []
    keep(warehouse, "r1", [])
    assert kept(warehouse) == []


HOSTILE = {
    "quotes": "'; drop table ops.alerts; --\"$$",
    "control": "\x01\t\n\r\x7f\u2028",
    "nul": "a\x00b",
    "half a character": "\ud800",
    "markup": "<script>alert(1)</script>",
    "long": "é" * 5000,
    "huge": 10**400,
    "decimal": Decimal("4.10"),
    "no number": float("nan"),
    "endless": float("-inf"),
    "no decimal": Decimal("NaN"),
    "day": date(9999, 12, 31),
    "moment": datetime(1, 1, 1, tzinfo=UTC),
    "bytes": b"\x00\xff",
    "object": {"a": "\x00"},
    "list": [float("nan"), "\x00", [None, 1], *range(50)],
    "yes": True,
    "nothing": None,
}


def test_any_value_can_be_shown(warehouse: Warehouse) -> None:
    keep(warehouse, "r1", [replace(OUTCOME, sample=[plain(HOSTILE)])])
    (row,) = kept(warehouse)
    (shown,) = row["sample"]
    assert shown == {
        **HOSTILE,
        "nul": "a\ufffdb",
        "half a character": "?",
        "long": "é" * 120 + "…",
        "decimal": "4.10",
        "no number": "nan",
        "endless": "-inf",
        "no decimal": "NaN",
        "day": "9999-12-31",
        "moment": "0001-01-01 00:00:00+00:00",
        "bytes": "b'\\x00\\xff'",
        "object": "{'a': '\\x00'}",
        "list": ["nan", "\ufffd", [None, 1], *range(7)],
    }


def test_what_a_json_column_holds_can_be_shown(warehouse: Warehouse) -> None:
    """PostgreSQL has no text with NUL in it, but json has."""
    with warehouse.connect() as database:
        rows = first_rows(database, r"""select '"a\u0000b"'::json as value""")
    assert rows == [{"value": "a\x00b"}]
    keep(warehouse, "r1", [replace(OUTCOME, sample=[plain(row) for row in rows])])
    assert kept(warehouse)[0]["sample"] == [{"value": "a\ufffdb"}]


@settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    rows=st.lists(
        st.dictionaries(
            st.sampled_from(["id", "value", "other"]),
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(-1e15, 1e15)  # larger ones have other digits in JSON
            | st.sampled_from([float("nan"), float("inf")])
            | st.decimals()
            | st.text(st.characters(codec=None))
            | st.binary(),
        ),
        max_size=MAX_SAMPLE,
    )
)
def test_whatever_rows_there_are_they_are_kept(
    warehouse: Warehouse, rows: list[dict[str, Any]]
) -> None:
    shown = [plain(row) for row in rows]
    keep(warehouse, "r1", [replace(OUTCOME, sample=shown)])
    assert kept(warehouse)[0]["sample"] == shown
    assert [plain(row) for row in shown] == shown


def test_at_most_ten_rows_are_listed_in_an_order_of_their_own(warehouse: Warehouse) -> None:
    with warehouse.connect() as database:
        query = "select n from generate_series(1999, 1000, -1) as n where '%' = '%'"
        rows = first_rows(database, query)
    assert [row["n"] for row in rows] == list(range(1000, 1000 + MAX_SAMPLE))


@pytest.mark.parametrize(
    ("checked", "found", "percent"),
    [(8, 2, 25.0), (8, 0, 0.0), (0, 0, None), (None, 2, None), (8, None, None)],
)
def test_the_share_that_fails(
    checked: int | None, found: int | None, percent: float | None
) -> None:
    outcome = replace(OUTCOME, rows_checked=checked, rows_failing=found)
    assert outcome.percent_failing == percent


@pytest.mark.parametrize(
    ("severity", "blocking", "status", "is_error", "stops"),
    [
        ("error", True, Status.PASSED, True, False),
        ("error", True, Status.FAILED, True, True),
        ("error", True, Status.ERRORED, True, True),
        ("error", False, Status.FAILED, True, False),
        ("warn", False, Status.FAILED, False, False),
        ("warn", False, Status.ERRORED, True, False),
    ],
)
def test_what_an_outcome_means(
    severity: str, blocking: bool, status: Status, is_error: bool, stops: bool
) -> None:
    outcome = replace(OUTCOME, severity=severity, blocking=blocking, status=status)
    assert (outcome.is_error, outcome.stops) == (is_error, stops)
