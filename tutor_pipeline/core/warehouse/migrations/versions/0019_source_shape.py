"""Of which columns a full refresh took the sessions' versions."""

from tutor_pipeline.core.warehouse.migrations.helpers import run_sql

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql("""
        alter table {ops}.refresh_runs add column source_shape text;
        comment on column {ops}.refresh_runs.source_shape is
            'Of a full refresh: a hash of how versions of sessions were made, of which columns.'
            ' While the platform has another one, a version that differs says nothing';
        -- Twice a second somebody asks for the newest one, among the rows of all passes.
        create index refresh_runs_of_all on {ops}.refresh_runs (started_at) where is_full;
        """)


def downgrade() -> None:
    run_sql("""
        drop index {ops}.refresh_runs_of_all;
        alter table {ops}.refresh_runs drop column source_shape;
        """)
