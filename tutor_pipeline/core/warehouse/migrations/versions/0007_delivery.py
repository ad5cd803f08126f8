"""What people are to be told, the messages made of it, and how each got to each address."""

from tutor_pipeline.core.warehouse.migrations.helpers import run_sql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_AUDIENCES = "('critical', 'warning', 'sessions', 'digest', 'ops')"
_INCIDENTS = "'run_failure', 'blocking_check', 'stuck_queue', 'tutor_set_aside', 'drift'"


def upgrade() -> None:
    # Queues are plain local tables: they are small, and skip what is locked.
    run_sql(f"""
        create table {{ops}}.outbox (
            outbox_id bigint generated always as identity primary key,
            audience text not null check (audience in {_AUDIENCES}),
            kind text not null check (kind in ('alert', 'session', 'incident', 'digest')),
            tutor_id text not null default '',
            subject_id text not null,
            transition text not null,
            occurred_at timestamptz not null,
            due_at timestamptz not null,
            details jsonb not null default '{{}}' check (jsonb_typeof(details) = 'object'),
            run_id text,
            message_id text,
            dropped text,
            unique (tutor_id, kind, subject_id, transition, audience),
            check (message_id is null or dropped is null)
        );
        create index outbox_open on {{ops}}.outbox (audience, due_at)
            where message_id is null and dropped is null;
        create index outbox_occurred_at on {{ops}}.outbox (occurred_at);
        comment on table {{ops}}.outbox is
            'What people are to be told: written with what it is about, in one transaction';
        comment on column {{ops}}.outbox.tutor_id is 'Empty text: it is about no tutor';
        comment on column {{ops}}.outbox.transition is
            'What happened to the alert, session, incident or week: each is told once';
        comment on column {{ops}}.outbox.due_at is 'From when on a message is made of it';
        comment on column {{ops}}.outbox.message_id is 'The message that tells it';
        comment on column {{ops}}.outbox.dropped is 'Why nobody is told';

        create table {{ops}}.messages (
            message_id text primary key,
            audience text not null check (audience in {_AUDIENCES}),
            kind text not null,
            tutor_ids text[] not null default '{{}}',
            items integer not null check (items > 0),
            subject text not null,
            text_body text not null,
            html_body text not null,
            made_at timestamptz not null
        );
        create index messages_made_at on {{ops}}.messages (made_at);
        comment on table {{ops}}.messages is
            'What is sent, as it is sent: tried again, it is the same message';
        comment on column {{ops}}.messages.tutor_ids is 'Whom it is about';

        create table {{ops}}.deliveries (
            message_id text not null,
            target text not null,
            state text not null default 'waiting'
                check (state in ('waiting', 'sent', 'dead', 'dropped')),
            attempts integer not null default 0 check (attempts >= 0),
            due_at timestamptz not null,
            leased_until timestamptz,
            leased_by text,
            last_error text,
            ended_at timestamptz,
            primary key (message_id, target),
            check ((state = 'waiting') = (ended_at is null))
        );
        create index deliveries_waiting on {{ops}}.deliveries (due_at) where state = 'waiting';
        create index deliveries_dead on {{ops}}.deliveries (target) where state = 'dead';
        comment on table {{ops}}.deliveries is
            'A message on its way to one address: claimed by one sender at a time, for a while';
        comment on column {{ops}}.deliveries.target is
            'The address, without anything secret: the service, its host, the recipient';
        comment on column {{ops}}.deliveries.state is
            'dead: tried in vain; dropped: no setting names the address any more';
        comment on column {{ops}}.deliveries.leased_until is
            'Until then it is the sender''s who claimed it; one that lives prolongs it';
        """)
    _kinds_of_incidents(f"{_INCIDENTS}, 'undelivered'")


def downgrade() -> None:
    run_sql("delete from {ops}.incidents where kind = 'undelivered'")
    _kinds_of_incidents(_INCIDENTS)
    run_sql("drop table {ops}.deliveries, {ops}.messages, {ops}.outbox")


def _kinds_of_incidents(kinds: str) -> None:
    run_sql(f"""
        alter table {{ops}}.incidents drop constraint incidents_kind_check;
        alter table {{ops}}.incidents add constraint incidents_kind_check
            check (kind in ({kinds}))
        """)
