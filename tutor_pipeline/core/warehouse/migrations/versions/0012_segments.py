"""Students who are taken to have left, where the platform does not tell."""

from tutor_pipeline.core.warehouse.migrations.helpers import run_sql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_TOLD = "'thriving', 'healthy', 'at_risk', 'churned'"


def upgrade() -> None:
    _allow(f"{_TOLD}, 'churned (inferred)'")
    run_sql("""
        comment on column {ops}.student_health.segment is
            'churned (inferred): silent for long, and the platform does not say who left';
        comment on table {ops}.score_references is
            'What is usual on this platform, by version: the yardstick of a forecast (scorer),'
            ' and with departure_v1 (health) of health_v1. Fitted by full refreshes, read by all'
            ' others; never changed, kept as long as scores';
        """)


def downgrade() -> None:
    run_sql("""
        update {ops}.student_health set segment = 'churned' where segment = 'churned (inferred)';
        comment on column {ops}.student_health.segment is null;
        comment on table {ops}.score_references is
            'What is usual on this platform, by version: the yardstick of a forecast (scorer).'
            ' Fitted by full refreshes, read by all others; never changed, kept as long as scores';
        """)
    _allow(_TOLD)


def _allow(segments: str) -> None:
    run_sql(f"""
        alter table {{ops}}.student_health drop constraint student_health_segment_check;
        alter table {{ops}}.student_health
            add constraint student_health_segment_check check (segment in ({segments}));
        """)
