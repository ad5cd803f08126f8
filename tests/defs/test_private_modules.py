"""What is used of Dagster though it is private: each is in one place, and still there."""

import re
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "tutor_pipeline"

PRIVATE = {
    "defs/metrics.py": "dagster_dbt.core.dbt_cli_event",
    "cli/server.py": "dagster._core.scheduler.instigation",
}
"""Nothing public names the checks of an event of dbt's, or tells schedules from sensors."""


def test_nothing_else_private_is_used():
    found = {}
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for module in re.findall(
            r"(?:from|import) ((?:dagster|dbt)\w*(?:\.\w+)*\.(?:_\w+|core)[\w.]*|dagster\._\S+)",
            text,
        ):
            found[path.relative_to(PACKAGE).as_posix()] = module
    assert found == PRIVATE


def test_dbt_events_still_name_their_checks():
    from dagster_dbt.core.dbt_cli_event import DbtCoreCliEventMessage

    assert callable(DbtCoreCliEventMessage.to_default_asset_events)


def test_instigators_still_have_a_type():
    from dagster._core.scheduler.instigation import InstigatorType

    assert {"SCHEDULE", "SENSOR"} <= set(InstigatorType.__members__)
