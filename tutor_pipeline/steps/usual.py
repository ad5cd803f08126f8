"""Inputs of rules besides the rows: what is usual on the platform (the reference), and the
exceptions of single tutors.

Belongs here: which run fits the reference, which reads it, its versions in `ops.rule_references`.
Does not belong here: fitting it (`rules.evaluate`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from psycopg.types.json import Jsonb

from tutor_pipeline.core.findings import Kind, Override
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.judgement.lifecycle import overrides, store
from tutor_pipeline.judgement.rules.catalogue import Catalogue, at_threshold
from tutor_pipeline.judgement.rules.evaluate import fit
from tutor_pipeline.judgement.rules.usual import Usual
from tutor_pipeline.metrics import wide_rows

_VERSION = "rule_version"


def usual_here(
    database: Database,
    catalogue: Catalogue,
    kind: Kind,
    wide: wide_rows.WideRows,
    *,
    keep: bool = True,
) -> dict[str, Usual]:
    """What is usual on the platform, for each alert that requires an unusual value.

    A run that evaluates the alerts of everybody fits it; others read it. `keep`: store it for them.
    """
    if kind is Kind.ACHIEVEMENT or not catalogue.asking:
        return {}
    fits = kind is Kind.ALERT and wide.scope is None
    stored = None if fits else _newest(database, catalogue, wide.as_of)
    if stored is not None:
        return stored
    rows = wide.rows
    if not fits:
        # Not fitted for these rules yet: the first run under a new profile covers some tutors.
        rows = wide_rows.everybody(database, catalogue.columns(Kind.ALERT))
    exceptions = overrides.read(database, Kind.ALERT, wide.as_of)
    fitted = fit(catalogue, rows, exceptions, store.dealt_with(database))
    if keep:
        _keep(
            database, catalogue, fitted, as_of=wide.as_of, now=datetime.now(UTC), tutors=len(rows)
        )
    return fitted


def exceptions_of(database: Database, kind: Kind, as_of: datetime) -> tuple[Override, ...]:
    """The exceptions to rules of a kind. One to an alert applies to its insight too."""
    found = overrides.read(database, kind, as_of)
    if kind is not Kind.INSIGHT:
        return found
    of_alerts = overrides.read(database, Kind.ALERT, as_of)
    return (*found, *(replace(each, rule_id=at_threshold(each.rule_id)) for each in of_alerts))


def _newest(database: Database, catalogue: Catalogue, as_of: datetime) -> dict[str, Usual] | None:
    """The newest stored reference at that moment, for each alert of the catalogue that needs one;
    None if one of them is missing or has changed.
    """
    stored = _read(database, as_of)
    rules = catalogue.asking
    if any(stored.get(rule.id, {}).get(_VERSION) != rule.version for rule in rules):
        return None
    return {
        rule.id: Usual.from_json(
            {name: value for name, value in stored[rule.id].items() if name != _VERSION}
        )
        for rule in rules
    }


def _keep(
    database: Database,
    catalogue: Catalogue,
    fitted: Mapping[str, Usual],
    *,
    as_of: datetime,
    now: datetime,
    tutors: int,
) -> None:
    """Store the reference from a moment on, if it is new."""
    # Insights may be evaluated alone, while another run evaluates alerts.
    database.lock("rule_references")
    content = {
        rule.id: {_VERSION: rule.version, **fitted[rule.id].to_json()} for rule in catalogue.asking
    }
    if content == _read(database, as_of):
        return
    database.execute(
        "insert into {ops}.rule_references"
        " (version, as_of, fitted_at, profile, tutors, reference)"
        " select coalesce(max(version), 0) + 1, %s, %s, %s, %s, %s from {ops}.rule_references",
        (as_of, now, catalogue.profile, tutors, Jsonb(content)),
    )


def _read(database: Database, as_of: datetime) -> Mapping[str, Any]:
    row = database.execute(
        "select reference from {ops}.rule_references where as_of <= %s"
        " order by as_of desc, version desc limit 1",
        (as_of,),
    ).fetchone()
    return {} if row is None else dict(row[0])
