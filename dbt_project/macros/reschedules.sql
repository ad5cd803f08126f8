{#-
Some platforms have no reschedules at all, only because nobody records them: there, what counts
them is not evaluated (NULL), which is a fact about the platform and not about a tutor.
-#}
{% macro reschedules_are_known() -%}
    {%- set days = ref('int_tutor_days') -%}
    {%- if not execute -%} {{ return(true) }} {%- endif -%}
    {{ return(run_query(
        'select exists (select from ' ~ days ~ ' where reschedule_known_count > 0)'
    ).rows[0][0]) }}
{%- endmacro %}

{#- Whether the table was built when the opposite was true: then every tutor's row changes. -#}
{% macro reschedules_became_known() -%}
    {%- set was_known = run_query(
        'select tutor_reschedules_30d is not null from ' ~ this ~ ' limit 1'
    ) -%}
    {{ return(
        was_known.rows | length > 0 and was_known.rows[0][0] != reschedules_are_known()
    ) }}
{%- endmacro %}
