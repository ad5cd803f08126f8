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
