{#-
Snapshots: one row per tutor and day, and per tutor and ISO week (dated by its Monday, written with
its Sunday). The model writes the days of its partition; a refresh repairs what was written before.
-#}

{% macro snapshot_rows(tutor_days, days, scope) -%}
    {%- if has_excuses() %}
    with
    {{ as_known_then(scope) }}
    {%- endif %}
    select
        tutor_id,
        session_on as snapshot_date,
        'daily' as period_type,
        {{ snapshot_measures() }}
    from {{ snapshot_days_known(tutor_days, 'session_on') }}
    where session_on = any({{ days }}) and {{ scope }}
    group by tutor_id, session_on
    union all
    select
        tutor_id,
        {{ monday_of('session_on') }} as snapshot_date,
        'weekly' as period_type,
        {{ snapshot_measures() }}
    from {{ snapshot_days_known(tutor_days, monday_of('session_on') ~ ' + 6') }}
    where {{ monday_of('session_on') }} + 6 = any({{ days }}) and {{ scope }}
    group by tutor_id, {{ monday_of('session_on') }}
{%- endmacro %}

{#- The days as they were known at the end of the day `then`: with the excuses that held by then. -#}
{% macro snapshot_days_known(tutor_days, then) -%}
    {%- if not has_excuses() -%}
    {{ tutor_days }}
    {%- else -%}
    {%- set columns -%}
        tutor_id, session_on, sessions_count, completed_count, not_held_count,
            no_show_tutor_count, tutor_reschedule_count, score_sum, score_count, engagement_sum,
            engagement_count, satisfaction_sum, satisfaction_count
    {%- endset -%}
    (
        select {{ columns }} from {{ tutor_days }}
        union all
        select {{ columns }} from then_and_now
        where {{ then }} >= known_from and {{ then }} < known_until
    ) as days_known
    {%- endif -%}
{%- endmacro %}

{% macro snapshot_measures() -%}
    sum(sessions_count)::integer as sessions_count,
        sum(completed_count)::integer as completed_count,
        case when coalesce(sum(not_held_count), 0) = 0 then sum(no_show_tutor_count)::integer end
            as no_show_count,
        sum(tutor_reschedule_count)::integer as reschedule_count,
        {{ day_average('score') }} as avg_session_score,
        {{ day_average('engagement') }} as avg_engagement_score,
        {{ day_average('satisfaction') }} as avg_student_satisfaction
{%- endmacro %}

{% macro day_average(name) -%}
    sum({{ name }}_sum)::double precision
        / nullif(sum({{ name }}_count) * 1000000.0::double precision, 0)
{%- endmacro %}

{% macro monday_of(day) -%}
    ({{ day }} - (date_part('isodow', {{ day }})::integer - 1))
{%- endmacro %}

{% macro is_snapshot_of(days) -%}
    (snapshot_date + case period_type when 'weekly' then 6 else 0 end) = any({{ days }})
{%- endmacro %}

{% macro snapshot_days() -%}
    {%- set header = refresh() -%}
    {%- if header.snapshot_from -%}
    array(
        select day::date
        from generate_series(
            timestamp '{{ header.snapshot_from }}', timestamp '{{ header.snapshot_until }}', '1 day'
        ) as day
    )
    {%- else -%}
    '{}'::date[]
    {%- endif -%}
{%- endmacro %}

{% macro recorded_snapshot_days(since) -%}
    array(
        select distinct day::date
        from {{ our_table('ops', 'refresh_runs') }} as runs
        cross join lateral generate_series(
            greatest(runs.snapshot_from, {{ since }})::timestamp,
            runs.snapshot_until::timestamp,
            '1 day'
        ) as day
        where runs.snapshot_until >= {{ since }}
    )
{%- endmacro %}

{% macro snapshots_lock() -%}
    hashtextextended('snapshots {{ generate_schema_name('marts', none) }}', 0)
{%- endmacro %}

{#-
Post-hook of int_tutor_days: a late, corrected, moved or deleted session changes snapshots already
written. While a run writes snapshots this leaves them alone, as a refresh must not wait for a
backfill; that run repairs them itself when it is done.
-#}
{% macro repair_snapshots() -%}
    {%- set table = our_table('marts', 'tutor_performance_snapshots') -%}
    {%- if
        execute and load_cached_relation(table) is not none
        and run_query('select pg_try_advisory_xact_lock(' ~ snapshots_lock() ~ ')').rows[0][0]
    -%}
        {{ rewrite_snapshots(table, this, in_scope('tutor_id'), refresh()['as_of_on']) }}
    {%- endif -%}
{%- endmacro %}

{% macro repair_snapshots_left_alone() -%}
    select pg_advisory_xact_lock({{ snapshots_lock() }});
    {{ rewrite_snapshots(this, ref('int_tutor_days'), 'true', 'current_date') }};
    commit
{%- endmacro %}

{% macro rewrite_snapshots(table, tutor_days, scope, until) -%}
    {%- set since = '(' ~ until ~ ' - ' ~ (var('repair_days') - 1) ~ ')' -%}
    {%- set days = recorded_snapshot_days(since) -%}
    {%- set measures = [
        'sessions_count', 'completed_count', 'no_show_count', 'reschedule_count',
        'avg_session_score', 'avg_engagement_score', 'avg_student_satisfaction',
    ] -%}
    insert into {{ table }} as snapshots
        (tutor_id, snapshot_date, period_type, {{ measures | join(', ') }})
    {{ snapshot_rows(tutor_days, days, scope) }}
    on conflict (tutor_id, snapshot_date, period_type) do update set
        {%- for measure in measures %}
        {{ measure }} = excluded.{{ measure }}{{ ',' if not loop.last }}
        {%- endfor %}
    where
        (snapshots.{{ measures | join(', snapshots.') }})
        is distinct from (excluded.{{ measures | join(', excluded.') }});

    delete from {{ table }} as snapshots
    where
        {{ is_snapshot_of(days) }}
        and {{ scope }}
        and not exists (
            select 1 from {{ tutor_days }} as days
            where
                days.tutor_id = snapshots.tutor_id
                and days.session_on >= snapshots.snapshot_date
                and days.session_on <= snapshots.snapshot_date
                + case snapshots.period_type when 'weekly' then 6 else 0 end
        )
{%- endmacro %}
