{#-
Tables with a row per past day and the weekly ones are built by jobs of their own: on a platform's
first days `dbt test` must not fail for want of them.
-#}
{% macro postgres__get_where_subquery(relation) -%}
    {%- set node = graph.nodes.get(model.attached_node) if execute else none -%}
    {%- if node is none or is_of_a_refresh(node) or load_cached_relation(relation) is not none -%}
        {{ return(default__get_where_subquery(relation)) }}
    {%- endif -%}
    {%- set columns = [] -%}
    {%- for column in node.columns.values() -%}
        {%- do columns.append('null::' ~ column.data_type ~ ' as ' ~ column.name) -%}
    {%- endfor -%}
    {{ return('(select ' ~ columns | join(', ') ~ ' where false) as not_built_yet') }}
{%- endmacro %}
