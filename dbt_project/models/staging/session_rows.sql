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

{%- set grouped = has_groups() %}
{%- do staged('session_students') %}

{#- What a list says of its lesson: who rates it was there, whatever the list says. #}
{%- set status = 'incoming.status' %}
{%- if grouped %}
{%- set status %}
        case
            when groups.came and incoming.status = 'no_show_student' then 'completed'
            when
                not groups.came
                and incoming.status = 'completed'
                and feedback.student_satisfaction_rating is null
                and feedback.satisfaction_score is null
                then 'no_show_student'
            else incoming.status
        end
{%- endset %}
{%- endif %}

{%- set given = given_columns() %}

{#- Reason and condition of every row-level error; the contract's first, then what ties columns. #}
{%- set checks = session_checks() %}

with

sessions as not materialized (
    select * from {{ staged('sessions') }} as staged
),

users as not materialized (
    select * from {{ staged('users') }} as staged
),

roster as (
    select user_id as tutor_id from {{ staged('tutors') }} as staged
    where user_id is not null
    union
    select id from users
    where role = 'tutor' and id is not null
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

students as not materialized (
    select user_id as student_id from {{ staged('students') }} as staged
    where user_id is not null
    union all
    select id from users
    where role = 'student' and id is not null
),

-- There are many students, and a scoped refresh needs few of them.
enrolled as (
    select distinct students.student_id
    from students
    {%- if scoped %}
    where students.student_id in (select incoming.student_id from incoming)
    {%- endif %}
),

{% for part in session_parts() -%}
{{ part.name }} as (
    {{ one_per_session(part, scoped) }}
),

{% endfor -%}
{% if grouped -%}
groups as (
    {{ groups_of_sessions(scoped) }}
),

{% endif -%}
joined as not materialized (
    select
        incoming.id as session_id,
        incoming.tutor_id,
        incoming.student_id,
        incoming.scheduled_start,
        {{ status }} as status,
        incoming.actual_start,
        incoming.scheduled_duration,
        incoming.actual_duration,
        incoming.subject_id,
        incoming.subject,
        incoming.session_number,
        {%- if grouped %}
        coalesce(groups.is_first, incoming.is_first_session) as is_first_session,
        {%- else %}
        incoming.is_first_session,
        {%- endif %}
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
        {%- if grouped and column == 'student_satisfaction_rating' %}
        -- An import knows each file alone: stars on the list of a lesson not held are none.
        coalesce(case when {{ status }} = 'completed' then groups.rating end, feedback.{{ column }})
            as {{ column }},
        {{ part.name }}.{{ column }} as rating_of_platform,
        {%- else %}
        {{ part.name }}.{{ column }} as {{ part.renamed.get(column, column) }},
        {%- endif %}
        {%- endfor %}
        {%- endfor %}
        {%- for column in given %}
        {{ column.table }}.{{ column.name }}_given as {{ column.shown }}_given,
        {%- endfor %}
        {%- if grouped %}
        incoming.status as status_of_platform,
        incoming.is_first_session as is_first_of_platform,
        groups.is_rating_of_student_wrong,
        groups.is_attendance_unknown,
        groups.is_student_of_group_missing,
        {%- endif %}
        incoming.occurrence,
        roster.tutor_id is null
        and incoming.tutor_id is not null
        and exists (select known.tutor_id from roster as known) as is_unknown_tutor,
        enrolled.student_id is null
        and incoming.student_id is not null
        and exists (select known.student_id from students as known)
        {%- if grouped %}
        or coalesce(groups.is_student_of_group_unknown, false)
        {%- endif %}
        as is_unknown_student
    from incoming
    left join roster on incoming.tutor_id = roster.tutor_id
    left join enrolled on incoming.student_id = enrolled.student_id
    {%- for part in session_parts() %}
    left join {{ part.name }} on incoming.id = {{ part.name }}.session_id
    {%- endfor %}
    {%- if grouped %}
    left join groups on incoming.id = groups.session_id
    {%- endif %}
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

-- Only what goes to quarantine carries its payload: what the platform gave, before any conversion.
described as not materialized (
    select
        labelled.*,
        case
            when labelled.quarantine_reasons <> '{}'
                then jsonb_strip_nulls(
                    to_jsonb(labelled)
                    - array[
                        {%- for column in given %}
                        '{{ column.shown }}_given',
                        {%- endfor %}
                        'quarantine_reasons', 'occurrence', 'is_unknown_tutor',
                        'is_unknown_student', 'is_rating_of_student_wrong', 'is_attendance_unknown',
                        'is_student_of_group_missing', 'status_of_platform', 'rating_of_platform',
                        'is_first_of_platform'
                    ]
                    {%- if grouped %}
                    || jsonb_build_object(
                        'status', labelled.status_of_platform,
                        'student_satisfaction_rating', labelled.rating_of_platform,
                        'is_first_session', labelled.is_first_of_platform
                    )
                    {%- endif %}
                    {%- for columns in given | batch(50) %}
                    || jsonb_build_object(
                        {%- for column in columns %}
                        '{{ column.shown }}', labelled.{{ column.shown }}_given
                        {{- ',' if not loop.last }}
                        {%- endfor %}
                    )
                    {%- endfor %}
                )
        end as payload
    from labelled
)

select
    {%- for column in model.columns if column not in ('row_key', 'payload') %}
    {%- if column == 'tutor_id' %}
    -- The index takes no endless one; the payload has it whole.
    left(tutor_id, {{ max_id_length() + 1 }}) as tutor_id,
    {%- else %}
    {{ column }},
    {%- endif %}
    {%- endfor %}
    payload,
    md5(payload::text) || '#'
    {%- if ids_are_unique %} || '1'
    {%- else %} || row_number() over (partition by payload order by occurrence)
    {%- endif %} as row_key
from described
