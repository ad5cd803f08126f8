{{ config(
    materialized='scoped',
    indexes=[{'columns': ['student_id'], 'unique': true}],
    meta={'replaces': 'all rows'},
) }}

with

profiles as (
    select distinct on (profile.user_id) profile.*
    from {{ staged('students') }} as profile
    where {{ is_usable_id('profile.user_id') }}
    order by profile.user_id, profile::text desc
),

users as (
    select distinct on (person.id) person.*
    from {{ staged('users') }} as person
    where {{ is_usable_id('person.id') }}
    order by person.id, person::text desc
),

students as (
    select user_id as student_id from profiles
    union
    select id from users
    where role = 'student'
    union
    select student_id from {{ student_sessions(is_whole=true) }} as taught
    where student_id is not null
)

select
    students.student_id,
    users.name,
    users.email,
    {{ within_contract('students', 'enrolled_since') }} as enrolled_since,
    profiles.grade_level,
    profiles.status,
    {{ within_contract('students', 'churned_date') }} as churned_date
from students
left join profiles on students.student_id = profiles.user_id
left join users on students.student_id = users.id
