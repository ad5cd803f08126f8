"""What the metric tables offer, read from the YAML beside the models.

Belongs here: names, types and exposure columns. Does not belong here: a metric's definition.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from tutor_pipeline.errors import TutorPipelineError

MODELS = Path(__file__).parents[2] / "dbt_project" / "models"
MARTS = MODELS / "marts" / "_marts__models.yml"
CONTRACT = MODELS / "staging" / "_platform__sources.yml"
"""What is read of the platform: tables, columns, types, what is required."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: PostgreSQL type, description, and the column that says how much it rests on.

    `exposure` is None for what is no metric: keys, moments, evidence arrays. `values` are the
    words that a text column may hold, where there are few.
    """

    type: str
    description: str
    exposure: str | None
    values: tuple[str, ...] = ()


@cache
def metric_columns() -> dict[str, dict[str, Column]]:
    """{model: {column: Column}} of every mart, in the order of the columns.

    Raises TutorPipelineError when the file is not there.
    """
    try:
        document = yaml.load(MARTS.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506
    except OSError as error:
        raise TutorPipelineError(
            f"cannot read {MARTS}: {error.strerror}\nIs this a whole checkout of the project?"
        ) from error
    columns = {
        model["name"]: {
            column["name"]: Column(
                type=column["data_type"],
                description=column["description"],
                exposure=column.get("config", {}).get("meta", {}).get("exposure"),
            )
            for column in model["columns"]
        }
        for model in document["models"]
    }
    # As its macros say: the wide row but for the evidence.
    wide = columns["tutor_aggregates"]
    columns["tutor_aggregates_history"] = {
        name: column for name, column in wide.items() if not column.type.endswith("[]")
    } | columns["tutor_aggregates_history"]
    return columns


# The parser written in C, where PyYAML was built with it: 10 times faster on this file.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
