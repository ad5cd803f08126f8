"""Composes the Dagster definitions; nothing else."""

import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

from tutor_pipeline.defs.automation import build_jobs
from tutor_pipeline.defs.checks import blocking_checks
from tutor_pipeline.defs.dbt_manifest import load_manifest
from tutor_pipeline.defs.findings import (
    INPUTS,
    build_findings_assets,
    build_findings_checks,
)
from tutor_pipeline.defs.metrics import build_metrics_assets
from tutor_pipeline.defs.progress import progress_logger
from tutor_pipeline.defs.quality import build_suite_checks, quarantine, validation_report
from tutor_pipeline.defs.resources import WarehouseResource
from tutor_pipeline.defs.scores import SCORES, churn_algorithm_weights
from tutor_pipeline.defs.source import build_source_assets
from tutor_pipeline.metrics.catalogue import CONTRACT
from tutor_pipeline.metrics.wide_rows import rule_inputs
from tutor_pipeline.quality.suites import load_suites
from tutor_pipeline.rules.catalogue import load_catalogue
from tutor_pipeline.settings import load_settings
from tutor_pipeline.source.contract import load_contract


def build_defs(resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The project's definitions; tests override resources by name.

    Raises TutorPipelineError when a setting, the rule catalogue or the dbt project is wrong.
    """
    settings = load_settings()
    manifest, project = load_manifest(settings)
    catalogue = load_catalogue(settings.rule_profile, rule_inputs())
    metrics, snapshots = build_metrics_assets(
        manifest, project, settings.timezone, settings.history_start.isoformat()
    )
    suite_checks = build_suite_checks(load_suites())
    findings = build_findings_assets(catalogue, blocking_checks([metrics, *suite_checks], INPUTS))
    return dg.Definitions(
        assets=_with_code_references(
            *build_source_assets(load_contract(CONTRACT).tables),
            *SCORES,
            metrics,
            snapshots,
            quarantine,
            churn_algorithm_weights,
            *findings,
            validation_report,
        ),
        asset_checks=[*suite_checks, *build_findings_checks()],
        jobs=build_jobs(
            current=[metrics, quarantine, churn_algorithm_weights, *findings],
            by_day=[snapshots],
            checks=suite_checks,
            report=validation_report,
        ),
        resources={"warehouse": WarehouseResource(), **(resource_overrides or {})},
        loggers={"console": dg.colored_console_logger, "progress": progress_logger},
        # Steps are short and share imports: a process each would cost more than all of them.
        executor=dg.in_process_executor,
    )


def _with_code_references(*assets: Any) -> Any:
    with warnings.catch_warnings():
        # The links to the code are a beta of Dagster's; a warning per asset helps nobody.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.with_source_code_references(assets)


defs = build_defs()
