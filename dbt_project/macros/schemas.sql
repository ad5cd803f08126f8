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
