{#-
The tables that hold more about a session: [{name, columns, renamed, recency}]. `recency` is the
column that tells the newest of several rows; columns whose name says too little are renamed.
-#}
{% macro session_parts() -%}
    {%- set tables = {
        'audio': ['session_audio_metrics', 'created_at', {'created_at': 'audio_created_at'}],
        'video': ['session_video_metrics', none, {}],
        'screen': ['session_screen_metrics', none, {}],
        'transcript': ['session_transcript_metrics', none, {}],
        'feedback': ['session_feedback', 'submitted_at', {'submitted_at': 'feedback_submitted_at'}],
        'billing': ['session_billing', 'billed_at', {
            'amount': 'billed_amount', 'tier': 'billing_tier',
        }],
    } -%}
    {%- set parts = [] -%}
    {%- for name, (table, recency, renamed) in tables.items() -%}
        {%- set columns = platform_contract(table).columns.keys() | list if execute else [] -%}
        {%- do parts.append({
            'name': name, 'table': table, 'recency': recency, 'renamed': renamed,
            'columns': columns | reject('equalto', 'session_id') | list,
        }) -%}
    {%- endfor -%}
    {{ return(parts) }}
{%- endmacro %}

{#-
The staged rows of one such table, one per session. Where the platform does not promise one, the
newest wins, and between equals the smallest as text: every run picks the same.
-#}
{% macro one_per_session(part, scoped) -%}
    {%- set is_unique = platform_is_unique(part.table, 'session_id') -%}
    select {{ '' if is_unique else 'distinct on (staged.session_id) ' }}staged.*
    from {{ staged(part.table) }} as staged
    {%- if scoped %}
    where staged.session_id in (select incoming.id from incoming)
    {%- endif %}
    {%- if not is_unique %}
    order by
        staged.session_id,
        {{ 'staged.' ~ part.recency ~ ' desc nulls last,' if part.recency }}
        staged::text
    {%- endif %}
{%- endmacro %}

{#- Whether the platform says who takes part in a session: lessons may then have several students. -#}
{% macro has_groups() -%}
    {{ return(
        platform_has('session_students', 'session_id')
        and platform_has('session_students', 'student_id')
    ) }}
{%- endmacro %}

{#-
The lists of students, a row per session and student: a list may name a student twice, and who came
on either line did. With whether a line breaks the contract.
-#}
{% macro listed_students(condition) -%}
    {%- set rating = within_contract('session_students', 'student_satisfaction_rating') -%}
    select
        session_id,
        student_id,
        bool_or(attended) as attended,
        bool_or(is_first) as is_first,
        avg({{ rating }}::numeric) as rating,
        bool_or(student_satisfaction_rating is not null and {{ rating }} is null) as is_rating_wrong,
        {%- if 'attended' in text_columns('session_students') %}
        bool_or(attended is null and trim(attended_given) <> '') as is_attendance_unknown
        {%- else %}
        false as is_attendance_unknown
        {%- endif %}
    from {{ staged('session_students') }} as lines
    where session_id is not null and {{ condition }}
    group by session_id, student_id
{%- endmacro %}

{#-
What a session's list says of it, a row per session: the mean of the stars, whether anybody came
(NULL: nobody is known to have come, and it is not noted of all), whether it is anybody's first,
what is wrong.
-#}
{% macro groups_of_sessions(scoped) -%}
    select
        session_id,
        avg(rating)::double precision as rating,
        case when bool_or(attended) then true when count(*) = count(attended) then false end as came,
        bool_or(is_first) as is_first,
        bool_or(is_rating_wrong) as is_rating_of_student_wrong,
        bool_or(is_attendance_unknown) as is_attendance_unknown,
        bool_or(student_id is null or not {{ is_usable_id('student_id') }})
            as is_student_of_group_missing,
        bool_or(
            student_id is not null
            and not exists (
                select 1 from students as known where listed.student_id = known.student_id
            )
        )
        and exists (select 1 from students) as is_student_of_group_unknown
    from (
        {{ listed_students(
            'session_id in (select incoming.id from incoming)' if scoped else 'true'
        ) }}
    ) as listed
    group by session_id
{%- endmacro %}

{% macro given_columns() -%}
    {%- set found = [] -%}
    {%- if execute -%}
        {%- for name in converted_columns('sessions') -%}
            {%- do found.append({'table': 'incoming', 'name': name, 'shown': name}) -%}
        {%- endfor -%}
        {%- for part in session_parts() -%}
            {%- for name in converted_columns(part.table) -%}
                {%- do found.append({
                    'table': part.name, 'name': name, 'shown': part.renamed.get(name, name),
                }) -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(found) }}
{%- endmacro %}

{% macro session_checks() -%}
    {%- if not execute -%} {{ return([]) }} {%- endif -%}
    {%- set checks = contract_checks('sessions', 'joined', {'id': 'session_id'}) -%}
    {%- for part in session_parts() -%}
        {%- do checks.extend(contract_checks(part.table, 'joined', part.renamed)) -%}
    {%- endfor -%}
    {%- if has_groups() -%}
        {%- do checks.extend([
            {'reason': 'student_of_group_missing', 'broken': 'joined.is_student_of_group_missing'},
            {'reason': 'rating_of_group_out_of_range', 'broken': 'joined.is_rating_of_student_wrong'},
            {'reason': 'attended_unknown_value', 'broken': 'joined.is_attendance_unknown'},
        ]) -%}
    {%- endif -%}
    {{ return(checks + [
        {'reason': 'unknown_tutor', 'broken': 'joined.is_unknown_tutor'},
        {'reason': 'unknown_student', 'broken': 'joined.is_unknown_student'},
        {
            'reason': 'duplicate_id',
            'broken': 'joined.occurrence > 1 and joined.session_id is not null',
        },
        {
            'reason': 'rating_without_completion',
            'broken': "joined.status <> 'completed' and (joined.student_satisfaction_rating"
                ~ " is not null or joined.satisfaction_score is not null)",
        },
        {
            'reason': 'completed_without_tutor',
            'broken': "joined.status = 'completed' and not joined.tutor_showed_up",
        },
    ]) }}
{%- endmacro %}
