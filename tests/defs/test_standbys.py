"""Which errors of a step are tried again, and how often."""

import dagster as dg
import psycopg
import pytest

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.defs.common import standbys
from tutor_pipeline.defs.common.standbys import MOST_RETRIES, again_if_cancelled

CANCELLED = "canceling statement due to conflict with recovery"


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (psycopg.errors.SerializationFailure(CANCELLED), MOST_RETRIES + 1),
        (TutorPipelineError(f"dbt build failed at session_rows: {CANCELLED}"), MOST_RETRIES + 1),
        (psycopg.errors.SerializationFailure("could not serialize access"), 1),
        (TutorPipelineError("rows of the platform are missing"), 1),
    ],
)
@pytest.mark.usefixtures("starts_something")
def test_a_step_runs_again_if_a_standby_cancelled_it(monkeypatch, error, tries):
    monkeypatch.setattr(standbys, "_SECONDS", 0)
    tried = []

    @dg.op
    def reads(context):
        with again_if_cancelled(context):
            tried.append(context.retry_number)
            raise error

    @dg.job
    def reading():
        reads()

    result = reading.execute_in_process(raise_on_error=False)
    assert tried == list(range(tries))
    (failure,) = result.get_step_failure_events()
    # In the end it says what was the matter.
    assert str(error) in failure.step_failure_data.error.cause.message
