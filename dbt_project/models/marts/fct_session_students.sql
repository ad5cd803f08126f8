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

-- A list may name a student twice: who came, or was rated, on either line did.
members as (
    select
        listed.session_id,
        listed.student_id,
        bool_or(listed.attended) as attended,
        avg({{ within_contract('session_students', 'student_satisfaction_rating') }}::numeric)
            ::double precision as rating,
        bool_or(listed.is_first) as is_first,
        count(*) over (partition by listed.session_id) = 1 as is_alone,
        -- Of a lesson that counts as held, although nobody came, nobody is known to be absent.
        bool_or(coalesce(bool_or(listed.attended), true))
            over (partition by listed.session_id) as came,
        -- What the lesson says then stands on the list, and is of whoever it names.
        count(avg({{ within_contract('session_students', 'student_satisfaction_rating') }}))
            over (partition by listed.session_id) > 0 as is_rated,
        count(bool_or(listed.is_first)) over (partition by listed.session_id) > 0 as knows_firsts
    from {{ staged('session_students') }} as listed
    where listed.session_id in (select sessions.session_id from sessions)
    group by listed.session_id, listed.student_id
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
        or coalesce(members.student_id = sessions.student_id, false) as is_of_session,
        coalesce(members.is_rated, false) as is_rated,
        coalesce(members.knows_firsts, false) as knows_firsts,
        sessions.is_first_session,
        sessions.student_satisfaction_rating,
        sessions.satisfaction_score
    from sessions
    left join members on sessions.session_id = members.session_id
    where coalesce(members.student_id, sessions.student_id) is not null
),

-- The pair's next session, as in fct_sessions.
followed as (
    select
        tutor_id,
        session_id,
        student_id,
        lead(scheduled_start) over (
            partition by tutor_id, student_id order by scheduled_start, session_id
        ) as next_session_at
    from taking_part
    where status not in ('scheduled', 'in_progress')
),

derived as (
    select
        taking_part.tutor_id,
        taking_part.session_id,
        taking_part.student_id,
        taking_part.session_on,
        taking_part.scheduled_start,
        taking_part.status,
        coalesce(
            taking_part.is_first,
            taking_part.is_of_session
            and not taking_part.knows_firsts
            and taking_part.is_first_session,
            false
        ) as is_first_session,
        followed.next_session_at,
        coalesce(
            case when taking_part.status = 'completed' then taking_part.rating end,
            case
                when taking_part.is_of_session and not taking_part.is_rated
                    then taking_part.student_satisfaction_rating
            end
        ) as student_satisfaction_rating,
        case when taking_part.is_of_session then taking_part.satisfaction_score end
            as satisfaction_score
    from taking_part
    left join followed
        on
            taking_part.tutor_id = followed.tutor_id
            and taking_part.session_id = followed.session_id
            and taking_part.student_id = followed.student_id
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
