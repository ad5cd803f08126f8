"""Alembic's entry point: runs the migrations on the connection of `warehouse.migrate`."""

from alembic import context

from tutor_pipeline.core.warehouse import reporting
from tutor_pipeline.core.warehouse.database import Database, Warehouse

_attributes = context.config.attributes
context.configure(
    connection=_attributes["connection"],
    version_table_schema=_attributes["schemas"].ops,
    transaction_per_migration=False,
)
with context.begin_transaction():
    # On a cluster, tables that are filled, distributed and altered in one transaction.
    _attributes["connection"].exec_driver_sql(
        "select set_config('citus.multi_shard_modify_mode', 'sequential', true)"
        " from pg_extension where extname = 'citus'"
    )
    _database = Database(
        _attributes["connection"].connection.dbapi_connection,
        Warehouse("", _attributes["schemas"]),
    )
    # A view keeps a migration from changing the columns that it shows.
    reporting.take_back(_database)
    context.run_migrations()
    reporting.show(_database, context.get_context().get_current_revision())
