"""departure_v1: how sure a score is, what it does not know, and what is usual on the platform."""

from tutor_pipeline.core.warehouse.migrations.helpers import run_sql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TABLES = ("tutor_scores", "student_scores", "current_tutor_risk")
_STATUSES = "'ok', 'little_known', 'insufficient_data', 'fallback'"


def upgrade() -> None:
    for table in _TABLES:
        run_sql(f"""
            alter table {{ops}}.{table}
                add column lower double precision,
                add column upper double precision,
                add column base_rate double precision,
                add column known_share double precision,
                add column not_known jsonb not null default '[]';
            -- One by one, each with its name: so a cluster wants it.
            alter table {{ops}}.{table}
                add constraint {table}_lower_check check (lower between 0 and 1);
            alter table {{ops}}.{table}
                add constraint {table}_upper_check check (upper between 0 and 1);
            alter table {{ops}}.{table}
                add constraint {table}_base_rate_check check (base_rate between 0 and 1);
            alter table {{ops}}.{table}
                add constraint {table}_known_share_check check (known_share between 0 and 1);
            alter table {{ops}}.{table}
                add constraint {table}_not_known_check check (jsonb_typeof(not_known) = 'array');
            alter table {{ops}}.{table} add check (lower <= upper);
            alter table {{ops}}.{table} drop constraint {table}_status_check;
            alter table {{ops}}.{table}
                add constraint {table}_status_check check (status in ({_STATUSES}));
            comment on column {{ops}}.{table}.lower is
                'Between lower and upper lies the truth in 90 of 100 cases; null: not known';
            comment on column {{ops}}.{table}.base_rate is
                'The mean forecast of the version: what is usual';
            comment on column {{ops}}.{table}.known_share is
                'How much of what the scorer would like to know is known, 0 to 1';
            comment on column {{ops}}.{table}.not_known is
                'What is not known, in words';
            """)
    run_sql("""
        create table {ops}.score_references (
            version integer primary key check (version > 0),
            as_of timestamptz not null,
            fitted_at timestamptz not null,
            tutors integer not null check (tutors >= 0),
            reference jsonb not null check (jsonb_typeof(reference) = 'object')
        );
        comment on table {ops}.score_references is
            'What is usual on this platform, by version: the yardstick of departure_v1. Fitted'
            ' by full refreshes, read by all others; never changed, kept as long as scores';
        create trigger never_changed before update on {ops}.score_references
            for each statement execute function {ops}.refuse_change();
        drop table {ops}.score_priors;
        """)


def downgrade() -> None:
    run_sql("""
        create table {ops}.score_priors (
            version integer primary key check (version > 0),
            as_of timestamptz not null,
            fitted_at timestamptz not null,
            tutors integer not null check (tutors >= 0),
            priors jsonb not null check (jsonb_typeof(priors) = 'object')
        );
        comment on table {ops}.score_priors is
            'What is usual on this platform, by version: signals_v2 shrinks small samples towards'
            ' it. Fitted weekly; never changed';
        create trigger never_changed before update or delete on {ops}.score_priors
            for each statement execute function {ops}.refuse_change();
        drop table {ops}.score_references;
        """)
    for table in _TABLES:
        run_sql(f"""
            update {{ops}}.{table} set status = 'ok' where status = 'little_known';
            alter table {{ops}}.{table}
                drop column lower, drop column upper, drop column base_rate,
                drop column known_share,
                drop column not_known,
                drop constraint {table}_status_check;
            alter table {{ops}}.{table}
                add constraint {table}_status_check
                    check (status in ('ok', 'insufficient_data', 'fallback'));
            """)
