{{ config(
    materialized='scoped',
    indexes=[{'columns': ['recorded', 'created_on'], 'unique': true}],
    meta={'replaces': 'all rows'},
) }}

{#- A day on which most of what was recorded had come too late for it: then the moment is that of a
    copy or an import, and does not say when a session was booked or hours were offered. #}
{%- set zone = quote_text(pipeline_timezone()) %}

with

recorded as (
    select
        'sessions' as recorded,
        (created_at at time zone {{ zone }})::date as created_on,
        session_on as at_latest_on
    from {{ ref('fct_sessions') }}
    where created_at is not null
    union all
    select
        'availability' as recorded,
        (reported.reported_at at time zone {{ zone }})::date as created_on,
        reported.week_start + 13 as at_latest_on
    from (
        select
            week_start,
            {{ within_contract('tutor_availability', 'reported_at') }} as reported_at
        from {{ staged('tutor_availability') }} as offered
    ) as reported
    where reported.reported_at is not null
)

select
    recorded,
    created_on,
    count(*)::integer as records
from recorded
group by recorded, created_on
having count(*) >= 20 and count(*) filter (where created_on > at_latest_on) > 0.5 * count(*)
