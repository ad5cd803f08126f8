-- Teachworks: lessons of groups, with a row per lesson and participant; days and times in columns of
-- their own, in local time; teachers and students have ids of their own.
create table shop.employees (id integer primary key, first_name text, last_name text, email text, status text);
create table shop.students (id integer primary key, first_name text, last_name text, customer_id integer);
create table shop.lessons (
    id integer primary key, name text, employee_id integer references shop.employees (id),
    service_id integer, from_date date not null, from_time time not null, to_date date, to_time time,
    time_zone text, status text not null, deleted boolean not null default false
);
create table shop.lesson_participants (
    id serial primary key, lesson_id integer not null references shop.lessons (id),
    student_id integer not null references shop.students (id), status text not null
);
create table shop.payments (id serial primary key, lesson_id integer, student_id integer, amount numeric);
insert into shop.employees
select id, split_part(name, ' ', 1), split_part(name, ' ', 2), email, 'Active' from given.tutors;
insert into shop.students
select number, 'Student', 'Number' || number, number from generate_series(0, 59) as number;
insert into shop.lessons
select
    id, 'A lesson', tutor_id, 1, local::date, local::time,
    (local + make_interval(mins => scheduled_duration))::date,
    (local + make_interval(mins => scheduled_duration))::time, 'Central Time (US & Canada)',
    case status
        when 'completed' then 'Attended' when 'no_show_student' then 'Missed'
        when 'no_show_tutor' then 'Teacher no-show' when 'cancelled' then 'Cancelled'
        when 'scheduled' then 'Scheduled'
        else case rescheduled_by when 'tutor' then 'Moved by teacher' else 'Moved by student' end
    end, false
from given.sessions
cross join lateral (select scheduled_start at time zone 'UTC' at time zone 'America/Chicago' as local) as moved;
insert into shop.lesson_participants (lesson_id, student_id, status)
select session_id, student_id, case when attended then 'Attended' else 'Missed' end from given.listed;
insert into shop.lessons (id, name, employee_id, from_date, from_time, status, deleted)
select 500000 + id, 'Entered twice', id, '2026-03-10', '09:00', 'Attended', true from given.tutors;
insert into shop.payments (lesson_id, student_id, amount)
select session_id, student_id, 40 from given.listed;
