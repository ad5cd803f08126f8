"""The warehouse as a resource. The only place in a Dagster run that reads settings."""

import logging
from functools import cached_property

import dagster as dg

from tutor_pipeline.core.settings import Settings, load_settings
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.migrate import upgrade
from tutor_pipeline.core.warehouse.watchdog import watch
from tutor_pipeline.sources.losses import Limits
from tutor_pipeline.sources.mapping.reading import mapped

# Not Dagster's log: that is in a database which may be the one that does not answer.
_LOG = logging.getLogger(__name__)


class WarehouseResource(dg.ConfigurableResource["WarehouseResource"]):
    """The warehouse of the settings, located and migrated on first use by an asset."""

    @property
    def settings(self) -> Settings:
        """The settings, read again, as each run is a process of its own."""
        return load_settings()

    @property
    def loss_limits(self) -> Limits:
        """How many rows of the platform may vanish in a day."""
        settings = self.settings
        return Limits(settings.loss_share, settings.loss_sessions, settings.loss_tutors)

    @cached_property
    def warehouse(self) -> Warehouse:
        """The migrated warehouse. Raises TutorPipelineError if it cannot be reached."""
        located = self.settings.locate()
        # In a process that works by itself nobody is there to end a wait. (Dagster's storage is
        # watched by whoever opens it.)
        watch(located.warehouse.url, _LOG.warning)
        upgrade(located.warehouse)
        return mapped(located.warehouse, self.settings.source_map)
