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

{#- The newest full day of the history, and every seventh day of the year before it: the days that
    a back-test looks at. #}
{%- set newest %}
(
    select max(as_of_date) from {{ ref('tutor_aggregates_history') }}
    where as_of_date < {{ refresh()['as_of_on'] }}
)
{%- endset %}
{%- set weekly %}
(
    select history.*
    from {{ ref('tutor_aggregates_history') }} as history
    cross join (select {{ newest }} as as_of_date) as newest
    where
        (newest.as_of_date - history.as_of_date) % 7 = 0
        and history.as_of_date > newest.as_of_date - 364
        and history.as_of_date <= newest.as_of_date
) as weekly
{%- endset %}


select
    features.*,
    (features.as_of at time zone '{{ pipeline_timezone() }}')::date as as_of_date
from (
    {{ tutor_features(weekly, newest ~ ' - 363', newest) }}
) as features
