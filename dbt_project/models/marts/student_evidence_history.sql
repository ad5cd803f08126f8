{{ config(
    materialized='scoped',
    tags=['weekly'],
    indexes=[
        {'columns': ['student_id', 'as_of_date'], 'unique': true},
        {'columns': ['as_of_date']},
    ],
    meta={'distribute_by': 'student_id', 'replaces': 'all rows'},
) }}

{#- As of the weeks of student_aggregates_history, beside which it is read. #}
{%- set newest = newest_student_week() %}

{#- There are ten times as many students as tutors: learning is from some of them, always the same,
    whose number bounds what it takes on a platform of any size. #}
{%- set some %}
    student_id in (
        select taught.student_id
        from {{ student_sessions(is_whole=true) }} as taught
        where
            taught.student_id is not null
            and taught.session_on > {{ newest }} - {{ 7 * var('evidence_student_weeks') }}
        group by taught.student_id
        order by hashtextextended(taught.student_id, 0), taught.student_id
        limit {{ var('evidence_students') }}
    )
{%- endset %}

-- depends_on: {{ ref('fct_sessions') }}, {{ ref('fct_session_students') }},
-- {{ ref('dim_students') }}, {{ ref('int_import_days') }}
{{ text_of('student_evidence', {
    'newest': newest, 'asked_weeks': var('evidence_student_weeks'), 'now': none, 'some': some,
}) }}
