"""The desk: who works on an alert, notes, and who may sign in."""

from tutor_pipeline.core.warehouse.migrations.helpers import distribute, may_be, run_sql

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_EVENTS = ("opened", "escalated", "eased", "resolved", "acknowledged", "snoozed", "reopened")


def upgrade() -> None:
    run_sql("alter table {ops}.alerts add column owner text")
    run_sql("""
        comment on column {ops}.alerts.owner is 'The account that works on it; null = nobody';

        create table {ops}.notes (
            tutor_id text not null,
            note_id bigint generated always as identity,
            subject_kind text not null check (subject_kind in ('tutor', 'student', 'subject')),
            subject_id text not null check (subject_id <> ''),
            alert_id text,
            at timestamptz not null,
            author text not null check (author <> ''),
            text text not null check (text <> ''),
            primary key (tutor_id, note_id),
            check (subject_kind <> 'tutor' or subject_id = tutor_id)
        );
        comment on table {ops}.notes is 'What people wrote down about a tutor, student or subject';
        comment on column {ops}.notes.tutor_id is
            'The tutor whose note it is; empty = nobody''s: it is about a student or a subject';
        comment on column {ops}.notes.alert_id is 'The alert that it was written at; null = none';

        create table {ops}.accounts (
            name text primary key check (name <> ''),
            role text not null check (role in ('viewer', 'coach', 'admin')),
            password text,
            made_at timestamptz not null,
            disabled_at timestamptz
        );
        comment on table {ops}.accounts is 'Who may sign in at the desk, and as what';
        comment on column {ops}.accounts.password is 'scrypt; null = none was set yet';

        create table {ops}.sign_ins (
            token_hash text primary key,
            account text not null,
            role text check (role in ('viewer', 'coach', 'admin')),
            began_at timestamptz not null,
            seen_at timestamptz not null,
            ends_at timestamptz not null
        );
        comment on table {ops}.sign_ins is
            'Browsers that are signed in at the desk; a row that is deleted signs one out';
        comment on column {ops}.sign_ins.role is
            'Of a sign-in by a one-time link; null = the role of the account';

        create table {ops}.sign_in_links (
            token_hash text primary key,
            purpose text not null check (purpose in ('sign_in', 'password')),
            account text not null,
            made_at timestamptz not null,
            ends_at timestamptz not null,
            used_at timestamptz
        );
        comment on table {ops}.sign_in_links is 'Links that sign in, or set a password, once';

        create table {ops}.sign_in_failures (
            who_hash text primary key,
            failures integer not null check (failures > 0),
            last_at timestamptz not null
        );
        comment on table {ops}.sign_in_failures is
            'Wrong passwords in a row, of an account from an address (a hash of both)';

        create table {ops}.downloads (
            download_no bigint generated always as identity primary key,
            at timestamptz not null,
            account text not null,
            what text not null,
            row_count integer not null check (row_count >= 0)
        );
        comment on table {ops}.downloads is 'Who downloaded which list from the desk';
        """)
    distribute("notes")
    may_be("alert_events", "event", *_EVENTS, "assigned", "woken")


def downgrade() -> None:
    run_sql("""
        delete from {ops}.alert_events where event in ('assigned', 'woken');
        drop table {ops}.notes, {ops}.accounts, {ops}.sign_ins, {ops}.sign_in_links,
            {ops}.sign_in_failures, {ops}.downloads;
        alter table {ops}.alerts drop column owner;
        """)
    may_be("alert_events", "event", *_EVENTS)
