{{ config(
    materialized='scoped',
    indexes=[{'columns': ['tutor_id'], 'unique': true}],
    meta={'distribute_by': 'tutor_id', 'rebuild_when': 'every_row_is_new'},
) }}

{%- set header = refresh() %}

select *
from (
    {{ evidence_of_leaving(header.as_of_on, 1, header.as_of, in_scope('tutor_id')) }}
) as evidence
where is_active
