"""What events said of the platform's rows, where something else replaces all of them.

Belongs here: forgetting it. Does not belong here: what is written (`sources.events`).
"""

from __future__ import annotations

from tutor_pipeline.core.warehouse.database import Database


def forget_all(database: Database) -> None:
    """Forgets which events the platform's rows come from, in the open transaction that replaces
    these: no later event counts as older than one about a row of before.

    Events that wait for rows are applied anew, for the values that were kept of them go too. Does
    nothing in a database without our tables.
    """
    there = "select to_regclass(quote_ident(%s) || '.event_versions') is not null"
    if not database.value(there, (database.schemas.ops,)):
        return
    database.execute("delete from {ops}.event_versions")
    database.execute(
        "update {ops}.event_inbox set state = 'waiting', state_at = clock_timestamp(),"
        " reasons = '{{}}', waits_on = '{{}}' where state = 'quarantined' and waits_on <> '{{}}'"
    )
