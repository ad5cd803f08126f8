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
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from psycopg import sql

from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun, forget_header, write_header
from tutor_pipeline.metrics import dbt

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

_SCOPED_WRITE = re.compile(r"\s*(?:set local |delete from |insert into |update )", re.IGNORECASE)
_EMPTY = re.compile(r"\s*")
# The rows in any order: a catalog has none.
_ANSWER = "(select md5(coalesce(json_agg(r order by r::text)::text, '')) from ({}) as r)"


@dataclass(slots=True)
class _Node:
    """What dbt asked and would write for one node, or before and after all nodes."""

    reads: dict[str, str] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Part:
    """A node's question (one statement, None: it asked nothing), the answers, its statements."""

    name: str
    question: str | None
    answers: tuple[str, ...]
    writes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CompiledRefresh:
    """The statements of a scoped refresh, in their order. `run` is the one they were made for."""

    run: RefreshRun
    parts: tuple[_Part, ...]
    zone: str

    def apply(self, database: Database, run: RefreshRun) -> bool:
        """Runs the statements for another run, in the transaction of the database. Returns False,
        and then the transaction must be rolled back, if dbt would render others now.
        """
        texts = _literals(self.run, self.zone), _literals(run, self.zone)
        swap = dict(zip(*texts, strict=True))
        found = re.compile("|".join(map(re.escape, sorted(swap, key=len, reverse=True))))

        def of_run(text: str) -> sql.SQL:
            return sql.SQL(found.sub(lambda match: swap[match[0]], text))

        for part in self.parts:
            if part.question is not None:
                row = database.execute(of_run(part.question)).fetchone()
                if row != part.answers:
                    return False
            for text in part.writes:
                database.execute(of_run(text))
        return True


def compile_refresh(
    warehouse: Warehouse, models: Sequence[str], manifest: Manifest
) -> CompiledRefresh | None:
    """Returns the statements of a scoped refresh of some models, None: dbt would build a table anew
    now. Writes nothing but a header, which it removes. The caller holds dbt's environment.
    """
    run = RefreshRun(f"compiled-{uuid4()}", datetime.now(UTC), ())
    write_header(warehouse, run)
    try:
        with _recording() as nodes, dbt.hold_environment({"TUTOR_RUN_ID": run.run_id}):
            dbt.run(["--no-write-json", "run", "--select", *models], manifest=manifest)
    finally:
        forget_header(warehouse, run.run_id)
    writes = [text for node in nodes.values() for text in node.writes]
    if not all(map(_SCOPED_WRITE.match, writes)):
        return None
    run_id, *_ = _literals(run, warehouse.timezone)
    parts = []
    for name, node in nodes.items():
        # The header is what another run has otherwise.
        reads = {
            text: answer
            for text, answer in node.reads.items()
            if not (run_id in text and "refresh_runs" in text)
        }
        question = "select " + ", ".join(map(_ANSWER.format, reads)) if reads else None
        parts.append(_Part(name, question, tuple(reads.values()), tuple(node.writes)))
    return CompiledRefresh(run, tuple(parts), warehouse.timezone)


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
        if not fetch:
            if not _EMPTY.fullmatch(sql):
                node.writes.append(sql.strip())
            if auto_begin and not self.get_thread_connection().transaction_open:
                self.begin()  # dbt commits it
            return AdapterResponse("not run"), nothing
        text = sql.strip().rstrip(";")
        # Asked before: what changes in between differs from this answer when a pass asks again.
        _, answer = execute(self, "select " + _ANSWER.format(text), auto_begin, True, None)
        node.reads[text] = answer.rows[0][0]
        return execute(self, sql, auto_begin, fetch, limit)

    PostgresConnectionManager.execute = record  # type: ignore[method-assign]
    try:
        yield nodes
    finally:
        PostgresConnectionManager.execute = execute  # type: ignore[method-assign]
