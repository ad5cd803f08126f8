-- Rows of the history with a session of which some data was recorded after the row's time of use.
with recorded as (
    select
        tutor_id,
        session_on,
        (greatest(
            -- A row that an import created on its day existed before.
            case when imports.created_on is null then created_at end,
            audio_created_at,
            feedback_submitted_at
        ) at time zone %(timezone)s)::date as recorded_on
    from {marts}.fct_sessions
    left join {intermediate}.int_import_days as imports
        on
            imports.recorded = 'sessions'
            and (created_at at time zone %(timezone)s)::date = imports.created_on
    where
        session_on between %(first)s::date - 90 and %(last)s
        and status not in ('scheduled', 'in_progress')
)

select distinct
    recorded.tutor_id,
    tested.as_of_date
from recorded
inner join unnest(%(dates)s::date[]) as tested (as_of_date)
    on
        recorded.session_on <= tested.as_of_date
        and recorded.session_on > tested.as_of_date - 90
        and recorded.recorded_on > tested.as_of_date + %(settling)s
where recorded.recorded_on > recorded.session_on + %(settling)s
