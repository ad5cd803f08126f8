{#-
The header of this refresh: as of when, all tutors or some, which days' snapshots. Python writes
it (ops.refresh_runs, ops.refresh_scope) and dbt reads it here, while executing only: what is read
while parsing (--vars, env_var) would throw the partial parse away.
-#}

{% macro run_id() -%}
    {{ return(env_var('TUTOR_RUN_ID', '') or invocation_id) }}
{%- endmacro %}

{#-
Dictionary: as_of and as_of_on (SQL literals), is_full (all tutors), snapshot_from, snapshot_until.
What writes no header (compile, show, docs generate) takes the moment of the newest refresh.
-#}
{% macro refresh() -%}
    {%- if not execute -%}
        {{ return({
            'as_of': "timestamptz '1970-01-01 00:00:00+00'", 'as_of_on': "date '1970-01-01'",
            'is_full': true, 'snapshot_from': none, 'snapshot_until': none,
        }) }}
    {%- endif -%}
    {%- if not env_var('TUTOR_RUN_ID', '') and flags.WHICH not in ('run', 'build') -%}
        {{ return(newest_refresh()) }}
    {%- endif -%}
    {#- Read once per invocation: every model asks, and a header does not change. -#}
    {%- set read = graph.setdefault('refresh_headers', {}) -%}
    {%- if run_id() not in read -%} {%- do read.update({run_id(): read_header()}) -%} {%- endif -%}
    {{ return(read[run_id()]) }}
{%- endmacro %}

{% macro read_header() -%}
    {%- set headers = run_query(
        "select is_full or tables is not null as is_full, snapshot_from::text,"
        ~ " snapshot_until::text, " ~ moment_of('as_of')
        ~ " from " ~ our_table('ops', 'refresh_runs')
        ~ " where run_id = " ~ quote_text(run_id())
    ) -%}
    {%- if headers | length == 0 -%}
        {{ exceptions.raise_compiler_error(
            "ops.refresh_runs has no header with run_id '" ~ run_id() ~ "' (TUTOR_RUN_ID): "
            ~ "write one first, or unset TUTOR_RUN_ID for a refresh by hand"
        ) }}
    {%- endif -%}
    {{ return(as_literals(headers.rows[0])) }}
{%- endmacro %}

{% macro newest_refresh() -%}
    {%- if 'newest_refresh' not in graph -%}
        {%- set found = run_query(
            "select true as is_full, null as snapshot_from, null as snapshot_until, "
            ~ moment_of("coalesce((" ~ newest_moment() ~ "), now())")
            ~ ", (" ~ newest_moment() ~ ") is null as is_now"
        ).rows[0] -%}
        {%- if found['is_now'] and 'newest_refresh' not in graph -%}
            {%- do log('No refresh has built the tables yet: this is as of now.', info=true) -%}
        {%- endif -%}
        {%- do graph.update({'newest_refresh': as_literals(found)}) -%}
    {%- endif -%}
    {{ return(graph['newest_refresh']) }}
{%- endmacro %}

{% macro newest_moment() -%}
    {%- set headers = our_table('ops', 'refresh_runs') -%}
    {#- Not of dbt's cache: of a schema without models one thread fills it while another reads. -#}
    {%- if not run_query(
        'select to_regclass(' ~ quote_text(headers.include(database=false) | string)
        ~ ') is not null'
    ).rows[0][0] -%}
        {{ return('null::timestamptz') }}
    {%- endif -%}
    {{ return(
        'select as_of from ' ~ headers
        ~ " where snapshot_from is null and run_id not like 'compiled-%'"
        ~ ' order by started_at desc, run_id desc limit 1'
    ) }}
{%- endmacro %}

{% macro moment_of(as_of) -%}
    {{ return(
        "to_char(" ~ as_of ~ " at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') as as_of,"
        ~ " (" ~ as_of ~ " at time zone '" ~ pipeline_timezone() ~ "')::date::text as as_of_on"
    ) }}
{%- endmacro %}

{% macro as_literals(row) -%}
    {{ return({
        'as_of': "timestamptz '" ~ row['as_of'] ~ "+00'",
        'as_of_on': "date '" ~ row['as_of_on'] ~ "'",
        'is_full': row['is_full'],
        'snapshot_from': row['snapshot_from'], 'snapshot_until': row['snapshot_until'],
    }) }}
{%- endmacro %}

{#-
on-run-start: without TUTOR_RUN_ID, this invocation is a refresh by hand. Of every table it is a
full refresh as of now. Of some tables (or of none of their rows: --empty) it names them, keeps the
moment of the tables beside them, and leaves the newest full refresh what it was: checks of the
other tables go on counting, those of the named ones do once they are evaluated again (guard.py).
-#}
{% macro ensure_refresh_header() -%}
    {%- if execute and flags.WHICH in ('run', 'build') and not env_var('TUTOR_RUN_ID', '') -%}
        {%- if load_cached_relation(our_table('ops', 'refresh_runs')) is none -%}
            {{ exceptions.raise_compiler_error(
                our_table('ops', 'refresh_runs') ~ ' is not there: '
                ~ 'eval "$(tutor-pipeline env)" makes our schemas, or names other ones'
            ) }}
        {%- endif -%}
        {%- set left_out = [] if not flags.EMPTY else ['all rows'] -%}
        {%- set built = [] -%}
        {%- for node in graph.nodes.values() if is_table(node) -%}
            {%- if node.unique_id in selected_resources -%}
                {%- do built.append(quote_text(node.config.schema ~ '/' ~ node.name)) -%}
            {%- elif is_of_a_refresh(node) -%}
                {%- do left_out.append(node.name) -%}
            {%- endif -%}
        {%- endfor -%}
        insert into {{ our_table('ops', 'refresh_runs') }} (run_id, as_of, is_full, tables)
        {% if left_out -%}
        values (
            {{ quote_text(invocation_id) }}, coalesce(({{ newest_moment() }}), now()), false,
            array[{{ built | join(', ') }}]::text[]
        )
        {%- else -%}
        values ({{ quote_text(invocation_id) }}, now(), true, null)
        {%- endif %}
        on conflict (run_id) do nothing
    {%- endif -%}
{%- endmacro %}

{% macro is_table(node) -%}
    {{ return(node.resource_type == 'model' and node.config.materialized != 'ephemeral') }}
{%- endmacro %}

{% macro is_of_a_refresh(node) -%}
    {{ return('daily_partitions' not in node.tags and 'weekly' not in node.tags) }}
{%- endmacro %}

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
    {%- set sessions = platform_relation('sessions') -%}
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
            select tutor_id::text as tutor_id, id::text as session_id
            from {{ sessions }} as platform
            union all
            select tutor_id, session_id from {{ known }}
        ) as sharing
        where
            {{ is_usable_id('sharing.tutor_id') }}
            and sharing.session_id in (
                select id::text from {{ sessions }} as platform
                where tutor_id is null or tutor_id::text in ({{ scope() }})
                union all
                select session_id from {{ known }}
                where tutor_id is null or tutor_id in ({{ scope() }})
            )
        on conflict do nothing
    {%- endif -%}
{%- endmacro %}

{% macro is_scoped() -%}
    {%- if not execute or flags.FULL_REFRESH or refresh()['is_full'] -%}
        {{ return(false) }}
    {%- endif -%}
    {{ return(is_up_to_date_table(this, model) and not needs_rebuild()) }}
{%- endmacro %}

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

{#-
Whether the wide rows of tutors out of scope were made anew in this refresh (see
every_wide_row_is_new): what this model says of them is then of another moment, and made anew too. One
row tells.
-#}
{% macro every_row_is_new() -%}
    {%- set features = this -%}
    {%- set wide = our_table('marts', 'tutor_aggregates') -%}
    {#- Nobody out of scope is no other answer than the same moment. -#}
    {{ return(run_query(
        'select coalesce((select wide.as_of is distinct from features.as_of from ' ~ wide
        ~ ' as wide left join ' ~ features ~ ' as features on wide.tutor_id = features.tutor_id'
        ~ ' where wide.tutor_id <> all(' ~ scope_tutors() ~ ') limit 1), false)'
    ).rows[0][0]) }}
{%- endmacro %}

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

{% macro scope() -%}
    select scope.tutor_id
    from {{ our_table('ops', 'refresh_scope') }} as scope
    where scope.run_id = {{ quote_text(run_id()) }}
{%- endmacro %}

{#-
A constant: of an array that a query makes, PostgreSQL takes it that it has ten elements, and joins
hundreds of tutors as if they were one. After on-run-start (widen_scope) a scope does not change.
-#}
{% macro scope_tutors() -%}
    {%- if not execute -%} {{ return("'{}'::text[]") }} {%- endif -%}
    {%- set read = graph.setdefault('refresh_scopes', {}) -%}
    {%- if run_id() not in read -%}
        {%- do read.update({run_id(): run_query(
            'select quote_literal(array(' ~ scope() ~ ' order by scope.tutor_id)::text)'
        ).rows[0][0]}) -%}
    {%- endif -%}
    {{ return(read[run_id()] ~ '::text[]') }}
{%- endmacro %}

{% macro in_scope(column='tutor_id') -%}
    {%- if is_scoped() -%} {{ column }} = any({{ scope_tutors() }}) {%- else -%} true {%- endif -%}
{%- endmacro %}

{% macro pipeline_timezone() -%}
    {{ return(env_var('TUTOR_TIMEZONE', 'UTC') if execute else 'UTC') }}
{%- endmacro %}

{% macro quote_text(value) -%}
    {{ return("'" ~ (value | string).replace("'", "''") ~ "'") }}
{%- endmacro %}
