{{ config(materialized='table', indexes=[{'columns': ['student_id'], 'unique': true}]) }}

with

profiles as (
    select distinct on (profile.user_id) profile.*
    from {{ ref('stg_platform__students') }} as profile
    where profile.user_id is not null
    order by profile.user_id, profile::text desc
),

users as (
    select distinct on (person.id) person.*
    from {{ ref('stg_platform__users') }} as person
    where person.id is not null
    order by person.id, person::text desc
),

students as (
    select user_id as student_id from profiles
    union
    select id from users
    where role = 'student'
    union
    select student_id from {{ ref('fct_sessions') }}
    where student_id is not null
)

select
    students.student_id,
    users.name,
    users.email,
    profiles.enrolled_since,
    profiles.grade_level,
    profiles.status,
    profiles.churned_date
from students
left join profiles on students.student_id = profiles.user_id
left join users on students.student_id = users.id
