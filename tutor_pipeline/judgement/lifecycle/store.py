"""The rows of findings in `ops`: read, reconciled and written in one transaction.

Belongs here: what a run, a preview and the switch of a profile do to these rows.
Does not belong here: statements on the rows (`finding_rows`), decisions (`reconcile`).

Whoever writes these rows takes `lock` first, so two writers never run at the same time. A
transaction that dies leaves everything as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import datetime

from psycopg import sql

from tutor_pipeline.core.errors import RefusedError, UsageError
from tutor_pipeline.core.findings import (
    BY_HAND,
    Applied,
    Change,
    Evaluation,
    Kind,
    Step,
    Subject,
    SubjectKind,
)
from tutor_pipeline.core.formatting import agree, count
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.judgement.lifecycle.finding_rows import ACTOR, FindingRows
from tutor_pipeline.judgement.lifecycle.finding_tables import TABLES
from tutor_pipeline.judgement.lifecycle.reconcile import Pair, Reconciled, reconcile

MAX_REASON = 500
"""The most characters of the reason of an excuse or an exception."""


def apply(
    database: Database,
    evaluation: Evaluation,
    *,
    run_id: str,
    active_tutors: Collection[str],
    scope: Collection[str] | None = None,
    without_evidence: Collection[Pair] = frozenset(),
    excused: Collection[Pair] = frozenset(),
) -> Applied:
    """Reconcile an evaluation with the stored rows of its kind, in one transaction.

    `active_tutors` are all active tutors of the platform, whatever the run covers: open rows of
    others are closed. `scope` are the tutors that the run covers (None = all); rows of others stay
    as they are. `without_evidence`, `excused`: see there. If a transaction is already open, this is
    a part of it.

    Raises RefusedError if `as_of` is older than the last one applied, or if no tutor is active
    although rows are open: then a load is broken.
    """
    with database.transaction():
        lock(database, evaluation.kind)
        rows = FindingRows(database, evaluation, run_id)
        result = _reconciled(
            database, rows, evaluation, active_tutors, scope, without_evidence, excused
        )
        rows.reopen(result.changes)
        rows.write(result.changes)
        rows.resolve(result.changes)
        rows.append_events(result.changes)
        if scope is None:
            rows.count_sessions()
        applied = _applied(evaluation, result.changes, result.suppressed)
        rows.record(applied)
    return applied


def preview(
    database: Database,
    evaluation: Evaluation,
    *,
    active_tutors: Collection[str],
    scope: Collection[str] | None = None,
) -> Reconciled:
    """Return what `apply` would do, or raise what it would raise. Writes nothing, takes no lock."""
    rows = FindingRows(database, evaluation, run_id="")
    return _reconciled(database, rows, evaluation, active_tutors, scope, frozenset(), frozenset())


def without_evidence(
    database: Database, kind: Kind, scope: Collection[str] | None
) -> frozenset[Pair]:
    """Return the open pairs (subject, rule) of the tutors in scope (None = all) with a session in
    their evidence that no longer counts. For a kind without a history none. Reads
    marts.fct_sessions.
    """
    return _open_pairs(database, kind, scope, "without_evidence")


def excused(
    database: Database, kind: Kind, scope: Collection[str] | None, as_of: datetime
) -> frozenset[Pair]:
    """Return the open pairs of the tutors in scope (None = all) with a session in their evidence
    that somebody excused since they were last confirmed, and had not undone as of `as_of`. For a
    kind without a history none.
    """
    return _open_pairs(database, kind, scope, "excused_evidence", as_of=as_of)


def _open_pairs(
    database: Database,
    kind: Kind,
    scope: Collection[str] | None,
    name: str,
    **parameters: object,
) -> frozenset[Pair]:
    table = TABLES[kind]
    if table.events is None:
        return frozenset()
    query = database.sql(statement(__file__, name), **table.identifiers)
    found = database.execute(query, {"scope": None if scope is None else list(scope), **parameters})
    return frozenset(
        (Subject(tutor_id, SubjectKind(kind), subject_id), rule_id)
        for tutor_id, kind, subject_id, rule_id in found
    )


def lock(database: Database, kind: Kind) -> None:
    """Wait for the lock on the rows of a kind, and hold it until the transaction ends."""
    database.lock(kind)


def check_person(by: str) -> None:
    """Raise UsageError unless `by` names a person."""
    if not by.strip():
        raise UsageError("say who acts: the history names them")
    if by.strip() == ACTOR:
        raise UsageError(
            f"{ACTOR!r} is the name under which runs act; say who you are with: --by NAME"
        )


def checked_reason(reason: str, of: str) -> str:
    """Return the reason of something (`an excuse`) with single blanks. Raise UsageError for one
    without a letter or digit, or longer than MAX_REASON.
    """
    reason = " ".join(reason.split())
    if not any(char.isalnum() for char in reason):
        raise UsageError(f"say why: {of} needs a reason")
    if len(reason) > MAX_REASON:
        raise UsageError(f"the reason has {len(reason):,} characters, {MAX_REASON:,} are the most")
    return reason


def profile_in_force(database: Database) -> str | None:
    """Returns the rule profile of the newest run over alerts; None before the first and after
    `clear`.
    """
    found: str | None = database.value(
        "select profile from {ops}.reconcile_runs where kind = 'alert'"
        " order by applied_at desc limit 1"
    )
    return found


def last_applied(database: Database, kind: Kind | None = None) -> datetime | None:
    """Return the newest `as_of` that was applied to rows of a kind (None = of any), or None.

    Runs that evaluated nothing do not count: after a run on an empty platform, an older moment is
    still accepted.
    """
    newest: datetime | None = database.value(
        "select max(newest.as_of) from unnest(%s::text[]) as wanted (kind)"
        " cross join lateral ("
        "select max(as_of) as as_of from {ops}.reconcile_runs as run"
        " where run.evaluated > 0 and run.kind = wanted.kind) as newest",
        (list(Kind) if kind is None else [kind],),
    )
    return newest


def last_profile(database: Database) -> tuple[str, datetime] | None:
    """Return the rule profile of the newest run over the alerts of all tutors, and the moment it
    was applied; None before the first run.
    """
    return database.execute(
        "select profile, applied_at from {ops}.reconcile_runs as run"
        " where kind = 'alert' and run_id not like '%/%' and not exists ("
        "select 1 from {ops}.refresh_runs as header"
        " where header.run_id = run.run_id and not header.is_full and header.tables is null)"
        " order by applied_at desc limit 1"
    ).fetchone()


def adopt(database: Database, profile: str, since: datetime) -> dict[str, int]:
    """Finish a switch of profile: open alerts that could not be evaluated get the new profile.

    Returns what runs did after `since`: the number of alerts `closed` by the switch, how many of
    them were `critical`, of how many `tutors`, and the number of alerts `retired` and `opened`.
    """
    database.execute(
        "update {ops}.alerts set rule_profile = %(profile)s"
        " where resolved_at is null and rule_profile <> %(profile)s",
        {"profile": profile},
    )
    counts = database.one(statement(__file__, "profile_switch"), {"since": since})
    assert counts is not None
    return counts


def dealt_with(database: Database) -> frozenset[tuple[str, str]]:
    """Return the pairs (tutor, alert) without an open alert because somebody closed the newest."""
    rows = database.execute(
        "select tutor_id, alert_type from ("
        "select distinct on (tutor_id, alert_type) tutor_id, alert_type, resolution"
        " from {ops}.alerts where subject_kind = 'tutor'"
        " order by tutor_id, alert_type, occurrence desc"
        ") as newest where resolution = any(%s)",
        (sorted(BY_HAND),),
    )
    return frozenset(rows)


def clear(database: Database) -> int:
    """Delete the generated rows of all kinds in one transaction; return the number of rows found.

    Also deletes their events and the records of the runs, which are not counted. Keeps what people
    set (overrides) and what scorers made.
    """
    removed = 0
    with database.transaction():
        for kind, table in TABLES.items():
            lock(database, kind)
            if table.events:
                _delete_all(database, table.events)
            removed += _delete_all(database, table.name)
        for name in ("reconcile_runs", "session_days", "rule_references"):
            _delete_all(database, name)
    return removed


def _delete_all(database: Database, table: str) -> int:
    deleting = database.sql("delete from {ops}.{name}", name=sql.Identifier(table))
    return database.execute(deleting).rowcount


def _reconciled(
    database: Database,
    rows: FindingRows,
    evaluation: Evaluation,
    active_tutors: Collection[str],
    scope: Collection[str] | None,
    without_evidence: Collection[Pair],
    excused: Collection[Pair],
) -> Reconciled:
    """Return the changes of the stored rows. Raises RefusedError (see `apply`)."""
    if evaluation.as_of.tzinfo is None:
        raise ValueError("as_of needs a time zone")
    _refuse_older(last_applied(database, evaluation.kind), evaluation)
    open_rows = rows.open_rows(scope)
    if open_rows and not active_tutors:
        raise RefusedError(
            f"no tutor is active, yet {count(len(open_rows), evaluation.kind)}"
            f" {agree(len(open_rows), 'is', 'are')} open: the tutors did"
            " not load. Nothing was changed. Repair the load and run again; `tutor-pipeline"
            " check-source` says what is missing."
        )
    open_pairs = {(row.subject, row.rule_id) for row in open_rows}
    found = {(each.subject, each.rule_id) for each in evaluation.findings}
    closed_rows = rows.closed_rows(found - open_pairs)
    return reconcile(evaluation, open_rows, closed_rows, active_tutors, without_evidence, excused)


def _refuse_older(newest: datetime | None, evaluation: Evaluation) -> None:
    if newest is not None and evaluation.as_of < newest:
        raise RefusedError(
            f"the {evaluation.kind}s are as of {newest.isoformat()};"
            f" {evaluation.as_of.isoformat()} is older, so it was refused and nothing was changed."
            " Run as of a later moment, or start over with `tutor-pipeline clear`."
        )


def _applied(evaluation: Evaluation, changes: tuple[Change, ...], suppressed: int) -> Applied:
    count = Counter(change.step for change in changes)
    return Applied(
        kind=evaluation.kind,
        evaluated=evaluation.evaluated_pairs,
        opened=count[Step.OPENED] + count[Step.REOPENED],
        confirmed=count[Step.CONFIRMED] + count[Step.EASED],
        escalated=count[Step.ESCALATED],
        resolved=count[Step.RESOLVED],
        suppressed=suppressed,
        skipped=evaluation.skipped,
        changes=tuple(change for change in changes if change.step is not Step.CONFIRMED),
    )
