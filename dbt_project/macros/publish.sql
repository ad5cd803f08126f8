{#-
Put the new table in the place of the old one, in the open transaction. What others built on the
old one is not lost: where the columns are the same and something of others hangs on the table, or
somebody reads it now, its rows are replaced instead. Where columns differ, their views, indexes and
triggers are made again; what cannot be made again stops the refresh. The functions are those of
core/warehouse/sql/readers.sql.
-#}
{% macro publish(existing, intermediate, backup, target_relation) -%}
    {%- set how = {'swaps': true, 'built': []} -%}
    {%- if existing is not none -%}
        {%- do how.update(way_to_publish(existing, intermediate)) -%}
    {%- endif -%}
    {%- if how['swaps'] -%}
        {%- if existing is not none -%}
            {% do adapter.rename_relation(existing, backup) %}
        {%- endif -%}
        {% do adapter.rename_relation(intermediate, target_relation) %}
        {%- for each in how['built'] if each['what'].startswith('view ') -%}
            {{ make_again(each, target_relation) }}
        {%- endfor -%}
        {{ show_in_reporting(target_relation) }}
        {%- if existing is not none -%}
            {#- Not cascading: what appeared meanwhile is an error, not a loss. -#}
            {%- call statement('drop_old') -%} drop {{ backup.type }} {{ backup }} {%- endcall -%}
        {%- endif -%}
        {%- for each in how['built'] if not each['what'].startswith('view ') -%}
            {{ make_again(each, target_relation) }}
        {%- endfor -%}
    {%- else -%}
        {%- set columns = get_quoted_csv(
            adapter.get_columns_in_relation(intermediate) | map(attribute='name') | list
        ) -%}
        {%- call statement('replace') -%}
            delete from {{ target_relation }};
            insert into {{ target_relation }} ({{ columns }})
            select {{ columns }} from {{ intermediate }};
            drop table {{ intermediate }};
            analyze {{ target_relation }}
        {%- endcall -%}
        {{ show_in_reporting(target_relation) }}
    {%- endif -%}
    {#- dbt's cache learns that they are gone. -#}
    {%- do adapter.cache_dropped(backup if how['swaps'] else intermediate) -%}
{%- endmacro %}

{#- Whether to swap, and what of others is then made again. Locks what is swapped. -#}
{% macro way_to_publish(existing, intermediate) -%}
    {%- set reporting = quote_text(reporting_schema()) -%}
    {%- set old, new = quote_text(existing) ~ '::regclass', quote_text(intermediate) ~ '::regclass' -%}
    {%- set built = run_query(
        'select what, statement from ' ~ ops_function('built_by_others') ~ '(' ~ old ~ ', '
        ~ reporting ~ ')'
    ).rows -%}
    {%- set found = run_query(
        'select ' ~ ops_function('has_columns_of') ~ '(' ~ new ~ ', ' ~ old ~ ') as same'
    ).rows[0] -%}
    {%- if existing.is_table and found['same'] and (
        built | length > 0
        or not run_query(
            'select ' ~ ops_function('lock_at_once') ~ '(' ~ old ~ ', ' ~ reporting ~ ')'
        ).rows[0][0]
    ) -%}
        {{ return({'swaps': false}) }}
    {%- endif -%}
    {%- for each in built if each['statement'] is none -%}
        {{ exceptions.raise_compiler_error(
            each['what'] ~ ' depends on ' ~ existing.schema ~ '.' ~ existing.identifier
            ~ ', whose columns change with this version: nothing was changed. Build it on '
            ~ reporting_schema() ~ '.' ~ existing.identifier
            ~ ' instead, which keeps what is built on it, drop the old one and run this again'
        ) }}
    {%- endfor -%}
    {%- call statement('grants') -%}
        select {{ ops_function('copy_grants') }}({{ old }}, {{ new }})
    {%- endcall -%}
    {{ return({'swaps': true, 'built': built}) }}
{%- endmacro %}

{% macro make_again(built, relation) -%}
    {%- call statement('make_again') -%}
do $again$ begin
    execute {{ quote_text(built['statement']) }};
exception when others then
    raise exception '% stands in the way: %', {{ quote_text(built['what']) }}, sqlerrm
        using errcode = sqlstate, hint = {{ quote_text(
            'Drop it, or build it on ' ~ reporting_schema() ~ '.' ~ relation.identifier
        ) }};
end $again$
    {%- endcall -%}
{%- endmacro %}

{% macro show_in_reporting(relation) -%}
    {%- if relation.schema == generate_schema_name('marts', none) | trim -%}
        {%- call statement('show_in_reporting') -%}
            select {{ ops_function('show_in_reporting') }}(
                {{ quote_text(relation) }}::regclass, {{ quote_text(reporting_schema()) }}
            )
        {%- endcall -%}
    {%- endif -%}
{%- endmacro %}

{#-
Says what a new table and its columns are, in one statement. dbt's own macro asks twice what columns
there are: here the table has just been made of the model.
-#}
{% macro postgres__persist_docs(relation, model, for_relation=true, for_columns=true) -%}
    {%- call statement('persist_docs') -%}
        comment on table {{ relation }} is {{ quote_text(model.description) }};
        {%- for name, column in model.columns.items() %}
        comment on column {{ relation }}.{{ name }} is {{ quote_text(column.description) }};
        {%- endfor %}
    {%- endcall -%}
{%- endmacro %}

{% macro ops_function(name) -%}
    {{ return(adapter.quote(generate_schema_name('ops', none) | trim) ~ '.' ~ name) }}
{%- endmacro %}

{% macro reporting_schema() -%}
    {{ return(
        env_var('TUTOR_REPORTING_SCHEMA', '') or env_var('TUTOR_SCHEMA_PREFIX', '') ~ 'reporting'
    ) }}
{%- endmacro %}
