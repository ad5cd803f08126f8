{{ config(
    materialized='table',
    indexes=[{'columns': ['student_id'], 'unique': true}],
    meta={'distribute_by': 'student_id'},
) }}

{%- set header = refresh() %}

{{ evidence_of_students_leaving(header.as_of_on, 1, header.as_of) }}
