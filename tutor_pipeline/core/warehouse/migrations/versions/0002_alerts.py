"""Alerts, their events, the runs that reconciled them, and per-tutor exceptions to rules."""

from tutor_pipeline.core.warehouse.migrations.helpers import distribute, run_sql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql("""
        create table {ops}.alerts (
            tutor_id text not null,
            alert_id text not null,
            alert_type text not null,
            occurrence integer not null check (occurrence > 0),
            severity text not null check (severity in ('warning', 'critical')),
            title text not null,
            description text not null,
            recommended_action text not null,
            session_id text,
            evidence_session_ids text[] not null check (cardinality(evidence_session_ids) <= 5),
            metrics jsonb not null,
            excess double precision not null,
            rule_profile text not null,
            rule_version text not null,
            triggered_date timestamptz not null,
            last_confirmed_at timestamptz not null,
            known_session_ids text[] not null default '{}',
            acknowledged boolean not null generated always as (acknowledged_at is not null) stored,
            acknowledged_at timestamptz,
            acknowledged_by text,
            acknowledged_note text,
            snoozed_until timestamptz,
            snoozed_by text,
            resolved boolean not null generated always as (resolved_at is not null) stored,
            resolved_at timestamptz,
            resolved_by text,
            resolution text check (resolution in (
                'auto', 'rule_retired', 'rule_disabled', 'tutor_inactive',
                'coached', 'fixed', 'not_actionable', 'other')),
            action_taken text,
            primary key (tutor_id, alert_id),
            check (last_confirmed_at >= triggered_date),
            check ((resolved_at is null) = (resolution is null)),
            check ((resolved_at is null) = (resolved_by is null)),
            check ((acknowledged_at is null) = (acknowledged_by is null)),
            check ((snoozed_until is null) = (snoozed_by is null))
        );
        create unique index alerts_open on {ops}.alerts (tutor_id, alert_type)
            where resolved_at is null;
        create unique index alerts_occurrence on {ops}.alerts (tutor_id, alert_type, occurrence);
        comment on table {ops}.alerts is
            'One row per alert and its whole history; open = resolved_at is null, at most one'
            ' open per tutor and type';
        comment on column {ops}.alerts.occurrence is
            'Which alert of this tutor and type it is, from 1';
        comment on column {ops}.alerts.session_id is 'The newest evidence session';
        comment on column {ops}.alerts.evidence_session_ids is
            'Sessions that show it, at most 5, newest first';
        comment on column {ops}.alerts.metrics is
            'Per metric: value, threshold, exposure (the sessions behind it)';
        comment on column {ops}.alerts.excess is
            'How far beyond the threshold, given the exposure; 0 = at it. Ranks tutors';
        comment on column {ops}.alerts.triggered_date is 'The as-of moment that opened it';
        comment on column {ops}.alerts.last_confirmed_at is 'The newest as-of moment it held at';
        comment on column {ops}.alerts.known_session_ids is
            'The sessions of the tutor that had been processed while it was open: resolved by'
            ' hand, it comes back only with evidence that is not among them';

        create table {ops}.alert_events (
            tutor_id text not null,
            alert_id text not null,
            event_no integer not null check (event_no > 0),
            event text not null check (event in (
                'opened', 'escalated', 'eased', 'resolved',
                'acknowledged', 'snoozed', 'reopened')),
            at timestamptz not null,
            actor text not null,
            run_id text,
            details jsonb not null,
            primary key (tutor_id, alert_id, event_no)
        );
        comment on table {ops}.alert_events is
            'What happened to each alert, in order; rows are added, never changed';
        comment on column {ops}.alert_events.at is
            'The as-of moment of the run, or when the person acted';
        comment on column {ops}.alert_events.actor is 'pipeline, or who acted';

        create table {ops}.reconcile_runs (
            kind text not null check (kind in ('alert', 'insight', 'achievement')),
            run_id text not null,
            as_of timestamptz not null,
            profile text not null,
            tutors integer not null,
            evaluated bigint not null,
            opened integer not null,
            confirmed integer not null,
            escalated integer not null,
            resolved integer not null,
            suppressed integer not null,
            skipped jsonb not null,
            applied_at timestamptz not null default now(),
            primary key (kind, run_id)
        );
        comment on table {ops}.reconcile_runs is
            'One row per applied run and kind, with what it did';
        comment on column {ops}.reconcile_runs.evaluated is '(tutor, rule) pairs evaluated';
        comment on column {ops}.reconcile_runs.skipped is 'Tutors left out, with the reason';

        create table {ops}.rule_overrides (
            tutor_id text not null,
            kind text not null check (kind in ('alert', 'insight', 'achievement')),
            rule_id text not null,
            threshold double precision,
            disabled boolean not null default false,
            reason text not null,
            set_by text not null,
            set_at timestamptz not null,
            expires_at timestamptz,
            primary key (tutor_id, kind, rule_id),
            check (disabled = (threshold is null)),
            check (threshold > '-Infinity' and threshold < 'Infinity')
        );
        comment on table {ops}.rule_overrides is
            'Exceptions of one tutor to one rule: another threshold, or disabled';
        """)
    for table in ("alerts", "alert_events", "rule_overrides"):
        distribute(table, "tutor_id")
    # Views come after: a table is distributed before anything depends on it.
    run_sql("""
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

        create view {ops}.critical_alert_summary as
        select
            tutor_id,
            count(*) as critical_alerts,
            max(triggered_date) as newest_triggered_date,
            min(triggered_date) as oldest_triggered_date,
            max(last_confirmed_at) as last_confirmed_at,
            count(*) filter (where acknowledged) as acknowledged_alerts,
            array_agg(alert_type order by triggered_date desc, alert_type) as alert_types,
            array_agg(description order by triggered_date desc, alert_type) as descriptions
        from {ops}.alerts
        where resolved_at is null and severity = 'critical'
        group by tutor_id
        order by newest_triggered_date desc, tutor_id;
        comment on view {ops}.critical_alert_summary is
            'The open critical alerts by tutor, the newest first';
        """)


def downgrade() -> None:
    run_sql("""
        drop view {ops}.critical_alert_summary, {ops}.tutors_needing_attention;
        drop table {ops}.rule_overrides, {ops}.reconcile_runs, {ops}.alert_events, {ops}.alerts;
        """)
