"""Accepted states of the source, and alerts whose evidence is gone."""

from tutor_pipeline.core.warehouse.migrations.helpers import run_sql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_OTHERS = (
    "'auto', 'rule_retired', 'rule_disabled', 'tutor_inactive',"
    " 'coached', 'fixed', 'not_actionable', 'other', 'profile_switched'"
)


_INCIDENTS = (
    "'run_failure', 'blocking_check', 'stuck_queue', 'tutor_set_aside', 'drift', 'undelivered',"
    " 'leakage', 'held_back'"
)
_RETIRED = "'rule_retired', 'rule_disabled', 'tutor_inactive', 'profile_switched'"

_ALERT_HISTORY = """
    create or replace view {{ops}}.alert_history as
    select
        events.tutor_id,
        events.alert_id,
        events.event_no,
        alerts.alert_type,
        events.at,
        (events.at at time zone 'UTC')::date as day,
        events.event,
        case
            when events.event <> 'resolved' then null
            when undone.event_no is not null then 'undone'
            when events.details ->> 'resolution' = 'auto' then 'auto'
            when events.details ->> 'resolution' in ({retired}) then 'retired'
            else 'by hand'
        end as resolved,
        events.details ->> 'resolution' as resolution,
        events.details ->> 'session_id' as session_id,
        extract(epoch from events.at - alerts.triggered_date)::double precision / 3600 as hours
    from {{ops}}.alert_events as events
    inner join {{ops}}.alerts
        on events.tutor_id = alerts.tutor_id and events.alert_id = alerts.alert_id
    -- Nothing else can follow a resolution of the same row.
    left join {{ops}}.alert_events as undone
        on
            events.tutor_id = undone.tutor_id
            and events.alert_id = undone.alert_id
            and undone.event_no = events.event_no + 1
            and undone.event = 'reopened';
    comment on column {{ops}}.alert_history.resolved is
        'Of a resolution: by hand, auto, retired ({words}), or undone where the'
        ' alert was reopened later, whatever had closed it';
    """


def _resolutions_of_alerts(resolutions: str) -> None:
    run_sql(f"""
        alter table {{ops}}.alerts drop constraint alerts_resolution_check;
        alter table {{ops}}.alerts
            add constraint alerts_resolution_check check (resolution in ({resolutions}));
        """)


def upgrade() -> None:
    run_sql("""
        create table {ops}.source_states (
            state_no bigint generated always as identity primary key,
            accepted_at timestamptz not null default clock_timestamp(),
            as_of timestamptz not null,
            run_id text,
            accepted_by text,
            why text not null,
            counts jsonb not null default '{}' check (jsonb_typeof(counts) = 'object')
        );
        create index source_states_accepted_at on {ops}.source_states (accepted_at);
        comment on table {ops}.source_states is
            'What the platform''s tables held when that was taken as true. A refresh compares what'
            ' they hold now with the states of the last 24 hours, and makes nothing while rows are'
            ' missing';
        comment on column {ops}.source_states.as_of is
            'Sessions count from 90 days before this moment up to it';
        comment on column {ops}.source_states.accepted_by is
            'Who accepted a loss; null = nothing was missing';
        comment on column {ops}.source_states.counts is
            'Rows by table and values by table.column; {} = the next refresh accepts what it finds';
        """)
    # The code names the kinds of incidents: a new one needs no migration.
    run_sql("alter table {ops}.incidents drop constraint incidents_kind_check")
    _resolutions_of_alerts(f"{_OTHERS}, 'evidence_gone'")
    run_sql(
        _ALERT_HISTORY.format(
            retired=f"{_RETIRED}, 'evidence_gone'",
            words="the rule, the profile, the tutor or the evidence",
        )
    )


def downgrade() -> None:
    run_sql(_ALERT_HISTORY.format(retired=_RETIRED, words="the rule, the profile or the tutor"))
    run_sql("update {ops}.alerts set resolution = 'auto' where resolution = 'evidence_gone'")
    _resolutions_of_alerts(_OTHERS)
    run_sql(f"""
        delete from {{ops}}.incidents where kind not in ({_INCIDENTS});
        alter table {{ops}}.incidents
            add constraint incidents_kind_check check (kind in ({_INCIDENTS}));
        drop table {{ops}}.source_states;
        """)
