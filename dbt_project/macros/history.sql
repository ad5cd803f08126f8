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
        {{ begin_again() }}
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
        {{ begin_again() }}
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

    {{ begin_again() }}
    {%- if not is_kept %}
        {% do create_indexes(intermediate) %}
        {% do persist_docs(intermediate, model) %}
        {{ publish(existing, intermediate, backup, target_relation) }}
    {%- else -%}
        {{ show_in_reporting(target_relation) }}
    {%- endif -%}
    {%- call statement('settle_repairs') -%} {{ settle_history_repairs() }} {%- endcall -%}
    {%- call statement('main') -%} analyze {{ target_relation }} {%- endcall -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}

{#-
Begin the next transaction of one connection. dbt leaves BEGIN to its driver, and the driver knows
nothing of a COMMIT that came as a statement: without this, each statement commits by itself.
-#}
{% macro begin_again() -%}
    {%- call statement('begin') -%} begin {%- endcall -%}
{%- endmacro %}

{% macro insert_history(relation, month, scope='true', asked='true') -%}
    {%- set columns = model.columns.keys() | join(', ') -%}
    {%- call statement('insert') -%}
        insert into {{ relation }} ({{ columns }})
        select {{ columns }} from (
            {{ text_of(model.name, {
                'first_day': "date '" ~ month['first_day'] ~ "'",
                'last_day': "date '" ~ month['last_day'] ~ "'",
                'scope': scope, 'asked': asked,
            }) }}
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
