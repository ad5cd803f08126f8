"""Composes the Dagster definitions; nothing else."""

import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

from tutor_pipeline.core.settings import load_settings
from tutor_pipeline.defs.checks import blocking_checks
from tutor_pipeline.defs.dbt_manifest import load_manifest
from tutor_pipeline.defs.delivery import (
    JOB as DELIVER,
)
from tutor_pipeline.defs.delivery import (
    build_delivery_jobs,
    build_outbox_sensor,
    digest,
    messages,
)
from tutor_pipeline.defs.findings import (
    INPUTS,
    build_findings_assets,
    build_findings_checks,
)
from tutor_pipeline.defs.history import build_history_checks, build_reconcile_job
from tutor_pipeline.defs.housekeeping import build_housekeeping_job, retention
from tutor_pipeline.defs.incidents import build_incident_sensors
from tutor_pipeline.defs.jobs import build_jobs
from tutor_pipeline.defs.learning import build_learning_assets, build_learning_job
from tutor_pipeline.defs.metrics import build_metrics_assets
from tutor_pipeline.defs.new_sessions import build_new_sessions_sensor
from tutor_pipeline.defs.post_session import build_post_session_job
from tutor_pipeline.defs.progress import progress_logger
from tutor_pipeline.defs.quality import build_suite_checks, quarantine, validation_report
from tutor_pipeline.defs.resources import WarehouseResource
from tutor_pipeline.defs.schedules import build_schedules
from tutor_pipeline.defs.scores import INPUTS as SCORED
from tutor_pipeline.defs.scores import (
    Scoring,
    build_score_assets,
    churn_algorithm_weights,
)
from tutor_pipeline.defs.session_ledger import session_ledger
from tutor_pipeline.defs.source import build_source_assets
from tutor_pipeline.judgement.quality.suites import load_suites
from tutor_pipeline.judgement.rules.catalogue import load_catalogue
from tutor_pipeline.metrics.catalogue import CONTRACT
from tutor_pipeline.metrics.wide_rows import rule_inputs
from tutor_pipeline.sources.contract import load_contract


def build_defs(resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The project's definitions; tests override resources by name.

    Raises TutorPipelineError when a setting, the rule catalogue or the dbt project is wrong.
    """
    settings = load_settings()
    manifest, project = load_manifest(settings)
    catalogue = load_catalogue(settings.rule_profile, rule_inputs())
    metrics, snapshots, past_weeks = build_metrics_assets(
        manifest, project, settings.timezone, settings.history_start.isoformat()
    )
    suites = load_suites()
    suite_checks = build_suite_checks(suites)
    required = blocking_checks([metrics, *suite_checks], INPUTS)
    scoring = Scoring(
        settings.champion,
        settings.yearly_departure_rate,
        settings.yearly_student_departure_rate,
    )
    scores = build_score_assets(blocking_checks([metrics, *suite_checks], SCORED), scoring)
    findings = build_findings_assets(catalogue, required)
    learning = build_learning_assets(blocking_checks([metrics, *suite_checks], SCORED), scoring)
    history_checks = build_history_checks()
    resources = {"warehouse": WarehouseResource(), **(resource_overrides or {})}
    jobs = [
        build_post_session_job(catalogue, suites, required, scoring, resources),
        *build_jobs(
            current=[
                metrics,
                quarantine,
                churn_algorithm_weights,
                *scores,
                *findings,
                session_ledger,
            ],
            by_day=[snapshots],
            checks=suite_checks,
            report=validation_report,
            checks_of_history=history_checks,
        ),
        build_reconcile_job(history_checks),
        build_learning_job(past_weeks, *learning),
        build_housekeeping_job(),
        *build_delivery_jobs(),
    ]
    by_name = {job.name: job for job in jobs}
    by_default = "RUNNING" if settings.automation == "on" else "STOPPED"
    sensor_status = dg.DefaultSensorStatus(by_default)
    return dg.Definitions(
        assets=_with_code_references(
            *build_source_assets(load_contract(CONTRACT).tables),
            metrics,
            snapshots,
            past_weeks,
            quarantine,
            churn_algorithm_weights,
            *scores,
            *learning,
            *findings,
            session_ledger,
            validation_report,
            retention,
            messages,
            digest,
        ),
        asset_checks=[*suite_checks, *build_findings_checks(), *history_checks],
        jobs=jobs,
        schedules=build_schedules(
            by_name,
            snapshots.keys,
            settings.history_start,
            settings.timezone,
            dg.DefaultScheduleStatus(by_default),
        ),
        sensors=[
            build_new_sessions_sensor(by_name, required, sensor_status),
            *build_incident_sensors(required, sensor_status),
            build_outbox_sensor(by_name[DELIVER], sensor_status),
        ],
        resources=resources,
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
