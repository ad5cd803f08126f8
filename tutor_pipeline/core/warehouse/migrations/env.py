"""Alembic's entry point: runs the migrations on the connection of `warehouse.migrate`."""

from alembic import context

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
    context.run_migrations()
