"""What a forecast of departures scores with, from the database: its version, and what is usual now.

Belongs here: reading both, fitting the reference where everybody is covered, the first version.
Does not belong here: learning (`learning`), scoring (`scores`).
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg

from tutor_pipeline.scores import store
from tutor_pipeline.scores.score import Level
from tutor_pipeline.scores.store import Subject
from tutor_pipeline.warehouse.connection import Warehouse


def forecaster_of(
    connection: psycopg.Connection[Any],
    warehouse: Warehouse,
    forecast: Any,
    rows: Sequence[Mapping[str, Any]],
    as_of: datetime,
    scope: Sequence[str] | None,
    yearly_rate: float,
) -> Any:
    """What a forecast (`scores.departure.forecast.Forecast`) scores with: a `panel.Forecaster`.
    `rows`: the evidence of those covered; `scope`: who is, None = everybody.

    What is usual on the platform is fitted by whoever covers everybody, and read by all others.
    """
    from tutor_pipeline.scores import panel
    from tutor_pipeline.scores.departure import reference
    from tutor_pipeline.scores.departure.measures import columns_of

    stored = store.newest_reference(connection, warehouse, forecast.scorer, as_of)
    if scope is None or stored is None:
        everybody = rows if scope is None else _everybody(connection, warehouse, forecast)
        fitted = reference.fit(forecast, columns_of(everybody, forecast.reads))
        stored = _keep_reference(
            connection, warehouse, forecast, as_of, stored, fitted, len(everybody)
        )
    usual = reference.Reference.from_json(forecast, stored.content)
    known = _version(connection, warehouse, as_of, usual, yearly_rate)
    levels = store.held_levels(
        connection, warehouse, Subject(forecast.who), forecast.scorer, as_of, scope
    )
    return panel.Forecaster(
        f"{known.version}.{stored.version}",
        usual,
        _version_of(forecast, known),
        {identity: Level(level) for identity, level in levels.items()},
    )


def _everybody(
    connection: psycopg.Connection[Any], warehouse: Warehouse, forecast: Any
) -> list[dict[str, Any]]:
    """The evidence of everybody, whomever the run covers: a first run that covers some."""
    return store.rows_of(
        connection,
        warehouse.sql("select ")
        + psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, forecast.reads))
        + warehouse.sql(f" from {{marts}}.{forecast.evidence}"),
    )


def _keep_reference(
    connection: psycopg.Connection[Any],
    warehouse: Warehouse,
    forecast: Any,
    as_of: datetime,
    before: store.Stored | None,
    fitted: Any,
    among: int,
) -> store.Stored:
    """A new version of the reference, unless nothing of it is new."""
    content = fitted.to_json()
    if before is not None and dict(before.content) == content:
        return before
    version = store.next_version(connection, warehouse, "score_references")
    store.add(
        connection,
        warehouse,
        "score_references",
        {
            "version": version,
            "scorer": forecast.scorer,
            "as_of": as_of,
            "fitted_at": datetime.now(UTC),
            "tutors": among,
            "reference": content,
        },
    )
    return store.Stored(version, as_of, content)


def _version_of(forecast: Any, stored: store.Stored) -> Any:
    from tutor_pipeline.scores.departure.version import Version

    return Version.from_json(forecast, stored.content)


def _version(
    connection: psycopg.Connection[Any],
    warehouse: Warehouse,
    as_of: datetime,
    usual: Any,
    yearly_rate: float,
) -> store.Stored:
    """The version in force. Where nothing was learned yet there is one from documented weights
    alone, whose cut-offs are fixed on today's rows; a new one where the platform has more signs,
    or the yearly rate is another.
    """
    from tutor_pipeline.scores.departure import learning
    from tutor_pipeline.scores.departure.forecast import asked
    from tutor_pipeline.scores.departure.measures import columns_of
    from tutor_pipeline.scores.departure.reference import standardise

    forecast = usual.forecast
    stored = store.newest_model(connection, warehouse, forecast.scorer, as_of)
    if stored is not None:
        known = _version_of(forecast, stored)
        is_current = usual.known <= known.known and known.yearly_rate == yearly_rate
        if known.departures or is_current:
            return stored
    rows = _everybody(connection, warehouse, forecast)
    there = asked(columns_of(rows, forecast.reads))
    z = standardise(there, usual).z[forecast.silence(there) <= 1]
    return keep_version(
        connection,
        warehouse,
        as_of,
        learning.learn(forecast, z, usual.known, learning.nothing(forecast), yearly_rate),
        f"Nothing learned yet: documented weights, and {yearly_rate:.0%} of the {forecast.who}s"
        f" leaving in a year ({forecast.rate_setting}). Learn with: tutor-pipeline scores backtest",
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
    """Store a version of a forecast (`scores.departure.version.Version`). One that is not promoted
    is kept with the reason, and never used.
    """
    from tutor_pipeline.scores.departure.forecast import HORIZON_DAYS

    version = store.next_version(connection, warehouse, "model_versions")
    content = json.loads(learned.to_json())
    store.add(
        connection,
        warehouse,
        "model_versions",
        {
            "version": version,
            "scorer": learned.forecast.scorer,
            "target": str(learned.forecast.target),
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
