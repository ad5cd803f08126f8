{{ config(
    materialized='scoped',
    indexes=[{'columns': ['tutor_id'], 'unique': true}],
    meta={'distribute_by': 'tutor_id'},
) }}

{%- set scope = in_scope('tutor_id') %}

with

-- A platform without keys may hold a profile twice: the row that is greatest as text counts.
profiles as (
    select distinct on (profile.user_id) profile.*
    from {{ staged('tutors') }} as profile
    where {{ is_usable_id('profile.user_id') }} and {{ in_scope('profile.user_id') }}
    order by profile.user_id, profile::text desc
),

users as (
    select distinct on (person.id) person.*
    from {{ staged('users') }} as person
    where {{ is_usable_id('person.id') }} and {{ in_scope('person.id') }}
    order by person.id, person::text desc
),

tutors as (
    select user_id as tutor_id from profiles
    union
    select id from users
    where role = 'tutor'
    union
    select tutor_id from {{ ref('fct_sessions') }}
    where {{ scope }}
)

select
    tutors.tutor_id,
    users.name,
    users.email,
    {{ within_contract('tutors', 'member_since') }} as member_since,
    {{ within_contract('tutors', 'hourly_rate') }} as hourly_rate,
    {{ within_contract('tutors', 'months_experience') }} as months_experience,
    profiles.certification_level,
    profiles.primary_subject,
    coalesce(profiles.active_status, true) as is_active,
    {{ within_contract('tutors', 'reliability_score') }} as reliability_score,
    {{ within_contract('tutors', 'avg_historical_rating') }} as avg_historical_rating,
    {{ within_contract('tutors', 'reschedule_rate') }} as reschedule_rate,
    {{ within_contract('tutors', 'no_show_count') }} as no_show_count,
    {{ within_contract('tutors', 'total_sessions_completed') }} as total_sessions_completed,
    {{ within_contract('tutors', 'last_login') }} as last_login_at,
    {{ within_contract('users', 'created_at') }} as user_created_at
from tutors
left join profiles on tutors.tutor_id = profiles.user_id
left join users on tutors.tutor_id = users.id
