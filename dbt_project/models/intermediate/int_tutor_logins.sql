{{ config(
    materialized='scoped',
    indexes=[{'columns': ['tutor_id', 'login_on'], 'unique': true}, {'columns': ['login_on']}],
    meta={'distribute_by': 'tutor_id', 'replaces': 'all rows'},
) }}

{#- The platform's log of events is long and has no index that we may rely on: it is read once, by
    the full refresh. A refresh of some tutors takes their logins as they were then. A table of that
    name with other columns, or one that may not be read, is none. #}
{%- set header = refresh() %}

select
    tutor_id,
    (occurred_at at time zone '{{ pipeline_timezone() }}')::date as login_on,
    count(*)::integer as logins
{% if platform_offers('engagement_events', ['tutor_id', 'event_type', 'occurred_at']) -%}
from {{ staged('engagement_events') }} as events
{%- else -%}
from (
    select
        null::text as tutor_id,
        null::text as event_type,
        null::timestamptz as occurred_at
    where false
) as no_events
{%- endif %}
where
    event_type = 'login'
    and {{ is_usable_id('tutor_id') }}
    and occurred_at <= {{ header.as_of }}
    and occurred_at > {{ header.as_of }} - interval '{{ var("evidence_days") }} days'
group by 1, 2
