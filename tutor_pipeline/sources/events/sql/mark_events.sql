-- Writes what became of events.
update {ops}.event_inbox as stored set
    state = new.state,
    state_at = clock_timestamp(),
    event_at = coalesce(new.event_at, stored.event_at),
    reasons = coalesce(new.reasons, '{{}}'),
    waits_on = coalesce(new.waits_on, '{{}}'),
    due_at = new.due_at,
    error = new.error
from
    jsonb_to_recordset(%(events)s)
        as new (
            received_no bigint,
            state text,
            event_at timestamptz,
            reasons text[],
            waits_on text[],
            due_at timestamptz,
            error text
        )
where stored.received_no = new.received_no
