{#-
Materialization `scoped`. A full refresh builds the table anew and publishes it; a scoped one
deletes the rows of the keys it covers and inserts what the model now gives for them, in one
transaction. The deletion follows the keys, never the output: a tutor whose last session is gone
loses the stale rows.

config.meta.replaces     whose rows this refresh replaces; by default those of the tutors of
                         ops.refresh_scope, 'all rows': any refresh builds the table anew
config.meta.keeps_rows   true: a full refresh replaces no other rows either (snapshots)
config.meta.not_null     columns that are never null, where no contract says so. Of the new table:
                         a hook would lock the old one against its readers
-#}
{% materialization scoped, adapter='postgres' %}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set replaces_rows = replaces_rows_only() -%}
    {%- set intermediate = make_intermediate_relation(target_relation) -%}
    {%- set backup_type = 'table' if existing is none else existing.type -%}
    {%- set backup = make_backup_relation(target_relation, backup_type) -%}
    {%- set sql = without_rows(sql) if flags.EMPTY else sql -%}

    {{ drop_relation_if_exists(load_cached_relation(intermediate)) }}
    {{ drop_relation_if_exists(load_cached_relation(backup)) }}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- if replaces_rows %}
        {%- set columns = model.columns.keys() | map('string') | join(', ') -%}
        {%- call statement('delete') -%}
            delete from {{ target_relation }} where {{ scope_where() }}
        {%- endcall -%}
        {%- call statement('main') -%}
            insert into {{ target_relation }} ({{ columns }})
            select {{ columns }} from (
                {{ sql }}
            ) as rows
        {%- endcall -%}
    {%- else %}
        {%- call statement('main') -%}
            {{ get_create_table_as_sql(False, intermediate, sql) }}
        {%- endcall -%}
        {% do create_indexes(intermediate) %}
        {%- call statement('analyze') -%} analyze {{ intermediate }} {%- endcall -%}
        {%- for column in (config.get('meta') or {}).get('not_null', []) %}
            {%- call statement('not_null') -%}
                alter table {{ intermediate }} alter column {{ column }} set not null
            {%- endcall -%}
        {%- endfor %}
        {% do persist_docs(intermediate, model) %}
        {{ publish(existing, intermediate, backup, target_relation) }}
    {%- endif %}
    {%- if replaces_rows and (config.get('meta') or {}).get('keeps_rows') -%}
        {{ show_in_reporting(target_relation) }}
    {%- endif %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}

{% macro replaces_rows_only() -%}
    {%- if (config.get('meta') or {}).get('keeps_rows') -%}
        {{ return(is_up_to_date_table(this, model) and not flags.FULL_REFRESH) }}
    {%- endif -%}
    {{ return(is_scoped() and (config.get('meta') or {}).get('replaces') != 'all rows') }}
{%- endmacro %}

{% macro scope_where() -%}
    {%- set rows_of = (config.get('meta') or {}).get('replaces', 'tutors') -%}
    {%- if rows_of == 'days' -%}
        {{ is_snapshot_of(snapshot_days()) }}
    {%- elif rows_of == 'tutors and nobody' -%}
        (tutor_id = any({{ scope_tutors() }}) or tutor_id is null)
    {%- else -%}
        tutor_id = any({{ scope_tutors() }})
    {%- endif -%}
{%- endmacro %}
