"""Loads what a forecast of departures needs to score: its version, and the reference (what is usual
now); for tutors also the reference of health.

Belongs here: reading both, fitting the reference when everybody is covered, the first version.
Does not belong here: learning (`learning`), scoring (`scores`).
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.judgement.scores.score import Level, Subject
from tutor_pipeline.judgement.scores.storage import score_tables, versions
from tutor_pipeline.metrics import wide_rows
from tutor_pipeline.metrics.catalogue import metric_columns

HEALTH = "health"
"""Key in a stored reference, beside departure_v1's part: the usual values that health reads."""


def forecaster_of(
    database: Database,
    forecast: Any,
    rows: Sequence[Mapping[str, Any]],
    as_of: datetime,
    scope: Sequence[str] | None,
    yearly_rate: float,
) -> Any:
    """Return the `panel.Forecaster` of a forecast (`scores.departure.forecast.Forecast`).
    `rows`: the evidence of those covered; `scope`: their ids, None = everybody.

    A refresh of everybody fits the reference, and all others read it. Others fit it too if the
    stored one lacks the part of health.
    """
    from tutor_pipeline.judgement.scores import health, tutor_scorers
    from tutor_pipeline.judgement.scores.departure import reference
    from tutor_pipeline.judgement.scores.departure.measures import columns_of
    from tutor_pipeline.judgement.scores.departure.tutors import TUTORS

    stored = versions.newest_reference(database, forecast.scorer, as_of)
    content = {} if stored is None else dict(stored.content)
    among = len(rows)
    if scope is None or stored is None:
        everybody = rows if scope is None else _everybody(database, forecast)
        content |= reference.fit(forecast, columns_of(everybody, forecast.reads)).to_json()
        among = len(everybody)
    if forecast is TUTORS and (scope is None or HEALTH not in content):
        judged = rows if scope is None else _everybodys_health(database)
        content[HEALTH] = health.fit(judged).to_json()
        among = len(judged)
    if stored is None or content != stored.content:
        stored = _keep_reference(database, forecast, as_of, content, among)
    usual = reference.Reference.from_json(forecast, stored.content)
    known = _version(database, as_of, usual, yearly_rate)
    levels = score_tables.held_levels(
        database, Subject(forecast.who), forecast.scorer, as_of, scope
    )
    return tutor_scorers.Forecaster(
        f"{known.version}.{stored.version}",
        usual,
        _version_of(forecast, known),
        {identity: Level(level) for identity, level in levels.items()},
        health.Usual.from_json(stored.content[HEALTH], stored.version)
        if forecast is TUTORS
        else health.NOTHING_USUAL,
    )


def _everybody(database: Database, forecast: Any) -> list[dict[str, Any]]:
    """The evidence of everybody, for a first run that covers only some."""
    return database.rows(
        database.sql("select ")
        + psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, forecast.reads))
        + database.sql(f" from {{marts}}.{forecast.evidence}")
    )


def _everybodys_health(database: Database) -> list[Mapping[str, Any]]:
    """The columns that health reads, of all tutors, for a first run that covers only some."""
    from tutor_pipeline.judgement.scores import health

    metrics = metric_columns()[wide_rows.MAIN]
    columns = (
        psycopg.sql.Identifier("metrics" if name in metrics else "features", name)
        for name in health.READS
    )
    return list(
        database.rows(
            database.sql("select ")
            + psycopg.sql.SQL(", ").join(columns)
            + database.sql(
                " from {marts}.tutor_aggregates as metrics"
                " left join {marts}.tutor_features as features using (tutor_id)"
            )
        )
    )


def _keep_reference(
    database: Database, forecast: Any, as_of: datetime, content: Mapping[str, Any], among: int
) -> versions.Stored:
    """Store a new version of the reference and return it."""
    version = versions.next_version(database, "score_references")
    versions.add(
        database,
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
    return versions.Stored(version, as_of, content)


def _version_of(forecast: Any, stored: versions.Stored) -> Any:
    from tutor_pipeline.judgement.scores.departure.version import Version

    return Version.from_json(forecast, stored.content)


def _version(
    database: Database, as_of: datetime, usual: Any, yearly_rate: float
) -> versions.Stored:
    """The version in force. Before anything is learned it has documented weights alone, with
    cut-offs fixed on today's rows; a new one is made when the platform has more signs or the
    yearly rate changes.
    """
    from tutor_pipeline.judgement.scores.departure import learning
    from tutor_pipeline.judgement.scores.departure.forecast import asked
    from tutor_pipeline.judgement.scores.departure.measures import columns_of
    from tutor_pipeline.judgement.scores.departure.reference import standardise

    forecast = usual.forecast
    stored = versions.newest_model(database, forecast.scorer, as_of)
    if stored is not None:
        known = _version_of(forecast, stored)
        is_current = usual.known <= known.known and known.yearly_rate == yearly_rate
        if known.departures or is_current:
            return stored
    # From here on nobody else makes a version, but one may have been made just before.
    versions.next_version(database, "model_versions")
    meanwhile = versions.newest_model(database, forecast.scorer, as_of)
    if meanwhile is not None and (stored is None or meanwhile.version != stored.version):
        return meanwhile
    held = versions.held_back(database, forecast.scorer)
    why, then = (
        ("Nothing learned yet", "Learn with: tutor-pipeline scores backtest")
        if held is None
        else (f"Version {held} is held back", f"Let it pass: tutor-pipeline scores accept {held}")
    )
    rows = _everybody(database, forecast)
    there = asked(columns_of(rows, forecast.reads))
    z = standardise(there, usual).z[forecast.silence(there) <= 1]
    return keep_version(
        database,
        as_of,
        learning.learn(forecast, z, usual.known, learning.nothing(forecast), yearly_rate),
        f"{why}: documented weights, and {yearly_rate:.0%} of the {forecast.who}s leaving in a year"
        f" ({forecast.rate_setting}). {then}",
    )


def keep_version(
    database: Database,
    as_of: datetime,
    learned: Any,
    decision: str,
    metrics: Mapping[str, Any] | None = None,
    *,
    is_promoted: bool = True,
) -> versions.Stored:
    """Store a version of a forecast (`scores.departure.version.Version`). One that is not promoted
    is stored with the reason, and used only after somebody accepts it.
    """
    from tutor_pipeline.judgement.scores.departure.forecast import HORIZON_DAYS

    version = versions.next_version(database, "model_versions")
    content = json.loads(learned.to_json())
    versions.add(
        database,
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
    return versions.Stored(version, as_of, content)
