{#- Unit tests cast their rows to the catalog's types, where every array is just called ARRAY. -#}
{% macro postgres__safe_cast(field, type) -%}
    cast({{ field }} as {{ 'text[]' if type | upper == 'ARRAY' else type }})
{%- endmacro %}
