"""Dagster's storage, watched: in its daemon and its web server nobody else ends a wait."""

import logging
from typing import Any

from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import pg_url_from_config

from tutor_pipeline.core.warehouse.watchdog import watch

# Not Dagster's log: that is in the database which may be the one that does not answer.
_LOG = logging.getLogger(__name__)


class WatchedStorage(DagsterPostgresStorage):
    """Dagster's own storage in PostgreSQL. Each process that opens it watches its server."""

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> Any:
        """Opens what `deploy/dagster.yaml` names."""
        watch(pg_url_from_config(config_value), _LOG.warning)
        return super().from_config_value(inst_data, config_value)
