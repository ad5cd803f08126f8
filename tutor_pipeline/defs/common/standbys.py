"""A platform that is read from a hot standby: what the standby cancels is read again."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import psycopg

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.remedies import is_cancelled_by_standby

MOST_RETRIES = 5
_SECONDS = 2


@contextmanager
def again_if_cancelled(context: dg.OpExecutionContext | dg.AssetExecutionContext) -> Iterator[None]:
    """Within a step that reads the platform: the whole step runs again after a standby cancelled
    one of its statements. In the last of MOST_RETRIES attempts the error stays what it is.
    """
    try:
        yield
    except (psycopg.Error, TutorPipelineError) as error:
        if not is_cancelled_by_standby(error) or context.retry_number >= MOST_RETRIES:
            raise
        raise dg.RetryRequested(MOST_RETRIES, _SECONDS) from error
