-- Moodle's scheduler: prefixed tables, moments as seconds since 1970, slots that several students
-- may book, flags of who attended.
create table shop.mdl_user (
    id bigint primary key, username text, firstname text, lastname text, deleted smallint not null default 0
);
create table shop.mdl_scheduler_slots (
    id bigint primary key, schedulerid bigint not null, starttime bigint not null,
    duration bigint not null, teacherid bigint, exclusivity smallint not null default 1,
    timemodified bigint not null default 0, tutorabsent smallint not null default 0,
    cancelled smallint not null default 0
);
create table shop.mdl_scheduler_appointment (
    id bigint primary key, slotid bigint not null, studentid bigint not null,
    attended smallint not null default 0, grade integer
);
insert into shop.mdl_user
select id, 'tutor' || id, split_part(name, ' ', 1), split_part(name, ' ', 2), 0 from given.tutors;
insert into shop.mdl_scheduler_slots
select id, 1, extract(epoch from scheduled_start at time zone 'UTC')::bigint, scheduled_duration, tutor_id, 1, 0,
    (status = 'no_show_tutor')::integer, (status = 'cancelled')::integer
from given.sessions where status <> 'rescheduled';
insert into shop.mdl_scheduler_appointment
select id, id, student_id, (status = 'completed')::integer, rating from given.sessions
where status <> 'rescheduled';
