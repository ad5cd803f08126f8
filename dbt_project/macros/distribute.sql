{#-
Post-hook of every model: where the Citus extension is and the model's config says
meta: {distribute_by: <column>}, make the table distributed. The truncate drops the hidden local
copy.
-#}
{% macro distribute() -%}
    {%- set column = (config.get('meta') or {}).get('distribute_by') -%}
    {%- if column and execute and has_citus() and not is_distributed(this) -%}
do $citus$ begin
    if not exists (
        select 1 from pg_dist_partition where logicalrelid = '{{ this }}'::regclass
    ) then
        perform create_distributed_table('{{ this }}', '{{ column }}');
        perform truncate_local_data_after_distributing_table('{{ this }}');
    end if;
end $citus$
    {%- endif -%}
{%- endmacro %}

{% macro is_distributed(relation) -%}
    {{ return(run_query(
        'select exists (select 1 from pg_dist_partition where logicalrelid = to_regclass('
        ~ quote_text(relation | string) ~ '))'
    ).rows[0][0]) }}
{%- endmacro %}

{#- Asked once per invocation. -#}
{% macro has_citus() -%}
    {%- if 'has_citus' not in graph -%}
        {%- do graph.update({'has_citus': run_query(
            "select exists (select 1 from pg_extension where extname = 'citus')"
        ).rows[0][0]}) -%}
    {%- endif -%}
    {{ return(graph['has_citus']) }}
{%- endmacro %}
