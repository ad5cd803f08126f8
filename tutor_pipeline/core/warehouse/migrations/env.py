"""Alembic's entry: runs the migrations on the connection that `warehouse.migrate` hands over."""

from alembic import context

_attributes = context.config.attributes
context.configure(
    connection=_attributes["connection"],
    version_table_schema=_attributes["schemas"].ops,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
