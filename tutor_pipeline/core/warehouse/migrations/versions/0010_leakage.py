"""Leakage: what the evidence said when it was new, and who let what pass."""

from tutor_pipeline.core.warehouse.migrations.helpers import run_sql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_INCIDENTS = (
    "'run_failure', 'blocking_check', 'stuck_queue', 'tutor_set_aside', 'drift', 'undelivered'"
)


def upgrade() -> None:
    run_sql("""
        create table {ops}.feature_log_days (
            subject text not null check (subject in ('tutor', 'student')),
            as_of_date date not null,
            logged_at timestamptz not null,
            definition text not null,
            columns text[] not null check (cardinality(columns) > 0),
            primary key (subject, as_of_date)
        );
        comment on table {ops}.feature_log_days is
            'The days whose evidence was logged when it was new: about whom, as of which moment,'
            ' and which columns. Never changed';
        comment on column {ops}.feature_log_days.definition is
            'Of the SQL that defines the columns: days of another one are not compared';
        create table {ops}.feature_log (
            row_no bigint generated always as identity primary key,
            subject text not null,
            as_of_date date not null,
            tutor_id text,
            student_id text,
            numbers double precision[] not null,
            unique (tutor_id, as_of_date),
            unique (student_id, as_of_date),
            check (case subject when 'tutor' then tutor_id when 'student' then student_id end
                is not null),
            check (num_nonnulls(tutor_id, student_id) = 1)
        );
        comment on table {ops}.feature_log is
            'What the evidence of a day said when it was new, a row per tutor or student: held'
            ' against what history says of that day now. Written once, never changed';
        comment on column {ops}.feature_log.numbers is
            'In the order of feature_log_days.columns; NaN: not known';
        create trigger never_changed before update on {ops}.feature_log_days
            for each statement execute function {ops}.refuse_change();
        create trigger never_changed before update on {ops}.feature_log
            for each statement execute function {ops}.refuse_change();

        create table {ops}.accepted_columns (
            subject text not null check (subject in ('tutor', 'student')),
            column_name text not null,
            accepted_at timestamptz not null,
            accepted_by text not null,
            why text not null,
            primary key (subject, column_name, accepted_at)
        );
        comment on table {ops}.accepted_columns is
            'Columns that somebody lets be learned from although they looked like leakage';

        alter table {ops}.model_versions
            add column accepts integer check (accepts < version),
            add column accepted_by text,
            add column accepted_why text,
            add check ((accepts is null) = (accepted_by is null)),
            add check ((accepts is null) = (accepted_why is null)),
            add check (accepts is null or is_promoted);
        comment on column {ops}.model_versions.accepts is
            'The version that was held back, and is this one again: somebody let it pass at'
            ' trained_at';
        """)
    _kinds_of_incidents(f"{_INCIDENTS}, 'leakage', 'held_back'")


def downgrade() -> None:
    run_sql("delete from {ops}.incidents where kind in ('leakage', 'held_back')")
    _kinds_of_incidents(_INCIDENTS)
    run_sql("""
        alter table {ops}.model_versions
            drop column accepts, drop column accepted_by, drop column accepted_why;
        drop table {ops}.accepted_columns, {ops}.feature_log, {ops}.feature_log_days;
        """)


def _kinds_of_incidents(kinds: str) -> None:
    run_sql(f"""
        alter table {{ops}}.incidents drop constraint incidents_kind_check;
        alter table {{ops}}.incidents add constraint incidents_kind_check
            check (kind in ({kinds}))
        """)
