{#-
Some platforms have no reschedules at all, only because nobody records them: there, what counts
them is not evaluated (NULL), which is a fact about the platform and not about a tutor.
-#}
{% macro reschedules_are_known() -%}
    {%- set sessions = ref('fct_sessions') -%}
    {%- if not execute -%} {{ return(true) }} {%- endif -%}
    {{ return(run_query(
        'select exists (select 1 from ' ~ sessions ~ " where status = 'rescheduled'"
        ~ ' and rescheduled_by is not null and scheduled_start <= ' ~ refresh()['as_of'] ~ ')'
    ).rows[0][0]) }}
{%- endmacro %}

{#- The same as of the end of past days, in `day`: a platform knows them from its first one on. -#}
{% macro reschedules_are_known_on(day) -%}
    {%- set sessions = ref('fct_sessions') -%}
    {%- if not execute -%} {{ return('true') }} {%- endif -%}
    {%- set first = run_query(
        "select min(session_on)::text from " ~ sessions ~ " where status = 'rescheduled'"
        ~ ' and rescheduled_by is not null'
    ).rows[0][0] -%}
    {{ return(day ~ " >= date '" ~ first ~ "'" if first else 'false') }}
{%- endmacro %}
