"""What was processed and what waits, passes of the refresh, days to repair, incidents."""

from tutor_pipeline.core.warehouse.migrations.helpers import distribute, run_sql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql("""
        create table {ops}.session_ledger (
            tutor_id text not null,
            session_id text not null,
            scheduled_start timestamptz,
            session_version bigint,
            version bigint,
            processed_at timestamptz,
            run_id text,
            pending_since timestamptz,
            attempts smallint not null default 0 check (attempts >= 0),
            primary key (tutor_id, session_id)
        );
        create index session_ledger_pending
            on {ops}.session_ledger (pending_since) where pending_since is not null;
        create index session_ledger_scheduled_start on {ops}.session_ledger (scheduled_start);
        comment on table {ops}.session_ledger is
            'Which version of each session was processed, and which sessions wait';
        comment on column {ops}.session_ledger.tutor_id is 'Empty text: the session names no tutor';
        comment on column {ops}.session_ledger.scheduled_start is 'Of the version processed';
        comment on column {ops}.session_ledger.session_version is
            'Hash of the session''s own columns as processed';
        comment on column {ops}.session_ledger.version is
            'Hash of the session, its metrics and feedback as processed; null: not yet processed';
        comment on column {ops}.session_ledger.pending_since is
            'When a version other than the processed one was first seen; null: nothing waits';
        comment on column {ops}.session_ledger.attempts is
            'How often the waiting version was taken and not settled'
        """)
    distribute("session_ledger")
    run_sql("""
        create table {ops}.session_changes (
            run_id text not null,
            tutor_id text not null,
            session_id text not null,
            scheduled_start timestamptz,
            was_scheduled_start timestamptz,
            session_version bigint,
            version bigint,
            pending_since timestamptz not null,
            primary key (run_id, tutor_id, session_id)
        );
        comment on table {ops}.session_changes is
            'Changes that a refresh has taken; moved to the ledger with the findings made of them';
        comment on column {ops}.session_changes.version is 'null: the session is gone';

        create table {ops}.set_aside_tutors (
            tutor_id text primary key,
            reason text not null,
            run_id text,
            attempts integer not null check (attempts > 0),
            set_aside_at timestamptz not null,
            retry_at timestamptz not null
        );
        comment on table {ops}.set_aside_tutors is
            'Tutors whose changes break a refresh: left out until retry_at, so the others go on';

        create table {ops}.refresh_passes (
            run_id text primary key,
            taken_at timestamptz not null,
            settled_at timestamptz not null,
            changes integer not null check (changes >= 0),
            tutors integer not null check (tutors >= 0),
            oldest_change_at timestamptz,
            seconds jsonb not null
        );
        create index refresh_passes_settled_at on {ops}.refresh_passes (settled_at);
        comment on table {ops}.refresh_passes is
            'Each pass of a refresh after sessions: what it took, and its seconds by stage';
        comment on column {ops}.refresh_passes.run_id is '<Dagster''s run id>/<number of the pass>';

        create table {ops}.history_repairs (
            tutor_id text not null,
            changed_on date not null,
            noted_at timestamptz not null,
            primary key (tutor_id, changed_on)
        );
        comment on table {ops}.history_repairs is
            'Past days of which a session changed: rows of history over them are made anew';

        create table {ops}.incidents (
            incident_id bigint generated always as identity primary key,
            kind text not null check (kind in (
                'run_failure', 'blocking_check', 'stuck_queue', 'tutor_set_aside', 'drift')),
            subject text not null,
            title text not null,
            details jsonb not null,
            run_id text,
            opened_at timestamptz not null,
            last_seen_at timestamptz not null,
            occurrences integer not null default 1 check (occurrences > 0),
            closed_at timestamptz,
            check (closed_at >= opened_at)
        );
        create unique index incidents_open
            on {ops}.incidents (kind, subject) where closed_at is null;
        create index incidents_opened_at on {ops}.incidents (opened_at desc);
        comment on table {ops}.incidents is
            'What broke in the pipeline: one row from its first sign until it is over';
        create index reconcile_runs_newest
            on {ops}.reconcile_runs (kind, as_of desc) where evaluated > 0;
        comment on column {ops}.incidents.subject is 'The job, check, queue or tutor it is about'
        """)


def downgrade() -> None:
    run_sql("""
        drop index {ops}.reconcile_runs_newest;
        drop table
            {ops}.incidents, {ops}.history_repairs, {ops}.refresh_passes, {ops}.set_aside_tutors,
            {ops}.session_changes, {ops}.session_ledger
        """)
