{#-
Reading the platform: what its tables have is asked of the catalog when dbt runs, what they should
have is said by the contract (models/staging/_platform__sources.yml).

A value that its contract type cannot hold must not stop the others, so it becomes a mark outside
every bound, which session_rows turns into a quarantine reason: NaN for numbers, the smallest
integer for integers, infinity for moments.
-#}

{% macro platform_contract(table) -%}
    {%- for source in graph.sources.values() if source.source_name == 'platform' -%}
        {%- if source.name == table -%} {{ return(source) }} {%- endif -%}
    {%- endfor -%}
    {{ exceptions.raise_compiler_error('the platform contract has no table ' ~ table) }}
{%- endmacro %}

{#-
What the platform's table has: {column: {type, is_not_null, is_unique}}; none if there is no such
table. Domains count as the type below them; unique = by an index on that column alone.
-#}
{% macro platform_columns(table) -%}
    {#- Read once per invocation: the graph is what all nodes of one share. -#}
    {%- set known = graph.setdefault('platform_columns', {}) -%}
    {%- if table not in known -%} {%- do known.update({table: read_columns(table)}) -%} {%- endif -%}
    {{ return(known[table]) }}
{%- endmacro %}

{#-
How a mapping reads the table: {relation, shape, shown, offers, timezones}; none without a mapping,
{} for a table that the mapping leaves out. Python writes it (metrics.dbt).
-#}
{% macro platform_mapping(table) -%}
    {%- set mapped = env_var('TUTOR_SOURCE_TABLES', '') -%}
    {%- if not mapped -%} {{ return(none) }} {%- endif -%}
    {{ return(fromjson(mapped).get(table, {})) }}
{%- endmacro %}

{#- What the platform calls a table of the contract. -#}
{% macro platform_shown(table) -%}
    {%- set mapped = platform_mapping(table) -%}
    {%- if mapped is none -%}
        {%- set relation = source('platform', table) -%}
        {{ return(relation.schema ~ '.' ~ relation.identifier) }}
    {%- endif -%}
    {{ return(table ~ ' (' ~ mapped.get('shown', 'not mapped') ~ ')') }}
{%- endmacro %}

{#- What stands after FROM to read a platform table. -#}
{% macro platform_relation(table) -%}
    {%- set mapped = platform_mapping(table) -%}
    {{ return(source('platform', table) if mapped is none else mapped.relation) }}
{%- endmacro %}

{#- The zone of a platform column's timestamps without one. -#}
{% macro platform_timezone_of(table, column) -%}
    {%- set mapped = platform_mapping(table) or {} -%}
    {{ return(mapped.get('timezones', {}).get(column, env_var('TUTOR_PLATFORM_TIMEZONE', 'UTC'))) }}
{%- endmacro %}

{% macro read_columns(table) -%}
    {%- set relation = source('platform', table) -%}
    {%- set mapped = platform_mapping(table) -%}
    {%- if mapped == {} -%} {{ return(none) }} {%- endif -%}
    {%- set found = run_query(
        "select attname as name, column_type as type, is_not_null, is_unique from ("
        ~ mapped.shape ~ ") as shape"
    ) if mapped else run_query(
        "select a.attname as name, format_type(coalesce(nullif(t.typbasetype, 0), t.oid), null)"
        ~ " as type, a.attnotnull as is_not_null, exists (select 1 from pg_index as i"
        ~ " where i.indrelid = a.attrelid and i.indisunique and i.indisvalid and i.indimmediate"
        ~ " and i.indpred is null and i.indnkeyatts = 1 and i.indkey[0] = a.attnum) as is_unique"
        ~ " from pg_attribute as a join pg_type as t on t.oid = a.atttypid"
        ~ " join pg_class as c on c.oid = a.attrelid"
        ~ " join pg_namespace as n on n.oid = c.relnamespace"
        ~ " where n.nspname = " ~ quote_text(relation.schema)
        ~ " and c.relname = " ~ quote_text(relation.identifier)
        ~ " and c.relkind in ('r', 'p', 'v', 'm', 'f') and a.attnum > 0 and not a.attisdropped"
    ) -%}
    {%- set columns = {} -%}
    {%- for row in found.rows -%}
        {%- do columns.update({row['name']: {
            'type': row['type'], 'is_not_null': row['is_not_null'], 'is_unique': row['is_unique'],
        }}) -%}
    {%- endfor -%}
    {{ return(columns or none) }}
{%- endmacro %}

{% macro platform_has(table, column) -%}
    {{ return(execute and column in (platform_columns(table) or {})) }}
{%- endmacro %}

{#- Whether the platform has the table with these columns, and this role may read them. -#}
{% macro platform_offers(table, columns) -%}
    {%- if not execute -%} {{ return(true) }} {%- endif -%}
    {%- set found = platform_columns(table) or {} -%}
    {%- for column in columns if column not in found -%} {{ return(false) }} {%- endfor -%}
    {%- set mapped = platform_mapping(table) -%}
    {%- if mapped -%} {{ return(run_query(mapped.offers).rows[0][0]) }} {%- endif -%}
    {%- set relation = source('platform', table) -%}
    {{ return(run_query(
        "select bool_and(has_column_privilege(" ~ quote_text(relation | string)
        ~ ", name, 'select')) from unnest(array['" ~ columns | join("', '") ~ "']) as name"
    ).rows[0][0]) }}
{%- endmacro %}

{% macro platform_is_unique(table, column) -%}
    {%- set columns = platform_columns(table) if execute else none -%}
    {{ return(columns is none or columns.get(column, {}).get('is_unique', false)) }}
{%- endmacro %}

{% macro platform_is_not_null(table, column) -%}
    {%- set columns = platform_columns(table) if execute else none -%}
    {{ return(columns is none or columns.get(column, {}).get('is_not_null', false)) }}
{%- endmacro %}

{% macro converted_columns(table) -%}
    {%- set converted = [] -%}
    {%- set actual = platform_columns(table) or {} -%}
    {%- for column in platform_contract(table).columns.values() if column.name in actual -%}
        {%- if column.data_type not in ('text', actual[column.name].type) -%}
            {%- do converted.append(column.name) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(converted) }}
{%- endmacro %}

{% macro text_columns(table) -%}
    {%- set texts = [] -%}
    {%- for name, column in (platform_columns(table) or {}).items() if is_text(column.type) -%}
        {%- do texts.append(name) -%}
    {%- endfor -%}
    {{ return(texts) }}
{%- endmacro %}

{% macro is_text(type) -%}
    {{ return(type in ('text', 'character varying', 'character', 'citext')) }}
{%- endmacro %}

{#-
The contract's columns of a platform table, each of its contract type: NULL where the platform
lacks the column, no rows where it lacks the table. Raises when something required is missing.
-#}
{% macro stage_platform(table) -%}
    {%- do source('platform', table) -%}
    {%- if execute -%}
    {%- set contract = platform_contract(table) -%}
    {%- set actual = platform_columns(table) -%}
    {%- do check_platform_table(contract, actual) -%}
    select
    {%- for column in contract.columns.values() %}
        {{ platform_value(table, column, (actual or {}).get(column.name)) }} as {{
            column.name
        }}{{ ',' if not loop.last }}
    {%- endfor %}
    {%- for name in converted_columns(table) %},
        platform.{{ adapter.quote(name) }} as {{ name }}_given
    {%- endfor %}
    {% if actual is not none -%}
    from {{ platform_relation(table) }} as platform
    {%- else -%}
    where false
    {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{#-
A staged table of the platform as a subquery. Its model, which is ephemeral, is a dependency all the
same: for the lineage, its tests and its documentation. A ref() when dbt compiles would have it
injected, for which dbt parses the text of the reader: a fifth of a refresh's work.
-#}
{% macro staged(table) -%}
    {%- if not execute -%} {{ return(ref('stg_platform__' ~ table)) }} {%- endif -%}
    {{ return('(' ~ stage_platform(table) ~ ')') }}
{%- endmacro %}

{% macro check_platform_table(contract, actual) -%}
    {%- set missing = [] -%}
    {%- set name = platform_shown(contract.name) -%}
    {%- if actual is none -%}
        {%- if contract.config.meta.required -%}
            {%- do missing.append('table ' ~ name ~ ': ' ~ contract.config.meta.costs) -%}
        {%- endif -%}
    {%- else -%}
        {%- for column in contract.columns.values() -%}
            {%- if column.config.meta.required and column.name not in actual -%}
                {%- do missing.append(
                    'column ' ~ name ~ '.' ~ column.name ~ ': ' ~ column.config.meta.costs
                ) -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {%- if missing -%}
        {{ exceptions.raise_compiler_error(
            'the platform lacks what the pipeline needs:\n  ' ~ missing | join('\n  ')
            ~ '\nTUTOR_PLATFORM_SCHEMA names the schema (now ' ~ contract.schema
            ~ '), TUTOR_SOURCE_MAP what its tables are called;'
            ~ ' tutor-pipeline check-source lists everything found and missing'
        ) }}
    {%- endif -%}
{%- endmacro %}

{% macro platform_value(table, column, actual) -%}
    {%- set target_type = column.data_type -%}
    {%- if actual is none -%}
        null::{{ target_type }}
    {%- else -%}
        {%- set value = 'platform.' ~ adapter.quote(column.name) -%}
        {%- set from_type = actual.type -%}
        {%- set expression = none -%}
        {%- if target_type == 'text' -%}
            {%- set expression = value if from_type == 'text' else value ~ '::text' -%}
        {%- elif target_type in ('integer', 'double precision', 'numeric') -%}
            {%- set expression = platform_number(value, from_type, target_type) -%}
        {%- elif target_type == 'boolean' -%}
            {%- if from_type == 'boolean' -%}
                {%- set expression = value -%}
            {%- elif from_type in ('smallint', 'integer', 'bigint') -%}
                {%- set expression = value ~ ' <> 0' -%}
            {%- elif is_text(from_type) -%}
                {%- set word = "lower(trim(" ~ value ~ "::text))" -%}
                {%- set expression = "case when " ~ word ~ " in ('t', 'true', 'y', 'yes', '1')"
                    ~ " then true when " ~ word ~ " in ('f', 'false', 'n', 'no', '0')"
                    ~ " then false end" -%}
            {%- endif -%}
        {%- elif target_type == 'timestamptz' -%}
            {%- if from_type == 'timestamp with time zone' -%}
                {%- set expression = value -%}
            {%- elif from_type in ('timestamp without time zone', 'date') -%}
                {#- Outside these years the shift to the zone could overflow. -#}
                {%- set expression = "case when " ~ value ~ " >= '0001-01-02' and " ~ value
                    ~ " < '9999-12-31' then " ~ value ~ "::timestamp at time zone "
                    ~ quote_text(platform_timezone_of(table, column.name)) ~ " when " ~ value
                    ~ " is not null then 'infinity' end" -%}
            {%- endif -%}
        {%- elif target_type == 'date' -%}
            {%- if from_type == 'date' -%}
                {%- set expression = value -%}
            {%- elif from_type == 'timestamp without time zone' -%}
                {%- set expression = value ~ '::date' -%}
            {%- elif from_type == 'timestamp with time zone' -%}
                {%- set expression = "(" ~ value ~ " at time zone "
                    ~ quote_text(pipeline_timezone()) ~ ")::date" -%}
            {%- endif -%}
        {%- elif target_type == 'jsonb' -%}
            {%- set expression = value ~ '::jsonb' -%}
        {%- endif -%}
        {%- if expression is none -%}
            {{ exceptions.raise_compiler_error(
                platform_shown(table) ~ '.' ~ column.name ~ ' is ' ~ from_type
                ~ ', which cannot be read as ' ~ target_type
                ~ ': map it to an expression of that type (TUTOR_SOURCE_MAP), change its type, or'
                ~ ' offer it through a view in another schema'
            ) }}
        {%- endif -%}
        {{ expression }}
    {%- endif -%}
{%- endmacro %}

{% macro platform_number(value, from_type, target_type) -%}
    {%- set is_exact = from_type in ('smallint', 'integer') -%}
    {%- if is_exact or from_type == target_type == 'double precision' -%}
        {{ return(value if from_type == target_type else value ~ '::' ~ target_type) }}
    {%- elif is_text(from_type) -%}
        {%- if run_query("select current_setting('server_version_num')").rows[0][0] | int < 160000 -%}
            {{ return(none) }}
        {%- endif -%}
        {%- set value = "case when pg_input_is_valid(" ~ value ~ "::text, 'double precision') then "
            ~ value ~ "::text::double precision when trim(" ~ value ~ ") <> '' then 'NaN' end" -%}
    {%- elif from_type == 'real' -%}
        {#- By way of text: 4.2 stays 4.2. -#}
        {%- set value = value ~ '::text::double precision' -%}
    {%- elif from_type == 'numeric' -%}
        {%- set value = "case when abs(" ~ value ~ ") < 1e300 then " ~ value
            ~ " when " ~ value ~ " is not null then 'NaN' end" -%}
    {%- elif from_type not in ('bigint', 'double precision') -%}
        {{ return(none) }}
    {%- endif -%}
    {%- if target_type == 'integer' -%}
        {{ return("case when (" ~ value ~ ") between -2147483647 and 2147483647 then (" ~ value
            ~ ")::integer when " ~ value ~ " is not null then -2147483648 end") }}
    {%- endif -%}
    {{ return("(" ~ value ~ ")::" ~ target_type) }}
{%- endmacro %}
