{#-
Sessions as their students see them: a row of fct_sessions per student, and one of each session that
names nobody. Of the student are student_id, status, is_first_session, next_session_at, own_rating
and own_satisfaction. `is_of_session`: the row that stands for the session where sessions are counted;
its status is the session's. Where no session has several students these are the sessions themselves.
-#}
{% macro student_sessions() -%}
    {%- set sessions, students = ref('fct_sessions'), ref('fct_session_students') -%}
    (
        select
        {%- if has_groups() %}
            {%- for column in columns_of_sessions() %}
            {%- if column in ('student_id', 'status', 'is_first_session', 'next_session_at') %}
            case when taking_part.tutor_id is null then held.{{ column }}
                else taking_part.{{ column }} end as {{ column }},
            {%- else %}
            held.{{ column }},
            {%- endif %}
            {%- endfor %}
            taking_part.student_satisfaction_rating as own_rating,
            taking_part.student_satisfaction as own_satisfaction,
            coalesce(taking_part.is_of_session, true) as is_of_session
        from {{ sessions }} as held
        left join {{ students }} as taking_part
            on
                held.tutor_id = taking_part.tutor_id
                and held.session_id = taking_part.session_id
        {%- else %}
            *,
            student_satisfaction_rating as own_rating,
            student_satisfaction as own_satisfaction
        from {{ sessions }}
        {%- endif %}
    )
{%- endmacro %}

{% macro columns_of_sessions() -%}
    {{ return(graph.nodes['model.tutor_pipeline.fct_sessions'].columns.keys() | list) }}
{%- endmacro %}

{#- A condition on rows of student_sessions, of those that stand for a session. -#}
{% macro of_sessions(condition) -%}
    {{ return(condition ~ ' and is_of_session' if has_groups() else condition) }}
{%- endmacro %}
