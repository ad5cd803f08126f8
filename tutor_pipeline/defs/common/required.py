"""The blocking checks that must pass before anything is derived."""

from collections.abc import Collection, Iterable

import dagster as dg

from tutor_pipeline.defs.common.project import Project
from tutor_pipeline.defs.metrics import metrics_assets
from tutor_pipeline.defs.quality import suite_checks
from tutor_pipeline.judgement.quality.guard import Required


def required(project: Project, assets: Collection[str]) -> list[Required]:
    """The blocking checks of some tables: dbt tests and suites."""
    current, *_ = metrics_assets(project)
    return blocking_checks([current, *suite_checks(project)], assets)


def blocking_checks(
    definitions: Iterable[dg.AssetsDefinition], assets: Collection[str]
) -> list[Required]:
    """The blocking checks of these definitions on some tables, in the form the guard takes."""
    found = {
        Required(spec.asset_key.to_user_string(), spec.name)
        for definition in definitions
        for spec in definition.check_specs
        if spec.blocking and spec.asset_key.to_user_string() in assets
    }
    return sorted(found, key=lambda each: (each.asset, each.check))
