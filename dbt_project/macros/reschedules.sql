{#-
Some platforms have no reschedules at all, only because nobody records them: there, what counts
them is not evaluated (NULL), which is a fact about the platform and not about a tutor.
-#}
{% macro reschedules_are_known() -%}
    {%- set sessions = ref('fct_sessions') -%}
    {%- if not execute or load_cached_relation(sessions) is none -%} {{ return(true) }} {%- endif -%}
    {{ return(run_query(
        'select exists (select 1 from ' ~ sessions ~ " where status = 'rescheduled'"
        ~ ' and rescheduled_by is not null and scheduled_start <= ' ~ refresh()['as_of'] ~ ')'
    ).rows[0][0]) }}
{%- endmacro %}

{% macro reschedules_are_known_on(day) -%}
    {%- set sessions = ref('fct_sessions') -%}
    {%- if not execute or load_cached_relation(sessions) is none -%}
        {{ return('true') }}
    {%- endif -%}
    {%- set first = run_query(
        "select min(session_on)::text from " ~ sessions ~ " where status = 'rescheduled'"
        ~ ' and rescheduled_by is not null'
    ).rows[0][0] -%}
    {{ return(day ~ " >= date '" ~ first ~ "'" if first else 'false') }}
{%- endmacro %}
