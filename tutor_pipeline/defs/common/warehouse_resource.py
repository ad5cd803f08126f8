"""What assets need from outside: the warehouse. The only place in Dagster that reads settings."""

from functools import cached_property

import dagster as dg

from tutor_pipeline.core.settings import Settings, load_settings
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.migrate import upgrade


class WarehouseResource(dg.ConfigurableResource["WarehouseResource"]):
    """The warehouse of the settings: found, and brought up to date, when an asset first asks."""

    @property
    def settings(self) -> Settings:
        """The settings, read anew (a run is a process of its own)."""
        return load_settings()

    @cached_property
    def warehouse(self) -> Warehouse:
        """The warehouse, migrated. Raises TutorPipelineError when it can't be reached."""
        located = self.settings.locate()
        upgrade(located.warehouse)
        return located.warehouse
