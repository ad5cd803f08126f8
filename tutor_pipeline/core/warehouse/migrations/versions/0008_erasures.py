"""That a person's data was erased, without saying whose."""

from tutor_pipeline.core.warehouse.migrations.helpers import run_sql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql("""
        create table {ops}.erasures (
            erasure_no bigint generated always as identity primary key,
            erased_at timestamptz not null,
            erased_by text not null,
            role text not null check (role in ('tutor', 'student')),
            rows jsonb not null check (jsonb_typeof(rows) = 'object')
        );
        comment on table {ops}.erasures is
            'Each erasure of a person''s data: when, by whom, and how many rows; never of whom';
        comment on column {ops}.erasures.rows is 'Rows deleted or changed, by table'
        """)


def downgrade() -> None:
    run_sql("drop table {ops}.erasures")
