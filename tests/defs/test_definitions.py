"""The definitions: which assets there are, and that each can be understood in the UI."""

import subprocess
import sys

import dagster as dg
import pytest

from tutor_pipeline.core.settings import load_settings
from tutor_pipeline.definitions import defs
from tutor_pipeline.defs.common.dbt_manifest import load_manifest
from tutor_pipeline.judgement.quality.suites import load_suites
from tutor_pipeline.metrics import dbt
from tutor_pipeline.sources.contract import load_contract
from tutor_pipeline.steps.order import FINDINGS_REST_ON

DELIVERED = {"ops/messages", "digest"}
MATERIALIZABLE = {
    "staging/session_rows",
    "intermediate/int_import_days",
    "intermediate/int_tutor_days",
    "intermediate/int_tutor_logins",
    "marts/fct_sessions",
    "marts/fct_session_students",
    "marts/dim_tutors",
    "marts/dim_students",
    "marts/student_aggregates",
    "marts/student_aggregates_history",
    "marts/student_evidence",
    "marts/student_evidence_history",
    "marts/tutor_departures",
    "marts/tutor_evidence",
    "marts/tutor_evidence_history",
    "marts/tutor_features",
    "marts/tutor_features_history",
    "marts/tutor_aggregates",
    "marts/tutor_aggregates_history",
    "marts/tutor_performance_snapshots",
    "marts/tutor_scoreboard",
    "marts/recent_sessions",
    "marts/platform_metrics",
    "ops/quarantine",
    "ops/alerts",
    "ops/tutor_insights",
    "ops/achievements",
    "ops/churn_algorithm_weights",
    "ops/score_references",
    "ops/tutor_scores",
    "ops/current_tutor_risk",
    "ops/tutor_health",
    "ops/student_scores",
    "ops/tutor_student_churn",
    "ops/student_health",
    "ops/backtest_metrics",
    "ops/model_versions",
    "ops/churn_weight_history",
    "ops/session_ledger",
    "ops/retention",
    *DELIVERED,
    "validation_report",
}
BY_DAY = {"marts/tutor_aggregates_history", "marts/tutor_performance_snapshots"}
LEARNED = {
    "marts/tutor_evidence_history",
    "marts/tutor_features_history",
    "marts/student_aggregates_history",
    "marts/student_evidence_history",
    "ops/backtest_metrics",
    "ops/model_versions",
    "ops/churn_weight_history",
}
FINDINGS = {"ops/alerts", "ops/tutor_insights", "ops/achievements"}
GROUPS = {"source", "staging", "intermediate", "marts", "findings", "scores", "quality"}
GROUPS |= {"operations", "delivery"}


@pytest.fixture(scope="module")
def graph():
    return defs.resolve_asset_graph()


def test_the_definitions_load_as_a_whole():
    """As a code server loads them, which looks at more than a single job does."""
    dg.Definitions.validate_loadable(defs)


def test_the_set_of_assets(graph):
    made = {key.to_user_string() for key in graph.materializable_asset_keys}
    external = {key.to_user_string() for key in graph.external_asset_keys}
    assert made == MATERIALIZABLE
    platform = {f"platform/{table.name}" for table in load_contract().tables}
    assert external == platform


def test_every_asset_says_what_it_is_and_whose(graph):
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description, key
        assert node.kinds, key
        assert node.owners, key
        assert node.group_name in GROUPS, key


def test_groups_follow_one_another_without_a_loop(graph):
    """The lineage page reads left to right: no group feeds one that it is fed by."""
    feeds = {
        (graph.get(parent).group_name, graph.get(key).group_name)
        for key in graph.get_all_asset_keys()
        for parent in graph.get(key).parent_keys
    }
    order = ["source", "staging", "intermediate", "marts", "scores", "findings"]
    for parent, child in feeds:
        if parent in order and child in order:
            assert order.index(parent) <= order.index(child), (parent, child)


def test_findings_come_after_what_they_read(graph):
    read = {
        "marts/tutor_aggregates",
        "marts/dim_tutors",
        "ops/current_tutor_risk",
        "ops/tutor_student_churn",
    }
    # While a check of these blocks, nothing is derived in the same run.
    checked = {"marts/fct_sessions", "ops/quarantine"}
    for name, more in (
        ("alerts", set()),
        ("tutor_insights", {"ops/alerts"}),
        ("achievements", set()),
    ):
        parents = graph.get(dg.AssetKey(["ops", name])).parent_keys
        assert {key.to_user_string() for key in parents} == read | checked | more


def test_jobs(graph):
    jobs = {job.name: job for job in defs.resolve_all_job_defs()}
    refreshed = {
        key.to_user_string() for key in jobs["daily_refresh"].asset_layer.selected_asset_keys
    }
    assert refreshed == MATERIALIZABLE - BY_DAY - LEARNED - {"ops/retention", *DELIVERED}
    learned = jobs["weekly_learning"].asset_layer.selected_asset_keys
    assert {key.to_user_string() for key in learned} == LEARNED
    assert jobs["daily_snapshots"].partitions_def is not None
    checks_alone = jobs["data_quality"].asset_layer
    assert {key.to_user_string() for key in checks_alone.selected_asset_keys} == {
        "validation_report"
    }
    of_suites = {
        dg.AssetCheckKey(dg.AssetKey(suite.asset.split("/")), check.name)
        for suite in load_suites()
        for check in suite.checks
    }
    assert checks_alone.asset_graph.asset_check_keys == of_suites
    assert jobs["daily_refresh"].asset_layer.asset_graph.asset_check_keys >= of_suites


def test_every_check_says_what_must_hold(graph):
    for key in graph.asset_check_keys:
        description = graph.get(key).description
        assert description, key
        assert description.endswith("."), key


def test_what_findings_rest_on_blocks_them(graph):
    """Each blocking check of an input is known to the guard, and, where Dagster can, stops it."""
    blocking = {
        (spec.asset_key.to_user_string(), spec.name)
        for spec in map(graph.get_check_spec, graph.asset_check_keys)
        if spec.blocking and spec.asset_key.to_user_string() in FINDINGS_REST_ON
    }
    assert {asset for asset, _ in blocking} == set(FINDINGS_REST_ON) - {"staging/session_rows"}
    parents = {
        key.to_user_string() for key in graph.get(dg.AssetKey(["ops", "alerts"])).parent_keys
    }
    # dbt's tests are part of the step that makes the tables: when one fails, the step does.
    by_suites = {suite.asset for suite in load_suites() for check in suite.checks if check.blocking}
    assert by_suites <= parents


def test_the_report_is_written_last(graph):
    steps = defs.resolve_job_def("daily_refresh").nodes
    priorities = {node.name: int(node.tags.get("dagster/priority", 0)) for node in steps}
    lowest = min(priorities.values())
    assert [name for name, priority in priorities.items() if priority == lowest] == [
        "validation_report"
    ]


def test_checks_stand_on_the_grain_of_every_model(graph):
    checked = {key.asset_key.to_user_string() for key in graph.asset_check_keys}
    assert {
        key for key in MATERIALIZABLE if key.startswith(("marts", "intermediate"))
    } <= checked | {
        "marts/recent_sessions",
        "marts/tutor_scoreboard",
    }
    assert checked >= FINDINGS


@pytest.mark.usefixtures("starts_something")
def test_loading_gives_no_warning_and_connects_to_nothing(tmp_path):
    code = (
        "import sys; from tutor_pipeline.definitions import defs; defs.resolve_asset_graph();"
        "assert 'great_expectations' not in sys.modules"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-W", "default", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={
            "PATH": "",
            "TUTOR_HOME": str(tmp_path),
            # Nothing listens there: a load that connects would fail.
            "TUTOR_DATABASE_URL": "postgresql://nobody:x@127.0.0.1:1/nowhere",
        },
    )
    ours = [line for line in result.stderr.splitlines() if "Warning" in line]
    assert not [line for line in ours if "agster" in line or "tutor_pipeline" in line], ours
    assert not (tmp_path / "postgres").exists()


@pytest.mark.usefixtures("starts_something")
def test_half_a_manifest_is_parsed_anew(tmp_path):
    """dbt writes it anew in every run, and may be killed while it does."""
    settings = load_settings().model_copy(update={"home": tmp_path})
    whole, _ = load_manifest(settings)
    file = dbt.target_dir(tmp_path) / "manifest.json"
    file.write_bytes(file.read_bytes()[:1000])
    again, _ = load_manifest(settings)
    assert again["nodes"].keys() == whole["nodes"].keys()
