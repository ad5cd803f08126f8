{{ config(
    materialized='history',
    contract={'enforced': false},
    tags=['daily_partitions'],
    indexes=[
        {'columns': ['tutor_id', 'as_of_date'], 'unique': true},
        {'columns': ['as_of_date']},
    ],
    meta={'distribute_by': 'tutor_id'},
) }}

{#- The days of this run at once; the materialization takes them month by month. #}
{%- set header = refresh() %}
{%- if header.snapshot_from %}
    {%- set first_day = "date '" ~ header.snapshot_from ~ "'" %}
    {%- set last_day = "date '" ~ header.snapshot_until ~ "'" %}
{%- else %}
    {%- set first_day, last_day = header.as_of_on, header.as_of_on %}
{%- endif %}

{{ tutor_history(first_day, last_day) }}
