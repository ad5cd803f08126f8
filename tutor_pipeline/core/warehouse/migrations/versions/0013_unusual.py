"""Rules that know the platform: what is usual on it, and what a switch of profile does."""

from tutor_pipeline.core.warehouse.migrations.helpers import run_sql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_RESOLUTIONS = (
    "'auto', 'rule_retired', 'rule_disabled', 'tutor_inactive',"
    " 'coached', 'fixed', 'not_actionable', 'other'"
)
_FINDINGS = ("alerts", "tutor_insights", "achievements")
_TYPES = "'strength', 'growth_area'"
_KINDS = "'alert', 'session', 'incident', 'digest'"

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

_ATTENTION = """
    create or replace view {{ops}}.tutors_needing_attention as
    with tutors as (
        select
            tutor_id,
            count(*) filter (where severity = 'critical') as critical_alerts,
            count(*) filter (where severity = 'warning') as warning_alerts,
            max(excess) as excess,
            {critical}-- 'critical' sorts before 'warning'.
            (array_agg(
                alert_id order by triggered_date desc, severity, excess desc, alert_id
            ))[1] as newest_alert_id
        from {{ops}}.alerts
        where resolved_at is null and (snoozed_until is null or snoozed_until <= now())
        group by tutor_id
    ),

    -- Narrow rows are ranked and sorted; the texts come last, so the first few are cheap.
    ranked as (
        select
            row_number() over (
                order by
                    tutors.critical_alerts desc, {excess}, tutors.warning_alerts desc,
                    risk.score desc nulls last, tutors.tutor_id
            ) as attention_rank,
            tutors.*,
            risk.score as churn_score,
            risk.level as churn_level
        from tutors
        left join {{ops}}.current_tutor_risk as risk on tutors.tutor_id = risk.tutor_id
        order by attention_rank
    )

    select
        ranked.attention_rank,
        ranked.tutor_id,
        ranked.critical_alerts,
        ranked.warning_alerts,
        ranked.excess,
        ranked.newest_alert_id,
        newest.alert_type as newest_alert_type,
        newest.severity as newest_severity,
        newest.title as newest_title,
        newest.description as newest_description,
        newest.recommended_action,
        newest.session_id,
        newest.evidence_session_ids,
        newest.triggered_date as newest_triggered_date,
        now() - newest.triggered_date as newest_age,
        ranked.churn_score,
        ranked.churn_level
    from ranked
    -- `limit` keeps it a look-up per row shown, in the order of the ranks.
    cross join lateral (
        select *
        from {{ops}}.alerts
        where alerts.tutor_id = ranked.tutor_id and alerts.alert_id = ranked.newest_alert_id
        limit 1
    ) as newest
    order by ranked.attention_rank;
    comment on view {{ops}}.tutors_needing_attention is
        'Tutors with an open alert that is not snoozed, the most urgent first by'
        ' attention_rank: open critical alerts, then the largest excess{of}, then open warnings,'
        ' then the churn score';
    """


def upgrade() -> None:
    _checks(
        f"{_RESOLUTIONS}, 'profile_switched'", f"{_TYPES}, 'at_threshold'", f"{_KINDS}, 'rules'"
    )
    run_sql(
        _ALERT_HISTORY.format(
            retired="'rule_retired', 'rule_disabled', 'tutor_inactive', 'profile_switched'",
            words="the rule, the profile or the tutor",
        )
    )
    run_sql(
        _ATTENTION.format(
            critical="max(excess) filter (where severity = 'critical') as critical_excess,\n",
            excess="tutors.critical_excess desc nulls last, tutors.excess desc",
            of=" of critical ones, then of any",
        )
    )
    run_sql("""
        create table {ops}.rule_references (
            version integer primary key check (version > 0),
            as_of timestamptz not null,
            fitted_at timestamptz not null,
            profile text not null,
            tutors integer not null check (tutors >= 0),
            reference jsonb not null check (jsonb_typeof(reference) = 'object')
        );
        comment on table {ops}.rule_references is
            'What is usual on this platform for each rule that asks for the unusual, by version.'
            ' Fitted by full refreshes, read by all others; never changed';
        comment on column {ops}.rule_references.reference is
            'Per alert: the version of the rule, sums over the tutors, and how far out the few are'
            ' that are listed';
        create trigger never_changed before update on {ops}.rule_references
            for each statement execute function {ops}.refuse_change();
        """)


def downgrade() -> None:
    run_sql("drop table {ops}.rule_references")
    run_sql(_ATTENTION.format(critical="", excess="tutors.excess desc", of=""))
    run_sql(
        _ALERT_HISTORY.format(
            retired="'rule_retired', 'rule_disabled', 'tutor_inactive'",
            words="the rule or the tutor",
        )
    )
    run_sql("delete from {ops}.outbox where kind = 'rules'")
    run_sql("delete from {ops}.tutor_insights where insight_type = 'at_threshold'")
    # History is never changed, but for words that the older views do not know.
    run_sql("""
        update {ops}.alert_events
            set details = jsonb_set(details, '{resolution}', '"rule_retired"')
            where details ->> 'resolution' = 'profile_switched'
        """)
    for table in _FINDINGS:
        run_sql(
            f"update {{ops}}.{table} set resolution = 'rule_retired'"
            " where resolution = 'profile_switched'"
        )
    _checks(_RESOLUTIONS, _TYPES, _KINDS)


def _checks(resolutions: str, types: str, kinds: str) -> None:
    """The words that columns may hold."""
    words = [
        *((table, "resolution", resolutions) for table in _FINDINGS),
        ("tutor_insights", "insight_type", types),
        ("outbox", "kind", kinds),
    ]
    for table, column, allowed in words:
        run_sql(f"""
            alter table {{ops}}.{table} drop constraint {table}_{column}_check;
            alter table {{ops}}.{table}
                add constraint {table}_{column}_check check ({column} in ({allowed}))
            """)
