{% macro postgres__get_limit_sql(sql, limit) -%}
    select * from (
        {{ sql }}
    ) as shown
    {%- if limit is not none %}
    limit {{ limit }}
    {%- endif %}
{%- endmacro %}
