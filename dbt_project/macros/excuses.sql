{#-
Sessions that people struck from what speaks against a tutor (ops.session_excuses). An excuse names
kinds; of these the session is neither an event nor one where an event could have been: it leaves
numerator and exposure. It stays a session.

Today's tables count the excuses in force, which stand with the session (fct_sessions.excused_kinds).
A past day counts those that were made, and not undone, by its end. So a table of past days adds to
int_tutor_days what was otherwise then: `as_known_then`.
-#}

{#- What no longer tells of a session that is excused, by kind: columns of fct_sessions, in order. -#}
{% macro excused_columns() -%}
    {{ return({
        'absence': ['status'],
        'reschedule': ['is_tutor_reschedule'],
        'lateness': ['late_minutes', 'is_late'],
        'quality': [
            'technical_issues', 'connection_quality', 'overall_session_score', 'session_score',
            'tutor_talk_ratio', 'student_talk_ratio', 'student_engagement_score',
            'tutor_enthusiasm_score', 'student_initiated_questions', 'student_frustration_count',
            'student_confusion_count', 'tutor_checks_understanding_count',
            'tutor_positive_reinforcement_count', 'open_ended_questions',
            'closed_ended_questions', 'student_on_screen_attention_pct',
            'student_visual_engagement_score', 'distraction_events_count',
            'tutor_uses_visual_aids', 'tutor_camera_on_pct', 'active_tab_focus_pct',
            'whiteboard_usage_minutes', 'screen_share_pct', 'messaging_app_detected',
            'gaming_detected', 'empathy_score', 'clarity_score', 'overall_sentiment',
            'student_sentiment', 'tutor_sentiment', 'student_satisfaction_rating',
            'satisfaction_score', 'student_satisfaction', 'would_recommend',
        ],
    }) }}
{%- endmacro %}

{% macro kinds_of_excuse() -%}
    (
        select
            made.tutor_id,
            made.session_id,
            made.excused_at,
            made.undone_at,
            each.kind
        from {{ our_table('ops', 'session_excuses') }} as made
        cross join lateral unnest(
            case made.kind
                when 'all' then array['absence', 'reschedule', 'lateness', 'quality']
                else array[made.kind]
            end
        ) as each (kind)
    )
{%- endmacro %}

{#- The kinds of each excused session, a row per session; `condition` says which excuses count. -#}
{% macro excused_sessions(condition) -%}
    (
        select
            tutor_id,
            session_id,
            array_agg(distinct kind order by kind) as kinds
        from {{ kinds_of_excuse() }} as excuses
        where {{ condition }}
        group by tutor_id, session_id
    )
{%- endmacro %}

{#- Whether anybody ever excused a session: where nobody did, past days need no more than others. -#}
{% macro has_excuses() -%}
    {%- if not execute -%} {{ return(true) }} {%- endif -%}
    {{ return(run_query(
        'select exists (select 1 from ' ~ our_table('ops', 'session_excuses') ~ ')'
    ).rows[0][0]) }}
{%- endmacro %}

{#-
A column of a session as it counts, where `kinds` is SQL of the kinds of which it is excused (NULL:
none). Someone absent who is excused neither came nor stayed away.
-#}
{% macro as_it_counts(column, value, kinds) -%}
    {%- for kind, columns in excused_columns().items() if column in columns %}
        {%- if column == 'status' -%}
    case
        when '{{ kind }}' = any({{ kinds }}) and {{ value }} in ('no_show_tutor', 'not_held')
            then 'excused'
        else {{ value }}
    end
        {%- else -%}
    case when '{{ kind }}' = any({{ kinds }}) then {{ 'false' if column == 'is_tutor_reschedule' }}
        {{- 'null' if column != 'is_tutor_reschedule' }} else {{ value }} end
        {%- endif -%}
    {%- else -%}
    {{ value }}
    {%- endfor -%}
{%- endmacro %}

{#-
Common table expressions of the excuses that past days count or counted otherwise than today's
tables do:

excuse_days    kinds of which a session was excused, from a day on until (not including) another
excuse_spans   per session, the days during which the same kinds held: known_from, known_until, kinds
then_and_now   what to add to int_tutor_days to have its sums as they were known at the end of a day in
               [known_from, known_until): per tutor, session_on and span

`scope` is a predicate on tutor_id.
-#}
{% macro as_known_then(scope) -%}
{{ excuse_spans(scope) }},

excused_then as not materialized (
    select
        taught.*,
        spans.known_from,
        spans.known_until,
        spans.kinds as kinds_then
    from excuse_spans as spans
    inner join {{ student_sessions(is_whole=true) }} as taught
        on
            spans.tutor_id = taught.tutor_id
            and spans.session_id = taught.session_id
            and spans.kinds is distinct from taught.excused_kinds
),

then_and_now as (
    select
        tutor_id,
        session_on,
        known_from,
        known_until
        {%- for name, entry in additive_measures().items() %},
        sum({{ name }}){{ '::bigint' if name.endswith('_sum') else '::integer' }} as {{ name }}
        {%- endfor %}
    from (
        {%- for kinds, sign in (('kinds_then', ''), ('excused_kinds', '-')) %}
        select
            tutor_id,
            session_on,
            known_from,
            known_until
            {%- for name, entry in additive_measures().items() %},
            {{ sign }}{{ measure_value(name, entry) }} as {{ name }}
            {%- endfor %}
        from (
            {{ sessions_to_measure('excused_then', kinds, ['known_from', 'known_until']) }}
        ) as sessions
        group by tutor_id, session_on, known_from, known_until
        {%- if not loop.last %}
        union all
        {%- endif %}
        {%- endfor %}
    ) as sums
    group by tutor_id, session_on, known_from, known_until
)
{%- endmacro %}

{#- The first two of these. -#}
{% macro excuse_spans(scope) -%}
excuse_days as (
    select
        excuses.tutor_id,
        excuses.session_id,
        excuses.kind,
        (excuses.excused_at at time zone {{ quote_text(pipeline_timezone()) }})::date as from_day,
        coalesce(
            (excuses.undone_at at time zone {{ quote_text(pipeline_timezone()) }})::date,
            'infinity'::date
        ) as until_day
    from {{ kinds_of_excuse() }} as excuses
    where {{ scope }}
),

excuse_spans as (
    select
        spans.tutor_id,
        spans.session_id,
        spans.known_from,
        spans.known_until,
        array_agg(distinct excuse_days.kind order by excuse_days.kind)
            filter (where excuse_days.kind is not null) as kinds
    from (
        select
            tutor_id,
            session_id,
            edge as known_from,
            lead(edge) over (partition by tutor_id, session_id order by edge) as known_until
        from (
            select tutor_id, session_id, '-infinity'::date as edge from excuse_days
            union distinct
            select tutor_id, session_id, from_day as edge from excuse_days
            union distinct
            select tutor_id, session_id, until_day as edge from excuse_days
            union distinct
            select tutor_id, session_id, 'infinity'::date as edge from excuse_days
        ) as edges
    ) as spans
    left join excuse_days
        on
            spans.tutor_id = excuse_days.tutor_id
            and spans.session_id = excuse_days.session_id
            and spans.known_from >= excuse_days.from_day
            and spans.known_from < excuse_days.until_day
    where spans.known_until is not null
    group by spans.tutor_id, spans.session_id, spans.known_from, spans.known_until
)
{%- endmacro %}

{#-
The sessions of the tutors of a relation of spans (tutor_id, known_from, known_until), once for each
of them, as they were known then. Needs the expressions of as_known_then.
-#}
{% macro sessions_as_known(spans) -%}
    select
        {%- for column in columns_of_sessions() if column != 'excused_kinds' %}
        {{ as_it_counts(column, 'whole.' ~ column, 'then_excused.kinds') }} as {{ column }},
        {%- endfor %}
        {{ 'whole.is_of_session,' if has_groups() }}
        spans.known_from,
        spans.known_until
    from {{ student_sessions(is_whole=true) }} as whole
    inner join {{ spans }} as spans
        on whole.tutor_id = spans.tutor_id and spans.known_until is not null
    left join excuse_spans as then_excused
        on
            whole.tutor_id = then_excused.tutor_id
            and whole.session_id = then_excused.session_id
            and spans.known_from >= then_excused.known_from
            and spans.known_from < then_excused.known_until
{%- endmacro %}
