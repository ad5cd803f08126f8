{{ config(
    materialized='table',
    indexes=[{'columns': ['tutor_id', 'login_on'], 'unique': true}],
    meta={'distribute_by': 'tutor_id'},
) }}

{#- The platform's log of events is long and has no index that we may rely on: it is read once, by
    the full refresh. A refresh of some tutors takes their logins as they were then. #}
{%- set header = refresh() %}

select
    tutor_id,
    (occurred_at at time zone '{{ pipeline_timezone() }}')::date as login_on,
    count(*)::integer as logins
from {{ ref('stg_platform__engagement_events') }}
where
    event_type = 'login'
    and {{ is_usable_id('tutor_id') }}
    and occurred_at <= {{ header.as_of }}
    and occurred_at > {{ header.as_of }} - interval '{{ var("evidence_days") }} days'
group by 1, 2
