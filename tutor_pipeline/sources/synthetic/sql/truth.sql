-- What the generator knows and the platform does not. No model, rule or scorer may read it.
-- Run at every load: a schema that was made before gets the tables that it has not.

create table if not exists {truth}.tutors (
    tutor_id text primary key,
    persona text not null,
    teaching_quality double precision not null,
    reliability double precision not null,
    reschedule_propensity double precision not null,
    no_show_propensity double precision not null,
    risk double precision not null,
    left_on date,
    leave_cause text
);

create table if not exists {truth}.tutor_days (
    tutor_id text not null,
    day date not null,
    burnout double precision not null,
    is_at_risk boolean not null,
    primary key (tutor_id, day)
);

create table if not exists {truth}.students (
    student_id text primary key,
    left_on date,
    leave_cause text,
    price_sensitivity double precision not null,
    scheduling_trouble double precision not null,
    regard double precision not null
);

create table if not exists {truth}.planted_patterns (
    tutor_id text not null,
    pattern text not null,
    primary key (tutor_id, pattern)
);

create table if not exists {truth}.tutor_replacements (
    student_id text not null,
    from_tutor_id text not null,
    to_tutor_id text not null,
    replaced_on date not null,
    is_after_no_show boolean not null,
    primary key (student_id, from_tutor_id)
);

create table if not exists {truth}.experiment_effects (
    experiment_id text not null,
    variant text not null,
    effect double precision not null,
    primary key (experiment_id, variant)
);
