"""What an asset does that rests on checked tables: it is not made while a blocking check of them
does not hold, unless somebody asks for it by name.
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
    """How something guarded is made."""

    forced_by: str | None = None
    """Who wants it although checks of what it reads do not hold, which is recorded; None = it is
    not made then.
    """


@contextmanager
def guarded(
    context: dg.AssetExecutionContext,
    config: GuardedConfig,
    warehouse: Warehouse,
    required: Sequence[guard.Required],
    asset: str,
) -> Iterator[tuple[Database, dict[str, Any]]]:
    """A transaction in which an asset may be made, and what was overridden, as metadata.

    Raises RefusedError where a required check does not hold.
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
    """Let an asset be made; what was overridden, as metadata. Raises RefusedError otherwise."""
    objections = guard.require(
        database, required, asset=asset, run_id=context.run.run_id, forced_by=config.forced_by
    )
    if not objections:
        return {}
    lines = "\n".join(f"- {cell(line)}" for line in objections)
    return {"forced_by": config.forced_by, "checks_overridden": dg.MetadataValue.md(lines)}
