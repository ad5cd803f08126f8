"""Who needs attention: the newest alert by a join, which a cluster can plan."""

from tutor_pipeline.core.warehouse.migrations.helpers import run_sql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# The join finds only open alerts, so the resolved ones are never read.
_JOIN = """
    inner join {ops}.alerts as newest
        on
            ranked.tutor_id = newest.tutor_id
            and ranked.newest_alert_id = newest.alert_id
            and newest.resolved_at is null
    """

_LOOK_UP = """
    -- `limit` keeps it a look-up per row shown, in the order of the ranks.
    cross join lateral (
        select *
        from {ops}.alerts
        where alerts.tutor_id = ranked.tutor_id and alerts.alert_id = ranked.newest_alert_id
        limit 1
    ) as newest
    """

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
        where resolved_at is null and (snoozed_until is null or snoozed_until <= now())
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
    {newest}
    order by ranked.attention_rank
    """


def upgrade() -> None:
    run_sql(_ATTENTION.format(newest=_JOIN))


def downgrade() -> None:
    run_sql(_ATTENTION.format(newest=_LOOK_UP))
