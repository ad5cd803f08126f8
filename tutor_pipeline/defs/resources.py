"""What assets need from outside, how runs execute, and where they log."""

import dagster as dg

from tutor_pipeline.defs.common.progress import progress_logger
from tutor_pipeline.defs.common.warehouse_resource import WarehouseResource


@dg.definitions
def definitions() -> dg.Definitions:
    """The resource `warehouse`, the executor, the loggers."""
    return dg.Definitions(
        resources={"warehouse": WarehouseResource()},
        loggers={"console": dg.colored_console_logger, "progress": progress_logger},
        # Steps are short and share imports: a process each would cost more than all of them.
        executor=dg.in_process_executor,
    )
