{{ config(
    materialized='table',
    indexes=[{'columns': ['student_id'], 'unique': true}],
    meta={'distribute_by': 'student_id'},
) }}

{%- set header = refresh() %}

{#- Of most students the last session is long ago: they need not be looked at. #}
{%- set some %}
    student_id in (
        select taught.student_id
        from {{ ref('fct_sessions') }} as taught
        where
            taught.session_on >= {{ header.as_of_on }} - {{ var('asked_silence_days') }}
            and taught.status = 'completed'
    )
{%- endset %}

{{ evidence_of_students_leaving(header.as_of_on, 1, header.as_of, some) }}
