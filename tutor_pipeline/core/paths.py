"""Where the project's files are."""

from __future__ import annotations

from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parents[2]
"""The checkout: `.tutor/`, `dbt_project/`, `workspace.yaml` and `dagster.yaml` lie in it."""

DBT_PROJECT_DIR = PROJECT_DIR / "dbt_project"
