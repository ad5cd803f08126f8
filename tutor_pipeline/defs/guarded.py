"""What every asset does that rests on checked tables: nothing is derived while a blocking check of
them does not hold, unless somebody says so by name.
"""

from collections.abc import Sequence
from time import monotonic, sleep
from typing import Any

import dagster as dg

from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.judgement.quality import guard

METRICS = (
    "marts/tutor_aggregates",
    "marts/dim_tutors",
    "marts/fct_sessions",
    "ops/quarantine",
    "staging/session_rows",
    "intermediate/int_tutor_days",
)
"""The tables behind every metric of a tutor."""

_AWAIT_SECONDS = 120


class GuardedConfig(dg.Config):
    """How something guarded is made."""

    forced_by: str | None = None
    """Who wants it although checks of what it reads do not hold, which is recorded; None = it is
    not made then.
    """


def await_checks(
    context: dg.AssetExecutionContext, warehouse: Warehouse, required: Sequence[guard.Required]
) -> None:
    """Of two full refreshes at once, the first may find that the second has rebuilt the tables:
    wait until that one has evaluated its checks, and go on from there.
    """
    deadline = monotonic() + _AWAIT_SECONDS
    told = False
    while monotonic() < deadline:
        with warehouse.connect() as database:
            if not (
                guard.is_superseded(database, context.run.run_id)
                and guard.only_unevaluated(database, required)
            ):
                return
        if not told:
            context.log.warning("another refresh has rebuilt the tables; waiting for its checks")
            told = True
        sleep(1)


def overridden(objections: Sequence[str], forced_by: str | None) -> dict[str, Any]:
    """What was overridden, as metadata."""
    if not objections:
        return {}
    lines = "\n".join(f"- {cell(line)}" for line in objections)
    return {"forced_by": forced_by, "checks_overridden": dg.MetadataValue.md(lines)}


def cell(text: str) -> str:
    """Text from the platform in a cell of Markdown: neither markup nor HTML."""
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", " ").replace("\r", " ")
