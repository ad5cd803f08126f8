-- Odoo's calendar with appointments: moments in UTC without a zone, archived rows, ids of partners.
create table shop.res_partner (id integer primary key, name text, email text, active boolean);
create table shop.res_users (
    id integer primary key, partner_id integer not null references shop.res_partner (id), login text,
    active boolean
);
create table shop.calendar_event (
    id integer primary key, name text, start timestamp not null, stop timestamp not null,
    duration double precision, active boolean not null default true, user_id integer,
    appointment_type_id integer, appointment_booker_id integer, appointment_status text,
    x_moved_by text, create_date timestamp, write_date timestamp
);
insert into shop.res_partner select id + 5000, name, email, true from given.tutors;
insert into shop.res_users select id, id + 5000, email, true from given.tutors;
insert into shop.calendar_event
select
    id, 'A lesson', scheduled_start, scheduled_start + make_interval(mins => scheduled_duration),
    scheduled_duration / 60.0, true, tutor_id, 1, student_id,
    case status when 'completed' then 'attended' when 'no_show_student' then 'no_show'
        when 'no_show_tutor' then 'staff_no_show' when 'scheduled' then 'booked'
        when 'rescheduled' then 'moved' else status end,
    rescheduled_by, scheduled_start - interval '3 days', scheduled_start
from given.sessions;
insert into shop.calendar_event (id, name, start, stop, active, user_id, appointment_status)
select 900000 + id, 'Lunch', start, stop, true, user_id, null from shop.calendar_event where id % 7 = 0;
update shop.calendar_event set appointment_type_id = null where name = 'Lunch';
insert into shop.calendar_event (id, name, start, stop, active, user_id, appointment_type_id, appointment_status)
select 800000 + id, 'A lesson', start, stop, false, user_id, 1, 'staff_no_show'
from shop.calendar_event where id % 5 = 0 and name = 'A lesson';
