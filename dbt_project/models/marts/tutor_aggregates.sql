{{ config(
    materialized='scoped',
    indexes=[{'columns': ['tutor_id'], 'unique': true}],
    meta={'distribute_by': 'tutor_id', 'rebuild_when': 'every_wide_row_is_new'},
) }}

{{ tutor_aggregates_as_of(refresh()['as_of'], refresh()['as_of_on']) }}
