{#-
What tutor_aggregates and its history share. What a metric is says its entry (tutor_metrics.yml); a
column of which the entry says no more than its name is written here or in `measured` of either.
-#}

{#-
The entries, by column: properties of this macro, because a unit test knows those, and no graph.
While dbt parses there are none yet.
-#}
{% macro tutor_metrics() -%}
    {{ return(tutor_metrics.macro.meta or {'int_tutor_days': {}, 'tutor_aggregates': {}}) }}
{%- endmacro %}

{#- What of a session a measure reads. The caller goes on with further conditions. `kinds`: SQL of the
    kinds of which the session is excused, where `sessions` does not leave these out itself, and
    columns that go on with it. -#}
{% macro sessions_to_measure(sessions, kinds=none, further=()) -%}
    select
        {%- if kinds is none %}
        *,
        {%- else %}
        {%- for column in columns_of_sessions() if column != 'excused_kinds' %}
        {{ as_it_counts(column, column, kinds) }} as {{ column }},
        {%- endfor %}
        {%- for column, own in ratings_of_students().items() %}
        {{ as_it_counts(column, own, kinds) }} as {{ own }},
        {%- endfor %}
        {%- for column in further %}
        {{ column }},
        {%- endfor %}
        {{ kinds }} as excused_kinds,
        {{ 'is_of_session,' if has_groups() }}
        {%- endif %}
        status = 'completed' as is_completed,
        status = 'completed' and is_first_session as is_completed_first,
        next_session_at <= {{ refresh()['as_of'] }} as is_followed,
        (next_session_at at time zone '{{ pipeline_timezone() }}')::date - session_on
            as days_to_next,
        date_part('isodow', session_on) >= 6 as is_on_weekend
    from {{ sessions }}
    where
        scheduled_start <= {{ refresh()['as_of'] }}
        and status not in ('scheduled', 'in_progress')
{%- endmacro %}

{#- SQL of a measure over a group of these rows. -#}
{% macro measure_value(name, entry) -%}
    {%- set condition = entry.count or entry.where -%}
    {%- if condition and entry.of != 'students' -%}
        {%- set condition = of_sessions(condition) -%}
    {%- endif -%}
    {%- if entry.count -%}
        count(*) filter (where {{ condition }})::integer
    {%- elif entry.known -%}
        count({{ entry.known }}) filter (where {{ condition }})::integer
    {%- elif entry.sum -%}
        coalesce(sum({{ millionths(entry.sum) }}) filter (where {{ condition }}), 0)::bigint
    {%- else -%}
        {{ entry.expr or name }}
    {%- endif -%}
{%- endmacro %}

{% macro additive_measures() -%}
    {%- set found = {} -%}
    {%- for name, entry in tutor_metrics()['int_tutor_days'].items()
        if entry.count or entry.known or entry.sum -%}
        {%- do found.update({name: entry}) -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}

{% macro windows_of_measures() -%}
    {%- set used = {} -%}
    {%- for measure, entry in tutor_metrics()['int_tutor_days'].items() -%}
        {%- do used.update({measure: entry.get('windows', [])}) -%}
    {%- endfor -%}
    {%- for entry in tutor_metrics()['tutor_aggregates'].values() -%}
        {%- set measures = [entry.count, entry.observed, entry.unless] -%}
        {%- set measures = measures + entry.get('rate', []) | list -%}
        {%- for name in (entry.average, entry.change) if name -%}
            {%- do measures.extend([name ~ '_sum', name ~ '_count']) -%}
        {%- endfor -%}
        {%- for measure in measures if measure in used -%}
            {%- for window in (entry.window, entry.since) if window -%}
                {%- do used.update({measure: (used[measure] + [window]) | unique | list}) -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- for measure in used.keys() | list if not used[measure] -%}
        {%- do used.pop(measure) -%}
    {%- endfor -%}
    {{ return(used) }}
{%- endmacro %}

{% macro window_sums(as_of, as_of_on, scope) -%}
{%- set measures = windows_of_measures() -%}
bands as (
    select
        tutor_id,
        case
            {%- for age in age_bands() %}
            when session_on > {{ as_of_on }} - {{ age }} then {{ loop.index0 }}
            {%- endfor %}
            else {{ age_bands() | length }}
        end as band,
        {%- for measure in measures %}
        {%- if measure.endswith('_sum') %}
        sum({{ measure }}::double precision) as {{ measure }},
        {%- else %}
        sum({{ measure }})::integer as {{ measure }},
        {%- endif %}
        {%- endfor %}
        count(*) filter (where completed_count > 0) as active_days,
        max(session_on) filter (where completed_count > 0) as last_session_on,
        max(last_completed_at) as last_completed_at
    from {{ ref('int_tutor_days') }}
    where session_on <= {{ as_of_on }} and {{ scope }}
    group by 1, 2
),

windows as (
    select
        tutors.tutor_id,
        {{ as_of }} as as_of,
        {{ as_of_on }} as as_of_date,
        {%- for measure, used in measures.items() %}
        {%- for window in used %}
        coalesce(sum({{ measure }}) filter (where {{ bands_of(window) }}), 0)
            {{- '::integer' if not measure.endswith('_sum') }} as {{ measure }}_{{ window }},
        {%- endfor %}
        {%- endfor %}
        coalesce(sum(active_days) filter (where {{ bands_of('30d') }}), 0)::integer
            as active_days_30d,
        max(last_session_on) as last_session_on,
        max(last_completed_at) as last_session_at
    from tutors
    left join bands on tutors.tutor_id = bands.tutor_id
    group by tutors.tutor_id
)
{%- endmacro %}

{% macro tutor_details(has_evidence) -%}
    select
        gathered.*,
        coalesce(cardinality(scores), 0) as scored_sessions,
        least(coalesce(cardinality(talk_ratios), 0), {{ var('talk_ratio_sessions') }})
            as talk_ratio_last5_n,
        quality.overall_score,
        quality.low_score_streak,
        quality.session_score_stddev_30d,
        {%- if has_evidence %}
        scored_ids[1:least(quality.low_score_streak, {{ var('evidence_sessions') }})]
            as low_score_session_ids,
        declining.declining_session_ids,
        {%- endif %}
        talks.talk_ratio_last5,
        stars.rating_volatility_30d
    from gathered
    cross join lateral (
        select
            (
                sum({{ millionths('score') }}::bigint * {{ decay_weight('position') }})
                / sum({{ decay_weight('position') }})
                / 1000000
            )::double precision as overall_score,
            coalesce(
                min(position) filter (where score >= {{ var('low_score') }}) - 1,
                cardinality(scores)
            )::integer as low_score_streak,
            stddev_samp(score) filter (where position <= scored_30d) as session_score_stddev_30d
        from unnest(scores) with ordinality as newest (score, position)
    ) as quality
    {%- if has_evidence %}
    cross join lateral (
        select array_agg(session_id order by position) as declining_session_ids
        from (
            select
                session_id,
                position
            from unnest(scored_ids[1:scored_14d], scores[1:scored_14d])
                with ordinality as newest (session_id, score, position)
            order by score, position
            limit {{ var('evidence_sessions') }}
        ) as lowest
    ) as declining
    {%- endif %}
    cross join lateral (
        select
            (
                sum({{ millionths('ratio') }}) / ({{ var('talk_ratio_sessions') }} * 1000000.0)
            )::double precision as talk_ratio_last5
        from unnest(talk_ratios[1:{{ var('talk_ratio_sessions') }}]) as newest (ratio)
    ) as talks
    cross join lateral (
        select stddev_samp(rating) as rating_volatility_30d
        from unnest(ratings_30d) as newest (rating)
    ) as stars
{%- endmacro %}

{#-
Beside what entries say: whether a session was rebooked is told by the platform's column, where it
has one; reschedules count where the platform records them.
-#}
{% macro wide_row(has_reschedules, has_evidence) -%}
{%- set min_sessions = var('high_reschedule_min_sessions') -%}
{%- if platform_has('sessions', 'follow_up_booked') -%}
    {%- set rebooked, due, suffix = 'follow_up_count', 'follow_up_known_count', '' -%}
{%- else -%}
    {%- set rebooked, due, suffix = 'pair_rebooked_count', 'pair_count', 'matured_' -%}
{%- endif -%}
derived as (
    select
        *,
        {%- for window in ('90d', 'all') %}
        {{ rebooked }}_{{ suffix }}{{ window }} as rebooked_count_{{ window }},
        {{ due }}_{{ suffix }}{{ window }} as rebook_due_count_{{ window }},
        {%- endfor %}
        {%- for window in ('7d', '30d', '90d') %}
        case when {{ has_reschedules }} then tutor_reschedule_count_{{ window }} end
            as known_reschedule_count_{{ window }},
        {%- endfor %}
        case
            {%- for window in ('7d', '30d', '90d') %}
            when
                {{ has_reschedules }}
                and reschedule_due_count_{{ window }} >= {{ min_sessions }}
                and {{ window_rate(
                    'tutor_reschedule_count_' ~ window, 'reschedule_due_count_' ~ window
                ) }} > {{ var('high_reschedule_rate') }}
                then true
            {%- endfor %}
            when {{ has_reschedules }} and reschedule_due_count_90d >= {{ min_sessions }} then false
        end as is_high_reschedule,
        case
            when least(score_count_30d, score_count_prior_30d) >= {{ var('min_scored_30d') }}
                then (
                    score_sum_30d * score_count_prior_30d - score_sum_prior_30d * score_count_30d
                ) / nullif(score_sum_prior_30d * score_count_30d, 0)
        end as score_change_pct_30d,
        {{ window_average('rating', '30d') }} as avg_rating_30d,
        {{ window_average('first_rating', '90d') }} as first_session_avg_rating_90d
    from measured
)

select
    {%- for column, entry in tutor_metrics()['tutor_aggregates'].items()
        if has_evidence or not column.endswith('_session_ids') %}
    {{ metric_value(column, entry) }} as {{ column }}{{ ',' if not loop.last }}
    {%- endfor %}
from derived
{%- endmacro %}

{% macro metric_value(name, entry) -%}
    {%- set window = '_' ~ entry.window -%}
    {%- if entry.unless -%}
        case when {{ entry.unless ~ window }} = 0 then {# -#}
    {%- endif -%}
    {%- if entry.average or entry.change -%}
        {%- set measured = (entry.average or entry.change) ~ '_count' -%}
        {%- if entry.at_least -%}
            case
                when least(
                    {{ measured ~ window }}{{ ', ' ~ measured ~ '_' ~ entry.since if entry.since }}
                ) >= {{ var(entry.at_least) }} then {# -#}
        {%- endif -%}
        {%- if entry.average -%}
            {{ window_average(entry.average, entry.window) }}
        {%- else -%}
            {{ window_change(entry.change, entry.window, entry.since) }}
        {%- endif -%}
        {{ ' end' if entry.at_least }}
    {%- elif entry.rate -%}
        {{ window_rate(entry.rate[0] ~ window, entry.rate[1] ~ window) }}
    {%- elif entry.observed -%}
        case when {{ entry.observed ~ window }} > 0 then {{ entry.count ~ window }} end
    {%- elif entry.count -%}
        {{ entry.count ~ window }}
    {%- elif entry.evidence -%}
        coalesce({{ name }}, '{}')
    {%- else -%}
        {{ entry.expr or name }}
    {%- endif -%}
    {{ ' end' if entry.unless }}
{%- endmacro %}

{% macro window_average(name, window) -%}
    {{ name }}_sum_{{ window }}
        / nullif({{ name }}_count_{{ window }} * 1000000.0::double precision, 0)
{%- endmacro %}

{% macro window_rate(part, whole) -%}
    {{ part }}::double precision / nullif({{ whole }}, 0)
{%- endmacro %}

{% macro window_change(name, window, prior) -%}
    (
        {{ name }}_sum_{{ window }} * {{ name }}_count_{{ prior }}
        - {{ name }}_sum_{{ prior }} * {{ name }}_count_{{ window }}
    ) / nullif(
        {{ name }}_count_{{ window }}::double precision * {{ name }}_count_{{ prior }} * 1000000, 0
    )
{%- endmacro %}

{% macro age_windows() -%}
    {{ return({
        '7d': (0, 7),
        '14d': (0, 14),
        '30d': (0, 30),
        '60d': (0, 60),
        '90d': (0, 90),
        'all': (0, none),
        'prior_14d': (14, 28),
        'prior_30d': (30, 60),
        'matured_90d': (var('rebook_days'), 90),
        'matured_all': (var('rebook_days'), none),
    }) }}
{%- endmacro %}

{% macro age_bands() -%}
    {%- set edges = [] -%}
    {%- for ages in age_windows().values() -%}
        {%- for age in ages if age -%} {%- do edges.append(age) -%} {%- endfor -%}
    {%- endfor -%}
    {{ return(edges | unique | sort) }}
{%- endmacro %}

{% macro bands_of(window) -%}
    {%- set edges = [0] + age_bands() -%}
    {%- set first_age, end_age = age_windows()[window] -%}
    {%- if end_age is none -%}
        {{ return('band >= ' ~ edges.index(first_age)) }}
    {%- endif -%}
    {{ return('band between ' ~ edges.index(first_age) ~ ' and ' ~ (edges.index(end_age) - 1)) }}
{%- endmacro %}

{% macro tutor_series() -%}
    {{ return({
        'scores': ('session_score', var('lookback_days')),
        'talk_ratios': ('tutor_talk_ratio', var('lookback_days')),
        'ratings_30d': ('student_satisfaction_rating', 30),
    }) }}
{%- endmacro %}

{#-
Counts of sessions on some days only, as the pair's next session decides: {count: (condition,
first day, day after the last)}. The last session of each pair within a window: as many as there
are students.
-#}
{% macro tutor_spans() -%}
    {{ return({
        'distinct_students_30d': (
            'student_id is not null', 'session_on', 'least(session_on + 30, next_session_on)',
        ),
        'distinct_students_30d_n': (
            of_sessions('student_id is not null'), 'session_on', 'session_on + 30',
        ),
        'convert_due': (
            'student_id is not null and is_completed_first',
            'session_on + ' ~ var('rebook_days'), 'session_on + ' ~ var('lookback_days'),
        ),
    }) }}
{%- endmacro %}

{#-
First sessions after the day `after` and up to the day `until`, with the moments at which their pair
had another session: one that was held by then, or one that lay ahead, booked by then and not yet
called off. A session that does not say when it was booked was, as far as is known, when its row last
changed; one still planned that says neither, always. When a session was called off is when its row
last changed.
-#}
{% macro followed_first_sessions(after, until, scope) -%}
    select
        tutor_id,
        session_id,
        student_id,
        session_on,
        range_agg(tstzrange(booked_at, gone_at)) as followed_during
    from (
        select
            firsts.tutor_id,
            firsts.session_id,
            firsts.student_id,
            firsts.session_on,
            least(
                later.scheduled_start,
                coalesce(
                    later.created_at,
                    later.updated_at,
                    case when later.status = 'scheduled' then '-infinity'::timestamptz end
                )
            ) as booked_at,
            case
                when later.status in ('completed', 'in_progress') then 'infinity'
                when later.status = 'scheduled' then later.scheduled_start
                when later.updated_at is not null
                    then least(later.updated_at, later.scheduled_start)
            end as gone_at
        from (
            select * from {{ student_sessions(is_whole=true) }} as taught
            where
                session_on > {{ after }}
                and session_on <= {{ until }}
                and status = 'completed'
                and is_first_session
                and student_id is not null
                and {{ scope }}
        ) as firsts
        inner join (
            select * from {{ student_sessions(is_whole=true) }} as taught
            where session_on > {{ after }} and {{ scope }}
        ) as later
            on
                firsts.tutor_id = later.tutor_id
                and firsts.student_id = later.student_id
                and (firsts.scheduled_start, firsts.session_id)
                < (later.scheduled_start, later.session_id)
    ) as later_sessions
    where booked_at < gone_at
    group by tutor_id, session_id, student_id, session_on
{%- endmacro %}

{% macro newest_first() -%}
    order by session_on desc, scheduled_start desc, session_id desc
{%- endmacro %}

{% macro decay_weight(rank) -%}
    (array[
    {%- for n in range(var('overall_score_sessions')) -%}
        {{ (var('score_decay') ** n * 1000000000) | round | int }}{{ ', ' if not loop.last }}
    {%- endfor -%}
    ]::bigint[])[{{ rank }}]
{%- endmacro %}
