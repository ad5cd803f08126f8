"""Patterns: when sessions are moved or missed, as plain counts. They prove nothing yet."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response

from tutor_pipeline.core.warehouse.database import Row
from tutor_pipeline.desk import queries
from tutor_pipeline.desk.site import Limit, Place, Visit
from tutor_pipeline.people.access.roles import Role

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_SHADES = 5


def show(visit: Visit) -> Response:
    """GET /patterns."""
    if not visit.is_built:
        return visit.page("empty.html.j2")
    rows = queries.by_hour(visit.database, visit.now)
    return visit.page(
        "patterns.html.j2",
        maps=[
            {"name": name, "heading": heading, **heat_map(rows, name)}
            for name, heading in (
                ("moved", "Moved by the tutor"),
                ("missed", "The tutor did not come"),
            )
        ],
        sessions=sum(row["sessions"] for row in rows),
        months=queries.by_month(visit.database, visit.now),
        reasons=queries.reasons(visit.database, visit.now) if visit.may(Role.COACH) else [],
    )


def heat_map(rows: Sequence[Row], name: str) -> Row:
    """Returns a table of a count by weekday and hour: `hours`, and a row per weekday with cells of
    `count`, `sessions` and `shade` (0 to 5, by the share of the sessions; 0 = none), None where no
    session was. `most` is the (weekday, hour) of the most, None if there is none.
    """
    cells = {(row["weekday"], row["hour"]): row for row in rows}
    hours = sorted({row["hour"] for row in rows})
    highest = max((row[name] / row["sessions"] for row in rows), default=0.0)

    def cell(weekday: int, hour: int) -> Row | None:
        row = cells.get((weekday, hour))
        if row is None:
            return None
        share = row[name] / row["sessions"]
        shade = round(_SHADES * share / highest) if highest else 0
        return {
            "count": row[name],
            "sessions": row["sessions"],
            "shade": max(1, shade) if row[name] else 0,
        }

    most = max(rows, key=lambda row: (row[name], -row["sessions"]), default=None)
    return {
        "hours": hours,
        "days": [
            (word, [cell(number, hour) for hour in hours])
            for number, word in enumerate(WEEKDAYS, start=1)
        ],
        "total": sum(row[name] for row in rows),
        "most": most if most is not None and most[name] else None,
        "most_day": WEEKDAYS[most["weekday"] - 1] if most is not None else "",
    }


PLACES = (Place("/patterns", show, Role.VIEWER, nav=(6, "Patterns"), limit=Limit.LARGE),)
