"""The SQL that macros make, as dbt compiled it: sqlfluff sees no macro in a model's own file."""

from __future__ import annotations

from typing import Any

import pytest
from sqlfluff.core import FluffConfig, Linter

from tutor_pipeline.core.paths import DBT_PROJECT_DIR
from tutor_pipeline.metrics import dbt

# What is correct and clear, not how it is laid out. Names are quoted by dbt; the other rules left
# out are of the eye, or of who writes by hand.
LEFT_OUT = (
    "layout", "structure.column_order", "structure.subquery", "structure.join_condition_order",
    "ambiguous.column_count", "ambiguous.column_references", "ambiguous.order_by",
    "aliasing.self_alias.column", "references.consistent", "references.keywords",
    "references.qualification", "references.quoting",
)  # fmt: skip

SOON = [
    "fct_sessions", "int_tutor_days", "int_tutor_logins", "platform_metrics",
    "student_aggregates", "tutor_aggregates", "tutor_performance_snapshots",
]  # fmt: skip
# Parsing takes seconds for each.
LATER = [
    "session_rows", "student_aggregates_history", "student_evidence", "student_evidence_history",
    "tutor_aggregates_history", "tutor_evidence", "tutor_evidence_history", "tutor_features",
    "tutor_features_history",
]  # fmt: skip


@pytest.fixture(scope="module")
def compiled(bench: Any) -> Any:
    """The whole project compiled, on a platform that nothing was built of."""
    dbt.invoke(["compile"], dbt.dbt_environment(bench.warehouse, None, bench.home))
    return bench


@pytest.mark.parametrize(
    "model", [*SOON, *(pytest.param(name, marks=pytest.mark.long) for name in LATER)]
)
def test_compiled_sql_is_well_written(compiled: Any, model: str) -> None:
    folder = dbt.target_dir(compiled.home) / "compiled" / "tutor_pipeline" / "models"
    # Of a unit test, dbt keeps what it is given beside its file.
    (file,) = (path for path in folder.rglob(f"{model}.sql") if path.parent.suffix != ".yml")
    config = FluffConfig.from_path(
        str(DBT_PROJECT_DIR),
        overrides={
            "templater": "raw",
            "exclude_rules": ",".join(LEFT_OUT),
            "large_file_skip_byte_limit": 0,
        },
    )
    result = Linter(config).lint_string(file.read_text(encoding="utf-8"), fname=str(file))
    violations = [f"{each.line_no}: {each.rule_code()} {each.desc()}" for each in result.violations]
    assert violations == []
