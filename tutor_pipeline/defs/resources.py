"""The resource, executor and loggers of all definitions."""

import dagster as dg

from tutor_pipeline.defs.common.progress import progress_logger
from tutor_pipeline.defs.common.warehouse_resource import WarehouseResource


@dg.definitions
def definitions() -> dg.Definitions:
    """The resource `warehouse`, the executor, the loggers."""
    return dg.Definitions(
        resources={"warehouse": WarehouseResource()},
        loggers={"console": dg.colored_console_logger, "progress": progress_logger},
        # Steps are short and share imports: a process per step would cost more than the steps.
        executor=dg.in_process_executor,
    )
