"""Suites and checks as the tests want them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tutor_pipeline.core.warehouse.database import Schemas
from tutor_pipeline.judgement.quality.suites import Check, Suite, load_suites
from tutor_pipeline.metrics import dbt


@pytest.fixture(scope="session")
def suites() -> tuple[Suite, ...]:
    """The shipped suites."""
    return load_suites()


@pytest.fixture(scope="session")
def make_check() -> Callable[..., Check]:
    """Make a blocking check of a type with some kwargs, without checking that it is sensible."""

    def make(name: str, expectation: str, **kwargs: Any) -> Check:
        return Check.model_construct(
            name=name,
            says="It holds.",
            expectation=expectation,
            kwargs=kwargs,
            severity="error",
            blocking=True,
        )

    return make


@pytest.fixture(scope="session")
def dbt_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """dbt's folders, shared by the session: the project is parsed once."""
    return tmp_path_factory.mktemp("dbt")


@pytest.fixture(scope="session")
def manifest(dbt_home: Path) -> dict[str, Any]:
    """dbt's manifest: models with their columns and constraints, and every test."""
    written = dbt.target_dir(dbt_home) / "manifest.json"
    if not written.exists():
        dbt.invoke(["parse"], dbt.parse_environment(Schemas(), dbt_home))
    parsed: dict[str, Any] = json.loads(written.read_text(encoding="utf-8"))
    return parsed
