"""The forecast of students: its own reference. Levels that belong to a version of the weights."""

from tutor_pipeline.core.warehouse.migrations.helpers import run_sql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql("""
        -- Until now there was one scorer with a reference.
        alter table {ops}.score_references
            add column scorer text not null default 'departure_v1';
        alter table {ops}.score_references alter column scorer drop default;
        comment on table {ops}.score_references is
            'What is usual on this platform, by version: the yardstick of a forecast (scorer).'
            ' Fitted by full refreshes, read by all others; never changed, kept as long as scores';
        comment on column {ops}.score_references.tutors is
            'Who it was fitted on: tutors, of student_departure_v1 students';
        comment on column {ops}.backtest_metrics.tutors is
            'Distinct tutors, of targets about students distinct students';

        create table {ops}.churn_weight_levels (
            version integer primary key check (version > 0),
            medium_from double precision not null check (medium_from > 0),
            high_from double precision not null check (high_from >= medium_from),
            fixed_at timestamptz not null,
            notes text not null
        );
        comment on table {ops}.churn_weight_levels is
            'From which score on a version of the weights says Medium and High; never changed';
        create trigger never_changed before update or delete on {ops}.churn_weight_levels
            for each statement execute function {ops}.refuse_change();
        insert into {ops}.churn_weight_levels (version, medium_from, high_from, fixed_at, notes)
        select distinct version, 0.33, 0.66, now(), 'As documented'
        from {ops}.churn_algorithm_weights
        where version = 1;
        """)


def downgrade() -> None:
    run_sql("""
        drop table {ops}.churn_weight_levels;
        delete from {ops}.score_references where scorer <> 'departure_v1';
        alter table {ops}.score_references drop column scorer;
        comment on table {ops}.score_references is
            'What is usual on this platform, by version: the yardstick of departure_v1. Fitted'
            ' by full refreshes, read by all others; never changed, kept as long as scores';
        comment on column {ops}.backtest_metrics.tutors is null;
        comment on column {ops}.score_references.tutors is null;
        """)
