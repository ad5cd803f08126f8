"""The tables of findings in `ops`, and how a finding becomes a row of one.

Belongs here: names of tables and columns, and the values that COPY writes.
Does not belong here: statements (`finding_rows`), decisions (`reconcile`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from tutor_pipeline.core.findings import Finding, Kind, SubjectKind

_to_json = json.JSONEncoder().encode


@dataclass(frozen=True, slots=True)
class FindingTable:
    """The table of one kind.

    `columns` maps a column to its type and to a function that returns its value as text for COPY
    (the driver's own conversion of lists is much slower). `moments` are the columns with the moment
    that opened the row. If there are two, a pair (subject, rule) has one row that reopens: the
    second column says when, and `occurrence` counts how often. `events` is the table with the
    history of each row, for the kind that people act on. Such a row keeps `known_session_ids` when
    somebody closes it.
    """

    name: str
    row_id: str
    rule_id: str
    moments: tuple[str, ...]
    columns: Mapping[str, tuple[str, Callable[[Finding], object]]]
    events: str | None = None

    @property
    def identifiers(self) -> dict[str, sql.Composable]:
        """The names of the table and its columns, and what a row `held` of it is about, for
        `Database.sql`: a tutor, where the table knows of nothing else.
        """
        kind, subject_id = f"'{SubjectKind.TUTOR}'::text", "held.tutor_id"
        if _SUBJECT.keys() <= self.columns.keys():
            kind, subject_id = "held.subject_kind", "held.subject_id"
        return {
            "finding_table": sql.Identifier(self.name),
            "row_id": sql.Identifier(self.row_id),
            "rule_id": sql.Identifier(self.rule_id),
            "subject_kind": sql.SQL(kind),
            "subject_id": sql.SQL(subject_id),
        }


def metrics(finding: Finding) -> dict[str, dict[str, object]]:
    """Return what the conditions read, by metric. `threshold` is a list if several conditions are
    about one metric. The first metric also has the comparison with the others, if there is one.
    """
    thresholds: dict[str, list[object]] = {}
    for reading in finding.readings:
        thresholds.setdefault(reading.metric, []).append(reading.threshold)
    found: dict[str, dict[str, object]] = {
        reading.metric: {
            "value": reading.value,
            "threshold": each if len(each := thresholds[reading.metric]) > 1 else each[0],
            "exposure": reading.exposure,
        }
        for reading in finding.readings
    }
    if finding.usual is not None:
        found[finding.readings[0].metric] |= {
            "usual": finding.usual,
            "surely_beyond": finding.unusual,
        }
    return found


def newest_session(finding: Finding) -> str | None:
    """Return the newest session of the evidence, or None."""
    return next(iter(finding.evidence), None)


def _array(values: Sequence[str]) -> str:
    """Return an array literal of PostgreSQL."""
    together = "".join(values)
    if '"' in together or "\\" in together:
        values = [value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
    return '{"' + '","'.join(values) + '"}' if values else "{}"


def _text(name: str) -> tuple[str, Callable[[Finding], object]]:
    """Return a column for one of the finding's texts; NULL if the finding has none."""
    return "text", lambda finding: finding.texts.get(name)


def _evidence(finding: Finding) -> str:
    return _array(finding.evidence)


def _metrics_json(finding: Finding) -> str:
    return _to_json(metrics(finding))


_SUBJECT = {
    "subject_kind": ("text", lambda finding: str(finding.subject.kind)),
    "subject_id": ("text", lambda finding: finding.subject.id),
}

TABLES = {
    Kind.ALERT: FindingTable(
        name="alerts",
        row_id="alert_id",
        rule_id="alert_type",
        moments=("triggered_date",),
        events="alert_events",
        columns={
            **_SUBJECT,
            "severity": ("text", lambda finding: str(finding.severity)),
            "title": _text("title"),
            "description": _text("description"),
            "recommended_action": _text("recommended_action"),
            "session_id": ("text", newest_session),
            "evidence_session_ids": ("text[]", _evidence),
            "metrics": ("jsonb", _metrics_json),
            "excess": ("double precision", lambda finding: finding.excess),
        },
    ),
    Kind.INSIGHT: FindingTable(
        name="tutor_insights",
        row_id="insight_id",
        rule_id="category",
        moments=("detected_at",),
        columns={
            "insight_type": _text("insight_type"),
            "display_text": _text("display_text"),
            "coaching_tip": _text("coaching_tip"),
            "metric_value": ("double precision", lambda finding: finding.metric_value),
            "sample_sessions": ("text[]", _evidence),
            "metrics": ("jsonb", _metrics_json),
        },
    ),
    Kind.ACHIEVEMENT: FindingTable(
        name="achievements",
        row_id="achievement_id",
        rule_id="achievement_type",
        moments=("earned_date", "last_earned_date"),
        columns={
            "title": _text("title"),
            "description": _text("description"),
            "icon": _text("icon"),
            "metrics": ("jsonb", _metrics_json),
        },
    ),
}
