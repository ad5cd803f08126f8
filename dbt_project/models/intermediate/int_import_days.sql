{{ config(
    materialized='table',
    indexes=[{'columns': ['created_on'], 'unique': true}],
) }}

{#- A day on which most of what was created had taken place before it: then the moment of
    creation is that of a copy or an import, and says nothing of when a session was booked. -#}
select
    (created_at at time zone '{{ pipeline_timezone() }}')::date as created_on,
    true as is_import_day,
    count(*)::integer as sessions
from {{ ref('fct_sessions') }}
where created_at is not null
group by 1
having
    count(*) >= 20
    and count(*) filter (
        where (created_at at time zone '{{ pipeline_timezone() }}')::date > session_on
    ) > 0.5 * count(*)
