{{ config(
    materialized='scoped',
    indexes=[{'columns': ['tutor_id'], 'unique': true}],
    meta={'distribute_by': 'tutor_id', 'replaces': 'all rows'},
) }}

select
    tutors.tutor_id,
    max(tutor_days.session_on) + 1 as departed_on
from {{ ref('dim_tutors') }} as tutors
inner join {{ ref('int_tutor_days') }} as tutor_days on tutors.tutor_id = tutor_days.tutor_id
where
    not tutors.is_active
    and tutor_days.completed_count > 0
    and tutor_days.session_on <= {{ refresh()['as_of_on'] }}
group by tutors.tutor_id
