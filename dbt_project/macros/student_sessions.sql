{#-
Sessions as their students see them: a row of fct_sessions per student, and one of each session that
names nobody. Of the student are student_id, status, is_first_session, next_session_at, own_rating
and own_satisfaction. `is_of_session`: the row that stands for the session where sessions are counted;
its status is the session's. Where no session has several students these are the sessions themselves.

Of what a session is excused of, nothing is told (macros/excuses.sql), unless it is to be `whole`: an
excuse is about the tutor, and changes nothing for the student.
-#}
{% macro student_sessions(is_whole=false) -%}
    {%- set sessions, students = ref('fct_sessions'), ref('fct_session_students') -%}
    {%- set of_student = ('student_id', 'status', 'is_first_session', 'next_session_at')
        if has_groups() else () -%}
    (
        select
            {%- if not columns_of_sessions() %}
            held.*,
            {%- endif %}
            {%- for column in columns_of_sessions() %}
            {%- set value = 'held.' ~ column %}
            {%- if column in of_student %}
            {%- set value = 'case when taking_part.tutor_id is null then ' ~ value
                ~ ' else taking_part.' ~ column ~ ' end' %}
            {%- endif %}
            {{ value if is_whole else as_it_counts(column, value, 'held.excused_kinds') }}
                as {{ column }},
            {%- endfor %}
            {%- for column, own in ratings_of_students().items() %}
            {%- set value = ('taking_part.' if has_groups() else 'held.') ~ column %}
            {{ value if is_whole else as_it_counts(column, value, 'held.excused_kinds') }}
                as {{ own }}
            {{- ',' if has_groups() or not loop.last }}
            {%- endfor %}
            {%- if has_groups() %}
            coalesce(taking_part.is_of_session, true) as is_of_session
            {%- endif %}
        from {{ sessions }} as held
        {%- if has_groups() %}
        left join {{ students }} as taking_part
            on
                held.tutor_id = taking_part.tutor_id
                and held.session_id = taking_part.session_id
        {%- endif %}
    )
{%- endmacro %}

{#- What a student says of a lesson: columns of either table, and their names beside the lesson's. -#}
{% macro ratings_of_students() -%}
    {{ return({
        'student_satisfaction_rating': 'own_rating', 'student_satisfaction': 'own_satisfaction',
    }) }}
{%- endmacro %}

{#- None while dbt parses, and in a unit test, which knows no graph (and no excuses). -#}
{% macro columns_of_sessions() -%}
    {%- set model = (graph.nodes or {}).get('model.tutor_pipeline.fct_sessions', {}) -%}
    {{ return(model.get('columns', {}).keys() | list) }}
{%- endmacro %}

{#- A condition on rows of student_sessions, of those that stand for a session. -#}
{% macro of_sessions(condition) -%}
    {{ return(condition ~ ' and is_of_session' if has_groups() else condition) }}
{%- endmacro %}
