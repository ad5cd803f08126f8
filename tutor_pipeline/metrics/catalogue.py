"""What the metric tables offer, read from the YAML beside the models.

Belongs here: names, types and exposure columns. Does not belong here: a metric's definition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.paths import DBT_PROJECT_DIR

MODELS = DBT_PROJECT_DIR / "models"
MARTS = MODELS / "marts"
CONTRACT = MODELS / "staging" / "_platform__sources.yml"
"""What is read of the platform: tables, columns, types, what is required."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: PostgreSQL type, description, and the column that says how much it rests on.

    `exposure` is None for what is no metric: keys, moments, evidence arrays. `values` are the
    words that a text column may hold, where there are few. `unit` and `group` are those of a
    feature.
    """

    type: str
    description: str
    exposure: str | None
    values: tuple[str, ...] = ()
    unit: str | None = None
    group: str | None = None


@cache
def metric_columns() -> dict[str, dict[str, Column]]:
    """{model: {column: Column}} of every mart, in the order of the columns.

    Raises TutorPipelineError when the file is not there.
    """
    columns: dict[str, dict[str, Column]] = {}
    for path in sorted(MARTS.glob("_*__models.yml")):
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506
        columns |= {
            model["name"]: {column["name"]: _column(column) for column in model["columns"]}
            for model in document["models"]
        }
    if "tutor_aggregates" not in columns:
        raise TutorPipelineError(
            f"{MARTS} does not describe tutor_aggregates\nIs this a whole checkout of the project?"
        )
    # As its macros say: the wide row but for the evidence.
    wide = columns["tutor_aggregates"]
    columns["tutor_aggregates_history"] = {
        name: column for name, column in wide.items() if not column.type.endswith("[]")
    } | columns["tutor_aggregates_history"]
    return columns


def _column(body: Mapping[str, Any]) -> Column:
    meta = body.get("config", {}).get("meta", {})
    return Column(
        type=body["data_type"],
        description=body["description"],
        exposure=meta.get("exposure"),
        unit=meta.get("unit"),
        group=meta.get("group"),
    )


# The parser written in C, where PyYAML was built with it: 10 times faster on this file.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
