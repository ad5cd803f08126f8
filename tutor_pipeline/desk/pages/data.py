"""Data: whether what is shown can be trusted; what is broken, and what whoever runs it does."""

from __future__ import annotations

from starlette.responses import Response

from tutor_pipeline.core.formatting import label
from tutor_pipeline.desk import queries, words
from tutor_pipeline.desk.site import Limit, NotFoundError, Place, Visit
from tutor_pipeline.people import incidents
from tutor_pipeline.people.access.roles import Role
from tutor_pipeline.people.reports.publish import NEWEST
from tutor_pipeline.people.reports.render import CONTENT_SECURITY_POLICY
from tutor_pipeline.people.reports.serve import read_report

VERDICTS = {
    "sound": "The data is sound: every check passed.",
    "warnings": "The data can be used. Some checks warn.",
    "blocked": "A check blocks: nothing new is judged until it passes.",
}


def show(visit: Visit) -> Response:
    """GET /data."""
    found = queries.verdict(visit.database)
    broken = [
        row | dict(zip(("means", "then"), incidents.MEANING[incidents.Kind(row["kind"])],
                       strict=True)) | {"what": label(row["kind"])}
        for row in incidents.listed(visit.database, limit=100)
    ]  # fmt: skip
    return visit.page(
        "data.html.j2",
        verdict=found,
        says=VERDICTS[found["verdict"]] if found else "No check has run yet.",
        checks=queries.failing_checks(visit.database),
        incidents=broken,
        set_aside=queries.set_aside(visit.database),
        refreshes=queries.newest_refreshes(visit.database),
        events=queries.events(visit.database, visit.now),
        why=words.why_set_aside,
        has_report=_report(visit) is not None,
    )


def report(visit: Visit) -> Response:
    """GET /data/report: the newest validation report, under a policy of its own."""
    page = _report(visit)
    if page is None:
        raise NotFoundError(
            "There is no report here: none was written yet, or it is on the pipeline's machine."
        )
    return Response(
        page,
        media_type="text/html; charset=utf-8",
        headers={
            "Content-Security-Policy": f"{CONTENT_SECURITY_POLICY}; frame-ancestors 'none'; sandbox"
        },
    )


def _report(visit: Visit) -> bytes | None:
    folder = visit.site.options.reports
    return None if folder is None else read_report(folder, NEWEST)


PLACES = (
    Place("/data", show, Role.VIEWER, nav=(8, "Data")),
    # It shows rows that fail, as they came in.
    Place("/data/report", report, Role.COACH, limit=Limit.LARGE),
)
