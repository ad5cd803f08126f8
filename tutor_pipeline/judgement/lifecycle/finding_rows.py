"""The statements of one run on the rows of one kind.

Belongs here: SQL on the tables of findings and their events. Statements are set-based, with
`tutor_id` in every key, and take the moment of the run as a parameter.
Does not belong here: decisions (`reconcile`), locks and transactions (`store`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from tutor_pipeline.core.findings import (
    BY_HAND,
    Applied,
    Change,
    Evaluation,
    Finding,
    Resolution,
    Severity,
    Step,
    Subject,
    SubjectKind,
)
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.judgement.lifecycle.finding_tables import TABLES, metrics, newest_session
from tutor_pipeline.judgement.lifecycle.reconcile import ClosedRow, OpenRow, Pair

ACTOR = "pipeline"
"""The name under which runs act in the history."""

_COMES_BACK = timedelta(days=7)
"""For so long an alert whose evidence went is the same one when the evidence is back."""

_SEVERITIES: Mapping[str | None, Severity] = {str(each): each for each in Severity}

# Completed sessions of a day are counted again for as long as late arrivals are expected.
_COUNTED_AGAIN = timedelta(days=100)


class FindingRows:
    """Reads and writes the rows that one evaluation is about, in the open transaction."""

    def __init__(self, database: Database, evaluation: Evaluation, run_id: str) -> None:
        self._database = database
        self._evaluation = evaluation
        self._run_id = run_id
        self._table = TABLES[evaluation.kind]

    def open_rows(self, scope: Collection[str] | None) -> list[OpenRow]:
        """Return the open rows of the tutors in scope (None = all) that the rules are about."""
        found = self._execute(
            statement(__file__, "open_rows"),
            {
                "scope": None if scope is None else list(scope),
                "about": sorted(self._evaluation.about),
            },
            severity=self._severity(),
            newest_event=self._newest_event(),
        )
        return [
            OpenRow(
                Subject(tutor, SubjectKind(kind), subject_id),
                rule,
                row_id,
                occurrence,
                _SEVERITIES.get(severity),
                newest,
                profile,
            )
            for (
                tutor,
                kind,
                subject_id,
                rule,
                row_id,
                occurrence,
                severity,
                newest,
                profile,
            ) in found
        ]

    def _severity(self) -> sql.Composable:
        """Return SQL for the severity of a row `held`, null for a kind without one."""
        return sql.SQL("held.severity" if "severity" in self._table.columns else "null")

    def _newest_event(self) -> sql.Composable:
        """Return SQL for the number of the newest event of a row `held`; 0 if it has none."""
        if self._table.events is None:
            return sql.SQL("0")
        return self._sql(
            """(
                select max(event.event_no)
                from {ops}.{events} as event
                where event.tutor_id = held.tutor_id and event.{row_id} = held.{row_id}
            )""",
            events=sql.Identifier(self._table.events),
        )

    def closed_rows(self, pairs: Iterable[Pair]) -> dict[Pair, ClosedRow]:
        """Return the newest row, a closed one, of each of these pairs that ever had one."""
        wanted = sorted(pairs)
        found = self._execute(
            statement(__file__, "newest_closed_rows"),
            {
                "tutors": [subject.tutor_id for subject, _ in wanted],
                "kinds": [subject.kind for subject, _ in wanted],
                "ids": [subject.id for subject, _ in wanted],
                "rules": [rule_id for _, rule_id in wanted],
            },
            severity=self._severity(),
            newest_event=self._newest_event(),
            known_sessions=sql.SQL("known_session_ids" if self._table.events else "'{}'::text[]"),
        )
        one_row = len(self._table.moments) > 1
        back_since = self._evaluation.as_of - _COMES_BACK
        rows = found.fetchall()
        unexcused = self._unexcused(
            [(row[0], row[4]) for row in rows if row[6] == Resolution.EXCUSED]
        )
        return {
            (Subject(tutor_id, SubjectKind(kind), subject_id), rule_id): ClosedRow(
                occurrence,
                resolution in BY_HAND,
                frozenset(sessions),
                row_id
                if one_row
                or (resolution == Resolution.EVIDENCE_GONE and resolved_at >= back_since)
                or row_id in unexcused
                else None,
                newest_event,
                _SEVERITIES.get(severity),
                unexcused.get(row_id),
            )
            for (
                tutor_id, kind, subject_id, rule_id, row_id, occurrence, resolution, resolved_at,
                severity, newest_event, sessions,
            ) in rows
        }  # fmt: skip

    def _unexcused(self, rows: Collection[tuple[str, str]]) -> dict[str, frozenset[str]]:
        """Return, of the rows (tutor, id) of which an excuse was undone since they closed, the
        sessions that count again.
        """
        if not rows:
            return {}
        tutors, ids = zip(*rows, strict=True)
        found = self._execute(
            statement(__file__, "unexcused"), {"tutors": list(tutors), "rows": list(ids)}
        )
        return {row_id: frozenset(sessions) for row_id, sessions in found}

    def write(self, changes: Iterable[Change]) -> None:
        """Insert the opened rows and update the others that go on. Equal rows stay untouched."""
        found = [(change, change.finding) for change in changes if change.finding is not None]
        if not found:
            return
        self._copy_incoming(found)
        table = self._table
        names = [*table.columns, "rule_version", "rule_profile", "last_confirmed_at"]
        self._execute(
            """
            insert into {ops}.{finding_table} as held (
                tutor_id, {row_id}, {rule_id}, occurrence, {names}, {moments}
            )
            select
                tutor_id, row_id, rule_id, occurrence, {own}, rule_version,
                %(profile)s, %(as_of)s, {as_of_each}
            from incoming
            on conflict (tutor_id, {row_id}) do update set {updates}
            where ({stored}) is distinct from ({refreshed})
            """,
            {"profile": self._evaluation.profile, "as_of": self._evaluation.as_of},
            own=_list("{}", table.columns),
            names=_list("{}", names),
            moments=_list("{}", table.moments),
            as_of_each=sql.SQL(", ").join([sql.SQL("%(as_of)s")] * len(table.moments)),
            updates=_list("{0} = excluded.{0}", names),
            stored=_list("held.{}", names),
            refreshed=_list("excluded.{}", names),
        )
        self._execute("drop table incoming")

    def _copy_incoming(self, found: Iterable[tuple[Change, Finding]]) -> None:
        """Copy the rows to a temporary table `incoming`."""
        columns = self._table.columns
        self._execute(
            """
            create temporary table incoming (
                tutor_id text, row_id text, rule_id text, occurrence integer, rule_version text,
                {typed}
            )
            """,
            typed=sql.SQL(", ").join(
                sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(pg_type))
                for name, (pg_type, _) in columns.items()
            ),
        )
        copying = self._sql(
            "copy incoming (tutor_id, row_id, rule_id, occurrence, rule_version, {own}) from stdin",
            own=_list("{}", columns),
        )
        values = [value for _, value in columns.values()]
        with self._database.copy(copying) as copy:
            for change, finding in found:
                copy.write_row(
                    (
                        change.tutor_id,
                        change.row_id,
                        change.rule_id,
                        str(change.occurrence),
                        finding.rule_version,
                        *[value(finding) for value in values],
                    )
                )

    def reopen(self, changes: Iterable[Change]) -> None:
        """Reopen closed rows; `write` then updates their content."""
        again = [change for change in changes if change.step is Step.REOPENED]
        if not again:
            return
        self._execute(
            """
            update {ops}.{finding_table} as held
            set
                resolved_at = null, resolved_by = null, resolution = null,
                occurrence = again.occurrence, {reopened}
                last_confirmed_at = %(as_of)s
            from unnest(%(tutors)s::text[], %(rows)s::text[], %(occurrences)s::integer[])
                as again (tutor_id, row_id, occurrence)
            where held.tutor_id = again.tutor_id and held.{row_id} = again.row_id
            """,
            {
                "as_of": self._evaluation.as_of,
                "tutors": [change.tutor_id for change in again],
                "rows": [change.row_id for change in again],
                "occurrences": [change.occurrence for change in again],
            },
            # An alert that is back is as old as it was.
            reopened=sql.SQL("")
            if self._table.events
            else sql.SQL("{} = %(as_of)s,").format(sql.Identifier(self._table.moments[-1])),
        )

    def resolve(self, changes: Iterable[Change]) -> None:
        """Close the resolved rows."""
        closed = [change for change in changes if change.resolution is not None]
        if not closed:
            return
        self._execute(
            """
            update {ops}.{finding_table} as held
            set resolved_at = %(as_of)s, resolved_by = %(actor)s, resolution = closed.resolution
            from unnest(%(tutors)s::text[], %(rows)s::text[], %(resolutions)s::text[])
                as closed (tutor_id, row_id, resolution)
            where held.tutor_id = closed.tutor_id and held.{row_id} = closed.row_id
            """,
            {
                "as_of": self._evaluation.as_of,
                "actor": ACTOR,
                "tutors": [change.tutor_id for change in closed],
                "rows": [change.row_id for change in closed],
                "resolutions": [change.resolution for change in closed],
            },
        )

    def append_events(self, changes: Iterable[Change]) -> None:
        """Add an event to the history of each changed row, for a kind with a history."""
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
        if not events or self._table.events is None:
            return
        self._execute(
            """
            insert into {ops}.{events_table}
                (tutor_id, {row_id}, event_no, event, at, actor, run_id, details)
            select
                tutor_id, row_id, event_no, event, %(as_of)s, %(actor)s, %(run_id)s, details
            from jsonb_to_recordset(%(events)s) as new (
                tutor_id text, row_id text, event_no integer, event text, details jsonb
            )
            """,
            {
                "as_of": self._evaluation.as_of,
                "actor": ACTOR,
                "run_id": self._run_id,
                "events": Jsonb(events),
            },
            events_table=sql.Identifier(self._table.events),
        )

    def count_sessions(self) -> None:
        """Store how many sessions were completed on each day, for statistics on the events.

        Days are in the pipeline's zone, as those of the events are: it is stored, too.
        """
        if self._table.events is None:
            return
        zone, as_of = self._database.timezone, self._evaluation.as_of
        since = (as_of - _COUNTED_AGAIN).astimezone(ZoneInfo(zone)).date()
        self._execute(
            "update {ops}.pipeline_zone set timezone = %(zone)s where timezone <> %(zone)s",
            {"zone": zone},
        )
        # A separate statement: PostgreSQL does not use a second core in one that writes.
        days = self._execute(
            statement(__file__, "completed_per_day"), {"since": since, "as_of": as_of}
        ).fetchall()
        self._execute(
            "delete from {ops}.session_days where session_on >= %(since)s", {"since": since}
        )
        self._execute(
            """
            insert into {ops}.session_days (session_on, completed)
            select day, completed
            from unnest(%(days)s::date[], %(counts)s::integer[]) as counted (day, completed)
            """,
            {"days": [day for day, _ in days], "counts": [completed for _, completed in days]},
        )

    def record(self, applied: Applied) -> None:
        """Write the run to `ops.reconcile_runs`. A repeated run keeps its first record."""
        self._execute(
            """
            insert into {ops}.reconcile_runs (
                kind, run_id, as_of, profile, tutors, evaluated, opened, confirmed, escalated,
                resolved, suppressed, skipped
            )
            values (
                %(kind)s, %(run_id)s, %(as_of)s, %(profile)s, %(tutors)s, %(evaluated)s, %(opened)s,
                %(confirmed)s, %(escalated)s, %(resolved)s, %(suppressed)s, %(skipped)s
            )
            on conflict (kind, run_id) do nothing
            """,
            {
                "kind": applied.kind,
                "run_id": self._run_id,
                "as_of": self._evaluation.as_of,
                "profile": self._evaluation.profile,
                "tutors": self._evaluation.tutors,
                "evaluated": applied.evaluated,
                "opened": applied.opened,
                "confirmed": applied.confirmed,
                "escalated": applied.escalated,
                "resolved": applied.resolved,
                "suppressed": applied.suppressed,
                "skipped": Jsonb(dict(applied.skipped)),
            },
        )

    def _execute(
        self, text: str, parameters: Mapping[str, object] | None = None, **parts: sql.Composable
    ) -> psycopg.Cursor[Any]:
        """Run a statement with the names of the schemas and of this kind's table filled in."""
        return self._database.execute(self._sql(text, **parts), parameters)

    def _sql(self, text: str, **parts: sql.Composable) -> sql.Composed:
        return self._database.sql(text, **self._table.identifiers, **parts)


def _list(template: str, names: Iterable[str]) -> sql.Composed:
    """Return the names, each in the template, separated by commas."""
    return sql.SQL(", ").join(sql.SQL(template).format(sql.Identifier(name)) for name in names)


def _details(change: Change) -> dict[str, object]:
    """Return what the event of a change keeps as JSON."""
    if change.finding is None:
        return {"resolution": change.resolution}
    details: dict[str, object] = {"metrics": metrics(change.finding)}
    if change.finding.severity:
        details["severity"] = change.finding.severity
    if change.was:
        details["was"] = change.was
    if change.step is Step.OPENED:
        details["session_id"] = newest_session(change.finding)
    return details
