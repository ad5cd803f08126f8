"""What assets need from outside: the warehouse. The only place in Dagster that reads settings."""

from functools import cached_property

import dagster as dg

from tutor_pipeline.settings import Settings, load_settings
from tutor_pipeline.warehouse.connection import Warehouse
from tutor_pipeline.warehouse.locate import locate
from tutor_pipeline.warehouse.migrate import upgrade


class WarehouseResource(dg.ConfigurableResource["WarehouseResource"]):
    """The warehouse of the settings: found, and brought up to date, when an asset first asks."""

    @property
    def settings(self) -> Settings:
        """The settings, read anew (a run is a process of its own)."""
        return load_settings()

    @cached_property
    def warehouse(self) -> Warehouse:
        """The warehouse, migrated. Raises TutorPipelineError when it can't be reached."""
        settings = self.settings
        located = locate(
            settings.home,
            settings.database_url,
            settings.dagster_database_url,
            settings.schemas,
            settings.timezone,
            settings.platform_timezone,
        )
        upgrade(located.warehouse)
        return located.warehouse
