{{ config(
    materialized='scoped',
    indexes=[{'columns': ['tutor_id'], 'unique': true}],
    meta={'replaces': 'all rows'},
) }}

select
    tutors.tutor_id,
    row_number() over (
        order by tutors.overall_score desc, tutors.sessions_30d desc, tutors.tutor_id asc
    )::integer as rank_number,
    dim_tutors.name,
    tutors.overall_score,
    tutors.sessions_30d,
    tutors.avg_rating_30d,
    tutors.avg_engagement_30d,
    tutors.completion_rate_30d
from {{ ref('tutor_aggregates') }} as tutors
inner join {{ ref('dim_tutors') }} as dim_tutors on tutors.tutor_id = dim_tutors.tutor_id
where tutors.overall_score is not null and tutors.sessions_30d >= 5
order by rank_number
limit 10
