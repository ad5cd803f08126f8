-- Entries of the quarantine whose events are no longer quarantined.
update {ops}.quarantine as kept set resolved_at = %(as_of)s
from {ops}.event_inbox as stored
where
    stored.received_no = any(%(numbers)s)
    and stored.state not in ('quarantined', 'waiting')
    and kept.source = 'events:' || stored.source
    and kept.row_key = stored.event_id
    and kept.resolved_at is null
