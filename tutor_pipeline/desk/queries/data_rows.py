"""How sound the data is: the newest verdict, failing checks, rows set aside, refreshes, events."""

from __future__ import annotations

from datetime import datetime, timedelta

from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.sources.events import inbox, overview

_LATELY = timedelta(days=1)
_MOST_REASONS = 20


def verdict(database: Database) -> Row | None:
    """Returns the newest validation: verdict (sound, warnings, blocked), made_at, as_of."""
    return database.one(
        "select verdict, made_at, as_of from {ops}.validation_reports order by made_at desc limit 1"
    )


def failing_checks(database: Database) -> list[Row]:
    """Returns the checks whose newest evaluation failed, blocking ones first."""
    return database.rows(
        """
        select *
        from (
            select distinct on (asset, check_name)
                asset, check_name, says, severity, blocking, status, observed, rows_checked,
                rows_failing, evaluated_at
            from {ops}.dq_results
            order by asset, check_name, evaluated_at desc, run_id desc
        ) as newest
        where status <> 'passed'
        order by blocking desc, severity, asset, check_name
        limit 100
        """
    )


def set_aside(database: Database) -> list[Row]:
    """Returns the incoming rows that are set aside now, by source and reason: rows, first_seen.
    Events are counted by `events`.
    """
    return database.rows(
        """
        select entries.source, reasons.reason, count(*) as rows, min(entries.first_seen) as since
        from {ops}.quarantine as entries
        cross join unnest(entries.reasons) as reasons (reason)
        where entries.resolved_at is null and not starts_with(entries.source, 'events:')
        group by entries.source, reasons.reason
        order by rows desc, entries.source, reasons.reason
        limit 100
        """
    )


def events(database: Database, now: datetime) -> Row | None:
    """Returns how events fare, None where none ever came: how many came lately (`received`), the
    `queue` of those that wait, why others are set aside (`reasons`), `types` that are not read, and
    requests that were not accepted lately (`rejected`).
    """
    rejected = database.rows(
        "select source, reason, sum(requests)::bigint as requests from {ops}.event_rejections"
        " where last_at >= %s group by source, reason order by requests desc, source, reason"
        " limit 20",
        (now - _LATELY,),
    )
    if not rejected and not database.value("select exists (select 1 from {ops}.event_inbox)"):
        return None
    return {
        "received": overview.received(database, now - _LATELY),
        "queue": inbox.queue(database),
        "reasons": overview.reasons(database, _MOST_REASONS),
        "types": overview.unknown_types(database)[:_MOST_REASONS],
        "rejected": rejected,
    }


def newest_refreshes(database: Database) -> Row:
    """Returns when the newest full refresh was built (`full_at`), and the newest pass (`pass_at`,
    `tutors`); None where there was none.
    """
    found = database.one(
        """
        select
            (
                select max(built_at) from {ops}.refresh_runs
                where is_full and snapshot_from is null
            ) as full_at,
            newest.settled_at as pass_at,
            newest.tutors
        from (select 1 as one) as always
        left join (
            select settled_at, tutors from {ops}.refresh_passes order by settled_at desc limit 1
        ) as newest on true
        """
    )
    assert found is not None
    return found
