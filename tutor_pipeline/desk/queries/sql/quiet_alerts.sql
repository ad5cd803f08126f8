-- Active alerts that somebody acknowledged, and nobody did anything about since.
with acts as (
    select
        tutor_id,
        alert_id,
        max(at) as at
    from {ops}.alert_events
    where actor <> 'pipeline'
    group by tutor_id, alert_id
),

written as (
    select
        tutor_id,
        subject_kind,
        subject_id,
        max(at) as at
    from {ops}.notes
    group by tutor_id, subject_kind, subject_id
)

select
    alerts.tutor_id,
    alerts.alert_id,
    alerts.subject_kind,
    alerts.subject_id,
    alerts.severity,
    alerts.title,
    alerts.acknowledged_at,
    alerts.acknowledged_by,
    alerts.owner,
    tutors.name
from {ops}.alerts as alerts
inner join acts
    on alerts.tutor_id = acts.tutor_id and alerts.alert_id = acts.alert_id
left join {marts}.dim_tutors as tutors on alerts.tutor_id = tutors.tutor_id
left join written
    on
        alerts.tutor_id = written.tutor_id
        and alerts.subject_kind = written.subject_kind
        and alerts.subject_id = written.subject_id
where
    {active}
    and alerts.acknowledged_at <= %(before)s
    and acts.at <= %(before)s
    and coalesce(written.at <= %(before)s, true)
order by alerts.acknowledged_at, alerts.alert_id
limit 20
