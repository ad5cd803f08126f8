"""The versions of the student churn score's weights: `ops.churn_algorithm_weights`, and the levels
of each in `ops.churn_weight_levels`.

Belongs here: seeding the first version, reading the newest, adding the next. A trigger refuses to
change a version, and refuses weights that do not add up to 1.
Does not belong here: what a version is (`scores.churn_weights`), fitting one (`refinement`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.judgement.scores.churn_weights import LEARNED, Levels, Weights, first_version


def seed(database: Database, at: datetime) -> bool:
    """Write the first version where there is none; returns whether it was written. Safe when two
    processes do it at once.
    """
    first = first_version(at)
    with database.transaction():
        database.lock("churn_algorithm_weights")
        if current(database) is not None:
            return False
        _insert(database, first)
    return True


def current(database: Database) -> Weights | None:
    """Returns the version in force, heaviest factor first; None before the seeding.

    A version written by hand without levels has the first version's. A fitted version without
    levels is not in force: most of those called nobody at risk.
    """
    rows = database.rows(statement(__file__, "current_churn_weights"), {"learned": f"{LEARNED}%"})
    if not rows:
        return None
    version = rows[0]
    levels = (
        first_version(datetime.min).levels
        if version["medium_from"] is None
        else Levels(version["medium_from"], version["high_from"])
    )
    return Weights(
        version["version"],
        {row["factor"]: row["weight"] for row in rows},
        version["effective_from"],
        version["notes"],
        levels,
    )


def add(
    database: Database,
    weights: Mapping[str, float],
    levels: Levels,
    *,
    replaces: Weights,
    at: datetime,
    notes: str,
) -> Weights:
    """Write the version after `replaces`, whole or not at all; returns it.

    Raises psycopg.errors.IntegrityError when that version exists already, or when the weights do
    not add up to 1.
    """
    with database.transaction():
        not_in_force: int = database.value(
            "select coalesce(max(version), 0) from {ops}.churn_algorithm_weights"
            " where version not in (select version from {ops}.churn_weight_levels)"
        )
        # Versions that are not in force keep their numbers.
        number = max(replaces.version, not_in_force) + 1
        version = Weights(number, dict(weights), at, notes, levels)
        _insert(database, version)
        # Check the sum here, not when an outer transaction ends.
        database.execute("set constraints {ops}.sums_to_one immediate")
    return version


def _insert(database: Database, version: Weights) -> None:
    database.execute(
        "insert into {ops}.churn_algorithm_weights"
        " (version, factor, weight, effective_from, notes)"
        " select %(version)s, factor, weight, %(effective_from)s, %(notes)s"
        " from unnest(%(factors)s::text[], %(weights)s::double precision[])"
        " as given (factor, weight)",
        {
            "version": version.version,
            "effective_from": version.effective_from,
            "notes": version.notes,
            "factors": list(version.weights),
            "weights": list(version.weights.values()),
        },
    )
    database.execute(
        "insert into {ops}.churn_weight_levels"
        " (version, medium_from, high_from, fixed_at, notes)"
        " values (%(version)s, %(medium)s, %(high)s, %(fixed_at)s, %(notes)s)"
        # Levels stay where somebody emptied the table of weights.
        " on conflict (version) do nothing",
        {
            "version": version.version,
            "medium": version.levels.medium_from,
            "high": version.levels.high_from,
            "fixed_at": version.effective_from,
            "notes": version.notes,
        },
    )
