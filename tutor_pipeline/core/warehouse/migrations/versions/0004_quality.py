"""Outcomes of data quality checks, who went past them, reports, and which rules were evaluated."""

from tutor_pipeline.core.warehouse.migrations.helpers import run_sql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql("""
        alter table {ops}.refresh_runs add column built_at timestamptz;
        comment on column {ops}.refresh_runs.built_at is
            'When all its tables stood; null while it builds, and where it did not come to an end';

        create table {ops}.dq_results (
            run_id text not null,
            asset text not null,
            check_name text not null,
            owner text not null check (owner in ('suite', 'dbt', 'pipeline')),
            says text not null,
            severity text not null check (severity in ('error', 'warn')),
            blocking boolean not null,
            status text not null check (status in ('passed', 'failed', 'errored')),
            observed text,
            rows_checked bigint check (rows_checked >= 0),
            rows_failing bigint check (rows_failing >= 0),
            sample jsonb not null default '[]' check (jsonb_typeof(sample) = 'array'),
            query text,
            message text,
            as_of timestamptz not null,
            evaluated_at timestamptz not null default now(),
            seconds double precision,
            primary key (run_id, asset, check_name)
        );
        create index dq_results_latest
            on {ops}.dq_results (asset, check_name, evaluated_at desc, run_id desc);
        create index dq_results_evaluated_at on {ops}.dq_results (evaluated_at);
        comment on table {ops}.dq_results is
            'What each data quality check found, per run; the newest row of a check is its state';
        comment on column {ops}.dq_results.asset is 'The table checked, as Dagster calls it';
        comment on column {ops}.dq_results.owner is
            'Who states the rule: a suite, a dbt test, or the step that makes the table';
        comment on column {ops}.dq_results.status is
            'errored = could not be evaluated (a column is missing, the SQL is wrong)';
        comment on column {ops}.dq_results.sample is
            'At most 10 failing rows: keys and the offending value, nothing personal';
        comment on column {ops}.dq_results.evaluated_at is 'When its evaluation began';
        comment on column {ops}.dq_results.query is 'SQL that lists all failing rows';
        comment on column {ops}.dq_results.message is 'Why it could not be evaluated';

        create table {ops}.dq_overrides (
            override_no bigint generated always as identity primary key,
            run_id text not null,
            asset text not null,
            forced_by text not null,
            forced_at timestamptz not null default now(),
            objections text[] not null check (cardinality(objections) > 0)
        );
        comment on table {ops}.dq_overrides is
            'Tables derived although the checks of their inputs objected (--force), and by whom';

        create table {ops}.validation_reports (
            run_id text primary key,
            made_at timestamptz not null default now(),
            as_of timestamptz not null,
            verdict text not null check (verdict in ('sound', 'warnings', 'blocked')),
            file text not null,
            summary jsonb not null
        );
        create index validation_reports_made_at on {ops}.validation_reports (made_at desc);
        comment on table {ops}.validation_reports is 'Validation reports that were written';
        comment on column {ops}.validation_reports.summary is
            'The numbers of the report: the next one says what changed since';

        create table {ops}.rule_coverage (
            run_id text not null,
            kind text not null check (kind in ('alert', 'insight', 'achievement')),
            rule_id text not null,
            as_of timestamptz not null,
            tutors integer not null check (tutors >= 0),
            evaluated integer not null check (evaluated between 0 and tutors),
            evaluated_at timestamptz not null default now(),
            primary key (run_id, kind, rule_id)
        );
        create index rule_coverage_evaluated_at on {ops}.rule_coverage (kind, evaluated_at desc);
        comment on table {ops}.rule_coverage is
            'For how many of all tutors each rule could be evaluated, per full run';
        """)


def downgrade() -> None:
    run_sql("""
        drop table
            {ops}.rule_coverage, {ops}.validation_reports, {ops}.dq_overrides, {ops}.dq_results;
        alter table {ops}.refresh_runs drop column built_at
        """)
