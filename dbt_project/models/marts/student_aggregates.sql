{{ config(
    materialized='table',
    indexes=[{'columns': ['student_id'], 'unique': true}],
    meta={'distribute_by': 'student_id'},
) }}

{%- set moment %}
    select
        {{ refresh()['as_of_on'] }} as as_of_date,
        {{ refresh()['as_of'] }} as as_of
{%- endset %}

{{ student_aggregates_as_of(moment) }}
