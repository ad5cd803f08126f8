"""The guard: nothing is derived from tables whose blocking checks fail.

Dagster's own blocking ends with the run. So every step that derives a table asks the guard first:
each blocking check on what the step reads must have an evaluation, the newest one must be of the
tables of the newest full refresh (of its run, or begun after they were built), and it must have
passed. A table that was built again by hand since (one model in dbt, one asset in Dagster) may be
of another definition or of other rows: its checks count once they are evaluated again. A person
can override the guard, which is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.core.formatting import agree, count
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.statements import statement


@dataclass(frozen=True, slots=True)
class Required:
    """A blocking check, by the table it is about and its name."""

    asset: str
    check: str


def objections(database: Database, required: Sequence[Required]) -> list[str]:
    """Return one line for each required check that does not hold."""
    rows = _latest(database, required)
    return [line for row in rows if (line := _objection(row)) is not None]


@dataclass(frozen=True, slots=True)
class Unevaluated:
    """Tables with checks that were not evaluated since the tables were rebuilt. `by_hand`: these
    tables alone were, so building and checking these alone is enough.
    """

    tables: tuple[str, ...]
    by_hand: bool


def only_unevaluated(database: Database, required: Sequence[Required]) -> Unevaluated | None:
    """Return the tables whose checks are not evaluated, if that is the only objection; else None.

    Either somebody rebuilt some tables, or a full refresh did not finish.
    """
    rows = [row for row in _latest(database, required) if _objection(row) is not None]
    if not rows or any(row["is_of_these_tables"] for row in rows):
        return None
    tables = tuple(sorted({row["asset"] for row in rows}))
    return Unevaluated(tables, all(row["is_by_hand"] for row in rows))


def is_superseded(database: Database, run_id: str) -> bool:
    """Whether another full refresh started after the full refresh `run_id`, in the last 5 minutes.

    It rebuilds the tables, and its checks are about to be evaluated.
    """
    found = database.value(
        "select exists (select 1 from {ops}.refresh_runs as own, {ops}.refresh_runs as other"
        " where own.run_id = %s and own.is_full and own.snapshot_from is null"
        " and other.is_full and other.snapshot_from is null"
        " and other.started_at > own.started_at"
        " and other.started_at > now() - interval '5 minutes')",
        (run_id,),
    )
    return bool(found)


def _latest(database: Database, required: Sequence[Required]) -> list[dict[str, Any]]:
    return database.rows(
        statement(__file__, "newest_results"),
        {
            "assets": [each.asset for each in required],
            "checks": [each.check for each in required],
        },
    )


def _objection(row: dict[str, Any]) -> str | None:
    name = f"{row['asset']}: {row['check_name']}"
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
        found = (
            f"{count(row['rows_failing'], 'row')} {agree(row['rows_failing'], 'does', 'do')} not"
            if row["rows_failing"]
            else None
        )
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
    """Raise RefusedError with all objections, unless the required checks hold.

    `forced_by` is the person who overrides the objections: they are then recorded in
    `ops.dq_overrides` and returned.
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
