"""A card: one tutor who needs a call, with reason, evidence, risk, and what was done last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from tutor_pipeline.core.warehouse.database import Row
from tutor_pipeline.desk import charts, queries
from tutor_pipeline.desk.site import Visit
from tutor_pipeline.people.reports import alert_queries

_KEPT_BANDS = 200
_BAND_DAYS = 7
"""The platform's band is read once a week: it moves slowly, and reads everybody."""


def cards(visit: Visit, needing: Sequence[Row]) -> list[Row]:
    """Returns a card per tutor in need, in their order."""
    database, ids = visit.database, [row["tutor_id"] for row in needing]
    wanted = {row["tutor_id"]: [each["alert_id"] for each in row["alerts"]] for row in needing}
    alert_ids = [each for ids in wanted.values() for each in ids]
    held = alert_queries.alerts_by_id(database, alert_ids)
    events = queries.newest_events(database, held.values())
    # One may have been erased meanwhile.
    of_tutor = {
        tutor_id: [held[each] | events[each] for each in ids if each in held and each in events]
        for tutor_id, ids in wanted.items()
    }
    risks = queries.risks(database, ids)
    profiles = queries.profiles(database, ids)
    acts = queries.last_acts(database, ids)
    notes = queries.newest_notes(database, ids)
    evidence = {
        tutor_id: [each for alert in alerts for each in alert["evidence_session_ids"]]
        for tutor_id, alerts in of_tutor.items()
    }
    sessions = queries.sessions_by_id(database, evidence) if needing else {}
    students = queries.students(database, [row["student_id"] for row in sessions.values()])
    metrics = {
        metric for alerts in of_tutor.values() for alert in alerts for metric in alert["metrics"]
    }
    lines = Lines(visit, ids, sorted(metrics))
    found = []
    for row in needing:
        tutor_id = row["tutor_id"]
        alerts = [
            alert
            | {
                "line": lines.of_alert(tutor_id, alert["metrics"]),
                "sessions": [
                    sessions[each] for each in alert["evidence_session_ids"] if each in sessions
                ],
            }
            for alert in of_tutor[tutor_id]
        ]
        if not alerts:
            continue
        found.append(
            row
            | {
                "alerts": alerts,
                "profile": profiles.get(tutor_id),
                "risk": risks.get(tutor_id),
                "last_act": acts.get(tutor_id),
                "note": notes.get(tutor_id),
                "students": students,
            }
        )
    return found


class Lines:
    """The sparklines of some tutors: their daily values, and the band of all."""

    def __init__(self, visit: Visit, tutors: Sequence[str], metrics: Sequence[str]) -> None:
        self._visit = visit
        self._today = visit.now.astimezone(visit.zone).date()
        self._history = queries.history(visit.database, tutors, metrics, self._today)
        days = sorted({row["as_of_date"] for rows in self._history.values() for row in rows})
        self._weekly = tuple(days[::-_BAND_DAYS][::-1])

    def of_alert(self, tutor_id: str, metrics: Mapping[str, Any]) -> Row | None:
        """Returns the line of the first figure of an alert that has a history, with its name."""
        for metric, reading in metrics.items():
            threshold = reading.get("threshold")
            found = self.of(
                tutor_id,
                metric,
                float(threshold) if _is_number(threshold) else None,
                now=reading.get("value"),
            )
            if found is not None:
                return {"metric": metric, "line": found, "threshold": threshold}
        return None

    def of(
        self, tutor_id: str, metric: str, threshold: float | None = None, *, now: object = None
    ) -> charts.Line | None:
        """Returns the line of a metric of a tutor. `now`: its present value, the last point where
        it is a number.
        """
        rows = self._history.get(tutor_id, [])
        points = [(row["as_of_date"], row.get(metric)) for row in rows]
        # Where the history ends long ago, so did what is judged.
        if points and 0 < (self._today - points[-1][0]).days < 3 and _is_number(now):
            points.append((self._today, now))
        if not any(value is not None for _, value in points):
            return None
        return charts.line(_with_gaps(points), self._band(metric), threshold)

    def _band(self, metric: str) -> list[charts.Range]:
        """The platform's band. Kept: it reads everybody, and changes once a day."""
        kept = self._visit.site.bands
        key = (metric, self._weekly)
        if key not in kept:
            rows = queries.band(self._visit.database, metric, self._weekly)
            if len(kept) > _KEPT_BANDS:
                kept.clear()
            kept[key] = [(row["as_of_date"], row["low"], row["high"]) for row in rows]
        return kept[key]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _with_gaps(points: Sequence[charts.Point]) -> list[charts.Point]:
    """The points with a day without a value for each that is missing."""
    values = dict(points)
    first, last = points[0][0], points[-1][0]
    days = (first + timedelta(days=number) for number in range((last - first).days + 1))
    return [(day, values.get(day)) for day in days]
