{{ config(
    materialized='scoped',
    tags=['weekly'],
    indexes=[
        {'columns': ['student_id', 'as_of_date'], 'unique': true},
        {'columns': ['as_of_date']},
    ],
    meta={'distribute_by': 'student_id', 'replaces': 'all rows'},
) }}

{#- Of who is said to have left without a date, nobody knows whether they were there. #}
{%- set asked %}
    (students.enrolled_since <= moments.as_of_date or lifetimes.sessions_all > 0)
    and coalesce(
        students.churned_date > moments.as_of_date, students.status is distinct from 'churned'
    )
{%- endset %}

-- depends_on: {{ ref('fct_sessions') }}, {{ ref('fct_session_students') }},
-- {{ ref('dim_students') }}
{{ text_of('student_aggregates', {'moments': student_weeks(), 'asked': asked}) }}
