-- Easy!Appointments: local times without a zone, a row per appointment, free texts as a status.
create table shop.ea_users (
    id integer primary key, first_name text, last_name text, email text, id_roles integer not null
);
create table shop.ea_appointments (
    id integer primary key, book_datetime timestamp, start_datetime timestamp not null,
    end_datetime timestamp not null, notes text, hash text, is_unavailability smallint not null default 0,
    id_users_provider integer, id_users_customer integer, id_services integer, status text
);
insert into shop.ea_users
select id, split_part(name, ' ', 1), split_part(name, ' ', 2), email, 2 from given.tutors;
insert into shop.ea_appointments
select
    id, scheduled_start at time zone 'UTC' at time zone 'America/New_York' - interval '3 days',
    scheduled_start at time zone 'UTC' at time zone 'America/New_York',
    scheduled_start at time zone 'UTC' at time zone 'America/New_York'
    + make_interval(mins => scheduled_duration), null, 'h' || id, 0, tutor_id, student_id, 1,
    case status
        when 'completed' then 'Completed' when 'no_show_tutor' then 'Provider no-show'
        when 'no_show_student' then 'No-show' when 'cancelled' then 'Cancelled'
        when 'scheduled' then 'Booked'
        else case rescheduled_by when 'tutor' then 'Moved by provider' else 'Rescheduled' end
    end
from given.sessions;
insert into shop.ea_appointments (
    id, start_datetime, end_datetime, is_unavailability, id_users_provider
)
select 1000000 + id, '2026-03-10 09:00', '2026-03-10 12:00', 1, id from given.tutors;
