{{ config(
    materialized='scoped',
    indexes=[{'columns': ['tutor_id'], 'unique': true}],
    meta={'distribute_by': 'tutor_id', 'rebuild_when': 'reschedules_became_known'},
) }}

{{ tutor_aggregates_as_of(refresh()['as_of'], refresh()['as_of_on']) }}
