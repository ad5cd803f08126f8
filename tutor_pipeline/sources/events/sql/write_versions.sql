-- Writes what is known of rows of a table.
insert into {ops}.event_versions as known (
    row_name,
    table_name,
    row_key,
    versions,
    deleted,
    kept,
    waits_on,
    is_ours,
    session_id,
    tutor_id,
    changed_at
)
select
    each.known ->> 'name' as row_name,
    %(table)s as table_name,
    array(select jsonb_array_elements_text(each.known -> 'key')) as row_key,
    each.known -> 'versions' as versions,
    nullif(each.known -> 'deleted', 'null') as deleted,
    nullif(each.known -> 'kept', 'null') as kept,
    array(select jsonb_array_elements_text(each.known -> 'waits_on')) as waits_on,
    (each.known ->> 'is_ours')::boolean as is_ours,
    each.known ->> 'session_id' as session_id,
    each.known ->> 'tutor_id' as tutor_id,
    clock_timestamp() as changed_at
from jsonb_array_elements(%(rows)s) as each (known)
on conflict (row_name) do update set
    versions = excluded.versions,
    deleted = excluded.deleted,
    kept = excluded.kept,
    waits_on = excluded.waits_on,
    is_ours = excluded.is_ours,
    session_id = coalesce(excluded.session_id, known.session_id),
    tutor_id = coalesce(excluded.tutor_id, known.tutor_id),
    changed_at = excluded.changed_at
