"""The Dagster definitions: everything in `defs`, loaded by itself."""

import dagster as dg

from tutor_pipeline.core.paths import PROJECT_DIR
from tutor_pipeline.defs.common.project import load_project


def build_defs() -> dg.Definitions:
    """The definitions under the settings as they are now.

    Raises TutorPipelineError when a setting, the rule catalogue or the dbt project is wrong.
    """
    load_project.cache_clear()
    load_project()  # what is wrong is said as it is, not as a component that failed to load
    return dg.load_from_defs_folder(path_within_project=PROJECT_DIR)


defs = build_defs()
