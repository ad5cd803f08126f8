"""What scorers of tutors score with, from the database: departure_v1's newest version, and what is
usual now.

Belongs here: reading both, fitting the reference where everybody is covered, the first version.
Does not belong here: learning (`learning`), scoring (`scores`).
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg

from tutor_pipeline.metrics import wide_rows
from tutor_pipeline.metrics.catalogue import metric_columns
from tutor_pipeline.scores import store
from tutor_pipeline.scores.score import Level, Target
from tutor_pipeline.warehouse.connection import Warehouse

HEALTH = "health"
"""In a stored reference, beside departure_v1's part: what is usual, as far as health needs it."""


def forecaster_of(
    connection: psycopg.Connection[Any],
    warehouse: Warehouse,
    wide: wide_rows.WideRows,
    rows: Sequence[Mapping[str, Any]],
    yearly_rate: float,
) -> Any:
    """What is scored with: a `panel.Forecaster`.

    What is usual on the platform is fitted by whoever covers everybody, and read by all others;
    by others too where it was stored before health read it.
    """
    from tutor_pipeline.scores import health, panel
    from tutor_pipeline.scores.departure import evidence, reference
    from tutor_pipeline.scores.departure.version import SCORER

    stored = store.newest_reference(connection, warehouse, wide.as_of)
    content = {} if stored is None else dict(stored.content)
    if wide.scope is None or stored is None:
        everybody = rows if wide.scope is None else _everybody(connection, warehouse)
        content |= reference.fit(evidence.columns_of(everybody)).to_json()
    if wide.scope is None or HEALTH not in content:
        everybody = rows if wide.scope is None else _everybodys_health(connection, warehouse)
        content[HEALTH] = health.fit(everybody).to_json()
    if stored is None or content != stored.content:
        stored = _keep_reference(connection, warehouse, wide.as_of, content, len(everybody))
    usual = reference.Reference.from_json(stored.content)
    known = _version(connection, warehouse, wide.as_of, usual, yearly_rate)
    levels = store.held_levels(connection, warehouse, SCORER, wide.as_of, wide.scope)
    return panel.Forecaster(
        f"{known.version}.{stored.version}",
        usual,
        _version_of(known),
        {tutor: Level(level) for tutor, level in levels.items()},
        health.Usual.from_json(stored.content[HEALTH], stored.version),
    )


def _everybody(
    connection: psycopg.Connection[Any], warehouse: Warehouse
) -> list[Mapping[str, Any]]:
    """The evidence of all tutors, whomever the run covers: a first run that covers some."""
    from tutor_pipeline.scores.departure import evidence

    return list(
        store.rows_of(
            connection,
            warehouse.sql("select ")
            + psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, evidence.READS))
            + warehouse.sql(" from {marts}.tutor_evidence"),
        )
    )


def _everybodys_health(
    connection: psycopg.Connection[Any], warehouse: Warehouse
) -> list[Mapping[str, Any]]:
    """What health reads of all tutors: a first run that covers some."""
    from tutor_pipeline.scores import health

    metrics = metric_columns()[wide_rows.MAIN]
    columns = (
        psycopg.sql.Identifier("metrics" if name in metrics else "features", name)
        for name in health.READS
    )
    return list(
        store.rows_of(
            connection,
            warehouse.sql("select ")
            + psycopg.sql.SQL(", ").join(columns)
            + warehouse.sql(
                " from {marts}.tutor_aggregates as metrics"
                " left join {marts}.tutor_features as features using (tutor_id)"
            ),
        )
    )


def _keep_reference(
    connection: psycopg.Connection[Any],
    warehouse: Warehouse,
    as_of: datetime,
    content: Mapping[str, Any],
    tutors: int,
) -> store.Stored:
    """A new version of the reference."""
    version = store.next_version(connection, warehouse, "score_references")
    store.add(
        connection,
        warehouse,
        "score_references",
        {
            "version": version,
            "as_of": as_of,
            "fitted_at": datetime.now(UTC),
            "tutors": tutors,
            "reference": content,
        },
    )
    return store.Stored(version, as_of, content)


def _version_of(stored: store.Stored) -> Any:
    from tutor_pipeline.scores.departure.version import Version

    return Version.from_json(stored.content)


def _version(
    connection: psycopg.Connection[Any],
    warehouse: Warehouse,
    as_of: datetime,
    usual: Any,
    yearly_rate: float,
) -> store.Stored:
    """The newest version of departure_v1. Where nothing was learned yet there is one from
    documented weights alone, whose cut-offs are fixed on today's tutors; a new one where the
    platform has more signs, or the yearly rate is another.
    """
    from tutor_pipeline.scores.departure import evidence, learning
    from tutor_pipeline.scores.departure.reference import standardise
    from tutor_pipeline.scores.departure.version import SCORER

    stored = store.newest_model(connection, warehouse, SCORER, as_of)
    if stored is not None:
        known = _version_of(stored)
        is_current = usual.known <= known.known and known.yearly_rate == yearly_rate
        if known.departures or is_current:
            return stored
    held = store.held_back(connection, warehouse, SCORER)
    why, then = (
        ("Nothing learned yet", "Learn with: tutor-pipeline scores backtest")
        if held is None
        else (f"Version {held} is held back", f"Let it pass: tutor-pipeline scores accept {held}")
    )
    tutors = evidence.asked(evidence.columns_of(_everybody(connection, warehouse)))
    z = standardise(tutors, usual).z[evidence.silence(tutors) <= 1]
    return keep_version(
        connection,
        warehouse,
        as_of,
        learning.learn(z, usual.known, learning.nothing(), yearly_rate),
        f"{why}: documented weights, and {yearly_rate:.0%} of the tutors leaving in a year"
        f" (TUTOR_YEARLY_DEPARTURE_RATE). {then}",
    )


def keep_version(
    connection: psycopg.Connection[Any],
    warehouse: Warehouse,
    as_of: datetime,
    learned: Any,
    decision: str,
    metrics: Mapping[str, Any] | None = None,
    *,
    is_promoted: bool = True,
) -> store.Stored:
    """Store a version of departure_v1 (`scores.departure.version.Version`); one that is not
    promoted waits until somebody accepts it.
    """
    from tutor_pipeline.scores.departure.version import HORIZON_DAYS, SCORER

    version = store.next_version(connection, warehouse, "model_versions")
    content = json.loads(learned.to_json())
    store.add(
        connection,
        warehouse,
        "model_versions",
        {
            "version": version,
            "scorer": SCORER,
            "target": str(Target.TUTOR_DEPARTURE),
            "horizon_days": HORIZON_DAYS,
            "as_of": as_of,
            "trained_at": datetime.now(UTC),
            "rows": learned.learned_rows,
            "leavers": learned.departures,
            "model": content,
            "metrics": metrics or {},
            "is_promoted": is_promoted,
            "decision": decision,
        },
    )
    return store.Stored(version, as_of, content)
