-- Cal.com: camelCase, one row per booking, students in a table of attendees, the status follows from
-- several columns, a move is a cancelled booking to which the new one points.
create type shop."BookingStatus" as enum ('cancelled', 'accepted', 'rejected', 'pending');
create table shop.users (id integer primary key, name text, email text not null, "createdDate" timestamp);
create table shop."Booking" (
    id integer primary key, uid text not null unique, "userId" integer references shop.users (id),
    title text not null, "startTime" timestamp not null, "endTime" timestamp not null,
    "createdAt" timestamp not null, status shop."BookingStatus" not null, rescheduled boolean,
    "fromReschedule" text, "cancelledBy" text, "noShowHost" boolean, rating integer
);
create table shop."Attendee" (
    id serial primary key, "bookingId" integer references shop."Booking" (id),
    email text not null, name text not null, "noShow" boolean
);
insert into shop.users
select id, name, replace(email, 'example.org', 'school.example'), null from given.tutors;
insert into shop."Booking"
select
    s.id, 'booking-' || s.id, s.tutor_id, 'A lesson', s.scheduled_start,
    s.scheduled_start + make_interval(mins => s.scheduled_duration), s.scheduled_start - interval '3 days',
    (case when s.status in ('cancelled', 'rescheduled') then 'cancelled' else 'accepted' end)::shop."BookingStatus",
    s.status = 'rescheduled', null,
    case s.rescheduled_by when 'tutor' then replace(t.email, 'example.org', 'school.example') when 'student' then 'student@example.org' end,
    s.status = 'no_show_tutor', s.rating
from given.sessions as s join given.tutors as t on t.id = s.tutor_id;
insert into shop."Attendee" ("bookingId", email, name, "noShow")
select id, 'student' || student_id || '@example.org', 'A student', status = 'no_show_student'
from given.sessions;
