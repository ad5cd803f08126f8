"""Migrations of the pipeline's own schemas (Alembic). dbt makes the tables of the others."""
