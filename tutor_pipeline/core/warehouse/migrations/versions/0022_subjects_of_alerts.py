"""What an alert is about: a tutor, as until now, a student or a subject taught."""

from tutor_pipeline.core.warehouse.migrations.helpers import run_sql

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_ABOUT_TUTORS = "subject_kind = 'tutor' and"

_ATTENTION = """
    create or replace view {{ops}}.tutors_needing_attention as
    with tutors as (
        select
            tutor_id,
            count(*) filter (where severity = 'critical') as critical_alerts,
            count(*) filter (where severity = 'warning') as warning_alerts,
            max(excess) as excess,
            max(excess) filter (where severity = 'critical') as critical_excess,
            -- 'critical' sorts before 'warning'.
            (array_agg(
                alert_id order by triggered_date desc, severity, excess desc, alert_id
            ))[1] as newest_alert_id
        from {{ops}}.alerts
        where
            {about} resolved_at is null
            and (snoozed_until is null or snoozed_until <= now())
        group by tutor_id
    ),

    -- Narrow rows are ranked and sorted; the texts come last, so the first few are cheap.
    ranked as (
        select
            row_number() over (
                order by
                    tutors.critical_alerts desc, tutors.critical_excess desc nulls last,
                    tutors.excess desc, tutors.warning_alerts desc,
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
    inner join {{ops}}.alerts as newest
        on
            ranked.tutor_id = newest.tutor_id
            and ranked.newest_alert_id = newest.alert_id
            and newest.resolved_at is null
    order by ranked.attention_rank
    """

_CRITICAL = """
    create or replace view {{ops}}.critical_alert_summary as
    select
        tutor_id,
        count(*) as critical_alerts,
        max(triggered_date) as newest_triggered_date,
        min(triggered_date) as oldest_triggered_date,
        max(last_confirmed_at) as last_confirmed_at,
        count(*) filter (where acknowledged) as acknowledged_alerts,
        array_agg(alert_type order by triggered_date desc, alert_type) as alert_types,
        array_agg(description order by triggered_date desc, alert_type) as descriptions
    from {{ops}}.alerts
    where {about} resolved_at is null and severity = 'critical'
    group by tutor_id
    order by newest_triggered_date desc, tutor_id
    """


def _views(about: str) -> None:
    run_sql(_ATTENTION.format(about=about))
    run_sql(_CRITICAL.format(about=about))


def _keys(subject: str) -> None:
    run_sql(f"""
        drop index {{ops}}.alerts_open;
        drop index {{ops}}.alerts_occurrence;
        create unique index alerts_open on {{ops}}.alerts (tutor_id, {subject} alert_type)
            where resolved_at is null;
        create unique index alerts_occurrence
            on {{ops}}.alerts (tutor_id, {subject} alert_type, occurrence);
        """)


def upgrade() -> None:
    run_sql("""
        alter table {ops}.alerts add column subject_kind text not null default 'tutor';
        alter table {ops}.alerts add column subject_id text;
        update {ops}.alerts set subject_id = tutor_id;
        alter table {ops}.alerts alter column subject_id set not null;
        alter table {ops}.alerts add constraint alerts_subject_check check (
            subject_kind in ('tutor', 'student', 'subject')
            and (subject_kind <> 'tutor' or subject_id = tutor_id) and subject_id <> ''
        );
        comment on column {ops}.alerts.tutor_id is
            'The tutor whose alert it is; empty = nobody''s: it is about a student or a subject';
        comment on column {ops}.alerts.subject_kind is 'What it is about: tutor, student, subject';
        comment on column {ops}.alerts.subject_id is
            'The id of the tutor, the student or the subject taught that it is about';
        """)
    _keys("subject_kind, subject_id,")
    _views(_ABOUT_TUTORS)


def downgrade() -> None:
    _views("")
    run_sql("""
        delete from {ops}.alert_events where (tutor_id, alert_id) in (
            select tutor_id, alert_id from {ops}.alerts where subject_kind <> 'tutor'
        );
        delete from {ops}.alerts where subject_kind <> 'tutor';
        alter table {ops}.alerts drop constraint alerts_subject_check;
        """)
    _keys("")
    run_sql("""
        alter table {ops}.alerts drop column subject_kind;
        alter table {ops}.alerts drop column subject_id;
        """)
