"""Today: who needs a call, and why; what the platform does; what lies about."""

from __future__ import annotations

from starlette.responses import Response

from tutor_pipeline.core.formatting import percent
from tutor_pipeline.desk import queries
from tutor_pipeline.desk.formats import figure
from tutor_pipeline.desk.pages.cards import cards
from tutor_pipeline.desk.site import Place, Visit, redirect
from tutor_pipeline.people.access.roles import Role
from tutor_pipeline.people.notify.digest_data import TRENDS
from tutor_pipeline.people.reports import alert_queries

MAX_CARDS = 8
WELCOME = "tutor_desk_welcomed"
"""A cookie of a browser whose reader put the first visit's lines away."""


def show(visit: Visit) -> Response:
    """GET /: the page that people open every morning."""
    database = visit.database
    if not queries.is_built(database):
        return visit.page("empty.html.j2")
    needing = alert_queries.attention(database, MAX_CARDS)
    return visit.page(
        "today.html.j2",
        cards=cards(visit, needing),
        counts=queries.counts(database, visit.now),
        trends=_trends(queries.platform_bar(database)),
        quiet=queries.quiet_alerts(database, visit.now),
        ending=queries.ending_snoozes(database, visit.now),
        not_told=alert_queries.not_told(database),
        is_first_visit=WELCOME not in visit.request.cookies,
    )


def welcomed(visit: Visit) -> Response:
    """POST /welcomed: puts the lines of the first visit away."""
    answer = redirect("/")
    answer.set_cookie(
        WELCOME, "1", max_age=400 * 86_400, httponly=True, samesite="lax",
        secure=visit.site.options.is_https,
    )  # fmt: skip
    return answer


def help_(visit: Visit) -> Response:
    """GET /help: what this is, where the figures come from, who sees what."""
    return visit.page("help.html.j2")


def _trends(row: dict[str, object] | None) -> list[dict[str, object]]:
    """Returns the platform's figures of 30 days, each with that of the 30 days before."""
    if row is None:
        return []
    found = []
    for name, words, form, more_is_better in TRENDS:
        now, before = row[f"{name}_30d"], row[f"{name}_prior_30d"]
        if now is None:
            continue
        trend = row[f"{name}_trend"]

        def shown(value: object, form: str = form) -> str:
            if form == "percent" and isinstance(value, float):
                return percent(round(100 * value, 1))
            return figure(value, "0" if form == "number" else "2")

        found.append(
            {
                "words": words,
                "now": shown(now),
                "before": shown(before),
                "trend": trend,
                "is_good": None
                if trend in (None, "neutral")
                else (trend == "up") == more_is_better,
            }
        )
    return found


PLACES = (
    Place("/", show, Role.VIEWER, nav=(1, "Today")),
    Place("/help", help_, Role.VIEWER),
    Place("/welcomed", welcomed, Role.VIEWER, "POST"),
)
