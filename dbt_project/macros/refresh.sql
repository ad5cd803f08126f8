{#-
The header of this refresh: as of when, all tutors or some, which days' snapshots. Python writes
it (ops.refresh_runs, ops.refresh_scope) and dbt reads it here, while executing only: what is read
while parsing (--vars, env_var) would throw the partial parse away.
-#}

{% macro run_id() -%}
    {{ return(env_var('TUTOR_RUN_ID', '') or invocation_id) }}
{%- endmacro %}

{#- Dictionary: as_of and as_of_on (SQL literals), is_full, snapshot_from and snapshot_until. -#}
{% macro refresh() -%}
    {%- if not execute -%}
        {{ return({
            'as_of': "timestamptz '1970-01-01 00:00:00+00'", 'as_of_on': "date '1970-01-01'",
            'is_full': true, 'snapshot_from': none, 'snapshot_until': none,
        }) }}
    {%- endif -%}
    {%- set headers = run_query(
        "select to_char(as_of at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') as as_of,"
        ~ " (as_of at time zone '" ~ pipeline_timezone() ~ "')::date::text as as_of_on, is_full,"
        ~ " snapshot_from::text, snapshot_until::text"
        ~ " from " ~ our_table('ops', 'refresh_runs')
        ~ " where run_id = " ~ quote_text(run_id())
    ) -%}
    {%- if headers | length == 0 -%}
        {{ exceptions.raise_compiler_error(
            "ops.refresh_runs has no header with run_id '" ~ run_id() ~ "' (TUTOR_RUN_ID): "
            ~ "write one first, or unset TUTOR_RUN_ID for a full refresh as of now"
        ) }}
    {%- endif -%}
    {%- set header = headers.rows[0] -%}
    {{ return({
        'as_of': "timestamptz '" ~ header['as_of'] ~ "+00'",
        'as_of_on': "date '" ~ header['as_of_on'] ~ "'",
        'is_full': header['is_full'],
        'snapshot_from': header['snapshot_from'], 'snapshot_until': header['snapshot_until'],
    }) }}
{%- endmacro %}

{#- on-run-start: without TUTOR_RUN_ID, this invocation is a full refresh as of now. -#}
{% macro ensure_refresh_header() -%}
    {%- if execute and flags.WHICH in ('run', 'build') and not env_var('TUTOR_RUN_ID', '') -%}
        insert into {{ our_table('ops', 'refresh_runs') }} (run_id, as_of, is_full)
        values ({{ quote_text(invocation_id) }}, now(), true)
        on conflict (run_id) do nothing
    {%- endif -%}
{%- endmacro %}

{#- on-run-end: note when the tables of the refresh stood, unless one of them could not be made. -#}
{% macro mark_built(results) -%}
    {%- set broken = [] -%}
    {%- for result in results if result.node.resource_type == 'model' -%}
        {%- if result.status != 'success' -%} {%- do broken.append(result) -%} {%- endif -%}
    {%- endfor -%}
    {%- if execute and flags.WHICH in ('run', 'build') and not broken -%}
        update {{ our_table('ops', 'refresh_runs') }} set built_at = clock_timestamp()
        where run_id = {{ quote_text(run_id()) }}
    {%- endif -%}
{%- endmacro %}

{#-
on-run-start: where the platform promises no unique session ids, tutors may share one, and a change
of the one decides whether the other's row is a duplicate. A scoped refresh then covers both.
-#}
{% macro widen_scope() -%}
    {%- set sessions = source('platform', 'sessions') -%}
    {%- set known = ref('session_rows') -%}
    {%- if
        execute and flags.WHICH in ('run', 'build') and env_var('TUTOR_RUN_ID', '')
        and not refresh()['is_full'] and not platform_is_unique('sessions', 'id')
        and platform_has('sessions', 'id') and platform_has('sessions', 'tutor_id')
        and load_cached_relation(known) is not none
    -%}
        insert into {{ our_table('ops', 'refresh_scope') }} (run_id, as_of, tutor_id)
        select {{ quote_text(run_id()) }}, {{ refresh()['as_of'] }}, sharing.tutor_id
        from (
            select tutor_id::text as tutor_id, id::text as session_id from {{ sessions }}
            union all
            select tutor_id, session_id from {{ known }}
        ) as sharing
        where
            {{ is_usable_id('sharing.tutor_id') }}
            and sharing.session_id in (
                select id::text from {{ sessions }}
                where tutor_id is null or tutor_id::text = any({{ scope_tutors() }})
                union all
                select session_id from {{ known }}
                where tutor_id is null or tutor_id = any({{ scope_tutors() }})
            )
        on conflict do nothing
    {%- endif -%}
{%- endmacro %}

{#- Whether this model rebuilds some tutors only: decides its SQL and its materialization alike. -#}
{% macro is_scoped() -%}
    {%- if not execute or flags.FULL_REFRESH or refresh()['is_full'] -%}
        {{ return(false) }}
    {%- endif -%}
    {{ return(is_up_to_date_table(this, model) and not needs_rebuild()) }}
{%- endmacro %}

{#- Whether something changed for all tutors: the model names a macro in meta.rebuild_when. -#}
{% macro needs_rebuild() -%}
    {%- set condition = (config.get('meta') or {}).get('rebuild_when') -%}
    {{ return(condition is not none and context[condition]()) }}
{%- endmacro %}

{#-
Whether even a scoped refresh makes every tutor's wide row anew: there is no table of today's
columns, or it was built when the opposite was known of reschedules. The days, of which the rows
are sums, are then made anew too: both are as of the same moment.
-#}
{% macro every_wide_row_is_new() -%}
    {%- set wide = our_table('marts', 'tutor_aggregates') -%}
    {%- if not is_up_to_date_table(wide, graph.nodes['model.tutor_pipeline.tutor_aggregates']) -%}
        {{ return(true) }}
    {%- endif -%}
    {%- set was_known = run_query(
        'select tutor_reschedules_30d is not null from ' ~ wide ~ ' limit 1'
    ) -%}
    {{ return(
        was_known.rows | length > 0 and was_known.rows[0][0] != reschedules_are_known()
    ) }}
{%- endmacro %}

{#- Whether the table is there with the columns that the model's contract now says. -#}
{% macro is_up_to_date_table(relation, node) -%}
    {%- set existing = load_cached_relation(relation) -%}
    {%- if existing is none or not existing.is_table -%}
        {{ return(false) }}
    {%- endif -%}
    {%- set names = run_query(
        "select string_agg(attname::text, ' ' order by attnum) from pg_attribute"
        ~ " where attrelid = '" ~ existing ~ "'::regclass and attnum > 0 and not attisdropped"
    ).rows[0][0] -%}
    {{ return(names == node.columns.keys() | join(' ')) }}
{%- endmacro %}

{#- The tutors of a scoped refresh, as an array: planned once, and an index scan for few tutors. -#}
{% macro scope_tutors() -%}
    array(
        select scope.tutor_id
        from {{ our_table('ops', 'refresh_scope') }} as scope
        where scope.run_id = {{ quote_text(run_id()) }}
    )
{%- endmacro %}

{#- `where {{ in_scope() }}`: the tutors of a scoped refresh, everybody in a full one. -#}
{% macro in_scope(column='tutor_id') -%}
    {%- if is_scoped() -%} {{ column }} = any({{ scope_tutors() }}) {%- else -%} true {%- endif -%}
{%- endmacro %}

{#- The zone in which a day is a day. -#}
{% macro pipeline_timezone() -%}
    {{ return(env_var('TUTOR_TIMEZONE', 'UTC') if execute else 'UTC') }}
{%- endmacro %}

{#- A text as an SQL literal. -#}
{% macro quote_text(value) -%}
    {{ return("'" ~ (value | string).replace("'", "''") ~ "'") }}
{%- endmacro %}
