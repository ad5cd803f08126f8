{{ config(
    materialized='scoped',
    contract={'enforced': true},
    indexes=[{'columns': ['tutor_id']}],
    meta={'replaces': 'tutors and nobody'},
) }}

{%- set ids_are_unique = platform_is_unique('sessions', 'id')
    and platform_is_not_null('sessions', 'id') %}
{%- set nobody = '' if platform_is_not_null('sessions', 'tutor_id') else ' or tutor_id is null' %}

{%- set scoped = is_scoped() %}

{#- Reason and condition of every row-level error; the contract's first, then what ties columns. #}
{%- set checks = session_checks() %}

with

sessions as not materialized (
    select * from {{ ref('stg_platform__sessions') }}
),

roster as (
    select user_id as tutor_id from {{ ref('stg_platform__tutors') }}
    union
    select id from {{ ref('stg_platform__users') }}
    where role = 'tutor'
),

{% if ids_are_unique -%}
incoming as not materialized (
    select
        *,
        1 as occurrence
    from sessions
    {%- if scoped %}
    where tutor_id = any({{ scope_tutors() }}){{ nobody }}
    {%- endif %}
),
{%- else -%}
covered as (
    select id
    from sessions
    {%- if scoped %}
    where tutor_id = any({{ scope_tutors() }}){{ nobody }}
    {%- endif %}
),

-- Every row of an id that is covered, of other tutors too: which of them is the first is decided
-- among all.
numbered as (
    select
        sessions.*,
        row_number() over (
            partition by sessions.id order by sessions.updated_at desc nulls last, sessions::text
        ) as occurrence
    from sessions
    {%- if scoped %}
    where sessions.id in (select covered.id from covered) or sessions.id is null
    {%- endif %}
),

incoming as not materialized (
    select * from numbered
    {%- if scoped %}
    where tutor_id = any({{ scope_tutors() }}){{ nobody }}
    {%- endif %}
),
{%- endif %}

{% for part in session_parts() -%}
{{ part.name }} as (
    {{ one_per_session(part, scoped) }}
),

{% endfor -%}
joined as not materialized (
    select
        incoming.id as session_id,
        incoming.tutor_id,
        incoming.student_id,
        incoming.scheduled_start,
        incoming.status,
        incoming.actual_start,
        incoming.scheduled_duration,
        incoming.actual_duration,
        incoming.subject_id,
        incoming.subject,
        incoming.session_number,
        incoming.is_first_session,
        incoming.tutor_showed_up,
        incoming.student_showed_up,
        incoming.rescheduled_by,
        incoming.reschedule_reason,
        incoming.technical_issues,
        incoming.connection_quality,
        incoming.grade_level,
        incoming.homework_assigned,
        incoming.follow_up_booked,
        incoming.overall_session_score,
        incoming.completed_at,
        incoming.created_at,
        incoming.updated_at,
        {%- for part in session_parts() %}
        {%- for column in part.columns %}
        {{ part.name }}.{{ column }} as {{ part.renamed.get(column, column) }},
        {%- endfor %}
        {%- endfor %}
        incoming.occurrence,
        coalesce(roster.tutor_id is null, false)
        and incoming.tutor_id is not null
        and exists (select known.tutor_id from roster as known) as is_unknown_tutor
    from incoming
    left join roster on incoming.tutor_id = roster.tutor_id
    {%- for part in session_parts() %}
    left join {{ part.name }} on incoming.id = {{ part.name }}.session_id
    {%- endfor %}
),

labelled as not materialized (
    select
        joined.*,
        case
            when
                {%- for check in checks %}
                {{ 'or ' if not loop.first }}({{ check.broken }})
                {%- endfor %}
                then array_remove(array[
                    {%- for check in checks %}
                    case when {{ check.broken }} then '{{ check.reason }}' end
                    {{- ',' if not loop.last }}
                    {%- endfor %}
                ], null)
            else '{}'::text[]
        end as quarantine_reasons
    from joined
    -- Keeps the planner from repeating all these conditions wherever the reasons are read.
    offset 0  -- noqa: AM09
),

-- Only what goes to quarantine carries its payload.
described as not materialized (
    select
        labelled.*,
        case
            when labelled.quarantine_reasons <> '{}'
                then jsonb_strip_nulls(
                    to_jsonb(labelled)
                    - array['quarantine_reasons', 'occurrence', 'is_unknown_tutor']
                )
        end as payload
    from labelled
)

select
    {%- for column in model.columns if column not in ('row_key', 'payload') %}
    {{ column }},
    {%- endfor %}
    payload,
    md5(payload::text) || '#'
    {%- if ids_are_unique %} || '1'
    {%- else %} || row_number() over (partition by payload order by occurrence)
    {%- endif %} as row_key
from described
