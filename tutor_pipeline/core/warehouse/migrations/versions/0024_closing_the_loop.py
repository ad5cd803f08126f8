"""What closes the loop: sessions that are excused."""

from tutor_pipeline.core.warehouse.migrations.helpers import distribute, may_be, run_sql

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_EVENTS = (
    *("opened", "escalated", "eased", "resolved", "acknowledged", "snoozed", "reopened"),
    *("assigned", "woken"),
)
_RESOLUTIONS = (
    *("auto", "rule_retired", "rule_disabled", "tutor_inactive", "coached", "fixed"),
    *("not_actionable", "other", "profile_switched", "evidence_gone"),
)
_RETIRED = "'rule_retired', 'rule_disabled', 'tutor_inactive', 'profile_switched', 'evidence_gone'"

_ALERT_HISTORY = """
    create or replace view {{ops}}.alert_history as
    select
        events.tutor_id,
        events.alert_id,
        events.event_no,
        alerts.alert_type,
        events.at,
        (events.at at time zone {zone})::date as day,
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
    {joined}
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
    comment on column {{ops}}.alert_history.day is 'The day of `at`, {of_zone}';
    comment on view {{ops}}.alert_activity is
        'Per day ({of_zone}) and alert type: what happened, how long people took, and whether it'
        ' was worth it; NULL where there is nothing to divide by';
    comment on column {{ops}}.alert_activity.mean_hours_to_acknowledge is
        'From triggered_date, of those acknowledged that day{of_hours}';
    comment on column {{ops}}.alert_activity.not_actionable_share is
        'Of those resolved by hand that day{of_not_actionable}';
    comment on column {{ops}}.alert_activity.coached_share is
        'Of those resolved by hand that day{of_coached}';
    """
_BEFORE = {
    "retired": _RETIRED,
    "words": "the rule, the profile, the tutor or the evidence",
    "zone": "'UTC'",
    "joined": "",
    "of_zone": "UTC",
    "of_hours": "; goal: under 24",
    "of_not_actionable": "; goal: under 0.15",
    "of_coached": "; goal: at least 0.70",
}
_AFTER = {
    "retired": f"{_RETIRED}, 'excused'",
    "words": "the rule, the profile, the tutor, the evidence, an excuse",
    "zone": "here.timezone",
    "joined": "cross join {ops}.pipeline_zone as here",
    "of_zone": "in the time zone of the pipeline",
    "of_hours": "",
    "of_not_actionable": "",
    "of_coached": "",
}


def upgrade() -> None:
    run_sql("""
        create table {ops}.session_excuses (
            tutor_id text not null,
            excuse_id bigint generated always as identity,
            session_id text not null check (session_id <> ''),
            kind text not null
                check (kind in ('absence', 'reschedule', 'lateness', 'quality', 'all')),
            reason text not null check (reason <> ''),
            excused_by text not null check (excused_by <> ''),
            excused_at timestamptz not null,
            undone_by text,
            undone_at timestamptz,
            primary key (tutor_id, excuse_id),
            check ((undone_at is null) = (undone_by is null)),
            check (undone_at >= excused_at)
        );
        create unique index session_excuses_in_force
            on {ops}.session_excuses (tutor_id, session_id, kind) where undone_at is null;
        create index session_excuses_of_session
            on {ops}.session_excuses (tutor_id, session_id);
        comment on table {ops}.session_excuses is
            'Sessions that people struck from what speaks against a tutor: the metrics of that kind'
            ' count them neither as an event nor as a session where one could have been. dbt reads'
            ' it; a day counts the excuses that were made, and not undone, by its end';
        comment on column {ops}.session_excuses.kind is
            'What the session is excused from: absence, reschedule, lateness, quality, or all';
        comment on column {ops}.session_excuses.undone_at is
            'Since when it no longer holds; null = it holds';
        """)
    distribute("session_excuses")
    # Each mail with links asks which alerts it tells.
    run_sql("create index outbox_message on {ops}.outbox (message_id) where kind = 'alert';")
    may_be("alert_events", "event", *_EVENTS, "excused", "unexcused")
    may_be("alerts", "resolution", *_RESOLUTIONS, "excused")
    run_sql("""
        create table {ops}.pipeline_zone (
            is_only boolean primary key default true check (is_only),
            timezone text not null
        );
        comment on table {ops}.pipeline_zone is
            'The time zone in which views count days: that of the newest full refresh';
        insert into {ops}.pipeline_zone (timezone) values ('UTC');
        """)
    run_sql(_ALERT_HISTORY.format(**_AFTER))


def downgrade() -> None:
    run_sql(_ALERT_HISTORY.format(**_BEFORE))
    run_sql("drop table {ops}.pipeline_zone")
    run_sql("drop index {ops}.outbox_message")
    # History is never changed, but for words that the older tables do not know.
    run_sql("""
        delete from {ops}.alert_events where event in ('excused', 'unexcused');
        update {ops}.alert_events
            set details = jsonb_set(details, '{resolution}', '"auto"')
            where details ->> 'resolution' = 'excused';
        update {ops}.alerts set resolution = 'auto' where resolution = 'excused';
        drop table {ops}.session_excuses;
        """)
    may_be("alert_events", "event", *_EVENTS)
    may_be("alerts", "resolution", *_RESOLUTIONS)
