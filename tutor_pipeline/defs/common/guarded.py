"""Guards assets that depend on checked tables: such an asset is not made while a blocking check
fails, unless a named person forces it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from tutor_pipeline.core.markdown import cell
from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.judgement.quality import guard
from tutor_pipeline.steps.check import await_checks


class GuardedConfig(dg.Config):
    """Config of a guarded asset."""

    forced_by: str | None = None
    """Who forces the asset although checks of its inputs fail; this is recorded. None = it is not
    made.
    """


@contextmanager
def guarded(
    context: dg.AssetExecutionContext,
    config: GuardedConfig,
    warehouse: Warehouse,
    required: Sequence[guard.Required],
    asset: str,
) -> Iterator[tuple[Database, dict[str, Any]]]:
    """Yield a transaction in which an asset may be made, and metadata on overridden checks.

    Raises RefusedError if a required check fails.
    """
    await_checks(warehouse, context.run.run_id, required, context.log.warning)
    with warehouse.connect() as database:
        yield database, require(context, config, database, required, asset)


def require(
    context: dg.AssetExecutionContext,
    config: GuardedConfig,
    database: Database,
    required: Sequence[guard.Required],
    asset: str,
) -> dict[str, Any]:
    """Allow an asset to be made, or raise RefusedError. Returns metadata on overridden checks."""
    objections = guard.require(
        database, required, asset=asset, run_id=context.run.run_id, forced_by=config.forced_by
    )
    if not objections:
        return {}
    lines = "\n".join(f"- {cell(line)}" for line in objections)
    return {"forced_by": config.forced_by, "checks_overridden": dg.MetadataValue.md(lines)}
