"""The code names the kinds of messages: a new one needs no migration."""

from tutor_pipeline.core.warehouse.migrations.helpers import run_sql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_KINDS = "'alert', 'session', 'incident', 'digest', 'rules'"


def upgrade() -> None:
    run_sql("alter table {ops}.outbox drop constraint outbox_kind_check")


def downgrade() -> None:
    run_sql(f"""
        delete from {{ops}}.outbox where kind not in ({_KINDS});
        alter table {{ops}}.outbox
            add constraint outbox_kind_check check (kind in ({_KINDS}))
        """)
