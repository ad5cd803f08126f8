-- A tutoring platform as the pipeline expects to find one: every table and column of the contract,
-- in native types, with no constraint beyond keys and required columns. The generator and the CSV
-- import fill it. A live platform brings tables of its own and never sees this file.

create table {platform}.users (
    id text primary key,
    name text,
    email text,
    role text not null,
    created_at timestamptz
);

create table {platform}.tutors (
    user_id text primary key,
    member_since date,
    hourly_rate numeric(8, 2),
    months_experience integer,
    certification_level text,
    primary_subject text,
    active_status boolean,
    reliability_score double precision,
    avg_historical_rating numeric(4, 2),
    reschedule_rate double precision,
    no_show_count integer,
    total_sessions_completed integer,
    last_login timestamptz
);

create table {platform}.students (
    user_id text primary key,
    enrolled_since date,
    grade_level text,
    status text,
    churned_date date
);

create table {platform}.student_churn_reasons (
    student_id text not null,
    reason text not null,
    added_at timestamptz,
    primary key (student_id, reason)
);

create table {platform}.subjects (
    id text primary key,
    name text not null,
    category text,
    is_advanced boolean
);

create table {platform}.tutor_subjects (
    tutor_id text not null,
    subject_id text not null,
    primary key (tutor_id, subject_id)
);

create table {platform}.tutor_certifications (
    tutor_id text not null,
    name text not null,
    issued_on date,
    primary key (tutor_id, name)
);

create table {platform}.student_progress (
    student_id text not null,
    tutor_id text not null,
    measured_on date not null,
    grade_change_pct double precision,
    primary key (student_id, tutor_id, measured_on)
);

create table {platform}.sessions (
    id text primary key,
    tutor_id text not null,
    student_id text,
    scheduled_start timestamptz not null,
    actual_start timestamptz,
    scheduled_duration integer,
    actual_duration integer,
    status text not null,
    subject_id text,
    subject text,
    session_number integer,
    is_first_session boolean,
    tutor_showed_up boolean,
    student_showed_up boolean,
    rescheduled_by text,
    reschedule_reason text,
    technical_issues boolean,
    connection_quality text,
    grade_level text,
    homework_assigned boolean,
    follow_up_booked boolean,
    overall_session_score numeric(4, 2),
    completed_at timestamptz,
    created_at timestamptz,
    updated_at timestamptz
);

create table {platform}.session_audio_metrics (
    session_id text primary key,
    tutor_talk_ratio double precision,
    student_talk_ratio double precision,
    student_engagement_score double precision,
    tutor_enthusiasm_score double precision,
    student_initiated_questions integer,
    student_frustration_count integer,
    student_confusion_count integer,
    tutor_checks_understanding_count integer,
    tutor_positive_reinforcement_count integer,
    open_ended_questions integer,
    closed_ended_questions integer,
    created_at timestamptz
);

create table {platform}.session_video_metrics (
    session_id text primary key,
    student_on_screen_attention_pct double precision,
    student_visual_engagement_score double precision,
    distraction_events_count integer,
    tutor_uses_visual_aids boolean,
    tutor_camera_on_pct double precision
);

create table {platform}.session_screen_metrics (
    session_id text primary key,
    active_tab_focus_pct double precision,
    whiteboard_usage_minutes double precision,
    screen_share_pct double precision,
    messaging_app_detected boolean,
    gaming_detected boolean
);

create table {platform}.session_transcript_metrics (
    session_id text primary key,
    empathy_score double precision,
    clarity_score double precision,
    overall_sentiment double precision,
    student_sentiment double precision,
    tutor_sentiment double precision
);

create table {platform}.session_feedback (
    session_id text primary key,
    student_satisfaction_rating numeric(4, 2),
    satisfaction_score numeric(4, 2),
    would_recommend boolean,
    feedback_text text,
    submitted_at timestamptz
);

create table {platform}.session_feedback_tags (
    session_id text not null,
    tag text not null,
    primary key (session_id, tag)
);

create table {platform}.session_transcript_highlights (
    id text primary key,
    session_id text not null,
    timestamp_seconds integer,
    speaker text,
    text text,
    highlight_type text
);

create table {platform}.tutor_availability (
    tutor_id text not null,
    week_start date not null,
    available_hours numeric(6, 2),
    instant_book_enabled boolean,
    avg_response_time_hours double precision,
    booking_lead_time_hours double precision,
    reported_at timestamptz,
    primary key (tutor_id, week_start)
);

create table {platform}.session_billing (
    session_id text primary key,
    amount numeric(10, 2),
    tier text,
    is_discounted boolean,
    refunded_amount numeric(10, 2),
    is_disputed boolean,
    billed_at timestamptz
);

create table {platform}.engagement_events (
    event_id text primary key,
    tutor_id text not null,
    event_type text not null,
    event_data jsonb,
    occurred_at timestamptz not null
);

create table {platform}.interventions (
    intervention_id text primary key,
    tutor_id text not null,
    intervention_type text not null,
    channel text,
    subject text,
    content text,
    template_id text,
    experiment_id text,
    experiment_variant text,
    sent_at timestamptz,
    delivered_at timestamptz,
    opened_at timestamptz,
    clicked_at timestamptz,
    responded_at timestamptz,
    status text,
    engagement_before numeric(4, 2),
    engagement_after numeric(4, 2),
    sessions_before_count integer,
    sessions_after_count integer
);

create table {platform}.experiments (
    experiment_id text primary key,
    name text not null,
    hypothesis text,
    description text,
    variants jsonb,
    target_segment jsonb,
    primary_metric text,
    secondary_metrics jsonb,
    start_date timestamptz,
    end_date timestamptz,
    status text,
    sample_size integer,
    significance double precision,
    winner text
);

create table {platform}.experiment_assignments (
    experiment_id text not null,
    tutor_id text not null,
    variant text not null,
    assigned_at timestamptz,
    exposed_at timestamptz,
    converted_at timestamptz,
    conversion_value double precision,
    primary key (experiment_id, tutor_id)
);
