"""Headers of refreshes, and the quarantine."""

from tutor_pipeline.core.warehouse.migrations.helpers import run_sql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql("""
        create table {ops}.refresh_runs (
            run_id text primary key,
            as_of timestamptz not null,
            is_full boolean not null,
            snapshot_from date,
            snapshot_until date,
            started_at timestamptz not null default now(),
            check ((snapshot_from is null) = (snapshot_until is null)),
            check (snapshot_from <= snapshot_until)
        );
        comment on table {ops}.refresh_runs is
            'One row per refresh: as of when, all tutors or those in refresh_scope';

        create table {ops}.refresh_scope (
            run_id text not null,
            as_of timestamptz not null,
            tutor_id text not null,
            primary key (run_id, tutor_id)
        );
        comment on table {ops}.refresh_scope is 'The tutors that a scoped refresh covers';

        create table {ops}.quarantine (
            source text not null,
            row_key text not null,
            business_key text,
            file text,
            line bigint,
            payload jsonb not null,
            raw text,
            reasons text[] not null check (cardinality(reasons) > 0),
            first_seen timestamptz not null,
            last_seen timestamptz not null,
            resolved_at timestamptz,
            primary key (source, row_key)
        );
        create index quarantine_open on {ops}.quarantine (source, business_key)
            where resolved_at is null;
        comment on table {ops}.quarantine is
            'Incoming rows that broke their contract, kept with the reasons; open = not resolved';

        create table {ops}.platform_loads (
            load_no bigint generated always as identity primary key,
            kind text not null check (kind in ('synthetic', 'csv')),
            parameters jsonb not null,
            loaded_at timestamptz not null
        );
        comment on table {ops}.platform_loads is
            'What filled a platform schema of our own: generate or import, newest last';
        """)


def downgrade() -> None:
    run_sql("""
        drop table {ops}.platform_loads, {ops}.quarantine, {ops}.refresh_scope, {ops}.refresh_runs
        """)
