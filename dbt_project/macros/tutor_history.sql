{#-
The wide row without its evidence, as of the end of each of some past days. What a metric is comes
from tutor_aggregates.sql; here a day costs what is new in it, not another look at all sessions.

first_day, last_day  SQL dates
scope                predicate on tutor_id
asked                predicate on (tutor_id, as_of_date) that the rows must meet

0. tutors     who is known, and since when
1. windows    every sum over every window as of the day before the first
2. calendar   every tutor and day
3. moving     what enters and leaves each window that day, added up from there on
4. arrays     the values of all sessions that any of the days looks back to, newest first
5. converted  the days on which the pair of a first session had another one, held or ahead
6. gathered   of each array, what the day looks back to
7. measured   as in tutor_aggregates
-#}
{% macro tutor_history(first_day, last_day, scope='true', asked='true') -%}
{%- set sums = tutor_aggregate_sums() -%}
{%- set since = '(' ~ first_day ~ ' - ' ~ var('lookback_days') ~ ')' -%}
{%- set ages = [0] + age_bands() -%}
{%- set windows_of = {} -%}
{%- for column, used in (sums.counts.items() | list) + (sums.totals.items() | list) -%}
    {%- do windows_of.update({column: used}) -%}
{%- endfor -%}

with

tutors as (
    select
        tutor_id,
        coalesce(
            member_since, (user_created_at at time zone '{{ pipeline_timezone() }}')::date
        ) as joined_on
    from {{ ref('dim_tutors') }}
    where {{ scope }}
),

{{ window_sums('null::timestamptz', first_day ~ ' - 1', scope) }},

calendar as not materialized (
    select
        tutors.tutor_id,
        tutors.joined_on,
        series.calendar_day::date as as_of_date
    from tutors
    cross join generate_series(
        {{ first_day }}::timestamp, {{ last_day }}::timestamp, '1 day'
    ) as series (calendar_day)
),

moving as (
    select
        calendar.tutor_id,
        calendar.as_of_date,
        (
            (calendar.as_of_date + 1)::timestamp at time zone '{{ pipeline_timezone() }}'
        ) - interval '1 microsecond' as as_of,
        (
            calendar.joined_on <= calendar.as_of_date
            or windows.sessions_count_90d > 0
            or windows.last_session_on is not null
            or count(age_0.session_on) over so_far > 0
        ) as is_there,
        {%- for column, used in windows_of.items() %}
        {%- for window in used %}
        {%- set first_age, end_age = age_windows()[window] %}
        {%- set kind = 'integer' if column in sums.counts else 'double precision' %}
        windows.{{ column }}_{{ window }} + sum(
            coalesce(age_{{ first_age }}.{{ column }}, 0)
            {%- if end_age is not none %} - coalesce(age_{{ end_age }}.{{ column }}, 0){% endif -%}
            {%- if kind != 'integer' %}::double precision{% endif %}
        ) over so_far as {{ column }}_{{ window }},
        {%- endfor %}
        {%- endfor %}
        windows.active_days_30d + sum(
            (age_0.completed_count > 0 is true)::integer
            - (age_30.completed_count > 0 is true)::integer
        ) over so_far as active_days_30d,
        greatest(
            windows.last_session_on,
            max(age_0.session_on) filter (where age_0.completed_count > 0) over so_far
        ) as last_session_on,
        greatest(windows.last_session_at, max(age_0.last_completed_at) over so_far)
            as last_session_at
    from calendar
    inner join windows on calendar.tutor_id = windows.tutor_id
    {%- for age in ages %}
    left join {{ ref('int_tutor_days') }} as age_{{ age }}
        on
            calendar.tutor_id = age_{{ age }}.tutor_id
            and calendar.as_of_date - {{ age }} = age_{{ age }}.session_on
            and age_{{ age }}.session_on between {{ first_day }} - {{ age }}
            and {{ last_day }} - {{ age }}
    {%- endfor %}
    window so_far as (partition by calendar.tutor_id order by calendar.as_of_date)
),

counted as not materialized (
    select
        *,
        {{ last_day }} - session_on as age,
        status = 'completed' as is_completed,
        status = 'completed' and is_first_session as is_completed_first,
        (next_session_at at time zone '{{ pipeline_timezone() }}')::date as next_session_on
    from {{ ref('fct_sessions') }}
    where
        session_on > {{ since }}
        and session_on <= {{ last_day }}
        and status not in ('scheduled', 'in_progress')
        and {{ scope }}
    {{ newest_first().replace('order by', 'order by tutor_id,') }}
),

arrays as (
    select
        tutor_id
        {%- for name, (value, _) in tutor_series().items() %}
        {%- set condition = 'is_completed and ' ~ value ~ ' is not null' %},
        array_agg({{ value }} {{ newest_first() }}) filter (where {{ condition }}) as {{ name }},
        array_agg(age {{ newest_first() }}) filter (where {{ condition }}) as {{ name }}_ages
        {%- endfor %}
        {%- for name, (condition, first, end) in tutor_spans().items() %}
        {%- set condition = condition ~ ' and ' ~ first ~ ' < ' ~ end %},
        array_agg({{ first }} order by {{ first }}) filter (where {{ condition }})
            as {{ name }}_first_days,
        array_agg({{ end }} order by {{ end }}) filter (where {{ condition }}) as {{ name }}_end_days
        {%- endfor %}
    from counted
    group by tutor_id
),

converted as (
    select
        tutor_id,
        array_agg(first_day order by first_day) as converted_first_days,
        array_agg(end_day order by end_day) as converted_end_days
    from (
        select
            followed.tutor_id,
            greatest(
                (lower(span) at time zone '{{ pipeline_timezone() }}')::date,
                followed.session_on + {{ var('rebook_days') }}
            ) as first_day,
            least(
                (upper(span) at time zone '{{ pipeline_timezone() }}')::date,
                followed.session_on + {{ var('lookback_days') }}
            ) as end_day
        from (
            {{ followed_first_sessions(since, last_day, scope) }}
        ) as followed
        cross join lateral unnest(followed.followed_during) as span
    ) as spans
    where first_day < end_day
    group by tutor_id
),

gathered as (
    select
        moving.*,
        {%- for name, (_, days) in tutor_series().items() %}
        {%- set age = last_day ~ ' - moving.as_of_date' %}
        arrays.{{ name }}[
            width_bucket({{ age }} - 1, arrays.{{ name }}_ages) + 1
            :width_bucket({{ age }} + {{ days - 1 }}, arrays.{{ name }}_ages)
        ] as {{ name }},
        {%- endfor %}
        {%- for name in tutor_spans().keys() | list + ['converted'] %}
        coalesce(
            width_bucket(moving.as_of_date, {{ name }}_first_days)
            - width_bucket(moving.as_of_date, {{ name }}_end_days),
            0
        ) as {{ name }},
        {%- endfor %}
        moving.score_count_30d as scored_30d
    from moving
    left join arrays on moving.tutor_id = arrays.tutor_id
    left join converted on moving.tutor_id = converted.tutor_id
    where moving.is_there and {{ asked }}
),

measured as (
    {{ tutor_details(has_evidence=false) }}
),

{{ wide_row(reschedules_are_known_on('as_of_date'), has_evidence=false) }}
{%- endmacro %}

{#-
Materialization `history`: a month of days at a time, each in a transaction of its own, so that a
killed run keeps its months, no transaction lasts long, and the log says how far it is. Then it
makes anew what changed since it was made (ops.history_repairs). A table of other columns is built
anew beside the old one, with every day that the old one had, and swapped in.
-#}
{% materialization history, adapter='postgres' %}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set intermediate = make_intermediate_relation(target_relation) -%}
    {%- set backup = make_backup_relation(target_relation, 'table') -%}
    {%- set is_kept = (
        is_up_to_date_table(this, model) and not flags.FULL_REFRESH
    ) -%}
    {%- set written = target_relation if is_kept else intermediate -%}
    {%- set asked = snapshot_days() -%}
    {%- if existing is not none and not is_kept -%}
        {%- set asked = asked ~ ' || ' ~ recorded_history_days(existing) -%}
    {%- endif -%}

    {{ drop_relation_if_exists(load_cached_relation(intermediate)) }}
    {{ drop_relation_if_exists(load_cached_relation(backup)) }}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}

    {%- if not is_kept %}
        {%- call statement('create') -%}
            create table {{ intermediate }} (
                {%- for column in model.columns.values() %}
                {{ column.name }} {{ column.data_type }}
                {{- ' not null' if column.name in ('tutor_id', 'as_of_date') }}
                {{- ',' if not loop.last }}
                {%- endfor %}
            )
        {%- endcall -%}
    {%- endif -%}
    {%- call statement('take_repairs') -%}
        {{ take_history_repairs(target_relation, asked if is_kept else none) }}
    {%- endcall -%}
    {{ adapter.commit() }}

    {#- What is due to be repaired was taken before the days are read: these need no repair. -#}
    {%- for month in months_of(asked) -%}
        {{ run_hooks(pre_hooks, inside_transaction=True) }}
        {%- set days = "'" ~ month['days'] ~ "'::date[]" -%}
        {%- call statement('delete') -%}
            delete from {{ written }} where as_of_date = any({{ days }})
        {%- endcall -%}
        {{ insert_history(written, month, asked='moving.as_of_date = any(' ~ days ~ ')') }}
        {{ adapter.commit() }}
        {%- do log(this.name ~ ': ' ~ month['first_day'] ~ ' to ' ~ month['last_day'], info=true) -%}
    {%- endfor -%}

    {%- for month in months_of('array(select as_of_date from pg_temp.history_rows_due)') -%}
        {{ run_hooks(pre_hooks, inside_transaction=True) }}
        {%- call statement('delete') -%}
            delete from {{ written }} as history
            using pg_temp.history_rows_due as due
            where
                history.tutor_id = due.tutor_id
                and history.as_of_date = due.as_of_date
                and due.as_of_date between '{{ month['first_day'] }}' and '{{ month['last_day'] }}'
        {%- endcall -%}
        {{ insert_history(
            written,
            month,
            scope='tutor_id = any(array(select tutor_id from pg_temp.history_rows_due))',
            asked='(moving.tutor_id, moving.as_of_date) in'
                ~ ' (select tutor_id, as_of_date from pg_temp.history_rows_due)'
        ) }}
        {{ adapter.commit() }}
    {%- endfor -%}

    {%- if not is_kept %}
        {% do create_indexes(intermediate) %}
        {%- if existing is not none -%}
            {% do adapter.rename_relation(existing, backup) %}
        {%- endif -%}
        {% do adapter.rename_relation(intermediate, target_relation) %}
    {%- endif -%}
    {%- call statement('settle_repairs') -%} {{ settle_history_repairs() }} {%- endcall -%}
    {%- call statement('main') -%} analyze {{ target_relation }} {%- endcall -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {%- if existing is not none and not is_kept -%}
        {{ drop_relation_if_exists(backup) }}
    {%- endif -%}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}

{% macro insert_history(relation, month, scope='true', asked='true') -%}
    {%- set columns = model.columns.keys() | join(', ') -%}
    {%- call statement('insert') -%}
        insert into {{ relation }} ({{ columns }})
        select {{ columns }} from (
            {{ tutor_history(
                "date '" ~ month['first_day'] ~ "'", "date '" ~ month['last_day'] ~ "'",
                scope, asked
            ) }}
        ) as rows
    {%- endcall -%}
{%- endmacro %}

{% macro months_of(days) -%}
    {{ return(run_query(
        "select min(day)::text as first_day, max(day)::text as last_day,"
        ~ " array_agg(distinct day)::text as days"
        ~ " from unnest(" ~ days ~ ") as day group by date_trunc('month', day) order by 1"
    ).rows) }}
{%- endmacro %}

{% macro recorded_history_days(relation, since="'-infinity'") -%}
    array(
        select day::date
        from (
            select min(as_of_date) as first_day, max(as_of_date) as last_day from {{ relation }}
        ) as recorded
        cross join lateral generate_series(
            greatest(recorded.first_day, {{ since }}::date)::timestamp,
            recorded.last_day::timestamp,
            '1 day'
        ) as day
        -- In this form: one server probes an index per day, and a cluster can plan it at all.
        where day::date in (select as_of_date from {{ relation }} where as_of_date >= {{ since }})
    )
{%- endmacro %}

{#-
Note which repairs this run makes, and the rows that are due for them: of each tutor the recorded
days from the changed one on (the lifetime columns never forget), but for the days `made` anyway;
all days are when `made` is none.
-#}
{% macro take_history_repairs(relation, made) -%}
    drop table if exists pg_temp.history_repairs_taken, pg_temp.history_rows_due;
    create temporary table history_repairs_taken as
    select tutor_id, changed_on, noted_at from {{ our_table('ops', 'history_repairs') }};
    create temporary table history_rows_due as
    {%- if made is none %}
    select tutor_id, changed_on as as_of_date from pg_temp.history_repairs_taken where false
    {%- else %}
    select
        repairs.tutor_id,
        recorded.as_of_date
    from (
        select tutor_id, min(changed_on) as changed_on
        from pg_temp.history_repairs_taken
        group by tutor_id
    ) as repairs
    inner join unnest({{ recorded_history_days(
        relation, '(select min(changed_on) from pg_temp.history_repairs_taken)'
    ) }}) as recorded (as_of_date)
        on repairs.changed_on <= recorded.as_of_date
    where recorded.as_of_date <> all({{ made }})
    {%- endif %};
    analyze pg_temp.history_rows_due
{%- endmacro %}

{% macro settle_history_repairs() -%}
    delete from {{ our_table('ops', 'history_repairs') }} as noted
    using pg_temp.history_repairs_taken as taken
    where
        noted.tutor_id = taken.tutor_id
        and noted.changed_on = taken.changed_on
        and noted.noted_at = taken.noted_at;
    drop table pg_temp.history_repairs_taken, pg_temp.history_rows_due
{%- endmacro %}
