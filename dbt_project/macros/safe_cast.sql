{% macro postgres__safe_cast(field, type) -%}
    cast({{ field }} as {{ 'text[]' if type | upper == 'ARRAY' else type }})
{%- endmacro %}
