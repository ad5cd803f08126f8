{{ config(
    materialized='scoped',
    indexes=[
        {'columns': ['tutor_id', 'session_id', 'student_id'], 'unique': true},
        {'columns': ['student_id']},
    ],
    meta={'distribute_by': 'tutor_id', 'dagster': {'group': 'intermediate'}},
) }}

{#- Who took part in which session. Where a session has a list of students, whoever is on it; else
    the student of the session. Without lists fct_sessions says it all, and nothing stands here. #}
{%- do staged('session_students') %}
{%- do ref('fct_sessions') %}

with

{% if has_groups() -%}
sessions as not materialized (
    select *
    from {{ ref('fct_sessions') }}
    where {{ in_scope('tutor_id') }}
),

members as (
    select
        session_id,
        student_id,
        attended,
        is_first,
        rating::double precision as rating,
        count(*) over of_lesson = 1 as is_alone,
        -- Of a lesson that counts as held, although nobody came, nobody is known to be absent.
        bool_or(coalesce(attended, true)) over of_lesson as came,
        -- What the lesson says then stands on the list, and is of whoever it names.
        count(rating) over of_lesson > 0 as is_rated,
        count(is_first) over of_lesson > 0 as knows_firsts
    from (
        {{ listed_students('session_id in (select sessions.session_id from sessions)') }}
    ) as listed
    window of_lesson as (partition by session_id)
),

taking_part as (
    select
        sessions.tutor_id,
        sessions.session_id,
        coalesce(members.student_id, sessions.student_id) as student_id,
        sessions.session_on,
        sessions.scheduled_start,
        case
            when sessions.status = 'completed' and not members.attended and members.came
                then 'no_show_student'
            else sessions.status
        end as status,
        members.rating,
        members.is_first,
        -- What is said of the session is said of the student whom it names, or of the only one.
        members.session_id is null
        or members.is_alone
        or coalesce(members.student_id = sessions.student_id, false) as is_named,
        coalesce(members.is_rated, false) as is_rated,
        coalesce(members.knows_firsts, false) as knows_firsts,
        sessions.is_first_session,
        sessions.student_satisfaction_rating,
        sessions.satisfaction_score
    from sessions
    left join members on sessions.session_id = members.session_id
    where coalesce(members.student_id, sessions.student_id) is not null
),

derived as (
    select
        tutor_id,
        session_id,
        student_id,
        session_on,
        scheduled_start,
        status,
        coalesce(is_first, is_named and not knows_firsts and is_first_session, false)
            as is_first_session,
        -- The pair's next session, as in fct_sessions: among those that are not only planned.
        case
            when status not in ('scheduled', 'in_progress')
                then lead(scheduled_start) over (
                    partition by tutor_id, student_id, status in ('scheduled', 'in_progress')
                    order by scheduled_start, session_id
                )
        end as next_session_at,
        coalesce(
            case when status = 'completed' then rating end,
            case when is_named and not is_rated then student_satisfaction_rating end
        ) as student_satisfaction_rating,
        case when is_named then satisfaction_score end as satisfaction_score
    from taking_part
)

select
    tutor_id,
    session_id,
    student_id,
    session_on,
    scheduled_start,
    status,
    is_first_session,
    next_session_at,
    student_satisfaction_rating,
    coalesce(satisfaction_score, 2 * student_satisfaction_rating) as student_satisfaction,
    -- One row stands for the session: of who came, and of these of who came first.
    row_number() over (
        partition by tutor_id, session_id
        order by status = 'no_show_student' asc, is_first_session desc, student_id asc
    ) = 1 as is_of_session
from derived
order by tutor_id asc, session_on desc, session_id asc, student_id asc
{%- else -%}
nobody as (
    select 1
    where false
)

select
    null::text as tutor_id,
    null::text as session_id,
    null::text as student_id,
    null::date as session_on,
    null::timestamptz as scheduled_start,
    null::text as status,
    null::boolean as is_first_session,
    null::timestamptz as next_session_at,
    null::double precision as student_satisfaction_rating,
    null::double precision as student_satisfaction,
    null::boolean as is_of_session
from nobody
{%- endif %}
