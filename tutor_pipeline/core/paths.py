"""Paths of the project's files."""

from __future__ import annotations

from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parents[2]
"""The checkout, with `.tutor/`, `dbt_project/`, `workspace.yaml` and `dagster.yaml`."""

DBT_PROJECT_DIR = PROJECT_DIR / "dbt_project"
