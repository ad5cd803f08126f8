{{ config(
    materialized='scoped',
    contract={'enforced': false},
    tags=['weekly'],
    indexes=[
        {'columns': ['tutor_id', 'as_of_date'], 'unique': true},
        {'columns': ['as_of_date']},
    ],
    meta={'distribute_by': 'tutor_id', 'replaces': 'all rows', 'not_null': ['tutor_id']},
) }}

{#- Asked weekly, back from the newest full day, of whoever completed a session not long before. #}
{%- set newest = newest_full_day(
    ref('tutor_aggregates_history'), '(' ~ refresh()['as_of_on'] ~ ' - 1)'
) %}

-- depends_on: {{ ref('int_tutor_days') }}, {{ ref('dim_tutors') }}, {{ ref('fct_sessions') }},
-- {{ ref('fct_session_students') }}, {{ ref('int_tutor_logins') }}, {{ ref('int_import_days') }}
{%- do staged('tutor_availability') %}
{{ text_of('tutor_evidence', {
    'newest': newest, 'asked_weeks': var('evidence_weeks'), 'now': none, 'scope': 'true',
}) }}
