"""One entry per metric: what follows from it is written, and CONTRIBUTING's recipe holds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.paths import DBT_PROJECT_DIR, PROJECT_DIR
from tutor_pipeline.metrics import entries


def test_the_written_file_is_up_to_date() -> None:
    written = (DBT_PROJECT_DIR / entries.WRITTEN).read_text(encoding="utf-8")
    assert written == entries.text(), "run: python -m tutor_pipeline.metrics.entries"


def test_a_metric_has_a_column_for_each_window_and_what_it_rests_on() -> None:
    entry = entries.Metric(
        name="avg",
        average="rating",
        windows=("7d", "30d"),
        description="of {days}",
        n="rated, {days}",
    )
    made = [
        (column["name"], column["data_type"], column["description"], column["config"]["meta"], how)
        for column, how in entry.columns()
    ]
    exposures = {window: {"exposure": f"avg_{window}_n"} for window in entry.windows}
    assert made == [
        row
        for window, days in (("7d", "7 days"), ("30d", "30 days"))
        for row in (
            (
                *(f"avg_{window}", "double precision", f"of {days}", exposures[window]),
                {"average": "rating", "window": window},
            ),
            (
                *(f"avg_{window}_n", "integer", f"rated, {days}", exposures[window]),
                {"count": "rating_count", "window": window},
            ),
        )
    ]


def changed(tmp_path: Path, old: str, new: str) -> Path:
    text = (DBT_PROJECT_DIR / entries.ENTRIES).read_text(encoding="utf-8")
    assert old in text
    (tmp_path / entries.ENTRIES).write_text(text.replace(old, new, 1), encoding="utf-8")
    return tmp_path


def test_a_column_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    project = changed(tmp_path, "  - name: late_rate\n", "  - name: cancelled\n")
    with pytest.raises(TutorPipelineError, match="twice: cancelled_30d"):
        entries.text(project)


def test_a_misspelt_key_is_refused(tmp_path: Path) -> None:
    project = changed(tmp_path, "    average: rating\n", "    averag: rating\n")
    with pytest.raises(TutorPipelineError, match="averag"):
        entries.text(project)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    average: rating\n", "    average: ratin\n", "`sum` ratin; did you mean rating?"),
        ("    count: late_count\n", "    count: score_sum\n", "score_sum_30d / 1000000.0"),
    ],
)
def test_what_is_no_measure_of_its_kind_is_refused(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    with pytest.raises(TutorPipelineError, match=re.escape(said)):
        entries.text(changed(tmp_path, old, new))


# -- the recipe ------------------------------------------------------------------------------------

ADDED = '''
"""Whoever added a metric finds it everywhere."""

import json

from tests.unit.metrics.test_history import check_history_equals_the_wide_rows
from tutor_pipeline.judgement.rules.catalogue import load_catalogue
from tutor_pipeline.metrics import dbt
from tutor_pipeline.metrics.thresholds import thresholds
from tutor_pipeline.metrics.wide_rows import rule_inputs

NAME = "avg_student_questions_30d"
RULE = """
extends: adaptive
alerts:
  few_questions:
    severity: warning
    title: Few Questions
    when:
      - {metric: avg_student_questions_30d, op: "<", value: 1}
    description: "{avg_student_questions_30d} questions."
    recommended_action: Ask
    evidence: recent_session_ids
"""


def test_it_is_in_the_history_and_in_the_documentation(bench):
    check_history_equals_the_wide_rows(bench, 5, [14])
    history = bench.rows("select * from {marts}.tutor_aggregates_history")
    assert any(row[NAME] is not None for row in history)
    dbt.invoke(["docs", "generate"], dbt.dbt_environment(bench.warehouse, None, bench.home))
    target = dbt.target_dir(bench.home)
    described = json.loads((target / "manifest.json").read_text())["nodes"]
    found = json.loads((target / "catalog.json").read_text())["nodes"]
    for table in ("tutor_aggregates", "tutor_aggregates_history"):
        node = f"model.tutor_pipeline.{table}"
        assert described[node]["columns"][NAME]["description"]
        assert NAME in found[node]["columns"]


def test_a_rule_can_name_it(tmp_path):
    profile = tmp_path / "own.yml"
    profile.write_text(RULE)
    assert load_catalogue(profile, rule_inputs(), thresholds())
'''


def recipe() -> list[str]:
    """The examples of the recipe, in its order."""
    text = (PROJECT_DIR / "CONTRIBUTING.md").read_text(encoding="utf-8")
    part = text.split("## Adding a metric")[1].split("\n## ")[0]
    blocks = re.findall(r"```\w+\n(.*?) *```", part, re.DOTALL)
    return [re.sub(r"(?m)^   ", "", block) for block in blocks]


def insert(path: Path, before: str, text: str) -> None:
    content = path.read_text(encoding="utf-8")
    assert content.count(before) == 1, before
    path.write_text(content.replace(before, text + before), encoding="utf-8")


@pytest.mark.long
def test_the_recipe_in_contributing_adds_a_metric(tmp_path: Path, starts_something: None) -> None:
    copy = tmp_path / "copy"
    for name in ("tutor_pipeline", "dbt_project", "benchmarks", "tests"):
        ignored = shutil.ignore_patterns("target", "logs", "__pycache__")
        shutil.copytree(PROJECT_DIR / name, copy / name, ignore=ignored)
    for name in ("pyproject.toml", "CONTRIBUTING.md"):
        shutil.copy(PROJECT_DIR / name, copy / name)

    measure, metric, completed, column = recipe()
    insert(copy / "dbt_project" / entries.ENTRIES, "\nmetrics:\n", measure)
    insert(copy / "dbt_project" / entries.ENTRIES, "\n  # Runs and firsts\n", metric)
    plain = copy / "benchmarks" / "metrics_straightforward.sql"
    insert(plain, "        avg(tutor_uses_visual_aids::int)", completed)
    insert(plain, "    low_score_streak,\n    coalesce(low_score_streak_n", column)

    (copy / "tests/unit/metrics/test_added.py").write_text(ADDED)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment = {**kept, "PYTHONPATH": str(copy)}
    for command in (
        ["-m", "tutor_pipeline.metrics.entries"],
        [
            *("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/metrics/test_added.py"),
            "tests/unit/metrics/test_entries.py::test_the_written_file_is_up_to_date",
            "tests/unit/metrics/test_wide_row.py::test_every_column_equals_straightforward_sql",
        ],
    ):
        done = subprocess.run(
            [sys.executable, *command],
            check=False,
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
