"""The rows of findings in `ops`: read, reconciled and written in one transaction.

Belongs here: SQL on the tables of findings and their events. Statements are set-based, with
`tutor_id` in every key, and take the run's moment as a parameter.
Does not belong here: decisions, which are `reconcile`'s.

Runs, and whoever else writes these rows, take `lock` first, so two at once end as one after the
other. A transaction that dies leaves everything as it was.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row
from psycopg.types.json import Jsonb

from tutor_pipeline.core.errors import RefusedError, UsageError
from tutor_pipeline.core.findings import (
    BY_HAND,
    Applied,
    Change,
    Evaluation,
    Finding,
    Kind,
    Severity,
    Step,
)
from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.judgement.lifecycle.reconcile import Held, Pair, Past, Reconciled, reconcile

ACTOR = "pipeline"

_to_json = json.JSONEncoder().encode
_SEVERITIES: Mapping[str | None, Severity] = {str(each): each for each in Severity}

# A day's completed sessions are counted again as long as late arrivals may be expected.
_COUNTED_AGAIN = timedelta(days=100)


@dataclass(frozen=True, slots=True)
class _Table:
    """Where the rows of one kind are, and how a finding becomes one.

    `columns` maps a column to its type and its value as text that COPY takes (the driver's own way
    with a list takes longer than the rest of a run); `moments` are the columns of the moment that
    opened the row. Where there are two, a pair has one row for ever: it opens again, the second
    column says when, and `occurrence` counts how often. `events` is the table of what happened to
    each row, for the kind that people act on; such a row notes `known_session_ids` when they close
    it.
    """

    name: str
    row_id: str
    rule_id: str
    moments: tuple[str, ...]
    columns: Mapping[str, tuple[str, Callable[[Finding], object]]]
    events: str | None = None


def _array(values: Sequence[str]) -> str:
    """An array as PostgreSQL reads it."""
    together = "".join(values)
    if '"' in together or "\\" in together:
        values = [value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
    return '{"' + '","'.join(values) + '"}' if values else "{}"


def _text(name: str) -> tuple[str, Callable[[Finding], object]]:
    """A column of the kind's own words; NULL where the kind may do without."""
    return "text", lambda finding: finding.texts.get(name)


def _evidence(finding: Finding) -> str:
    return _array(finding.evidence)


def _metrics_json(finding: Finding) -> str:
    return _to_json(_metrics(finding))


def _metrics(finding: Finding) -> dict[str, dict[str, object]]:
    """What the conditions read, by metric; `threshold` is a list where several are about one. With
    the first one stands how it compares with the others, where the rule asks for that.
    """
    thresholds: dict[str, list[object]] = {}
    for reading in finding.readings:
        thresholds.setdefault(reading.metric, []).append(reading.threshold)
    metrics: dict[str, dict[str, object]] = {
        reading.metric: {
            "value": reading.value,
            "threshold": each if len(each := thresholds[reading.metric]) > 1 else each[0],
            "exposure": reading.exposure,
        }
        for reading in finding.readings
    }
    if finding.usual is not None:
        metrics[finding.readings[0].metric] |= {
            "usual": finding.usual,
            "surely_beyond": finding.unusual,
        }
    return metrics


def _newest_session(finding: Finding) -> str | None:
    return next(iter(finding.evidence), None)


_TABLES = {
    Kind.ALERT: _Table(
        name="alerts",
        row_id="alert_id",
        rule_id="alert_type",
        moments=("triggered_date",),
        events="alert_events",
        columns={
            "severity": ("text", lambda finding: str(finding.severity)),
            "title": _text("title"),
            "description": _text("description"),
            "recommended_action": _text("recommended_action"),
            "session_id": ("text", _newest_session),
            "evidence_session_ids": ("text[]", _evidence),
            "metrics": ("jsonb", _metrics_json),
            "excess": ("double precision", lambda finding: finding.excess),
        },
    ),
    Kind.INSIGHT: _Table(
        name="tutor_insights",
        row_id="insight_id",
        rule_id="category",
        moments=("detected_at",),
        columns={
            "insight_type": _text("insight_type"),
            "display_text": _text("display_text"),
            "coaching_tip": _text("coaching_tip"),
            "metric_value": ("double precision", lambda finding: finding.metric_value),
            "sample_sessions": ("text[]", _evidence),
            "metrics": ("jsonb", _metrics_json),
        },
    ),
    Kind.ACHIEVEMENT: _Table(
        name="achievements",
        row_id="achievement_id",
        rule_id="achievement_type",
        moments=("earned_date", "last_earned_date"),
        columns={
            "title": _text("title"),
            "description": _text("description"),
            "icon": _text("icon"),
            "metrics": ("jsonb", _metrics_json),
        },
    ),
}


def apply(
    database: Database,
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
    with database.transaction(), database.connection.cursor(row_factory=tuple_row) as cursor:
        lock(database, evaluation.kind)
        store = _Store(cursor, database.warehouse, evaluation, run_id)
        result = _reconciled(database, store, evaluation, active_tutors, scope)
        store.reopen(result.changes)
        store.write(result.changes)
        store.resolve(result.changes)
        store.append_events(result.changes)
        if scope is None:
            store.count_sessions()
        applied = _applied(evaluation, result.changes, result.suppressed)
        store.record(applied)
    return applied


def preview(
    database: Database,
    evaluation: Evaluation,
    *,
    active_tutors: Collection[str],
    scope: Collection[str] | None = None,
) -> Reconciled:
    """What `apply` would do, refusals included. Writes nothing and waits for nobody."""
    with database.connection.cursor(row_factory=tuple_row) as cursor:
        store = _Store(cursor, database.warehouse, evaluation, run_id="")
        return _reconciled(database, store, evaluation, active_tutors, scope)


def lock(database: Database, kind: Kind) -> None:
    """Wait until no other transaction writes rows of this kind; held until the end of this one."""
    database.lock(kind)


def check_person(by: str) -> None:
    """Raise UsageError unless `by` names somebody, and not the runs themselves."""
    if not by.strip():
        raise UsageError("say who acts: the history names them")
    if by.strip() == ACTOR:
        raise UsageError(
            f"{ACTOR!r} is the name under which runs act; say who you are with: --by NAME"
        )


def last_applied(database: Database, kind: Kind | None = None) -> datetime | None:
    """The newest as-of moment that was applied (to rows of one kind); None before the first.

    Runs that evaluated nothing don't count: an empty platform must not bar the way.
    """
    row = database.execute(
        "select max(newest.as_of) from unnest(%s::text[]) as wanted (kind)"
        " cross join lateral ("
        "select max(as_of) as as_of from {ops}.reconcile_runs as run"
        " where run.evaluated > 0 and run.kind = wanted.kind) as newest",
        (list(Kind) if kind is None else [kind],),
    ).fetchone()
    return row[0] if row else None


def last_profile(database: Database) -> tuple[str, datetime] | None:
    """The rule profile of the newest run over the alerts of all tutors, and when it was applied;
    None before the first.
    """
    return database.execute(
        "select profile, applied_at from {ops}.reconcile_runs as run"
        " where kind = 'alert' and run_id not like '%%/%%' and not exists ("
        "select from {ops}.refresh_runs as header"
        " where header.run_id = run.run_id and not header.is_full)"
        " order by applied_at desc limit 1",
        (),
    ).fetchone()


def adopt(database: Database, profile: str, since: datetime) -> dict[str, int]:
    """Finish a switch of profile: alerts that could not be evaluated go on under the new one. What
    the runs applied since a moment did: `closed` by the switch, `critical` of them, of how many
    `tutors`; `retired`, `opened`.
    """
    database.execute(
        "update {ops}.alerts set rule_profile = %s"
        " where resolved_at is null and rule_profile <> %s",
        (profile, profile),
    )
    row = database.execute(
        """
                select
                    count(*) filter (where resolution = 'profile_switched'),
                    count(*) filter (
                        where resolution = 'profile_switched' and severity = 'critical'
                    ),
                    count(distinct tutor_id) filter (where resolution = 'profile_switched'),
                    count(*) filter (where resolution = 'rule_retired'),
                    count(*) filter (where event = 'opened')
                from (
                    select
                        alerts.tutor_id, alerts.severity, events.event,
                        events.details ->> 'resolution' as resolution
                    from {ops}.alert_events as events
                    inner join {ops}.alerts
                        on events.tutor_id = alerts.tutor_id and events.alert_id = alerts.alert_id
                    where events.run_id in (
                        select run_id from {ops}.reconcile_runs
                        where kind = 'alert' and applied_at > %s
                    )
                ) as happened
                """,
        (since,),
    ).fetchone()
    assert row is not None
    return dict(zip(("closed", "critical", "tutors", "retired", "opened"), row, strict=True))


def dealt_with(database: Database) -> frozenset[tuple[str, str]]:
    """The pairs (tutor, alert) that have no open alert because somebody closed the newest."""
    rows = database.execute(
        "select tutor_id, alert_type from ("
        "select distinct on (tutor_id, alert_type) tutor_id, alert_type, resolution"
        " from {ops}.alerts order by tutor_id, alert_type, occurrence desc"
        ") as newest where resolution = any(%s)",
        (sorted(BY_HAND),),
    ).fetchall()
    return frozenset(rows)


def clear(database: Database) -> int:
    """Delete the generated rows of all kinds in one transaction; the number of rows found.

    Their events and the notes of the runs go too and are not counted; what people set
    (overrides) and what scorers made is not of this room.
    """
    removed = 0
    delete = database.sql("delete from {ops}.")
    with database.transaction():
        for kind, table in _TABLES.items():
            lock(database, kind)
            if table.events:
                database.execute(delete + sql.Identifier(table.events))
            removed += database.execute(delete + sql.Identifier(table.name)).rowcount
        for name in ("reconcile_runs", "session_days", "rule_references"):
            database.execute(delete + sql.Identifier(name))
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
                {newest_event}, held.rule_profile
            from {ops}.{table} as held
            where held.resolved_at is null
                and (%(scope)s::text[] is null or held.tutor_id = any(%(scope)s::text[]))
            order by held.tutor_id, held.{rule_id}
            """,
            {"scope": None if scope is None else list(scope)},
            severity=sql.SQL("severity" if "severity" in self._table.columns else "null"),
            newest_event=self._newest_event(),
        ).fetchall()
        return [
            Held(tutor, rule, row_id, occurrence, _SEVERITIES.get(severity), events, profile)
            for tutor, rule, row_id, occurrence, severity, events, profile in rows
        ]

    def _newest_event(self) -> sql.Composable:
        """The number of the newest event of a row `held`; 0 where the kind keeps none."""
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

    def past(self, pairs: Iterable[Pair]) -> dict[Pair, Past]:
        """The newest row, which is a closed one, of each of these pairs that ever had one."""
        tutors, rules = zip(*sorted(pairs), strict=True) if pairs else ((), ())
        rows = self._execute(
            """
            select distinct on (earlier.tutor_id, earlier.{rule_id})
                earlier.tutor_id, earlier.{rule_id}, earlier.{row_id}, earlier.occurrence,
                earlier.resolution, {known}
            from {ops}.{table} as earlier
            inner join unnest(%s::text[], %s::text[]) as pair (tutor_id, rule_id)
                on earlier.tutor_id = pair.tutor_id and earlier.{rule_id} = pair.rule_id
            order by earlier.tutor_id, earlier.{rule_id}, earlier.occurrence desc
            """,
            (list(tutors), list(rules)),
            known=sql.SQL("known_session_ids" if self._table.events else "'{}'::text[]"),
        )
        is_one_for_ever = len(self._table.moments) > 1
        return {
            (tutor_id, rule_id): Past(
                occurrence,
                resolution in BY_HAND,
                frozenset(sessions),
                row_id if is_one_for_ever else None,
            )
            for tutor_id, rule_id, row_id, occurrence, resolution, sessions in rows
        }

    def write(self, changes: Iterable[Change]) -> None:
        """Insert the opened rows and refresh the others that go on; equal rows stay untouched."""
        table = self._table
        found = [(change, change.finding) for change in changes if change.finding is not None]
        if not found:
            return
        names = [*table.columns, "rule_version", "rule_profile", "last_confirmed_at"]
        parts = {
            "own": _list("{}", table.columns),
            "names": _list("{}", names),
            "moments": _list("{}", table.moments),
            "typed": sql.SQL(", ").join(
                sql.Identifier(name) + sql.SQL(" " + pg_type)
                for name, (pg_type, _) in table.columns.items()
            ),
            "as_of_each": sql.SQL(", ").join([sql.SQL("%(as_of)s")] * len(table.moments)),
            "updates": _list("{0} = excluded.{0}", names),
            "stored": _list("held.{}", names),
            "refreshed": _list("excluded.{}", names),
        }
        self._execute(
            """
            create temporary table incoming (
                tutor_id text, row_id text, rule_id text, occurrence integer, rule_version text,
                {typed}
            )
            """,
            **parts,
        )
        copying = self._sql(
            "copy incoming (tutor_id, row_id, rule_id, occurrence, rule_version, {own}) from stdin",
            **parts,
        )
        values = [value for _, value in table.columns.values()]
        with self._cursor.copy(copying) as copy:
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
        self._execute(
            """
            insert into {ops}.{table} as held (
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
            **parts,
        )
        self._execute("drop table incoming")

    def reopen(self, changes: Iterable[Change]) -> None:
        """Open closed rows again; `write` refreshes what they say."""
        again = [change for change in changes if change.step is Step.REOPENED]
        if not again:
            return
        self._execute(
            """
            update {ops}.{table} as held
            set
                resolved_at = null, resolved_by = null, resolution = null,
                occurrence = again.occurrence, {reopened} = %(as_of)s,
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
            reopened=sql.Identifier(self._table.moments[-1]),
        )

    def resolve(self, changes: Iterable[Change]) -> None:
        """Close the resolved rows."""
        closed = [change for change in changes if change.resolution is not None]
        if not closed:
            return
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
        """Add to the history of each row what happened to it, where the kind keeps one."""
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
            insert into {ops}.{events}
                (tutor_id, {row_id}, event_no, event, at, actor, run_id, details)
            select tutor_id, row_id, event_no, event, %s, %s, %s, details
            from jsonb_to_recordset(%s) as new (
                tutor_id text, row_id text, event_no integer, event text, details jsonb
            )
            """,
            (self._evaluation.as_of, ACTOR, self._run_id, Jsonb(events)),
            events=sql.Identifier(self._table.events),
        )

    def count_sessions(self) -> None:
        """Note how many sessions were completed on each day, for those who read the events.

        Days are of UTC as the events' are, not of the settings' time zone as `session_on` is.
        """
        if self._table.events is None:
            return
        as_of = self._evaluation.as_of.astimezone(UTC)
        since = (as_of - _COUNTED_AGAIN).date()
        # Counted in a statement of its own: one that writes may not use a second core.
        days = self._execute(
            """
            select (scheduled_start at time zone 'UTC')::date as day, count(*)
            from {marts}.fct_sessions
            where
                -- At most a day from the day of UTC; this one has an index.
                session_on >= %(since)s - 1
                and scheduled_start >= %(since)s::timestamp at time zone 'UTC'
                and scheduled_start <= %(as_of)s
                and status = 'completed'
            group by (scheduled_start at time zone 'UTC')::date
            """,
            {"since": since, "as_of": as_of},
        ).fetchall()
        self._execute("delete from {ops}.session_days where session_on >= %s", (since,))
        self._execute(
            """
            insert into {ops}.session_days (session_on, completed)
            select day, completed
            from unnest(%s::date[], %s::integer[]) as counted (day, completed)
            """,
            ([day for day, _ in days], [completed for _, completed in days]),
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
        self, text: str, parameters: Any = None, **parts: sql.Composable
    ) -> psycopg.Cursor[tuple[Any, ...]]:
        """Run a statement with the names of the schemas and of this kind's table filled in."""
        return self._cursor.execute(self._sql(text, **parts), parameters)

    def _sql(self, text: str, **parts: sql.Composable) -> sql.Composed:
        table = self._table
        return sql.SQL(text).format(
            **self._schemas.identifiers(),
            table=sql.Identifier(table.name),
            row_id=sql.Identifier(table.row_id),
            rule_id=sql.Identifier(table.rule_id),
            **parts,
        )


def _list(template: str, names: Iterable[str]) -> sql.Composed:
    """The names, each in the template, with commas between."""
    return sql.SQL(", ").join(sql.SQL(template).format(sql.Identifier(name)) for name in names)


def _reconciled(
    database: Database,
    store: _Store,
    evaluation: Evaluation,
    active_tutors: Collection[str],
    scope: Collection[str] | None,
) -> Reconciled:
    """What the evaluation makes of the stored rows, or the reason to refuse it."""
    if evaluation.as_of.tzinfo is None:
        raise ValueError("as_of needs a time zone")
    _refuse_older(last_applied(database, evaluation.kind), evaluation)
    held = store.held(scope)
    if held and not active_tutors:
        raise RefusedError(
            f"no tutor is active, yet {len(held)} {evaluation.kind}s are open: the tutors did"
            " not load. Nothing was changed. Repair the load and run again; `tutor-pipeline"
            " check-source` says what is missing."
        )
    open_pairs = {(row.tutor_id, row.rule_id) for row in held}
    found = {(each.tutor_id, each.rule_id) for each in evaluation.findings}
    return reconcile(evaluation, held, store.past(found - open_pairs), active_tutors)


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
    if change.step is Step.OPENED:
        details["session_id"] = _newest_session(change.finding)
    return details


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
