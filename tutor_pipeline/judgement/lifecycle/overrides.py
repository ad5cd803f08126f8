"""Exceptions to rules for single tutors: rows of `ops.rule_overrides`.

Belongs here: creating, removing and reading them.
Does not belong here: their effect on a rule (`rules.evaluate`).
"""

from __future__ import annotations

from datetime import datetime
from math import isfinite
from typing import Any

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.findings import Kind, Override
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.judgement.lifecycle.store import check_person, checked_reason, lock
from tutor_pipeline.sources.changes import ledger


def read(database: Database, kind: Kind, as_of: datetime) -> tuple[Override, ...]:
    """Return the exceptions to rules of one kind that are in force as of a moment."""
    rows = database.execute(
        "select tutor_id, rule_id, threshold, disabled from {ops}.rule_overrides"
        " where kind = %s and (expires_at is null or expires_at > %s)"
        " order by tutor_id, rule_id",
        (kind, as_of),
    )
    return tuple(Override(*row) for row in rows)


def list_all(database: Database) -> list[dict[str, Any]]:
    """Return all exceptions, including expired ones, with reason, set_by, set_at, expires_at."""
    return database.rows(
        "select tutor_id, kind, rule_id, threshold, disabled, reason, set_by, set_at,"
        " expires_at from {ops}.rule_overrides order by tutor_id, kind, rule_id"
    )


def of(
    database: Database, kind: Kind, tutor_id: str, rule_id: str, at: datetime
) -> dict[str, Any] | None:
    """Return the exception of a tutor to a rule that is in force at a moment; None for none."""
    found: dict[str, Any] | None = database.one(
        "select threshold, disabled, reason, set_by, set_at, expires_at from {ops}.rule_overrides"
        " where tutor_id = %s and kind = %s and rule_id = %s"
        " and (expires_at is null or expires_at > %s)",
        (tutor_id, kind, rule_id, at),
    )
    return found


def put(
    database: Database,
    kind: Kind,
    override: Override,
    *,
    reason: str,
    by: str,
    at: datetime,
    expires_at: datetime | None = None,
) -> None:
    """Create or replace an exception. It applies from the next run on, which follows at once
    where one stands by.

    Raises UsageError unless it either sets a finite threshold or disables the rule, has a reason
    and a person, and expires after `at`.
    """
    if override.disabled is (override.threshold is not None):
        raise UsageError("an exception is either another threshold or the rule switched off")
    if override.threshold is not None and not isfinite(override.threshold):
        raise UsageError(f"a threshold is a finite number, not {override.threshold}")
    reason = checked_reason(reason, "an exception")
    check_person(by)
    if expires_at is not None and expires_at <= at:
        raise UsageError(f"{expires_at.isoformat()} is past: the exception would never count")
    with database.transaction():
        lock(database, kind)
        database.execute(
            "insert into {ops}.rule_overrides (tutor_id, kind, rule_id, threshold, disabled,"
            " reason, set_by, set_at, expires_at) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
            " on conflict (tutor_id, kind, rule_id) do update set"
            " threshold = excluded.threshold, disabled = excluded.disabled,"
            " reason = excluded.reason, set_by = excluded.set_by, set_at = excluded.set_at,"
            " expires_at = excluded.expires_at",
            (
                override.tutor_id,
                kind,
                override.rule_id,
                override.threshold,
                override.disabled,
                reason,
                by,
                at,
                expires_at,
            ),
        )
        ledger.mark_tutor(database, override.tutor_id, at)


def remove(database: Database, kind: Kind, tutor_id: str, rule_id: str, at: datetime) -> bool:
    """Remove an exception. Returns False if there was none."""
    with database.transaction():
        lock(database, kind)
        removed = database.execute(
            "delete from {ops}.rule_overrides where tutor_id = %s and kind = %s and rule_id = %s",
            (tutor_id, kind, rule_id),
        ).rowcount
        if removed:
            ledger.mark_tutor(database, tutor_id, at)
    return removed > 0
