"""Checks of the steps: how many tutors may be skipped."""

from datetime import UTC, datetime

import pytest
from psycopg.types.json import Jsonb

from tutor_pipeline.core.findings import Kind
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun, write_header
from tutor_pipeline.steps import check

NOW = datetime(2026, 3, 18, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("tutors", "skipped", "severity", "fails"),
    [
        (200, 0, "warn", False),
        (200, 2, "warn", False),  # exactly 1 %
        (200, 3, "error", True),
        (0, 0, "warn", False),
    ],
)
def test_a_few_skipped_tutors_are_a_warning_and_more_fail_the_run(
    warehouse, tutors, skipped, severity, fails
):
    run_id = f"{skipped} of {tutors}"
    write_header(warehouse, RefreshRun(run_id, NOW))
    numbers = ("opened", "confirmed", "escalated", "resolved", "suppressed", "evaluated")
    row = {
        "kind": "alert", "run_id": run_id, "as_of": NOW, "profile": "adaptive", "applied_at": NOW,
        "tutors": tutors, "skipped": Jsonb({f"T{number}": "bad" for number in range(skipped)}),
        **dict.fromkeys(numbers, 0),
    }  # fmt: skip
    with warehouse.connect() as database:
        database.execute(
            f"insert into {{ops}}.reconcile_runs ({', '.join(row)})"
            f" values ({', '.join(['%s'] * len(row))})",
            list(row.values()),
        )
    outcome, too_many = check.every_tutor(warehouse, run_id, Kind.ALERT, "ops/alerts")
    assert too_many is fails
    assert (outcome.severity, outcome.passed) == (severity, skipped == 0)
    assert (outcome.rows_checked, outcome.rows_failing) == (tutors, skipped)
