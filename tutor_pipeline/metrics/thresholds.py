"""The thresholds of metrics: the vars of the dbt project.

Belongs here: reading them for texts. Does not belong here: the values (`dbt_project.yml`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

from tutor_pipeline.core.paths import DBT_PROJECT_DIR
from tutor_pipeline.core.thresholds import fill
from tutor_pipeline.core.yaml_models import read_yaml

PROJECT_FILE = DBT_PROJECT_DIR / "dbt_project.yml"


class _Project(BaseModel):
    """What is read of the project's file; dbt checks the rest."""

    vars: dict[str, Any]


@cache
def thresholds() -> Mapping[str, float]:
    """Return the vars that are numbers. Raises TutorPipelineError if the file can't be read."""
    found = read_yaml(PROJECT_FILE, _Project, "dbt project").vars
    return {name: value for name, value in found.items() if type(value) in (int, float)}


def told(text: str) -> str:
    """Return a text with its references to thresholds filled in (`core.thresholds`)."""
    return fill(text, thresholds())
