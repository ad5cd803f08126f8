{#-
Post-hook of every model: where the Citus extension is and the model's config says
meta: {distribute_by: <column>}, make the table distributed. Nested, so that a plain PostgreSQL
never parses the Citus catalog; the truncate drops the hidden local copy.
-#}
{% macro distribute() -%}
    {%- set column = (config.get('meta') or {}).get('distribute_by') -%}
    {%- if column and execute -%}
do $citus$ begin
    if exists (select 1 from pg_extension where extname = 'citus') then
        if not exists (
            select 1 from pg_dist_partition where logicalrelid = '{{ this }}'::regclass
        ) then
            perform create_distributed_table('{{ this }}', '{{ column }}');
            perform truncate_local_data_after_distributing_table('{{ this }}');
        end if;
    end if;
end $citus$
    {%- endif -%}
{%- endmacro %}
