-- Roles with the least rights, for the database that holds the platform's tables and ours.
--
--   psql -d DATABASE -f deploy/roles.sql
--
-- Run it as a superuser, or as a role that may create roles and databases, owns the database (or
-- may create schemas in it) and may grant on the platform's tables. Run it twice at first, before
-- and after the pipeline has made its tables, and again after every update and every restore:
-- it brings all rights to what stands here. Other names: psql -v NAME=VALUE, with
--
--   platform   schema of the platform's tables (TUTOR_PLATFORM_SCHEMA)      platform
--   prefix     before the names of our schemas (TUTOR_SCHEMA_PREFIX)        none
--   reporting  schema of the views for readers (TUTOR_REPORTING_SCHEMA)     <prefix>reporting
--   dagster    Dagster's own database                                       <database>_dagster
--   pipeline, reader, coach, viewer, desk, events   names of the roles      tutor_pipeline, …
--   imports    1 = `import`, `generate` or events fill a platform's schema that the pipeline makes
--              itself: it may then create schemas in this database, and no foreign one is granted
--
-- On a cluster (Citus), run it on the coordinator; it reaches the workers by itself. Who is no
-- superuser must own the database on every node: making one on the coordinator does not do that.
--
-- The roles have no password, so nobody can log in as one before it has: \password tutor_pipeline.
-- A person's own login: create role ada login in role tutor_coach;
--
-- tutor_pipeline   reads the platform's tables that its contract names, and no others; owns our
--                  schemas and Dagster's database. It can create no schema beside them.
-- tutor_reader     reads reporting, marts, and of ops what is listed below. It sees no row as it
--                  came in (staging, the payloads of the quarantine: they may hold anything the
--                  platform has), no message to be sent, not the truth behind synthetic data,
--                  nothing of the platform, nothing of Dagster's.
-- tutor_coach      the same, and what `alerts assign|ack|snooze|wake|resolve|reopen`,
--                  `excuses add|undo` and `rules override` write.
-- tutor_desk       what the coach may; accounts, sign-ins, notes and downloads of the desk, which
--                  nobody else but the pipeline reads; for links in mails, to whom alerts were
--                  told.
-- tutor_viewer     what the reader reads, and Dagster's database: for a web server that shows.
-- tutor_events     what `tutor-pipeline events serve` does: stores events that a platform pushes,
--                  with the secrets of who signs them, and writes the rows of the platform's schema
--                  that the pipeline made. Without imports=1 there is no such schema, and the role
--                  may nothing: a foreign platform is read, never written.

\set ON_ERROR_STOP on
\set QUIET on
\if :{?platform} \else \set platform platform \endif
\if :{?prefix} \else \set prefix '' \endif
\if :{?dagster} \else \set dagster :DBNAME _dagster \endif
\if :{?pipeline} \else \set pipeline tutor_pipeline \endif
\if :{?reader} \else \set reader tutor_reader \endif
\if :{?coach} \else \set coach tutor_coach \endif
\if :{?viewer} \else \set viewer tutor_viewer \endif
\if :{?desk} \else \set desk tutor_desk \endif
\if :{?events} \else \set events tutor_events \endif
\if :{?imports} \else \set imports 0 \endif
\set staging :prefix staging
\set intermediate :prefix intermediate
\set marts :prefix marts
\set ops :prefix ops
\if :{?reporting} \else \set reporting :prefix reporting \endif

begin;

-- The roles ---------------------------------------------------------------------------------------

select format('create role %I login', wanted.name)
from
    (values
        (:'pipeline'), (:'reader'), (:'coach'), (:'viewer'), (:'desk'), (:'events')
    ) as wanted (name)
where not exists (select 1 from pg_roles where rolname = wanted.name) \gexec

-- Who is no superuser can make nothing in the name of a role without being a member of it.
select format('grant %I to current_user', wanted.name)
from (values (:'pipeline'), (:'events')) as wanted (name)
where not pg_has_role(wanted.name, 'usage') \gexec

select format('grant connect on database %I to %I, %I', :'DBNAME', :'reader', :'pipeline') \gexec
select format('grant temporary on database %I to %I', :'DBNAME', :'pipeline') \gexec

-- Our schemas -------------------------------------------------------------------------------------

select count(*) > 0 as is_taken
from pg_namespace
where nspname in (:'staging', :'intermediate', :'marts', :'ops', :'reporting')
    and coalesce(obj_description(oid, 'pg_namespace'), '') not like 'Made by tutor-pipeline%' \gset
\if :is_taken
do $$ begin
    raise exception 'a schema of one of our names is there and was not made by tutor-pipeline'
        using hint = 'Give ours a prefix: -v prefix=tutor_, and TUTOR_SCHEMA_PREFIX=tutor_. Only'
            ' the views for readers: -v reporting=tutor_reporting, TUTOR_REPORTING_SCHEMA';
end $$;
\endif

-- Made here with the mark by which the pipeline knows its own, so that it needs no right to create
-- schemas.
select statement
from
    (
        values (:'staging'), (:'intermediate'), (:'marts'), (:'ops'), (:'reporting')
    ) as wanted (name),
    lateral (values
        (1, format('create schema %I authorization %I', wanted.name, :'pipeline')),
        (2, format('comment on schema %I is %L', wanted.name, 'Made by tutor-pipeline'))
    ) as step (no, statement)
where not exists (select 1 from pg_namespace where nspname = wanted.name)
order by wanted.name, step.no \gexec

-- What another role made before, or restored, is handed over.
select format('alter schema %I owner to %I', nspname, :'pipeline')
from pg_namespace
where nspname in (:'staging', :'intermediate', :'marts', :'ops', :'reporting')
    and nspowner <> (select oid from pg_roles where rolname = :'pipeline') \gexec
select format('alter table %s owner to %I', pg_class.oid::regclass, :'pipeline')
from pg_class
where relnamespace in (
        select oid from pg_namespace
        where nspname in (:'staging', :'intermediate', :'marts', :'ops', :'reporting')
    )
    and relkind in ('r', 'p', 'v', 'm')
    and relowner <> (select oid from pg_roles where rolname = :'pipeline') \gexec
select format('alter routine %s owner to %I', pg_proc.oid::regprocedure, :'pipeline')
from pg_proc
where pronamespace = (select oid from pg_namespace where nspname = :'ops')
    and proowner <> (select oid from pg_roles where rolname = :'pipeline') \gexec

-- The platform: read, never written ---------------------------------------------------------------

\if :imports
select format('grant create on database %I to %I', :'DBNAME', :'pipeline') \gexec
\else
select count(*) = 0 as is_missing from pg_namespace where nspname = :'platform' \gset
\if :is_missing
do $$ begin
    raise exception 'the platform''s schema is not in this database'
        using hint = 'Name it: -v platform=public. Or -v imports=1 where `import` is to make it';
end $$;
\endif
select format('revoke create on database %I from %I', :'DBNAME', :'pipeline') \gexec
select format('grant usage on schema %I to %I', :'platform', :'pipeline') \gexec
select format('grant select on %I.%I to %I', :'platform', relname, :'pipeline')
from pg_class
where relnamespace = (select oid from pg_namespace where nspname = :'platform')
    and relkind in ('r', 'p', 'v', 'm', 'f')
    and relname in (
        'users', 'tutors', 'students', 'student_churn_reasons', 'subjects', 'tutor_subjects',
        'tutor_certifications', 'student_progress', 'sessions', 'session_audio_metrics',
        'session_video_metrics', 'session_screen_metrics', 'session_transcript_metrics',
        'session_feedback', 'session_feedback_tags', 'session_students',
        'session_transcript_highlights',
        'tutor_availability', 'session_billing', 'engagement_events', 'interventions',
        'experiments', 'experiment_assignments'
    ) \gexec
\endif

-- Who reads ---------------------------------------------------------------------------------------

select format(
    'grant usage on schema %I, %I, %I to %I', :'marts', :'ops', :'reporting', :'reader'
) \gexec
-- dbt makes its tables anew and swaps them in, so a right must be there when a table is made.
select format('grant select on all tables in schema %I to %I', :'marts', :'reader') \gexec
select format(
    'alter default privileges for role %I in schema %I grant select on tables to %I',
    :'pipeline', :'marts', :'reader'
) \gexec
-- The views show the same, under names and columns that stay.
select format('grant select on all tables in schema %I to %I', :'reporting', :'reader') \gexec
select format(
    'alter default privileges for role %I in schema %I grant select on tables to %I',
    :'pipeline', :'reporting', :'reader'
) \gexec

-- Tables of ops are made by migrations and stay. A new one is read by nobody until it stands here.
select format(
    'revoke all on all tables in schema %I from %I, %I, %I, %I',
    :'ops', :'reader', :'coach', :'desk', :'events'
) \gexec
select format('grant select on %I.%I to %I', :'ops', relname, :'reader')
from pg_class
where relnamespace = (select oid from pg_namespace where nspname = :'ops')
    and relname in (
        'alembic_version', 'alerts', 'alert_events', 'alert_activity', 'alert_history',
        'tutors_needing_attention', 'critical_alert_summary', 'tutor_insights', 'achievements',
        'rule_overrides', 'rule_references', 'rule_coverage', 'reconcile_runs', 'session_days',
        'current_tutor_risk', 'tutor_student_churn', 'tutor_scores', 'tutor_health',
        'student_scores', 'student_health', 'churn_algorithm_weights', 'churn_weight_history',
        'churn_weight_levels',
        'score_references', 'model_versions', 'accepted_columns', 'feature_log_days',
        'backtest_runs', 'backtest_metrics', 'dq_results',
        'dq_overrides', 'validation_reports', 'incidents', 'refresh_runs', 'refresh_passes',
        'platform_loads', 'set_aside_tutors', 'pipeline_zone', 'event_rejections'
    ) \gexec
-- How many rows wait, since when and why; not what is in them.
select format(
    'grant select (source, row_key, business_key, file, line, reasons, first_seen, last_seen,'
    ' resolved_at) on %s to %I', pg_class.oid::regclass, :'reader'
)
from pg_class
where relnamespace = (select oid from pg_namespace where nspname = :'ops')
    and relname = 'quarantine' \gexec
-- What alerts follow from, without the words of people.
select format('grant select (%s) on %s to %I', granted.columns, pg_class.oid::regclass, :'reader')
from (values
    ('notes', 'tutor_id, alert_id, at'),
    ('session_excuses', 'tutor_id, session_id, kind, excused_at, undone_at'),
    -- What became of events, never what they say.
    ('event_inbox', 'source, event_id, received_no, received_at, type, event_at, state, state_at,'
        ' reasons, waits_on, due_at, attempts, tutor_id, student_id, session_id')
) as granted (name, columns)
inner join pg_class on granted.name = pg_class.relname
where relnamespace = (select oid from pg_namespace where nspname = :'ops') \gexec
-- Withheld: messages, outbox, deliveries (texts to people, and where they go); erasures;
-- refresh_scope, session_ledger, session_changes, source_states, history_repairs, feature_log (the
-- pipeline's book-keeping); accounts, sign_ins, sign_in_links, sign_in_failures, downloads (the
-- desk's); the words of notes and of excuses; bodies of events, event_versions, event_erasures.
-- event_secrets and event_erasure_key are read by the pipeline and by `events` alone.

select format('grant %I to %I', :'reader', member.name)
from (values (:'coach'), (:'viewer'), (:'desk')) as member (name)
where not pg_has_role(member.name, :'reader', 'member') \gexec
select format('grant %I to %I', :'coach', :'desk')
where not pg_has_role(:'desk', :'coach', 'member') \gexec

-- Who acts on alerts ------------------------------------------------------------------------------

select format('grant %s on %s to %I', granted.rights, pg_class.oid::regclass, :'coach')
from (values
    ('alerts', 'update (acknowledged_at, acknowledged_by, acknowledged_note, snoozed_until,'
        ' snoozed_by, resolved_at, resolved_by, resolution, action_taken, known_session_ids,'
        ' owner)'),
    ('alert_events', 'insert'),
    ('rule_overrides', 'insert, update, delete'),
    ('session_excuses', 'select, insert, update (undone_by, undone_at)'),
    ('session_ledger', 'select, update (pending_since, attempts, version, session_version)'),
    ('session_changes', 'select (tutor_id, session_id)')
) as granted (name, rights)
inner join pg_class on granted.name = pg_class.relname
where relnamespace = (select oid from pg_namespace where nspname = :'ops') \gexec

-- The desk ----------------------------------------------------------------------------------------

select format('grant %s on %s to %I', granted.rights, pg_class.oid::regclass, :'desk')
from (values
    ('accounts', 'select, insert, update (role, password, disabled_at)'),
    ('sign_ins', 'select, insert, update, delete'),
    ('sign_in_links', 'select, insert, update, delete'),
    ('sign_in_failures', 'select, insert, update, delete'),
    ('notes', 'select, insert, delete'),
    ('downloads', 'insert'),
    ('outbox', 'select (outbox_id, kind, tutor_id, subject_id, message_id)'),
    ('deliveries', 'select (message_id, target)')
) as granted (name, rights)
inner join pg_class on granted.name = pg_class.relname
where relnamespace = (select oid from pg_namespace where nspname = :'ops') \gexec

-- Who takes events ------------------------------------------------------------------------------

\if :imports
select format('grant connect on database %I to %I', :'DBNAME', :'events') \gexec
select format('grant usage on schema %I to %I', :'ops', :'events') \gexec
select format('grant %s on %s to %I', granted.rights, pg_class.oid::regclass, :'events')
from (values
    ('alembic_version', 'select'),
    ('event_inbox', 'select, insert, update'),
    ('event_versions', 'select, insert, update'),
    ('event_rejections', 'select, insert, update'),
    ('event_erasures', 'select, update (dropped)'),
    ('event_erasure_key', 'select'),
    ('event_secrets', 'select'),
    -- An entry that is there already takes its new values: for that they must be readable.
    ('quarantine', 'select, insert, update'),
    ('platform_loads', 'select')
) as granted (name, rights)
inner join pg_class on granted.name = pg_class.relname
where relnamespace = (select oid from pg_namespace where nspname = :'ops') \gexec
-- Only where the pipeline made the schema.
select statement
from
    pg_namespace,
    lateral (values
        (1, format('grant usage, create on schema %I to %I', nspname, :'events')),
        (2, format('grant select, insert, update, delete on all tables in schema %I to %I',
            nspname, :'events')),
        (3, format('alter default privileges for role %I in schema %I'
            ' grant select, insert, update, delete on tables to %I',
            :'pipeline', nspname, :'events')),
        -- Events make one table where a platform teaches groups: session_students.
        (4, format('alter default privileges for role %I in schema %I grant all on tables to %I',
            :'events', nspname, :'pipeline'))
    ) as step (no, statement)
where nspname = :'platform'
    and obj_description(pg_namespace.oid, 'pg_namespace') like 'Made by tutor-pipeline%'
order by step.no \gexec
\else
select format('revoke connect on database %I from %I', :'DBNAME', :'events') \gexec
select format('revoke all on schema %I from %I', :'ops', :'events') \gexec
\endif

commit;

-- Dagster's own database: runs, events, ticks. Only the pipeline has to do with it ----------------

select format('create database %I owner %I', :'dagster', :'pipeline')
where not exists (select 1 from pg_database where datname = :'dagster') \gexec
select format('revoke connect, temporary on database %I from public', :'dagster')
where (select datdba from pg_database where datname = :'dagster')
    = (select oid from pg_roles where rolname = :'pipeline') \gexec

select format('grant connect on database %I to %I', :'dagster', :'viewer') \gexec

-- What is left to be done, and what is too much ---------------------------------------------------

select format('do %L', format('begin raise warning %L; end', replace(said.text, '%', '%%')))
from (
    select 'our tables are not there yet: let the pipeline make them (tutor-pipeline status),'
        ' then run this file again' as text
    where to_regclass(format('%I.alerts', :'ops')) is null
    union all
    select format('the database %s belongs to another role than %s', :'dagster', :'pipeline')
    from pg_database
    where datname = :'dagster'
        and datdba <> (select oid from pg_roles where rolname = :'pipeline')
    union all
    select format('%s is a superuser: nothing here binds it', rolname)
    from pg_roles
    where rolsuper
        and rolname in (:'pipeline', :'reader', :'coach', :'viewer', :'desk', :'events')
    union all
    select format('%s may create tables in the schema %s', role.name, nspname)
    from
        pg_namespace,
        (values
            (:'pipeline'), (:'reader'), (:'coach'), (:'viewer'), (:'desk'), (:'events')
        ) as role (name)
    where nspname = :'platform' and :imports = 0
        and has_schema_privilege(role.name, pg_namespace.oid, 'create')
    union all
    select format('%s may write to %s', role.name, pg_class.oid::regclass)
    from
        pg_class,
        (values
            (:'pipeline'), (:'reader'), (:'coach'), (:'viewer'), (:'desk'), (:'events')
        ) as role (name)
    where relnamespace = (select oid from pg_namespace where nspname = :'platform')
        and relkind in ('r', 'p', 'v', 'm', 'f') and :imports = 0
        and has_table_privilege(role.name, pg_class.oid, 'insert, update, delete, truncate')
    union all
    select format('%s may read %s', role.name, pg_class.oid::regclass)
    from
        pg_class,
        (values (:'reader'), (:'coach'), (:'viewer'), (:'desk'), (:'events')) as role (name)
    where relnamespace = (select oid from pg_namespace where nspname = :'platform')
        and relkind in ('r', 'p', 'v', 'm', 'f') and not (:imports = 1 and role.name = :'events')
        and has_table_privilege(role.name, pg_class.oid, 'select')
) as said \gexec

-- In Dagster's database ---------------------------------------------------------------------------

\connect :dagster
select format('grant select on all tables in schema public to %I', :'viewer') \gexec
select format(
    'alter default privileges for role %I in schema public grant select on tables to %I',
    :'pipeline', :'viewer'
) \gexec
-- Showing writes, too: what was counted of a table's partitions, and once a random id of the
-- storage.
select format('grant %s on %s to %I', granted.rights, to_regclass(granted.name), :'viewer')
from (values
    ('asset_keys', 'update (cached_status_data)'),
    ('instance_info', 'insert'),
    ('instance_info_id_seq', 'usage')
) as granted (name, rights)
where to_regclass(granted.name) is not null \gexec
