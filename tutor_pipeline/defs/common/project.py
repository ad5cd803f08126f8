"""The inputs of the definitions, read once: settings, dbt's manifest, rules and suites."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import dagster as dg
from dagster_dbt import DbtProject

from tutor_pipeline.core.settings import Settings, load_settings
from tutor_pipeline.core.templates import check_references
from tutor_pipeline.defs.common.dbt_manifest import load_manifest
from tutor_pipeline.judgement.quality.suites import Suite, load_suites
from tutor_pipeline.judgement.rules.catalogue import Catalogue, load_catalogue
from tutor_pipeline.metrics.thresholds import thresholds
from tutor_pipeline.metrics.wide_rows import rule_inputs
from tutor_pipeline.people.notify import message as notify
from tutor_pipeline.people.reports import render as reports
from tutor_pipeline.steps.score import Scoring


# Compared by identity, so that objects made from a project can be cached by it.
@dataclass(frozen=True, eq=False)
class Project:
    """The project and the settings it was loaded with."""

    settings: Settings
    manifest: Mapping[str, Any]
    dbt_project: DbtProject
    catalogue: Catalogue
    suites: Sequence[Suite]

    @property
    def scoring(self) -> Scoring:
        """How people are scored."""
        return Scoring(
            self.settings.champion,
            self.settings.yearly_departure_rate,
            self.settings.yearly_student_departure_rate,
        )

    @property
    def sensors(self) -> dg.DefaultSensorStatus:
        """Whether sensors are on by default."""
        return dg.DefaultSensorStatus(self._automation)

    @property
    def schedules(self) -> dg.DefaultScheduleStatus:
        """Whether schedules are on by default."""
        return dg.DefaultScheduleStatus(self._automation)

    @property
    def _automation(self) -> str:
        return "RUNNING" if self.settings.automation == "on" else "STOPPED"


@cache
def load_project() -> Project:
    """Load the project. Raises TutorPipelineError if a setting, a rule, a suite, a template or the
    dbt project is invalid. After `load_project.cache_clear()` the next call reads it again.
    """
    settings = load_settings()
    manifest, dbt_project = load_manifest(settings)
    for folder in (notify.TEMPLATES, reports.TEMPLATES):
        check_references(folder, thresholds())
    return Project(
        settings,
        manifest,
        dbt_project,
        load_catalogue(settings.rule_profile, rule_inputs(), thresholds()),
        load_suites(),
    )
