{{ config(
    materialized='table',
    contract={'enforced': false},
    tags=['weekly'],
    indexes=[
        {'columns': ['tutor_id', 'as_of_date'], 'unique': true},
        {'columns': ['as_of_date']},
    ],
    post_hook='alter table {{ this }} alter column tutor_id set not null',
    meta={'distribute_by': 'tutor_id'},
) }}

{#- Asked weekly, back from the newest full day, of whoever completed a session not long before. #}
{%- set newest = newest_full_day(
    our_table('marts', 'tutor_aggregates_history'), '(' ~ refresh()['as_of_on'] ~ ' - 1)'
) %}

select *
from (
    {{ evidence_of_leaving(newest, var('evidence_weeks')) }}
) as evidence
where days_since_completed <= {{ var('asked_silence_days') }}
