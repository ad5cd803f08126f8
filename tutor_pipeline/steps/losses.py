"""Losses: while rows of the platform are missing, nothing is derived and nothing is told.

Belongs here: who asks, what is stored of it, and the sentences.
Does not belong here: counting and comparing (`sources.losses`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from psycopg.pq import TransactionStatus

from tutor_pipeline.core.errors import RefusedError, TutorPipelineError
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.judgement.quality import results
from tutor_pipeline.judgement.quality.outcome import Outcome, Status
from tutor_pipeline.sources import losses
from tutor_pipeline.sources.losses import ASSET, CHECK, Limits
from tutor_pipeline.sources.relations import UnreadableError

HEALS = (
    "When the rows are back it goes on by itself. If they are gone for good:"
    " tutor-pipeline enrich --accept-loss"
)
"""What to do about a loss."""
_TOLD = 3


def says(limits: Limits) -> str:
    """Returns the rule as a sentence."""
    return (
        f"Within 24 hours the platform's tables lose at most {limits.share:.0%} of their rows and"
        f" values (or {limits.sessions:,} of them, {limits.tutors:,} of tutors)"
    )


def objections(database: Database, now: datetime, limits: Limits, *, run_id: str) -> list[str]:
    """Returns a line per loss over the limits, and stores the outcome where it differs from the
    newest one: nobody else evaluates this check between two full refreshes.

    Raises UnreadableError, or TutorPipelineError: there are no sessions to be read. It is stored
    and committed.
    """
    is_known_to_fail = is_failing(database)
    try:
        # What only a full refresh compares was perhaps what failed: it is over when that is back.
        found = [str(each) for each in losses.find(database, now, limits, whole=is_known_to_fail)]
    except TutorPipelineError as error:
        if database.info.transaction_status is TransactionStatus.INERROR:
            database.rollback()
        # What was never read is not missed.
        if not is_known_to_fail and losses.has_states(database):
            _store_and_commit(database, now, limits, [str(error)], run_id=run_id)
        raise
    if bool(found) != is_known_to_fail:
        store(database, now, limits, found, run_id=run_id)
    return found


def is_failing(database: Database) -> bool:
    """Returns whether rows were missing, or could not be read, when that was last looked at."""
    return bool(
        database.value(
            "select status <> 'passed' from {ops}.dq_results where asset = %s and check_name = %s"
            " order by evaluated_at desc, run_id desc limit 1",
            (ASSET, CHECK),
        )
    )


def take(
    database: Database,
    as_of: datetime,
    now: datetime,
    limits: Limits,
    *,
    run_id: str,
    whole: bool,
    accepted_by: str | None,
    warn: Callable[[str], None],
) -> None:
    """Accept what a refresh is about to read, or raise RefusedError: rows are missing.

    `accepted_by`: who accepts the loss. `whole`: a refresh of all tutors, which compares every
    table.
    """
    try:
        found = losses.find(database, now, limits, whole=whole)
    except UnreadableError as error:
        _store_and_commit(database, now, limits, [str(error)], run_id=run_id)
        raise RefusedError(str(error)) from error
    except TutorPipelineError as error:
        if losses.has_states(database):
            raise RefusedError(str(error)) from error
        # Nothing was read before: dbt says what is missing and which model needs it.
        warn(str(error))
        return
    if found and accepted_by is None:
        _store_and_commit(database, now, limits, [str(loss) for loss in found], run_id=run_id)
        raise RefusedError(refusal([str(loss) for loss in found]))
    for loss in found:
        warn(f"{accepted_by} accepts that {loss}")
    if whole or losses.is_due(database, now):
        losses.accept(
            database,
            as_of,
            now,
            run_id=run_id,
            why="; ".join(map(str, found)) or "nothing was missing",
            by=accepted_by if found else None,
            whole=whole,
        )
    store(database, now, limits, [], run_id=run_id)


def _store_and_commit(
    database: Database, now: datetime, limits: Limits, found: Sequence[str], *, run_id: str
) -> None:
    """Store the outcome before the transaction is given up."""
    if database.info.transaction_status is TransactionStatus.INERROR:
        database.rollback()
    store(database, now, limits, found, run_id=run_id)
    database.commit()


def refusal(lines: Sequence[str]) -> str:
    """Returns why nothing is derived, and what to do."""
    more = f"\n  and {len(lines) - _TOLD:,} more" if len(lines) > _TOLD else ""
    return (
        "rows of the platform are missing; nothing was derived, alerts stay as they are\n"
        + "\n".join(f"  {line}" for line in lines[:_TOLD])
        + f"{more}\n{HEALS}"
    )


def store(
    database: Database, now: datetime, limits: Limits, found: Sequence[str], *, run_id: str
) -> None:
    """Store the outcome of the check."""
    outcome = Outcome(
        ASSET,
        CHECK,
        "pipeline",
        says(limits),
        "error",
        True,
        Status.FAILED if found else Status.PASSED,
        observed="; ".join(found[:_TOLD]) or None,
    )
    results.record(database, run_id, now, [outcome], now)
