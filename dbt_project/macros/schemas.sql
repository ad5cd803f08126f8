{#- Names of schemas and of the tables that Python writes. Migrations make the schemas. -#}

{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ env_var('TUTOR_SCHEMA_PREFIX', '') }}{{ (custom_schema_name or 'marts') | trim }}
{%- endmacro %}

{% macro our_table(schema, table) -%}
    {{ return(api.Relation.create(
        database=target.database,
        schema=generate_schema_name(schema, none) | trim,
        identifier=table
    )) }}
{%- endmacro %}

{#-
The schemas of the database; dbt's own query has the temporary ones too, which come and go with any
connection: what dbt would run then looked another each time.
-#}
{% macro postgres__list_schemas(database) -%}
    {%- call statement('list_schemas', fetch_result=true, auto_begin=false) -%}
        select nspname from pg_namespace where nspname !~ '^pg_(toast_)?temp_'
    {%- endcall -%}
    {{ return(load_result('list_schemas').table) }}
{%- endmacro %}
