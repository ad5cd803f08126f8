"""The guard: nothing is derived from tables whose blocking checks do not hold.

Dagster's own blocking ends with the run. Whatever derives something asks here first, in every run:
the newest evaluation of each blocking check on what it reads must be there, be of the tables as the
newest full refresh left them (of its own run, or begun after they stood), and have passed. Going on
all the same is possible, and leaves a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.core.warehouse.database import Database

_LATEST = """
    select
        required.asset,
        required.check_name as check,
        newest.status,
        newest.says,
        newest.message,
        newest.rows_failing,
        newest.observed,
        newest.evaluated_at,
        newest.run_id = refreshed.run_id
        or newest.evaluated_at >= coalesce(refreshed.built_at, 'infinity') as is_of_these_tables,
        refreshed.started_at as refreshed_at
    from unnest(%s::text[], %s::text[]) with ordinality as required (asset, check_name, position)
    left join lateral (
        select * from {ops}.dq_results as results
        where results.asset = required.asset and results.check_name = required.check_name
        order by evaluated_at desc, run_id desc
        limit 1
    ) as newest on true
    left join lateral (
        select run_id, started_at, built_at from {ops}.refresh_runs
        where is_full and snapshot_from is null
        order by started_at desc, run_id desc
        limit 1
    ) as refreshed on true
    order by required.position
"""


@dataclass(frozen=True, slots=True)
class Required:
    """A blocking check, by the table it is about and its name."""

    asset: str
    check: str


def objections(database: Database, required: Sequence[Required]) -> list[str]:
    """Why nothing should be derived: one line for each required check that does not hold."""
    rows = _latest(database, required)
    return [line for row in rows if (line := _objection(row)) is not None]


def only_unevaluated(database: Database, required: Sequence[Required]) -> bool:
    """Whether nothing is known to be wrong, but checks lack an evaluation of the tables as they
    are: a full refresh did not come to its end, and the next one will tell.
    """
    rows = _latest(database, required)
    objected = [row for row in rows if _objection(row) is not None]
    return bool(objected) and all(not row["is_of_these_tables"] for row in objected)


def is_superseded(database: Database, run_id: str) -> bool:
    """Whether another full refresh has rebuilt the tables since the full refresh `run_id` did, a
    moment ago: its checks are about to be evaluated.
    """
    row = database.execute(
        "select exists (select from {ops}.refresh_runs as own, {ops}.refresh_runs as other"
        " where own.run_id = %s and own.is_full and own.snapshot_from is null"
        " and other.is_full and other.snapshot_from is null"
        " and other.started_at > own.started_at"
        " and other.started_at > now() - interval '5 minutes')",
        (run_id,),
    ).fetchone()
    return row is not None and bool(row[0])


def _latest(database: Database, required: Sequence[Required]) -> list[dict[str, Any]]:
    return database.rows(
        _LATEST, ([each.asset for each in required], [each.check for each in required])
    )


def _objection(row: dict[str, Any]) -> str | None:
    name = f"{row['asset']}: {row['check']}"
    if row["status"] is None:
        return f"{name} was never evaluated"
    if row["is_of_these_tables"] is False:
        return (
            f"{name} was not evaluated since the tables were rebuilt"
            f" ({row['refreshed_at']:%Y-%m-%d %H:%M} UTC)"
        )
    if row["status"] == "errored":
        return f"{name} could not be evaluated: {row['message']}"
    if row["status"] == "failed":
        found = f"{row['rows_failing']:,} rows do not" if row["rows_failing"] else None
        found = found or (f"observed {row['observed']}" if row["observed"] else "does not hold")
        return f"{name}: {row['says']} ({found})"
    return None


def require(
    database: Database,
    required: Sequence[Required],
    *,
    asset: str,
    run_id: str,
    forced_by: str | None,
) -> list[str]:
    """Let `asset` be derived, or not. `forced_by` = who wants it whatever the checks say.

    Returns the objections that were overridden, and records them in `ops.dq_overrides`. Raises
    RefusedError with all objections.
    """
    found = objections(database, required)
    if not found:
        return []
    if forced_by is None:
        lines = "\n".join(f"  {line}" for line in found)
        raise RefusedError(
            f"{asset} was not derived: checks of what it reads do not hold\n{lines}\n"
            "`tutor-pipeline validate` shows the rows; `tutor-pipeline enrich` evaluates them anew;"
            " with --force it is derived all the same, which is recorded"
        )
    database.execute(
        "insert into {ops}.dq_overrides (run_id, asset, forced_by, objections)"
        " values (%s, %s, %s, %s)",
        (run_id, asset, forced_by, found),
    )
    return found
