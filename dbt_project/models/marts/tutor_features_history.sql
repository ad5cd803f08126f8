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

{#- The newest full day of the history, and every seventh day of the year before it: the days that
    a back-test looks at. As a literal: the planner then knows how many rows it is about. #}
{%- set newest = newest_full_day(ref('tutor_aggregates_history')) %}
{%- set weekly %}
(
    select *
    from {{ ref('tutor_aggregates_history') }}
    where as_of_date in (
        {%- for week in range(52) %}
        {{ newest }} - {{ 7 * week }}{{ ',' if not loop.last }}
        {%- endfor %}
    )
) as weekly
{%- endset %}

-- depends_on: {{ ref('dim_tutors') }}, {{ ref('fct_sessions') }},
-- {{ ref('fct_session_students') }}
{%- for table in (
    'session_billing', 'student_progress', 'subjects',
    'tutor_availability', 'tutor_certifications', 'tutor_subjects',
) %} {%- do staged(table) %} {%- endfor %}
select
    features.*,
    (features.as_of at time zone '{{ pipeline_timezone() }}')::date as as_of_date
from (
    {{ text_of('tutor_features', {
        'base': weekly, 'first_day': newest ~ ' - 363', 'last_day': newest, 'scope': 'true',
    }) }}
) as features
