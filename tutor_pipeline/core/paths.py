"""Paths of the project's files."""

from __future__ import annotations

from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parents[2]
"""The checkout, with `.tutor/`, `dbt_project/`, `deploy/` and `workspace.yaml`."""

PACKAGE_DIR = Path(__file__).resolve().parents[1]
DBT_PROJECT_DIR = PROJECT_DIR / "dbt_project"
