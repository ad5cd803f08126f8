"""By which mapping an accepted state of the source was counted."""

from tutor_pipeline.core.warehouse.migrations.helpers import run_sql

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql("""
        alter table {ops}.source_states add column source_map text not null default '';
        comment on column {ops}.source_states.source_map is
            'Hash of the mapping by which the platform was read, empty without one. States of'
            ' another mapping say nothing of what is there';
        """)


def downgrade() -> None:
    run_sql("alter table {ops}.source_states drop column source_map")
