"""Refreshes by hand, of some tables."""

from tutor_pipeline.core.warehouse.migrations.helpers import run_sql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql("""
        alter table {ops}.refresh_runs
            add column tables text[],
            add check (tables is null or not is_full);
        comment on column {ops}.refresh_runs.tables is
            'Of a refresh by hand of some tables, for all tutors: these; null = every table.'
            ' It is no full refresh, and checks of these tables do not count before they are'
            ' evaluated again';
        """)


def downgrade() -> None:
    run_sql("""
        delete from {ops}.refresh_runs where tables is not null;
        alter table {ops}.refresh_runs drop column tables;
        """)
