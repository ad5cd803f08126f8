"""What a test of dbt says as the outcome of a check."""

import pytest

from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.judgement.quality.outcome import Status
from tutor_pipeline.steps.build import Check, outcome_of

NOWHERE = Warehouse("postgresql://nobody@127.0.0.1:1/nowhere")


@pytest.mark.parametrize(
    ("said", "severity", "status", "stops"),
    [
        ("pass", "error", Status.PASSED, False),
        ("fail", "error", Status.FAILED, True),
        ("error", "error", Status.ERRORED, True),
        ("pass", "warn", Status.PASSED, False),
        ("warn", "warn", Status.FAILED, False),
        ("warn", "WARN", Status.FAILED, False),
        ("error", "warn", Status.ERRORED, False),
    ],
)
def test_a_warning_of_dbt_has_failed_and_stops_nothing(tmp_path, said, severity, status, stops):
    node = {
        "name": "unique_id", "package_name": "tutor_pipeline", "original_file_path": "a/_a.yml",
        "config": {"severity": severity, "meta": {"description": "An id is of one row."}},
    }  # fmt: skip
    failures = 0 if said == "pass" else 3
    event = {
        "data": {
            "node_info": {"node_status": said}, "num_failures": failures, "execution_time": 0.5,
        },
    }  # fmt: skip
    found = outcome_of(NOWHERE, tmp_path, node, event, Check("marts/dim_tutors", "unique_id"))
    assert (found.status, found.stops) == (status, stops)
    assert found.rows_failing == (None if status is Status.ERRORED else failures)
