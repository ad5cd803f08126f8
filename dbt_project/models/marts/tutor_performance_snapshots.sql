{{ config(
    materialized='scoped',
    tags=['daily_partitions'],
    indexes=[
        {'columns': ['tutor_id', 'snapshot_date', 'period_type'], 'unique': true},
        {'columns': ['snapshot_date']},
    ],
    meta={'distribute_by': 'tutor_id', 'keeps_rows': true, 'replaces': 'days'},
    pre_hook="select pg_advisory_xact_lock({{ snapshots_lock() }})",
    post_hook={'sql': "{{ repair_snapshots_left_alone() }}", 'transaction': false},
) }}

{#- A new table holds every day that was ever asked for, an existing one gets those of this run. #}
{%- if replaces_rows_only() -%}
    {%- set days = snapshot_days() -%}
{%- else -%}
    {%- set days = recorded_snapshot_days("date '0001-01-01'") -%}
{%- endif %}

{{ snapshot_rows(ref('int_tutor_days'), days, 'true') }}
