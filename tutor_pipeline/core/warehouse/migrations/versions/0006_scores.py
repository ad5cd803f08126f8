"""Scores with their reasons, health and segments, and what scorers learn and how well they do."""

from tutor_pipeline.core.warehouse.migrations.helpers import distribute, run_sql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_SCORE = """
            as_of timestamptz not null,
            as_of_on date not null,
            scorer text not null,
            version text not null,
            target text not null,
            horizon_days integer not null check (horizon_days >= 0),
            score double precision check (score > '-Infinity' and score < 'Infinity'),
            is_probability boolean not null,
            level text check (level in ('Low', 'Medium', 'High')),
            reasons jsonb not null default '[]' check (jsonb_typeof(reasons) = 'array'),
            status text not null check (status in ('ok', 'insufficient_data', 'fallback')),
            input_hash text not null,
            check (not is_probability or score between 0 and 1),
            check (status <> 'insufficient_data' or level is null),
            check (level is null or level = 'Low' or reasons <> '[]')
"""


def upgrade() -> None:
    _scores()
    _health()
    _learning()
    for table in ("tutor_scores", "tutor_health"):
        distribute(table, "tutor_id")
    for table in ("student_scores", "student_health"):
        distribute(table, "student_id")


def _scores() -> None:
    run_sql(f"""
        create table {{ops}}.tutor_scores (
            tutor_id text not null,
            {_SCORE},
            primary key (tutor_id, scorer, target, horizon_days, version, as_of)
        );
        create table {{ops}}.student_scores (
            student_id text not null,
            {_SCORE},
            primary key (student_id, scorer, target, horizon_days, version, as_of)
        );
        create index tutor_scores_day on {{ops}}.tutor_scores (as_of_on);
        create index student_scores_day on {{ops}}.student_scores (as_of_on);
        comment on table {{ops}}.tutor_scores is
            'What every scorer says of every tutor: the newest of each day (as_of_on, in the'
            ' pipeline''s time zone)';
        comment on table {{ops}}.student_scores is
            'What every scorer says of every student: the newest of each day';
        comment on column {{ops}}.tutor_scores.is_probability is
            'Whether the score may be read as a probability; otherwise it only ranks';
        comment on column {{ops}}.tutor_scores.reasons is
            'Largest first: code, label, value, reference, n (observations behind it),'
            ' contribution';
        comment on column {{ops}}.tutor_scores.input_hash is
            'SHA-256 of what the score was computed from: equal inputs, equal score';
        """)


def _health() -> None:
    segment = "text check (segment in ('star', 'healthy', 'at_risk', 'churning'))"
    of_student = "text check (segment in ('thriving', 'healthy', 'at_risk', 'churned'))"
    run_sql(f"""
        create table {{ops}}.tutor_health (
            tutor_id text primary key,
            as_of timestamptz not null,
            health_score double precision check (health_score between 0 and 100),
            burnout_risk_14d double precision check (burnout_risk_14d between 0 and 1),
            burnout_risk_30d double precision check (burnout_risk_30d between 0 and 1),
            session_velocity double precision check (session_velocity >= 0),
            first_session_success double precision check (first_session_success between 0 and 1),
            segment {segment},
            segment_since timestamptz,
            recommendations jsonb not null default '[]'
                check (jsonb_typeof(recommendations) = 'array'),
            check (burnout_risk_14d <= burnout_risk_30d),
            check ((segment is null) = (segment_since is null))
        );
        comment on table {{ops}}.tutor_health is
            'The newest health of each tutor, its segment, and what is recommended';
        comment on column {{ops}}.tutor_health.session_velocity is 'Sessions a week';
        comment on column {{ops}}.tutor_health.segment is
            'With hysteresis: it takes more to leave a segment than to stay; null where too little'
            ' is known';
        comment on column {{ops}}.tutor_health.recommendations is
            'code, text, and the trigger: metric, value, threshold';

        create table {{ops}}.student_health (
            student_id text primary key,
            as_of timestamptz not null,
            health_score double precision check (health_score between 0 and 100),
            segment {of_student},
            segment_since timestamptz,
            recommendations jsonb not null default '[]'
                check (jsonb_typeof(recommendations) = 'array'),
            check ((segment is null) = (segment_since is null))
        );
        comment on table {{ops}}.student_health is
            'The newest health of each student, its segment, and what is recommended';
        """)


def _learning() -> None:
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

        create table {ops}.model_versions (
            version integer primary key check (version > 0),
            scorer text not null,
            target text not null,
            horizon_days integer not null,
            as_of timestamptz not null,
            trained_at timestamptz not null,
            rows integer not null check (rows >= 0),
            leavers integer not null check (leavers >= 0),
            model jsonb not null check (jsonb_typeof(model) = 'object'),
            metrics jsonb not null check (jsonb_typeof(metrics) = 'object'),
            is_promoted boolean not null,
            decision text not null
        );
        comment on table {ops}.model_versions is
            'The learned forecast by version: features, medians, scales and coefficients as JSON;'
            ' whether it was promoted, and why or why not. Never changed';
        comment on column {ops}.model_versions.leavers is 'Distinct tutors who left, in training';
        create trigger never_changed before update or delete on {ops}.model_versions
            for each statement execute function {ops}.refuse_change();

        create table {ops}.churn_weight_history (
            decision_id bigint generated always as identity primary key,
            run_id text not null,
            decided_at timestamptz not null,
            as_of timestamptz not null,
            old_version integer not null,
            new_version integer,
            old_weights jsonb not null check (jsonb_typeof(old_weights) = 'object'),
            new_weights jsonb check (jsonb_typeof(new_weights) = 'object'),
            metric text not null,
            metric_before double precision,
            metric_after double precision,
            gain_lower_bound double precision,
            rows integer not null check (rows >= 0),
            churn_events integer not null check (churn_events >= 0),
            decision text not null check (decision in ('accepted', 'refused')),
            reason text not null,
            check ((decision = 'accepted') = (new_version is not null))
        );
        comment on table {ops}.churn_weight_history is
            'Every attempt to refine the weights of the student churn score, and why it was'
            ' accepted or refused';

        create table {ops}.backtest_runs (
            run_id text primary key,
            at timestamptz not null,
            first_as_of date not null,
            last_as_of date not null,
            dates integer not null check (dates > 0),
            rows integer not null check (rows >= 0),
            left_out jsonb not null check (jsonb_typeof(left_out) = 'object'),
            report_html text not null
        );
        comment on table {ops}.backtest_runs is
            'Each back-test: the dates it looked at, what it left out and why, and its report';

        create table {ops}.backtest_metrics (
            run_id text not null,
            scorer text not null,
            version text not null,
            target text not null,
            horizon_days integer not null,
            metric text not null,
            value double precision,
            lower double precision,
            upper double precision,
            rows integer not null,
            positives integer not null,
            tutors integer not null,
            leavers integer not null,
            primary key (run_id, scorer, version, target, horizon_days, metric)
        );
        comment on table {ops}.backtest_metrics is
            'How well each scorer did in a back-test, with 90 %% intervals (bootstrap over tutors)';
        comment on column {ops}.backtest_metrics.leavers is
            'Distinct tutors among the positives';
        """)


def downgrade() -> None:
    run_sql("""
        drop table
            {ops}.backtest_metrics, {ops}.backtest_runs, {ops}.churn_weight_history,
            {ops}.model_versions, {ops}.score_priors, {ops}.student_health, {ops}.tutor_health,
            {ops}.student_scores, {ops}.tutor_scores
        """)
