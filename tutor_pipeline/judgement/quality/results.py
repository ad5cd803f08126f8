"""Stores outcomes in `ops.dq_results`, one row per run and check."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.judgement.quality.outcome import Outcome

_COLUMNS = (
    "run_id", "as_of", "asset", "check_name", "owner", "says", "severity", "blocking", "status",
    "observed", "rows_checked", "rows_failing", "sample", "query", "message", "seconds",
)  # fmt: skip
_KEY = ("run_id", "asset", "check_name")


def record(
    database: Database,
    run_id: str,
    as_of: datetime,
    outcomes: Iterable[Outcome],
    evaluated_at: datetime | None = None,
) -> None:
    """Write the outcomes of a run in one transaction. They replace those of the same run and check.

    `as_of` is the moment of the refresh whose tables were checked. `evaluated_at` is when the
    evaluation began, by the database's clock (None = now, for an evaluation that can't have begun
    before the tables were built).
    """
    changes = ", ".join(
        f"{name} = excluded.{name}" for name in (*_COLUMNS, "evaluated_at") if name not in _KEY
    )
    statement = (
        f"insert into {{ops}}.dq_results ({', '.join(_COLUMNS)}, evaluated_at)"
        f" values ({', '.join(f'%({name})s' for name in _COLUMNS)},"
        " coalesce(%(evaluated_at)s, now()))"
        f" on conflict ({', '.join(_KEY)}) do update set {changes}"
    )
    rows = [_row(run_id, as_of, outcome) | {"evaluated_at": evaluated_at} for outcome in outcomes]
    with database.transaction():
        database.execute_many(statement, rows)


def _row(run_id: str, as_of: datetime, outcome: Outcome) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "as_of": as_of,
        "asset": outcome.asset,
        "check_name": outcome.check,
        "owner": outcome.owner,
        "says": outcome.says,
        "severity": outcome.severity,
        "blocking": outcome.blocking,
        "status": str(outcome.status),
        "observed": outcome.observed,
        "rows_checked": outcome.rows_checked,
        "rows_failing": outcome.rows_failing,
        "sample": Jsonb([dict(row) for row in outcome.sample]),
        "query": outcome.query,
        "message": outcome.message,
        "seconds": outcome.seconds,
    }
