{{ config(
    materialized='scoped',
    indexes=[{'columns': ['tutor_id'], 'unique': true}],
    meta={'distribute_by': 'tutor_id', 'rebuild_when': 'every_row_is_new'},
) }}

{%- set as_of_on = refresh()['as_of_on'] %}

{{ tutor_features(ref('tutor_aggregates'), as_of_on, as_of_on, in_scope('tutor_id')) }}
