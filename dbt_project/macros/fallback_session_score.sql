{#-
The score (0-10) of a session that the platform did not score: the weighted mean of the components
that are there, the weights of the missing ones shared out. NULL when engagement and rating are
both missing.
-#}
{% macro fallback_session_score(rows) -%}
    {#- Without a ratio this is NULL, unlike greatest(0, …), which passes over a NULL. -#}
    {%- set distance = 'abs(' ~ rows ~ '.tutor_talk_ratio - ' ~ var('ideal_talk_ratio') ~ ')' -%}
    {%- set talk_balance = 'case when ' ~ distance ~ ' < ' ~ var('talk_ratio_tolerance')
        ~ ' then 10 * (1 - ' ~ distance ~ ' / ' ~ var('talk_ratio_tolerance')
        ~ ') when ' ~ rows ~ '.tutor_talk_ratio is not null then 0 end' -%}
    {%- set components = [
        (var('fallback_weight_engagement'), rows ~ '.student_engagement_score'),
        (var('fallback_weight_rating'), '2 * ' ~ rows ~ '.student_satisfaction_rating'),
        (var('fallback_weight_clarity'), rows ~ '.clarity_score'),
        (var('fallback_weight_empathy'), rows ~ '.empathy_score'),
        (var('fallback_weight_talk_balance'), talk_balance),
    ] -%}
    case
        when
            {{ rows }}.student_engagement_score is not null
            or {{ rows }}.student_satisfaction_rating is not null
            then (
                {%- for weight, value in components %}
                {{ '+ ' if not loop.first }}coalesce({{ weight }} * ({{ value }}), 0)
                {%- endfor %}
            ) / (
                {%- for weight, value in components %}
                {{ '+ ' if not loop.first -}}
                case when ({{ value }}) is null then 0 else {{ weight }} end
                {%- endfor %}
            )
    end
{%- endmacro %}
