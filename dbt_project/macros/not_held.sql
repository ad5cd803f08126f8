{#-
A session that was not held, where nobody says why, may be of any of these events: beside one, how
many there were is not known (NULL), never 0.
-#}
{% macro known_count(event, days, unknown_events) -%}
    {%- set number = 'coalesce(' ~ event ~ '_' ~ days ~ ', 0)::integer' -%}
    {%- if event in unknown_events -%}
        case when coalesce(not_held_{{ days }}, 0) = 0 then {{ number }} end
    {%- else -%}
        {{ number }}
    {%- endif -%}
{%- endmacro %}
