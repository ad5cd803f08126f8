-- Twenty: camelCase and soft deletes; who takes part stands in a table of participants.
create table shop."workspaceMember" (id text primary key, "nameFirstName" text, "nameLastName" text, "deletedAt" timestamptz);
create table shop."calendarEvent" (
    id text primary key, title text, "isCanceled" boolean not null default false,
    "startsAt" timestamptz not null, "endsAt" timestamptz not null, "createdAt" timestamptz not null,
    "deletedAt" timestamptz, "lessonOutcome" text, "studentRating" numeric(3, 1)
);
create table shop."calendarEventParticipant" (
    id text primary key, "calendarEventId" text not null references shop."calendarEvent" (id),
    "workspaceMemberId" text references shop."workspaceMember" (id), "personId" text,
    "isOrganizer" boolean not null, "deletedAt" timestamptz
);
insert into shop."workspaceMember"
select id::text, split_part(name, ' ', 1), split_part(name, ' ', 2) from given.tutors;
insert into shop."calendarEvent"
select
    id::text, 'A lesson', status = 'cancelled', scheduled_start at time zone 'UTC',
    scheduled_start at time zone 'UTC' + make_interval(mins => scheduled_duration),
    scheduled_start at time zone 'UTC' - interval '3 days', null,
    case when status <> 'cancelled' then upper(status) || coalesce('_BY_' || upper(rescheduled_by), '') end,
    rating * 2
from given.sessions;
insert into shop."calendarEventParticipant"
select 't' || id, id::text, tutor_id::text, null, true from given.sessions
union all
select 's' || id, id::text, null, student_id::text, false from given.sessions;
-- What was deleted is still there.
insert into shop."calendarEvent"
select 'gone-' || id, title, "isCanceled", "startsAt", "endsAt", "createdAt", now(), 'NO_SHOW_TUTOR', 1
from shop."calendarEvent" where id ~ '[05]$';
insert into shop."calendarEventParticipant"
select 'gone-t' || id, 'gone-' || id, tutor_id::text, null, true from given.sessions
where id::text ~ '[05]$';
