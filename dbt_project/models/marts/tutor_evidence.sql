{{ config(
    materialized='scoped',
    indexes=[{'columns': ['tutor_id'], 'unique': true}],
    meta={'distribute_by': 'tutor_id', 'rebuild_when': 'every_row_is_new'},
) }}

{#-
What of a tutor may tell that the tutor is about to leave: what is so now beside what was usual for this
tutor before, a row per tutor and asked day. Scores read it; nothing here says what is good or bad. Every
column is defined in models/marts/_evidence__models.yml.

What the head sets is of today; tutor_evidence_history takes this text for other days.

newest        SQL date: the newest of the asked days; the others lie 7, 14, … days before it
asked_weeks   how many days are asked
now           SQL moment of the newest day; none: the end of that day
scope         predicate on tutor_id

Days are counted in whole weeks back from each asked day. The asked days lie whole weeks apart, so a week
is added up once and serves every asked day that looks back to it. "Before" is the 8 weeks before the
recent days: of columns of 7 and 14 days those from day 15 on, of columns of 28 days those from day 29 on.
A report or a bill counts in the week in which it became known.

0. tutors         who is asked about, and since when the tutor could be seen
1. taught         sessions by week
2. billed, logged_in, offered, ahead   what other tables say, by week
   recorded       of past days: when what they rest on was recorded last
3. calendar       every tutor and week
   known          of past days: what excuses changed since (macros/excuses.sql)
4. seen           this week and the weeks before it
-#}
{%- set header = refresh() -%}
{%- set newest = given('newest', header.as_of_on) -%}
{%- set asked_weeks = given('asked_weeks', 1) -%}
{%- set now = given('now', header.as_of) -%}
{%- set scope = given('scope', in_scope('tutor_id')) -%}
{%- set weeks = asked_weeks + 12 -%}
{%- set since = '(' ~ newest ~ ' - ' ~ 7 * weeks ~ ')' -%}
{%- set marks = ('score', 'rating', 'engagement', 'sentiment') -%}
{#- What a week counts, and the measure that it adds up. -#}
{%- set counts = {
    'reschedules': 'tutor_reschedule_count', 'reschedules_due': 'reschedule_due_count',
    'no_shows': 'no_show_tutor_count', 'no_shows_due': 'absence_due_count',
    'cancelled': 'cancelled_count', 'not_held': 'not_held_count',
    'lates': 'late_count', 'starts_known': 'late_minutes_count',
} -%}
{%- set is_excused = now is none and has_excuses() -%}
{%- set logins = built(
    ref('int_tutor_logins'), 'null::text as tutor_id, null::date as login_on'
) -%}
{%- set import_days = built(
    ref('int_import_days'), 'null::text as recorded, null::date as created_on'
) -%}
{%- set zone = quote_text(pipeline_timezone()) -%}

with

platform_days as materialized (
    select min(session_on) as first_on from {{ ref('int_tutor_days') }}
),

tutors as (
    select
        profiles.tutor_id,
        profiles.is_active,
        greatest(
            least(
                coalesce(
                    profiles.member_since,
                    (profiles.user_created_at at time zone {{ zone }})::date
                ),
                (
                    select min(tutor_days.session_on) from {{ ref('int_tutor_days') }} as tutor_days
                    where tutor_days.tutor_id = profiles.tutor_id
                )
            ),
            (select platform_days.first_on from platform_days)
        ) as seen_since
    from {{ ref('dim_tutors') }} as profiles
    where {{ scope }}
),

taught as (
    select
        tutor_id,
        {{ weeks_back('session_on', newest) }} as week,
        sum(sessions_count)::integer as sessions,
        sum(completed_count)::integer as completed,
        {%- for name, measure in counts.items() %}
        sum({{ measure }})::integer as {{ name }},
        {%- endfor %}
        {%- for mark in marks %}
        sum({{ mark }}_sum)::double precision as {{ mark }}_sum,
        sum({{ mark }}_count)::integer as {{ mark }}_count,
        {%- endfor %}
        max(session_on) filter (where completed_count > 0) as last_completed_on
    from {{ ref('int_tutor_days') }}
    where session_on > {{ since }} and session_on <= {{ newest }} and {{ scope }}
    group by tutor_id, week
),

billed as (
    select
        tutor_id,
        {{ weeks_back('known_on', newest) }} as week,
        sum(earned)::double precision as earned
    from (
        select
            tutor_id,
            greatest(session_on, (billed_at at time zone {{ zone }})::date) as known_on,
            (billed_amount - coalesce(refunded_amount, 0))::numeric as earned
        from {{ ref('fct_sessions') }}
        where
            session_on > {{ since }}
            and session_on <= {{ newest }}
            and billed_amount is not null
            {%- if now is not none %}
            and coalesce(billed_at, scheduled_start) <= {{ now }}
            {%- endif %}
            and {{ scope }}
    ) as bills
    where known_on <= {{ newest }}
    group by tutor_id, week
),

logged_in as (
    select
        logins.tutor_id,
        {{ weeks_back('logins.login_on', newest) }} as week,
        count(*)::integer as login_days
    from {{ logins }} as logins
    where logins.login_on > {{ since }} and logins.login_on <= {{ newest }} and {{ scope }}
    group by logins.tutor_id, week
),

-- The newest login of anybody: where it is days ago, logins were not read since, and are not known.
logins_read as (
    select
        {{ weeks_back('logins.login_on', newest) }} as week,
        max(logins.login_on) as read_until
    from {{ logins }} as logins
    where logins.login_on > {{ newest }} - {{ 7 * asked_weeks }} and logins.login_on <= {{ newest }}
    group by week
),

-- A report that comes later than in the week after its own is a correction or a copy: what it says
-- of then was not known then, and it says nothing of now. The moment of an import is none.
reports as (
    select
        *,
        {{ weeks_back('known_on', newest) }} as week
    from (
        select
            tutor_id,
            week_start,
            coalesce((told_at at time zone {{ zone }})::date, week_start) as reported_on,
            greatest(week_start, (told_at at time zone {{ zone }})::date) as known_on,
            told_at,
            hours,
            reply_hours,
            instant
        from (
            select
                stated.tutor_id,
                stated.week_start,
                case when imports.created_on is null then stated.told_at end as told_at,
                stated.hours,
                stated.reply_hours,
                stated.instant
            from (
                select
                    tutor_id,
                    week_start,
                    {{ within_contract('tutor_availability', 'reported_at') }} as told_at,
                    {{ within_contract('tutor_availability', 'available_hours') }}::numeric
                        as hours,
                    {{ within_contract('tutor_availability', 'avg_response_time_hours') }}::numeric
                        as reply_hours,
                    instant_book_enabled::integer as instant
                from {{ staged('tutor_availability') }} as offered
                where
                    week_start > {{ since }}
                    and week_start <= {{ newest }} + 7
                    and {{ scope }}
            ) as stated
            left join {{ import_days }} as imports
                on
                    imports.recorded = 'availability'
                    and (stated.told_at at time zone {{ zone }})::date = imports.created_on
        ) as told
        {%- if now is not none %}
        where coalesce(told_at <= {{ now }}, true)
        {%- endif %}
    ) as known
    where known_on - week_start <= 13
),

-- Of a week of ours, the newest week that was reported in it, as reported last.
offered as (
    select distinct on (tutor_id, week)
        tutor_id,
        week,
        hours::double precision as hours,
        reply_hours::double precision as reply_hours,
        instant::double precision as instant
    from reports
    where known_on <= {{ newest }}
    order by
        tutor_id asc,
        week asc,
        week_start desc,
        told_at desc nulls last,
        hours asc,
        reply_hours asc,
        instant asc
),

-- What is already said of the week after an asked day.
offered_next as (
    select
        tutor_id,
        week,
        avg(hours)::double precision as hours
    from (
        select distinct on (tutor_id, week_start)
            tutor_id,
            {{ weeks_back('week_start', newest) }} + 1 as week,
            hours
        from reports
        where
            told_at is not null
            and reported_on <= {{ newest }} - 7 * ({{ weeks_back('week_start', newest) }} + 1)
        order by tutor_id asc, week_start asc, told_at desc, hours asc
    ) as newest_reports
    group by tutor_id, week
),

ahead as (
    {{ sessions_ahead('tutor_id', newest, asked_weeks, now, scope) }}
),

{%- if now is none %}

-- When what a past row rests on was recorded last: whoever looked earlier saw another row.
recorded as (
    select
        tutor_id,
        week,
        max(recorded_at) as recorded_at
    from (
        select
            tutor_id,
            {{ weeks_back('session_on', newest) }} as week,
            greatest(created_at, audio_created_at, feedback_submitted_at, billed_at) as recorded_at
        from {{ ref('fct_sessions') }}
        where session_on > {{ since }} and session_on <= {{ newest }} and {{ scope }}
        union all
        select
            tutor_id,
            {{ weeks_back('week_start', newest) }} as week,
            {{ within_contract('tutor_availability', 'reported_at') }} as recorded_at
        from {{ staged('tutor_availability') }} as offered
        where week_start > {{ since }} and week_start <= {{ newest }} and {{ scope }}
    ) as moments
    group by tutor_id, week
),
{%- endif %}

calendar as (
    select
        tutors.tutor_id,
        tutors.is_active,
        tutors.seen_since,
        series.week,
        {{ newest }} - 7 * series.week as as_of_date
    from tutors
    cross join generate_series(0, {{ weeks - 1 }}) as series (week)
),

{% if is_excused -%}
{{ as_known_then(scope) }},

-- What excuses that were not yet made, or were undone later, change in a past row.
known as (
    select
        calendar.tutor_id,
        calendar.week
        {%- for name, ages in (('28d', (0, 28)), ('before', (28, 84))) %}
        {%- set then %}
            where calendar.as_of_date - sums.session_on >= {{ ages[0] }}
            and calendar.as_of_date - sums.session_on < {{ ages[1] }}
        {%- endset %}
        {%- for event, measure in counts.items() %},
        sum(sums.{{ measure }}) filter ({{ then }})::integer as {{ event }}_{{ name }}
        {%- endfor %}
        {%- for mark in marks %},
        sum(sums.{{ mark }}_sum) filter ({{ then }})::double precision
            as {{ mark }}_sum_{{ name }},
        sum(sums.{{ mark }}_count) filter ({{ then }})::integer as {{ mark }}_count_{{ name }}
        {%- endfor %}
        {%- endfor %}
    from calendar
    inner join then_and_now as sums
        on
            calendar.tutor_id = sums.tutor_id
            and calendar.as_of_date >= sums.session_on
            and calendar.as_of_date >= sums.known_from
            and calendar.as_of_date < sums.known_until
    where calendar.week < {{ asked_weeks }}
    group by calendar.tutor_id, calendar.week
),

{% endif -%}
seen as (
    select
        calendar.tutor_id,
        calendar.is_active,
        calendar.week,
        calendar.as_of_date,
        calendar.as_of_date - calendar.seen_since + 1 as days_seen,
        max(taught.last_completed_on) over onwards as last_completed_on,

        coalesce(taught.completed, 0) as completed_7d,
        sum(taught.completed) over recent_14 as completed_14d,
        sum(taught.completed) over recent_28 as completed_28d,
        sum(taught.completed) over before_14 as completed_before_14d,
        sum(taught.completed) over before_28 as completed_before_28d,

        sum(taught.sessions) over recent_28 as sessions_28d,
        sum(taught.sessions) over before_28 as sessions_before,
        {%- for days, name in (('recent_28', '28d'), ('before_28', 'before')) %}
        {%- for event in counts %}
        sum(taught.{{ event }}) over {{ days }}
            {{- ' + coalesce(known.' ~ event ~ '_' ~ name ~ ', 0)' if is_excused }}
            as {{ event }}_{{ name }},
        {%- endfor %}
        {%- for mark in marks %}
        (
            sum(taught.{{ mark }}_sum) over {{ days }}
            {{- ' + coalesce(known.' ~ mark ~ '_sum_' ~ name ~ ', 0)' if is_excused }}
        ) / 1000000.0 as {{ mark }}_sum_{{ name }},
        sum(taught.{{ mark }}_count) over {{ days }}
            {{- ' + coalesce(known.' ~ mark ~ '_count_' ~ name ~ ', 0)' if is_excused }}
            as {{ mark }}_count_{{ name }},
        {%- endfor %}
        {%- endfor %}

        sum(billed.earned) over recent_28 as earned_28d,
        sum(billed.earned) over before_28 as earned_before,

        sum(logged_in.login_days) over recent_14 as login_days_14d,
        sum(logged_in.login_days) over before_14 as login_days_before,
        calendar.as_of_date - logins_read.read_until <= 3 as are_logins_read,

        offered.hours as hours_this_week,
        offered_next.hours as hours_next_week,
        avg(offered.hours) over usual_weeks as usual_hours,
        count(offered.hours) over usual_weeks as usual_hours_weeks,
        avg(offered.reply_hours) over recent_14 as reply_hours_14d,
        avg(offered.reply_hours) over before_14 as reply_hours_before,
        count(offered.reply_hours) over before_14 as reply_hours_weeks,
        avg(offered.instant) over recent_14 as instant_14d,
        avg(offered.instant) over before_14 as instant_before,
        count(offered.instant) over before_14 as instant_weeks,

        coalesce(ahead.booked, 0) as booked_ahead,
        coalesce(ahead.unclear, 0) as booked_unclear
        {%- if now is none %},
        max(recorded.recorded_at) over all_84 as recorded_until
        {%- endif %}
    from calendar
    {%- if now is none %}
    left join recorded
        on calendar.tutor_id = recorded.tutor_id and calendar.week = recorded.week
    {%- endif %}
    {%- for relation in ('taught', 'billed', 'logged_in', 'offered', 'offered_next', 'ahead') %}
    left join {{ relation }}
        on calendar.tutor_id = {{ relation }}.tutor_id and calendar.week = {{ relation }}.week
    {%- endfor %}
    left join logins_read on calendar.week = logins_read.week
    {%- if is_excused %}
    left join known on calendar.tutor_id = known.tutor_id and calendar.week = known.week
    {%- endif %}
    window
        onwards as (
            partition by calendar.tutor_id order by calendar.week
            rows between current row and unbounded following
        ),
        recent_14 as (
            partition by calendar.tutor_id order by calendar.week
            rows between current row and 1 following
        ),
        recent_28 as (
            partition by calendar.tutor_id order by calendar.week
            rows between current row and 3 following
        ),
        before_14 as (
            partition by calendar.tutor_id order by calendar.week
            rows between 2 following and 9 following
        ),
        before_28 as (
            partition by calendar.tutor_id order by calendar.week
            rows between 4 following and 11 following
        ),
        usual_weeks as (
            partition by calendar.tutor_id order by calendar.week
            rows between 1 following and 8 following
        )
        {%- if now is none %},
        all_84 as (
            partition by calendar.tutor_id order by calendar.week
            rows between current row and 11 following
        )
        {%- endif %}
)

select
    tutor_id,
    is_active,
    {% if now is not none %}{{ now }}{% else -%}
    ((as_of_date + 1)::timestamp at time zone {{ zone }}) - interval '1 microsecond'
    {%- endif %} as as_of,
    as_of_date,
    greatest(days_seen, 1)::integer as days_seen,
    (as_of_date - last_completed_on)::integer as days_since_completed,
    {%- for days in ('7d', '14d', '28d', 'before_14d', 'before_28d') %}
    coalesce(completed_{{ days }}, 0)::integer as completed_{{ days }},
    {%- endfor %}
    {%- for event in ['sessions'] + counts.keys() | list if event != 'not_held' %}
    {%- for days in ('28d', 'before') %}
    {{ known_count(event, days, ('no_shows', 'cancelled')) }} as {{ event }}_{{ days }},
    {%- endfor %}
    {%- endfor %}
    {%- for mark in marks %}
    {%- for days in ('28d', 'before') %}
    {{ mark }}_sum_{{ days }} / nullif({{ mark }}_count_{{ days }}, 0) as {{ mark }}_{{ days }},
    coalesce({{ mark }}_count_{{ days }}, 0)::integer as {{ mark }}_{{ days }}_n,
    {%- endfor %}
    {%- endfor %}
    coalesce(earned_28d, 0) as earned_28d,
    coalesce(earned_before, 0) as earned_before,
    case when are_logins_read then coalesce(login_days_14d, 0)::integer end as login_days_14d,
    case when are_logins_read then coalesce(login_days_before, 0)::integer end
        as login_days_before,
    hours_this_week,
    hours_next_week,
    usual_hours,
    usual_hours_weeks::integer as usual_hours_weeks,
    reply_hours_14d,
    reply_hours_before,
    reply_hours_weeks::integer as reply_hours_weeks,
    instant_14d,
    instant_before,
    instant_weeks::integer as instant_weeks,
    booked_ahead::integer as booked_ahead,
    booked_unclear::integer as booked_unclear
    {%- if now is none %},
    recorded_until
    {%- endif %}
from seen
where
    week < {{ asked_weeks }}
    {%- if now is none %}
    and days_seen > 0
    and as_of_date - last_completed_on <= {{ var('asked_silence_days') }}
    {%- else %}
    and is_active
    {%- endif %}
