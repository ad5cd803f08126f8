with chosen as (
    select
        message_id,
        target
    from {ops}.deliveries
    where
        state = 'waiting'
        and due_at <= %(now)s
        and attempts < %(most)s
        and (leased_until is null or leased_until < %(now)s)
        and target <> all(%(busy)s)
        and not {at_work}
        and (message_id, target) in (
            select
                waiting.message_id,
                known.target
            from unnest(%(audiences)s::text[], %(targets)s::text[]) as known (audience, target)
            inner join {ops}.deliveries as waiting on known.target = waiting.target
            inner join {ops}.messages as sent
                on waiting.message_id = sent.message_id and known.audience = sent.audience
            where waiting.state = 'waiting' and waiting.due_at <= %(now)s
        )
    order by due_at, message_id, target
    limit 1
    for update skip locked
)

update {ops}.deliveries
set leased_until = %(until)s, leased_by = %(sender)s, attempts = attempts + 1
from chosen, {ops}.messages
where
    deliveries.message_id = chosen.message_id
    and deliveries.target = chosen.target
    and messages.message_id = chosen.message_id
returning
    deliveries.message_id, deliveries.target, deliveries.attempts, messages.audience,
    messages.kind, messages.subject, messages.text_body, messages.html_body, messages.made_at
