{#-
Sums over days are whole millionths: whole numbers add up to the same in any order, so a rebuilt
table equals a patched one to the last bit, and windows are differences of sums. An average is one
division of whole numbers, hence correctly rounded: 8.5 is 8.5, not 8.499999.

They are added up as double precision, which is exact for whole numbers below 2^53 and several
times faster than adding bigints (which PostgreSQL adds up as numeric).
-#}

{% macro millionths(value) -%} round(({{ value }})::double precision * 1000000) {%- endmacro %}

{% macro sum_and_count(name, value, condition) -%}
    count({{ value }}) filter (where {{ condition }})::integer as {{ name }}_count,
    coalesce(sum({{ millionths(value) }}) filter (where {{ condition }}), 0)::bigint
        as {{ name }}_sum
{%- endmacro %}

{% macro student_mean(name) -%}
    windows.{{ name }}_sum / nullif(windows.{{ name }}_count * 1000000::double precision, 0)
{%- endmacro %}
