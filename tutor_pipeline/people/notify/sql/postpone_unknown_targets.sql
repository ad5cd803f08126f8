-- A process with other settings may know these addresses: their deliveries wait longer, and are
-- dropped after a while.
update {ops}.deliveries
set
    due_at = %(later)s,
    state = case when sent.made_at < %(forgotten)s then 'dropped' else state end,
    ended_at = case when sent.made_at < %(forgotten)s then %(now)s else ended_at end,
    last_error = case
        when sent.made_at < %(forgotten)s then 'no setting names this address any more'
        else last_error
    end
from {ops}.messages as sent
where
    sent.message_id = deliveries.message_id
    and (
        deliveries.state = 'dead'
        or (
            deliveries.state = 'waiting'
            and deliveries.due_at <= %(now)s
            and (deliveries.leased_until is null or deliveries.leased_until < %(now)s)
        )
    )
    and (deliveries.state = 'waiting' or sent.made_at < %(forgotten)s)
    and (sent.audience, deliveries.target) not in (
        select
            known.audience,
            known.target
        from unnest(%(audiences)s::text[], %(targets)s::text[]) as known (audience, target)
    )
