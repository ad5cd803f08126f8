{#-
Sessions of the 14 days after an asked day, whatever became of them: booked by then, not yet booked,
or, where the moment of booking is not known or is that of an import, unclear. Per key and week, of
both kinds of evidence (tutor_evidence, student_evidence).
-#}
{% macro sessions_ahead(key, newest, asked_weeks, now=none, scope='true') -%}
{%- set import_days = built(
    ref('int_import_days'), 'null::text as recorded, null::date as created_on'
) -%}
{%- set zone = quote_text(pipeline_timezone()) -%}
    select
        {{ key }},
        week,
        count(*) filter (where created_at <= as_of)::integer as booked,
        count(*) filter (
            where created_at is null or (created_at > as_of and is_imported)
        )::integer as unclear
    from (
        select
            sessions.{{ key }},
            sessions.scheduled_start,
            sessions.created_at,
            imports.created_on is not null as is_imported,
            days.week,
            {% if now is not none %}{{ now }}{% else -%}
            (({{ newest }} - 7 * days.week + 1)::timestamp at time zone {{ zone }})
            - interval '1 microsecond'
            {%- endif %} as as_of
        from (
            select
                {{ key }},
                session_on,
                scheduled_start,
                created_at
            from {{ student_sessions(is_whole=true) if key == 'student_id' else ref('fct_sessions') }} as taught
            where
                session_on >= {{ newest }} - {{ 7 * asked_weeks }}
                and session_on <= {{ newest }} + 14
                and {{ scope }}
        ) as sessions
        left join {{ import_days }} as imports
            on
                imports.recorded = 'sessions'
                and (sessions.created_at at time zone {{ zone }})::date = imports.created_on
        inner join lateral (
            select {{ weeks_back('sessions.session_on', newest) }} + back as week
            from generate_series(0, 2) as back
        ) as days
            on
                days.week between 0 and {{ asked_weeks - 1 }}
                and {{ newest }} - 7 * days.week <= sessions.session_on
                and {{ newest }} - 7 * days.week + 14 >= sessions.session_on
    ) as coming
    where scheduled_start > as_of
    group by {{ key }}, week
{%- endmacro %}
