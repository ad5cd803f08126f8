"""A scoped refresh without dbt: the statements that dbt would run, with another run id and moment.

dbt renders the models once, in the scoped form, while nothing is written: what it reads of the
database (the catalog, privileges, facts that a macro asks for) is noted with the answer, what it
would write is noted as text. A pass then runs these statements in one transaction. Before the
statements of each model it asks again what dbt had read for it; where an answer differs, dbt would
render something else, so all is undone, and the pass goes through dbt.

So there is one definition, the models. What else Jinja reads (the files of the project, vars, the
environment) does not change while a process has parsed it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from psycopg import Rollback, sql

from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun, forget_header, write_header
from tutor_pipeline.metrics import dbt

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

_SCOPED_WRITE = re.compile(r"\s*(?:set local |delete from |insert into |update )", re.IGNORECASE)
_QUESTION = re.compile(r"\s*(?:select|with)\b", re.IGNORECASE)
_TRIES_A_LOCK = "pg_try_advisory_xact_lock"
# The rows in any order: a catalog has none.
_ANSWER = "(select md5(coalesce(json_agg(r order by r::text)::text, '')) from ({}) as r)"


# As the macro scope_tutors asks it.
_SCOPE = """
    select quote_literal(array(
        select tutor_id from {ops}.refresh_scope where run_id = %s order by tutor_id
    )::text)
"""


@dataclass(slots=True)
class _Node:
    """What dbt asked and would write for one node, or before and after all nodes. `locks`: whether
    each lock that it tried was free.
    """

    reads: dict[str, str] = field(default_factory=dict)
    locks: list[bool] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)


class Asked(StrEnum):
    """Whether dbt was asked for a build."""

    NOT = "no"
    TEXT = "it was asked for the statements again"
    BUILD = "it built the tables itself"


class ScopedBuilds:
    """Builds of some tutors' rows, in one process. The caller holds dbt's environment."""

    def __init__(self, warehouse: Warehouse, manifest: Manifest) -> None:
        self.warehouse = warehouse
        self._manifest = manifest
        self._compiled: _Compiled | None = None

    def prepare(self, models: Sequence[str], now: datetime) -> None:
        """Has dbt say what it would run now."""
        self._compiled = _compiled(self.warehouse, tuple(models), self._manifest, now)

    def build(self, database: Database, run: RefreshRun, models: Sequence[str]) -> Asked:
        """Builds the rows of the run's tutors, whose header is written, in a transaction of its
        own. Raises DbtError and psycopg.Error; then nothing is built, or by dbt some tables.
        """
        if self._apply(database, run, models):
            return Asked.NOT
        self.prepare(models, run.as_of)
        if self._apply(database, run, models):
            return Asked.TEXT
        # dbt makes a table anew, or reads what this very build changes.
        self._compiled = None
        with dbt.hold_environment({"TUTOR_RUN_ID": run.run_id}):
            # Nobody reads the files that dbt writes per invocation, so it writes none.
            dbt.run(["--no-write-json", "run", "--select", *models], manifest=self._manifest)
        return Asked.BUILD

    def _apply(self, database: Database, run: RefreshRun, models: Sequence[str]) -> bool:
        """Runs the statements in one transaction, unless dbt would run others now."""
        if self._compiled is None or self._compiled.models != tuple(models):
            return False
        is_applied = False
        with database.long_transaction():
            is_applied = _run(database, self._compiled, run)
            if not is_applied:
                raise Rollback
        return is_applied


@dataclass(frozen=True, slots=True)
class _Part:
    """A node's question (one statement, None: it asked nothing), the answers, its statements."""

    question: str | None
    answers: tuple[str, ...]
    writes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """The statements of a scoped refresh, in their order, and the run that they name. It has one
    tutor, whom they name as its scope, and nobody else does.
    """

    models: tuple[str, ...]
    run: RefreshRun
    parts: tuple[_Part, ...]


def _run(database: Database, compiled: _Compiled, run: RefreshRun) -> bool:
    """Runs the statements for another run. Returns False where an answer is another one."""
    zone = database.timezone
    swap = dict(zip(_literals(compiled.run, zone), _literals(run, zone), strict=True))
    (marker,) = compiled.run.tutors or ()
    scope = "'{" + marker + "}'"
    literals = re.compile("|".join(map(re.escape, [*swap, scope])))

    def of_run(text: str) -> sql.SQL:
        # Only now: what dbt does before all models may widen the scope.
        if scope in text and scope not in swap:
            swap[scope] = database.value(_SCOPE, (run.run_id,))
        return sql.SQL(literals.sub(lambda match: swap[match[0]], text))

    for part in compiled.parts:
        asked = part.question and database.execute(of_run(part.question)).fetchone()
        if asked and asked != part.answers:
            return False
        for text in part.writes:
            database.execute(of_run(text))
    return True


def _compiled(
    warehouse: Warehouse, models: tuple[str, ...], manifest: Manifest, now: datetime
) -> _Compiled | None:
    """Returns what dbt would run for a scoped refresh, None: it would build a table anew now."""
    run = RefreshRun(f"compiled-{uuid4()}", now, (str(uuid4()),))
    write_header(warehouse, run)
    try:
        with _recording() as nodes, dbt.hold_environment({"TUTOR_RUN_ID": run.run_id}):
            dbt.run(["--no-write-json", "run", "--select", *models], manifest=manifest)
    except dbt.DbtError:
        return None  # it asked about a table that it would have made; or its build will say why
    finally:
        forget_header(warehouse, run.run_id)
    if not _is_scoped(nodes):
        return None
    if not all(free for node in nodes.values() for free in node.locks):
        return None  # somebody else does meanwhile what would be left out: once, not from now on
    run_id, *_ = _literals(run, warehouse.timezone)
    parts = []
    for node in nodes.values():
        reads = {
            text: answer
            for text, answer in node.reads.items()
            # The header and the scope are what another run has otherwise.
            if not (run_id in text and ("refresh_runs" in text or "refresh_scope" in text))
        }
        question = "select " + ", ".join(map(_ANSWER.format, reads)) if reads else None
        parts.append(_Part(question, tuple(reads.values()), tuple(node.writes)))
    return _Compiled(models, run, tuple(parts))


def _is_scoped(nodes: Mapping[str, _Node]) -> bool:
    """Whether dbt would write rows alone."""
    return all(_SCOPED_WRITE.match(text) for node in nodes.values() for text in node.writes)


def _literals(run: RefreshRun, zone: str) -> tuple[str, str, str]:
    """Returns what the macros `run_id` and `refresh` render: run id, moment, day."""
    moment = run.as_of.astimezone(UTC)
    day = run.as_of.astimezone(ZoneInfo(zone)).date()
    return (
        "'" + run.run_id.replace("'", "''") + "'",
        f"timestamptz '{moment:%Y-%m-%d %H:%M:%S.%f}+00'",
        f"date '{day}'",
    )


@contextmanager
def _recording() -> Iterator[Mapping[str, _Node]]:
    """Yields what dbt asks and would write meanwhile, by node in the order of their beginning.

    dbt's adapter has one method that runs statements. While this lasts, it answers questions and
    skips the rest.
    """
    from dbt.adapters.contracts.connection import AdapterResponse
    from dbt.adapters.postgres.connections import PostgresConnectionManager
    from dbt_common.clients.agate_helper import empty_table
    from dbt_common.events.contextvars import get_node_info

    nodes: dict[str, _Node] = {}
    lock = Lock()
    execute = PostgresConnectionManager.execute
    nothing = empty_table()  # type: ignore[no-untyped-call]

    def record(
        self: Any, sql: str, auto_begin: bool = False, fetch: bool = False, limit: Any = None
    ) -> Any:
        name = (get_node_info() or {}).get("unique_id", "")
        with lock:
            node = nodes.setdefault(name, _Node())
        if not (fetch and _QUESTION.match(sql)):
            if sql.strip():
                node.writes.append(sql.strip())
            if auto_begin and not self.get_thread_connection().transaction_open:
                self.begin()  # dbt commits it
            return AdapterResponse("not run"), nothing
        text = sql.strip().rstrip(";")
        # Asked before: what changes in between differs from this answer when a pass asks again.
        _, answer = execute(self, "select " + _ANSWER.format(text), auto_begin, True, None)
        node.reads[text] = answer.rows[0][0]
        response, table = execute(self, sql, auto_begin, fetch, limit)
        if _TRIES_A_LOCK in text:
            node.locks.append(bool(table.rows[0][0]))
            self.get_thread_connection().handle.rollback()  # nobody is to wait for it
        return response, table

    PostgresConnectionManager.execute = record  # type: ignore[method-assign]
    try:
        yield nodes
    finally:
        PostgresConnectionManager.execute = execute  # type: ignore[method-assign]
