"""Alembic migrations of the pipeline's schemas. dbt creates the tables that its models define."""
