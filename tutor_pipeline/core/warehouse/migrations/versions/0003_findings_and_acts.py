"""Insights, achievements, what scores will fill, and the alerts' activity; a faster attention."""

from tutor_pipeline.core.warehouse.migrations.helpers import distribute, run_sql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_RESOLUTIONS = (
    "'auto', 'rule_retired', 'rule_disabled', 'tutor_inactive',"
    " 'coached', 'fixed', 'not_actionable', 'other'"
)


def upgrade() -> None:
    _tables()
    for table in ("tutor_insights", "achievements", "current_tutor_risk", "tutor_student_churn"):
        distribute(table, "tutor_id")
    _weights()
    # Views come after: a table is distributed before anything depends on it.
    _views()


def _tables() -> None:
    run_sql(f"""
        create table {{ops}}.tutor_insights (
            tutor_id text not null,
            insight_id text not null,
            category text not null,
            insight_type text not null check (insight_type in ('strength', 'growth_area')),
            occurrence integer not null check (occurrence > 0),
            display_text text not null,
            coaching_tip text,
            metric_value double precision,
            sample_sessions text[] not null check (cardinality(sample_sessions) <= 5),
            metrics jsonb not null,
            rule_profile text not null,
            rule_version text not null,
            detected_at timestamptz not null,
            last_confirmed_at timestamptz not null,
            is_active boolean not null generated always as (resolved_at is null) stored,
            resolved_at timestamptz,
            resolved_by text,
            resolution text check (resolution in ({_RESOLUTIONS})),
            primary key (tutor_id, insight_id),
            check (last_confirmed_at >= detected_at),
            check ((resolved_at is null) = (resolution is null)),
            check ((resolved_at is null) = (resolved_by is null))
        ) with (fillfactor = 70);
        create unique index tutor_insights_open on {{ops}}.tutor_insights (tutor_id, category)
            where resolved_at is null;
        create unique index tutor_insights_occurrence
            on {{ops}}.tutor_insights (tutor_id, category, occurrence);
        comment on table {{ops}}.tutor_insights is
            'Strengths and growth areas and their whole history; active = resolved_at is null,'
            ' at most one active per tutor and category';
        comment on column {{ops}}.tutor_insights.category is 'The rule';
        comment on column {{ops}}.tutor_insights.occurrence is
            'Which insight of this tutor and category it is, from 1';
        comment on column {{ops}}.tutor_insights.metric_value is 'The number that the text shows';
        comment on column {{ops}}.tutor_insights.sample_sessions is
            'Sessions that show it, at most 5, newest first';
        comment on column {{ops}}.tutor_insights.metrics is
            'Per metric: value, threshold (a list where several conditions are about it), exposure'
            ' (the sessions behind it)';
        comment on column {{ops}}.tutor_insights.detected_at is 'The as-of moment that opened it';

        create table {{ops}}.achievements (
            tutor_id text not null,
            achievement_id text not null,
            achievement_type text not null,
            occurrence integer not null check (occurrence > 0),
            title text not null,
            description text not null,
            icon text not null,
            metrics jsonb not null,
            rule_profile text not null,
            rule_version text not null,
            earned_date timestamptz not null,
            last_earned_date timestamptz not null,
            last_confirmed_at timestamptz not null,
            is_active boolean not null generated always as (resolved_at is null) stored,
            resolved_at timestamptz,
            resolved_by text,
            resolution text check (resolution in ({_RESOLUTIONS})),
            primary key (tutor_id, achievement_id),
            check (last_earned_date >= earned_date),
            check (last_confirmed_at >= last_earned_date),
            check ((resolved_at is null) = (resolution is null)),
            check ((resolved_at is null) = (resolved_by is null))
        ) with (fillfactor = 70);
        create unique index achievements_type on {{ops}}.achievements (tutor_id, achievement_type);
        comment on table {{ops}}.achievements is
            'Badges: one row per tutor and type for ever; active = still met';
        comment on column {{ops}}.achievements.achievement_type is 'The rule';
        comment on column {{ops}}.achievements.occurrence is 'How often it was earned';
        comment on column {{ops}}.achievements.earned_date is
            'The as-of moment at which it was first met';
        comment on column {{ops}}.achievements.last_earned_date is
            'The as-of moment at which it was met again after a break, or first';
        comment on column {{ops}}.achievements.resolved_at is
            'When it stopped being met; null while it is';

        create table {{ops}}.current_tutor_risk (
            tutor_id text primary key,
            as_of timestamptz not null,
            scorer text not null,
            version text not null,
            score double precision check (score > '-Infinity' and score < 'Infinity'),
            is_probability boolean not null,
            level text check (level in ('Low', 'Medium', 'High')),
            reasons jsonb not null default '[]' check (jsonb_typeof(reasons) = 'array'),
            status text not null check (status in ('ok', 'insufficient_data', 'fallback')),
            -- Alerts are about the level: too little data raises none.
            check (status <> 'insufficient_data' or level is null)
        );
        comment on table {{ops}}.current_tutor_risk is
            'The newest churn score of each tutor by the scorer in use';
        comment on column {{ops}}.current_tutor_risk.is_probability is
            'Whether the score may be read as a probability; otherwise it only ranks';
        comment on column {{ops}}.current_tutor_risk.reasons is
            'Largest first: code, label, value, reference, n (sessions behind it), contribution';

        create table {{ops}}.tutor_student_churn (
            tutor_id text primary key,
            as_of timestamptz not null,
            students integer not null check (students >= 0),
            students_at_high_risk integer not null
                check (students_at_high_risk between 0 and students),
            student_ids text[] not null default '{{}}'
        );
        comment on table {{ops}}.tutor_student_churn is
            'How many students of each tutor are likely to leave';
        comment on column {{ops}}.tutor_student_churn.student_ids is 'Those at high risk';

        create table {{ops}}.session_days (
            session_on date primary key,
            completed integer not null check (completed >= 0)
        );
        comment on table {{ops}}.session_days is
            'Sessions completed on each day, as full runs counted them: a view of ours may not'
            ' stand on a table that dbt replaces';

        -- Rows that go on are refreshed daily: room on the page keeps the indexes out of it.
        alter table {{ops}}.alerts set (fillfactor = 70);
        create index alerts_id on {{ops}}.alerts (alert_id);
        comment on column {{ops}}.alerts.metrics is
            'Per metric: value, threshold (a list where several conditions are about it), exposure'
            ' (the sessions behind it)';
        comment on column {{ops}}.alerts.known_session_ids is
            'Resolved by hand: the sessions of the tutor that had been processed by then. It comes'
            ' back only with evidence that is not among them';
        """)


def _weights() -> None:
    """A small table that every node may hold, so a trigger is allowed here."""
    run_sql("""
        create table {ops}.churn_algorithm_weights (
            version integer not null check (version > 0),
            factor text not null,
            weight double precision not null check (weight between 0 and 1),
            effective_from timestamptz not null,
            notes text,
            primary key (version, factor)
        );
        comment on table {ops}.churn_algorithm_weights is
            'Weights of the churn score by version; each version sums to 1 and is never changed or'
            ' deleted: other weights are another version';

        -- Scores name the version they came of, so it stays what it was. TRUNCATE is let through:
        -- nobody does it by mistake, and tests start over with it.
        create function {ops}.refuse_change() returns trigger language plpgsql as $$
        begin
            raise restrict_violation
                using message = tg_table_name || ' is never changed in place: add a version';
        end $$;
        create trigger never_changed before update or delete on {ops}.churn_algorithm_weights
            for each statement execute function {ops}.refuse_change();

        create function {ops}.check_weights() returns trigger language plpgsql as $$
        declare
            total double precision := (
                select sum(weight) from {ops}.churn_algorithm_weights where version = new.version
            );
        begin
            if abs(total - 1) > 1e-6 then
                raise check_violation using message = concat(
                    'the weights of version ', new.version, ' sum to ', total, ', not to 1');
            end if;
            return null;
        end $$;
        -- Deferred: a version is complete when its transaction ends.
        create constraint trigger sums_to_one after insert on {ops}.churn_algorithm_weights
            deferrable initially deferred
            for each row execute function {ops}.check_weights();
        """)


def _views() -> None:
    run_sql("""
        drop view {ops}.tutors_needing_attention;
        create view {ops}.tutors_needing_attention as
        with tutors as (
            select
                tutor_id,
                count(*) filter (where severity = 'critical') as critical_alerts,
                count(*) filter (where severity = 'warning') as warning_alerts,
                max(excess) as excess,
                -- 'critical' sorts before 'warning'.
                (array_agg(
                    alert_id order by triggered_date desc, severity, excess desc, alert_id
                ))[1] as newest_alert_id
            from {ops}.alerts
            where resolved_at is null and (snoozed_until is null or snoozed_until <= now())
            group by tutor_id
        ),

        -- Narrow rows are ranked and sorted; the texts come last, so the first few are cheap.
        ranked as (
            select
                row_number() over (
                    order by
                        tutors.critical_alerts desc, tutors.excess desc, tutors.warning_alerts desc,
                        risk.score desc nulls last, tutors.tutor_id
                ) as attention_rank,
                tutors.*,
                risk.score as churn_score,
                risk.level as churn_level
            from tutors
            left join {ops}.current_tutor_risk as risk on tutors.tutor_id = risk.tutor_id
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
            from {ops}.alerts
            where alerts.tutor_id = ranked.tutor_id and alerts.alert_id = ranked.newest_alert_id
            limit 1
        ) as newest
        order by ranked.attention_rank;
        comment on view {ops}.tutors_needing_attention is
            'Tutors with an open alert that is not snoozed, the most urgent first by'
            ' attention_rank: open critical alerts, then the largest excess, then open warnings,'
            ' then the churn score';

        create view {ops}.alert_history as
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
                when
                    events.details ->> 'resolution'
                    in ('rule_retired', 'rule_disabled', 'tutor_inactive')
                    then 'retired'
                else 'by hand'
            end as resolved,
            events.details ->> 'resolution' as resolution,
            events.details ->> 'session_id' as session_id,
            extract(epoch from events.at - alerts.triggered_date)::double precision / 3600 as hours
        from {ops}.alert_events as events
        inner join {ops}.alerts
            on events.tutor_id = alerts.tutor_id and events.alert_id = alerts.alert_id
        -- Nothing else can follow a resolution of the same row.
        left join {ops}.alert_events as undone
            on
                events.tutor_id = undone.tutor_id
                and events.alert_id = undone.alert_id
                and undone.event_no = events.event_no + 1
                and undone.event = 'reopened';
        comment on view {ops}.alert_history is
            'What happened to alerts, a row per event, with what to count it as';
        comment on column {ops}.alert_history.day is 'The day (UTC) of `at`';
        comment on column {ops}.alert_history.resolved is
            'Of a resolution: by hand, auto, retired (the rule or the tutor), or undone where the'
            ' alert was reopened later, whatever had closed it';
        comment on column {ops}.alert_history.resolution is 'The reason, of a resolution';
        comment on column {ops}.alert_history.session_id is
            'The newest session of the evidence, of an opened alert';
        comment on column {ops}.alert_history.hours is 'Since triggered_date';

        create view {ops}.alert_activity as
        with counted as (
            select
                day,
                alert_type,
                count(*) filter (where event = 'opened') as opened,
                count(*) filter (where event = 'escalated') as escalated,
                count(*) filter (where event = 'acknowledged') as acknowledged,
                count(*) filter (where event = 'snoozed') as snoozed,
                count(*) filter (where resolved = 'by hand') as resolved_by_hand,
                count(*) filter (where resolved = 'auto') as resolved_auto,
                count(*) filter (where resolved = 'retired') as resolved_retired,
                count(*) filter (where event = 'reopened') as reopened,
                count(*) filter (where resolved = 'by hand' and resolution = 'coached') as coached,
                count(*) filter (where resolved = 'by hand' and resolution = 'not_actionable')
                    as not_actionable,
                avg(hours) filter (where event = 'acknowledged') as mean_hours_to_acknowledge,
                percentile_cont(0.5) within group (order by hours)
                    filter (where event = 'acknowledged') as median_hours_to_acknowledge,
                avg(hours) filter (where resolved in ('by hand', 'auto')) as mean_hours_to_resolve,
                percentile_cont(0.5) within group (order by hours)
                    filter (where resolved in ('by hand', 'auto')) as median_hours_to_resolve,
                count(distinct session_id) filter (where event = 'opened') as sessions_that_opened
            from {ops}.alert_history
            group by day, alert_type
        )

        select
            counted.day,
            counted.alert_type,
            counted.opened,
            counted.escalated,
            counted.acknowledged,
            counted.snoozed,
            counted.resolved_by_hand,
            counted.resolved_auto,
            counted.resolved_retired,
            counted.reopened,
            counted.coached,
            counted.not_actionable,
            counted.mean_hours_to_acknowledge,
            counted.median_hours_to_acknowledge,
            counted.mean_hours_to_resolve,
            counted.median_hours_to_resolve,
            counted.not_actionable::double precision / nullif(counted.resolved_by_hand, 0)
                as not_actionable_share,
            counted.coached::double precision / nullif(counted.resolved_by_hand, 0)
                as coached_share,
            session_days.completed as sessions_completed,
            counted.sessions_that_opened,
            counted.sessions_that_opened::double precision / nullif(session_days.completed, 0)
                as opened_session_share
        from counted
        left join {ops}.session_days on counted.day = session_days.session_on
        order by counted.day, counted.alert_type;
        comment on view {ops}.alert_activity is
            'Per day (UTC) and alert type: what happened, how long people took, and whether it'
            ' was worth it; NULL where there is nothing to divide by';
        comment on column {ops}.alert_activity.resolved_by_hand is
            'As the other resolutions: without those that were reopened later';
        comment on column {ops}.alert_activity.mean_hours_to_acknowledge is
            'From triggered_date, of those acknowledged that day; goal: under 24';
        comment on column {ops}.alert_activity.mean_hours_to_resolve is
            'From triggered_date, of those resolved that day by hand or automatically';
        comment on column {ops}.alert_activity.not_actionable_share is
            'Of those resolved by hand that day; goal: under 0.15';
        comment on column {ops}.alert_activity.coached_share is
            'Of those resolved by hand that day; goal: at least 0.70';
        comment on column {ops}.alert_activity.opened_session_share is
            'Sessions that opened an alert, of the sessions completed that day; 0.05 to 0.10 is'
            ' usual over all types';
        """)


def downgrade() -> None:
    run_sql("""
        drop view {ops}.alert_activity, {ops}.alert_history, {ops}.tutors_needing_attention;
        drop table {ops}.tutor_insights, {ops}.achievements, {ops}.current_tutor_risk,
            {ops}.tutor_student_churn, {ops}.session_days, {ops}.churn_algorithm_weights;
        drop function {ops}.refuse_change(), {ops}.check_weights();
        drop index {ops}.alerts_id;
        alter table {ops}.alerts reset (fillfactor);

        create view {ops}.tutors_needing_attention as
        with newest as (
            -- One row per tutor: its newest alert ('critical' sorts before 'warning').
            select distinct on (tutor_id)
                tutor_id,
                count(*) filter (where severity = 'critical') over tutor as critical_alerts,
                count(*) filter (where severity = 'warning') over tutor as warning_alerts,
                max(excess) over tutor as excess,
                alert_id as newest_alert_id,
                alert_type as newest_alert_type,
                severity as newest_severity,
                title as newest_title,
                description as newest_description,
                recommended_action,
                session_id,
                evidence_session_ids,
                triggered_date as newest_triggered_date,
                now() - triggered_date as newest_age
            from {ops}.alerts
            where resolved_at is null and (snoozed_until is null or snoozed_until <= now())
            window tutor as (partition by tutor_id)
            order by tutor_id, triggered_date desc, severity, alerts.excess desc, alert_id
        )
        select
            row_number() over (
                order by critical_alerts desc, excess desc, warning_alerts desc, tutor_id
            ) as attention_rank,
            newest.*
        from newest
        order by attention_rank;
        comment on view {ops}.tutors_needing_attention is
            'Tutors with an open alert that is not snoozed, the most urgent first by'
            ' attention_rank: open critical alerts, then the largest excess, then open warnings';
        """)
