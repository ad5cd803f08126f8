"""The rows of findings in `ops`: read, reconciled and written in one transaction.

Belongs here: SQL on the tables of findings and their events. Statements are set-based, with
`tutor_id` in every key, and take the run's moment as a parameter.
Does not belong here: decisions, which are `reconcile`'s.

Runs, and whoever else writes these rows, take `lock` first, so two at once end as one after the
other. A transaction that dies leaves everything as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row
from psycopg.types.json import Jsonb

from tutor_pipeline.domain import (
    BY_HAND,
    Applied,
    Change,
    Evaluation,
    Finding,
    Kind,
    Override,
    Severity,
    Step,
)
from tutor_pipeline.errors import RefusedError
from tutor_pipeline.lifecycle.reconcile import Held, Pair, Past, reconcile
from tutor_pipeline.warehouse.connection import Warehouse

ACTOR = "pipeline"

# Evidence comes from windows of at most 90 days, so older sessions need not be remembered; the
# days beyond are slack for the time zone in which a session has its day.
_REMEMBERED = timedelta(days=100)


@dataclass(frozen=True, slots=True)
class _Table:
    """Where the rows of one kind are, and how a finding becomes one.

    `columns` maps a column to its type and its value; `opened` is the column of the moment that
    opened the row.
    """

    name: str
    events: str
    row_id: str
    rule_id: str
    opened: str
    columns: Mapping[str, tuple[str, Callable[[Finding], object]]]


def _metrics(finding: Finding) -> dict[str, dict[str, object]]:
    readings = (asdict(reading) for reading in finding.readings)
    return {reading.pop("metric"): reading for reading in readings}


_TABLES = {
    Kind.ALERT: _Table(
        name="alerts",
        events="alert_events",
        row_id="alert_id",
        rule_id="alert_type",
        opened="triggered_date",
        columns={
            "severity": ("text", lambda finding: finding.severity),
            "title": ("text", lambda finding: finding.texts["title"]),
            "description": ("text", lambda finding: finding.texts["description"]),
            "recommended_action": ("text", lambda finding: finding.texts["recommended_action"]),
            "session_id": ("text", lambda finding: next(iter(finding.evidence), None)),
            "evidence_session_ids": ("text[]", lambda finding: finding.evidence),
            "metrics": ("jsonb", _metrics),
            "excess": ("double precision", lambda finding: finding.excess),
        },
    ),
}


def apply(
    connection: psycopg.Connection[Any],
    warehouse: Warehouse,
    evaluation: Evaluation,
    *,
    run_id: str,
    active_tutors: Collection[str],
    scope: Collection[str] | None = None,
) -> Applied:
    """Reconcile an evaluation with the stored rows of its kind, in one transaction.

    `active_tutors` is everyone who is active on the platform, whatever the run covers: the open
    rows of anybody else are closed. `scope` are the tutors that the run covers (None: all);
    rows of others stay as they are. Where the caller already has a transaction open, this is a
    part of it, so that more can be written together with the findings.

    Raises RefusedError for an as-of moment older than the last one applied, and where nobody
    is active although rows are open: that is a broken load, not a platform all have left.
    """
    if evaluation.as_of.tzinfo is None:
        raise ValueError("as_of needs a time zone")
    with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
        store = _Store(cursor, warehouse, evaluation, run_id)
        lock(connection, warehouse, evaluation.kind)
        _refuse_older(last_applied(connection, warehouse, evaluation.kind), evaluation)
        held = store.held(scope)
        if held and not active_tutors:
            raise RefusedError(
                f"no tutor is active, yet {len(held)} {evaluation.kind}s are open: the tutors did"
                " not load. Nothing was changed. Repair the load and run again; `tutor-pipeline"
                " check-source` says what is missing."
            )
        open_pairs = {(row.tutor_id, row.rule_id) for row in held}
        found = {(each.tutor_id, each.rule_id) for each in evaluation.findings}
        past = store.past(found - open_pairs)
        result = reconcile(evaluation, held, past, active_tutors)
        store.write(result.changes)
        store.resolve(result.changes)
        store.append_events(result.changes)
        store.remember_sessions(held, result.changes)
        applied = _applied(evaluation, result.changes, result.suppressed)
        store.record(applied)
    return applied


def lock(connection: psycopg.Connection[Any], warehouse: Warehouse, kind: Kind) -> None:
    """Wait until no other transaction writes rows of this kind; held until the end of this one."""
    connection.execute(
        "select pg_advisory_xact_lock(hashtextextended(%s, 0))",
        (f"{warehouse.schemas.ops}.{kind}",),
    )


def last_applied(
    connection: psycopg.Connection[Any], warehouse: Warehouse, kind: Kind | None = None
) -> datetime | None:
    """The newest as-of moment that was applied (to rows of one kind); None before the first.

    Runs that evaluated nothing don't count: an empty platform must not bar the way.
    """
    with connection.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute(
            warehouse.sql(
                "select max(as_of) from {ops}.reconcile_runs"
                " where evaluated > 0 and (%(kind)s::text is null or kind = %(kind)s)"
            ),
            {"kind": kind},
        ).fetchone()
    return row[0] if row else None


def read_overrides(
    connection: psycopg.Connection[Any], warehouse: Warehouse, kind: Kind, as_of: datetime
) -> tuple[Override, ...]:
    """The exceptions to rules of one kind that are in force as of a moment."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        rows = cursor.execute(
            warehouse.sql(
                "select tutor_id, rule_id, threshold, disabled from {ops}.rule_overrides"
                " where kind = %s and (expires_at is null or expires_at > %s)"
                " order by tutor_id, rule_id"
            ),
            (kind, as_of),
        ).fetchall()
    return tuple(Override(*row) for row in rows)


def clear(connection: psycopg.Connection[Any], warehouse: Warehouse) -> int:
    """Delete the generated rows of all kinds in one transaction; the number of rows found.

    Their events and the notes of the runs go too and are not counted; what people set
    (overrides) stays.
    """
    removed = 0
    with connection.transaction():
        for kind, table in _TABLES.items():
            lock(connection, warehouse, kind)
            delete = warehouse.sql("delete from {ops}.")
            connection.execute(delete + sql.Identifier(table.events))
            removed += connection.execute(delete + sql.Identifier(table.name)).rowcount
        connection.execute(warehouse.sql("delete from {ops}.reconcile_runs"))
    return removed


class _Store:
    """The statements of one run, in the transaction of `cursor`."""

    def __init__(
        self,
        cursor: psycopg.Cursor[tuple[Any, ...]],
        warehouse: Warehouse,
        evaluation: Evaluation,
        run_id: str,
    ) -> None:
        self._cursor = cursor
        self._schemas = warehouse.schemas
        self._evaluation = evaluation
        self._run_id = run_id
        self._table = _TABLES[evaluation.kind]

    def held(self, scope: Collection[str] | None) -> list[Held]:
        """The open rows of the tutors in scope."""
        rows = self._execute(
            """
            select
                held.tutor_id, held.{rule_id}, held.{row_id}, held.occurrence, {severity},
                (
                    select max(event.event_no)
                    from {ops}.{events} as event
                    where event.tutor_id = held.tutor_id and event.{row_id} = held.{row_id}
                )
            from {ops}.{table} as held
            where held.resolved_at is null
                and (%(scope)s::text[] is null or held.tutor_id = any(%(scope)s::text[]))
            order by held.tutor_id, held.{rule_id}
            """,
            {"scope": None if scope is None else list(scope)},
        )
        return [
            Held(tutor, rule, row_id, occurrence, Severity(severity) if severity else None, events)
            for tutor, rule, row_id, occurrence, severity, events in rows
        ]

    def past(self, pairs: Iterable[Pair]) -> dict[Pair, Past]:
        """The newest row, which is a closed one, of each of these pairs that ever had one."""
        tutors, rules = zip(*sorted(pairs), strict=True) if pairs else ((), ())
        rows = self._execute(
            """
            select distinct on (earlier.tutor_id, earlier.{rule_id})
                earlier.tutor_id, earlier.{rule_id}, earlier.occurrence, earlier.resolution,
                earlier.known_session_ids
            from {ops}.{table} as earlier
            inner join unnest(%s::text[], %s::text[]) as pair (tutor_id, rule_id)
                on earlier.tutor_id = pair.tutor_id and earlier.{rule_id} = pair.rule_id
            order by earlier.tutor_id, earlier.{rule_id}, earlier.occurrence desc
            """,
            (list(tutors), list(rules)),
        )
        return {
            (tutor_id, rule_id): Past(occurrence, resolution in BY_HAND, frozenset(sessions))
            for tutor_id, rule_id, occurrence, resolution, sessions in rows
        }

    def write(self, changes: Iterable[Change]) -> None:
        """Insert the opened rows and refresh the others that go on; equal rows stay untouched."""
        columns = self._table.columns
        rows = [
            {
                "tutor_id": change.tutor_id,
                "row_id": change.row_id,
                "rule_id": change.rule_id,
                "occurrence": change.occurrence,
                "rule_version": change.finding.rule_version,
                **{name: value(change.finding) for name, (_, value) in columns.items()},
            }
            for change in changes
            if change.finding is not None
        ]
        names = [sql.Identifier(name) for name in columns]
        refreshed = [*names, *map(sql.Identifier, ("rule_profile", "rule_version"))]
        refreshed.append(sql.Identifier("last_confirmed_at"))
        self._execute(
            """
            insert into {ops}.{table} as held (
                tutor_id, {row_id}, {rule_id}, occurrence, {names},
                rule_profile, rule_version, {opened}, last_confirmed_at
            )
            select
                tutor_id, row_id, rule_id, occurrence, {names},
                %(profile)s, rule_version, %(as_of)s, %(as_of)s
            from jsonb_to_recordset(%(rows)s) as new (
                tutor_id text, row_id text, rule_id text, occurrence integer,
                rule_version text, {typed}
            )
            on conflict (tutor_id, {row_id}) do update set {updates}
            where ({stored}) is distinct from ({excluded})
            """,
            {
                "profile": self._evaluation.profile,
                "as_of": self._evaluation.as_of,
                "rows": Jsonb(rows),
            },
            names=sql.SQL(", ").join(names),
            typed=sql.SQL(", ").join(
                sql.Identifier(name) + sql.SQL(" " + pg_type)
                for name, (pg_type, _) in columns.items()
            ),
            updates=sql.SQL(", ").join(
                sql.SQL("{0} = excluded.{0}").format(name) for name in refreshed
            ),
            stored=sql.SQL(", ").join(sql.SQL("held.{}").format(name) for name in refreshed),
            excluded=sql.SQL(", ").join(sql.SQL("excluded.{}").format(name) for name in refreshed),
        )

    def resolve(self, changes: Iterable[Change]) -> None:
        """Close the resolved rows."""
        closed = [change for change in changes if change.resolution is not None]
        self._execute(
            """
            update {ops}.{table} as held
            set resolved_at = %s, resolved_by = %s, resolution = closed.resolution
            from unnest(%s::text[], %s::text[], %s::text[])
                as closed (tutor_id, row_id, resolution)
            where held.tutor_id = closed.tutor_id and held.{row_id} = closed.row_id
            """,
            (
                self._evaluation.as_of,
                ACTOR,
                [change.tutor_id for change in closed],
                [change.row_id for change in closed],
                [change.resolution for change in closed],
            ),
        )

    def append_events(self, changes: Iterable[Change]) -> None:
        """Add to the history of each row what happened to it."""
        events = [
            {
                "tutor_id": change.tutor_id,
                "row_id": change.row_id,
                "event_no": change.event_no,
                "event": change.step,
                "details": _details(change),
            }
            for change in changes
            if change.event_no is not None
        ]
        self._execute(
            """
            insert into {ops}.{events}
                (tutor_id, {row_id}, event_no, event, at, actor, run_id, details)
            select tutor_id, row_id, event_no, event, %s, %s, %s, details
            from jsonb_to_recordset(%s) as new (
                tutor_id text, row_id text, event_no integer, event text, details jsonb
            )
            """,
            (self._evaluation.as_of, ACTOR, self._run_id, Jsonb(events)),
        )

    def remember_sessions(self, held: Iterable[Held], changes: Iterable[Change]) -> None:
        """Note on the open rows of the run's tutors which sessions have been processed by now.

        This is what a resolution by hand is measured against later: evidence that is not among
        them was first processed after it. A row closed by hand in between keeps the older note.
        """
        tutors = {row.tutor_id for row in held}
        tutors |= {change.tutor_id for change in changes if change.step is Step.OPENED}
        as_of = self._evaluation.as_of
        self._execute(
            """
            update {ops}.{table} as held
            set known_session_ids = processed.session_ids
            from (
                select tutor_id, array_agg(session_id order by session_id) as session_ids
                from {marts}.fct_sessions
                where tutor_id = any(%(tutors)s::text[])
                    and scheduled_start between %(since)s and %(as_of)s
                    and status not in ('scheduled', 'in_progress')
                group by tutor_id
            ) as processed
            where held.tutor_id = processed.tutor_id
                and held.resolved_at is null
                and held.known_session_ids is distinct from processed.session_ids
            """,
            {"tutors": sorted(tutors), "since": as_of - _REMEMBERED, "as_of": as_of},
        )

    def record(self, applied: Applied) -> None:
        """Note the run; repeated, it keeps its first note."""
        self._execute(
            "insert into {ops}.reconcile_runs (kind, run_id, as_of, profile, tutors, evaluated,"
            " opened, confirmed, escalated, resolved, suppressed, skipped)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
            " on conflict (kind, run_id) do nothing",
            (
                applied.kind,
                self._run_id,
                self._evaluation.as_of,
                self._evaluation.profile,
                self._evaluation.tutors,
                applied.evaluated,
                applied.opened,
                applied.confirmed,
                applied.escalated,
                applied.resolved,
                applied.suppressed,
                Jsonb(dict(applied.skipped)),
            ),
        )

    def _execute(
        self, text: str, parameters: Any, **parts: sql.Composable
    ) -> psycopg.Cursor[tuple[Any, ...]]:
        """Run a statement with the names of the schemas and of this kind's table filled in."""
        table = self._table
        has_severity = "severity" in table.columns
        statement = sql.SQL(text).format(
            **self._schemas.identifiers(),
            table=sql.Identifier(table.name),
            events=sql.Identifier(table.events),
            row_id=sql.Identifier(table.row_id),
            rule_id=sql.Identifier(table.rule_id),
            opened=sql.Identifier(table.opened),
            severity=sql.Identifier("severity") if has_severity else sql.NULL,
            **parts,
        )
        return self._cursor.execute(statement, parameters)


def _refuse_older(newest: datetime | None, evaluation: Evaluation) -> None:
    if newest is not None and evaluation.as_of < newest:
        raise RefusedError(
            f"the {evaluation.kind}s are as of {newest.isoformat()};"
            f" {evaluation.as_of.isoformat()} is older, so it was refused and nothing was changed."
            " Run as of a later moment, or start over with `tutor-pipeline clear`."
        )


def _details(change: Change) -> dict[str, object]:
    if change.finding is None:
        return {"resolution": change.resolution}
    details: dict[str, object] = {"metrics": _metrics(change.finding)}
    if change.finding.severity:
        details["severity"] = change.finding.severity
    if change.was:
        details["was"] = change.was
    return details


def _applied(evaluation: Evaluation, changes: tuple[Change, ...], suppressed: int) -> Applied:
    count = Counter(change.step for change in changes)
    return Applied(
        kind=evaluation.kind,
        evaluated=evaluation.evaluated_pairs,
        opened=count[Step.OPENED],
        confirmed=count[Step.CONFIRMED] + count[Step.EASED],
        escalated=count[Step.ESCALATED],
        resolved=count[Step.RESOLVED],
        suppressed=suppressed,
        skipped=evaluation.skipped,
        changes=tuple(change for change in changes if change.step is not Step.CONFIRMED),
    )
