"""Events that platforms push: the inbox, versions of rows, secrets."""

from tutor_pipeline.core.warehouse.migrations.helpers import may_be, run_sql

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql("""
        create table {ops}.event_secrets (
            secret_id bigint generated always as identity primary key,
            source text not null check (source <> ''),
            secret bytea not null check (length(secret) between 24 and 64),
            added_at timestamptz not null,
            ends_at timestamptz
        );
        comment on table {ops}.event_secrets is
            'Secrets with which sources sign their events, as they are: a backup holds them';
        comment on column {ops}.event_secrets.ends_at is
            'From then on nothing signed with it is accepted; null = no end';

        create table {ops}.event_inbox (
            source text not null,
            event_id text not null,
            received_no bigint generated always as identity,
            received_at timestamptz not null,
            type text not null,
            event_at timestamptz,
            body text not null,
            digest bytea not null,
            state text not null default 'waiting' check (state in (
                'waiting', 'applied', 'quarantined', 'unknown', 'dead', 'dropped')),
            state_at timestamptz not null,
            reasons text[] not null default '{}',
            waits_on text[] not null default '{}',
            due_at timestamptz,
            attempts smallint not null default 0,
            error text,
            tutor_id text,
            student_id text,
            session_id text,
            primary key (source, event_id)
        );
        create unique index event_inbox_received on {ops}.event_inbox (received_no);
        create index event_inbox_waiting on {ops}.event_inbox (received_no)
            where state = 'waiting';
        create index event_inbox_open on {ops}.event_inbox (state, received_no)
            where state <> 'applied';
        create index event_inbox_waits_on on {ops}.event_inbox using gin (waits_on)
            where state = 'quarantined';
        create index event_inbox_received_at on {ops}.event_inbox using brin (received_at);
        create index event_inbox_session on {ops}.event_inbox (session_id);
        create index event_inbox_tutor on {ops}.event_inbox (tutor_id);
        create index event_inbox_state_at on {ops}.event_inbox (state_at);
        comment on table {ops}.event_inbox is
            'Events as they came, each once; an event is answered after it stands here';
        comment on column {ops}.event_inbox.state is
            'waiting: to be applied; applied: its rows have it, or newer; quarantined: see reasons;'
            ' unknown: of a type that is not read; dead: it breaks the applying; dropped: it names'
            ' somebody who was erased';
        comment on column {ops}.event_inbox.digest is
            'SHA-256 of the canonical JSON, of the raw bytes where it is none; empty = dropped';
        comment on column {ops}.event_inbox.waits_on is
            'The rows that it is about and that cannot be written yet, as table/key';
        comment on column {ops}.event_inbox.due_at is
            'When it is tried again: its own time lies ahead';

        create table {ops}.event_versions (
            row_name text primary key,
            table_name text not null,
            row_key text[] not null,
            versions jsonb not null,
            deleted jsonb,
            kept jsonb,
            waits_on text[] not null default '{}',
            is_ours boolean not null default false,
            session_id text,
            tutor_id text,
            changed_at timestamptz not null
        );
        create index event_versions_session on {ops}.event_versions (session_id);
        create index event_versions_waits_on on {ops}.event_versions using gin (waits_on)
            where kept is not null;
        comment on table {ops}.event_versions is
            'Which event each field of a row of the platform comes from: a later one wins';
        comment on column {ops}.event_versions.row_name is 'table/key, unique';
        comment on column {ops}.event_versions.versions is
            'List of [event time, rank, event id, [fields]]';
        comment on column {ops}.event_versions.deleted is
            'The newest event that deleted the row: [event time, rank, event id]';
        comment on column {ops}.event_versions.kept is
            'Values of a row that cannot be written yet; null = it is written, or deleted';
        comment on column {ops}.event_versions.is_ours is
            'Whether an event made the row; another door did, where it was there before';
        comment on column {ops}.event_versions.waits_on is
            'What such a row waits for: table/key of another, or a column of its own';

        create table {ops}.event_erasures (
            hash bytea primary key,
            erased_at timestamptz not null,
            dropped bigint not null default 0
        );
        comment on table {ops}.event_erasures is
            'Keyed hashes of erased people, of their sessions and events: what names them later is'
            ' dropped, and counted';
        create table {ops}.event_erasure_key (
            is_only boolean primary key default true check (is_only),
            key bytea not null
        );
        comment on table {ops}.event_erasure_key is 'The key of these hashes';
        insert into {ops}.event_erasure_key (key)
            select decode(
                replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'
            );

        create table {ops}.event_rejections (
            hour timestamptz not null,
            source text not null,
            reason text not null,
            requests bigint not null,
            last_at timestamptz not null,
            last_id text not null,
            primary key (hour, source, reason)
        );
        comment on table {ops}.event_rejections is
            'Requests that were not accepted, and the true reason: the answer gives one for all';
        comment on column {ops}.event_rejections.source is
            'A source that has a secret, else (unknown)';
        """)
    may_be("platform_loads", "kind", "synthetic", "csv", "events")


def downgrade() -> None:
    run_sql("delete from {ops}.platform_loads where kind = 'events'")
    may_be("platform_loads", "kind", "synthetic", "csv")
    run_sql("""
        drop table {ops}.event_rejections;
        drop table {ops}.event_erasure_key;
        drop table {ops}.event_erasures;
        drop table {ops}.event_versions;
        drop table {ops}.event_inbox;
        drop table {ops}.event_secrets;
        """)
