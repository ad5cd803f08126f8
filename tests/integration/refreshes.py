"""Refreshes of a test's project: run, stopped, killed, and what they leave in our tables."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

PROCESS = Path(__file__).with_name("refresh_process.py")
PATIENCE_SECONDS = 90
"""Whatever is waited for comes sooner."""

_HOOK = 5_001
"""The advisory lock for which a process waits where a test stops it."""

TABLES = {
    "staging.session_rows": "tutor_id, session_id, row_key",
    "marts.fct_sessions": "tutor_id, session_id",
    "marts.fct_session_students": "tutor_id, session_id, student_id",
    "marts.dim_tutors": "tutor_id",
    "intermediate.int_tutor_days": "tutor_id, session_on",
    "marts.tutor_aggregates": "tutor_id",
    "ops.alerts": "tutor_id, alert_id",
    "ops.alert_events": "tutor_id, alert_id, event_no",
    "ops.tutor_insights": "tutor_id, insight_id",
    "ops.achievements": "tutor_id, achievement_id",
    "ops.tutor_scores": "tutor_id, scorer, target, horizon_days::text",
    "ops.current_tutor_risk": "tutor_id",
    "ops.tutor_health": "tutor_id",
    "marts.tutor_features": "tutor_id",
    "marts.tutor_evidence": "tutor_id",
    "ops.quarantine": "source, row_key",
    "ops.session_ledger": "tutor_id, session_id",
    "ops.session_changes": "tutor_id, session_id",
    "ops.set_aside_tutors": "tutor_id",
}
"""What refreshes write about tutors, and the key of each table."""

_MOMENTS = {"as_of", "as_of_on", "segment_since", "last_confirmed_at", "last_seen"}
"""Columns that say when the last refresh was, and nothing about a tutor."""

_WITH_FUTURE = {"staging.session_rows", "marts.fct_sessions", "marts.fct_session_students"}
"""A full refresh has sessions that lie ahead; another one only those of the tutors it covers."""

_OF_THE_PLATFORM = {"days_seen"}
"""Counted from the first session of all: an older one makes it another number for everybody, which
tutors whom no refresh covers do not have before the next full one.
"""

_BY_REFERENCE = {
    "ops.alerts": "alert_type = 'high_churn_risk'",
    "ops.alert_events": "(tutor_id, alert_id) in (select tutor_id, alert_id from ops.alerts"
    " where alert_type = 'high_churn_risk')",
}
"""What rests on what is usual on the platform: a full refresh fits it anew, others read it. Of the
scores of departure_v1 and health_v1, and of the health, it is compared that they are there; what
they are made from, in full.
"""
_SCORERS_BY_REFERENCE = ("departure_v1", "health_v1")
_HEALTH_WITHOUT_REFERENCE = ("tutor_id", "session_velocity", "first_session_success")

Rows = dict[tuple[Any, ...], dict[str, Any]]


def tables(url: str, until: Any = "infinity") -> dict[str, Rows]:
    """Table → key → row, of sessions up to a moment, without the moments of refreshes."""
    found = {}
    with psycopg.connect(url) as connection:
        for table, key in TABLES.items():
            when = f"not ({_BY_REFERENCE.get(table, 'false')})"
            if table in _WITH_FUTURE:
                when = "scheduled_start <= %s or scheduled_start is null"
            rows = connection.execute(
                f"select array[{key}]::text[], to_jsonb(r) from {table} as r where {when}",
                [until] if table in _WITH_FUTURE else None,
            ).fetchall()
            found[table] = {
                tuple(identity): {
                    name: value
                    for name, value in row.items()
                    if name not in _MOMENTS | _OF_THE_PLATFORM
                    and (
                        row.get("scorer") not in _SCORERS_BY_REFERENCE
                        or name in ("tutor_id", "scorer", "target", "horizon_days")
                    )
                    and (table != "ops.tutor_health" or name in _HEALTH_WITHOUT_REFERENCE)
                }
                for identity, row in rows
            }
    return found


def differences(before: Mapping[str, Rows], after: Mapping[str, Rows]) -> dict[str, list[Any]]:
    """Table → (key, before, after) of the rows that differ; only the columns that do."""
    found: dict[str, list[Any]] = {}
    for table in TABLES:
        old_rows, new_rows = before[table], after[table]
        for key in sorted(old_rows.keys() | new_rows.keys(), key=str):
            old, new = old_rows.get(key), new_rows.get(key)
            if old is None or new is None:
                found.setdefault(table, []).append((key, old, new))
            elif old != new:
                names = {name for name in old | new if old.get(name) != new.get(name)}
                shown = [{name: row.get(name) for name in sorted(names)} for row in (old, new)]
                found.setdefault(table, []).append((key, *shown))
    return found


def written(url: str) -> dict[str, set[tuple[Any, ...]]]:
    """Table → which transaction wrote each row, and where: the same only if nothing was written."""
    with psycopg.connect(url) as connection:
        return {
            table: set(connection.execute(f"select ctid::text, xmin::text from {table}"))
            for table in TABLES
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended by itself."""

    run_id: str
    success: bool
    materializations: list[dict[str, Any]]

    def of(self, asset: str) -> dict[str, Any]:
        """The last materialization of an asset in this run."""
        return [each for each in self.materializations if each["asset"] == asset][-1]


class Refreshes:
    """Runs of a project's jobs, each in a process of its own."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._number = folder, 0
        self._process = subprocess.Popen(
            [sys.executable, str(PROCESS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(environment),
        )

    def start(self, job: str = "post_session_refresh", **config: Any) -> Run:
        """Start a run; of the refresh after sessions, one that does not linger."""
        self._number += 1
        result = self._folder / f"run {self._number}.json"
        result.with_suffix(".log").touch()
        if job == "post_session_refresh":
            config = {"ops": {"refresh_tutors": {"config": {"linger_seconds": 0, **config}}}}
        request = {
            "job": job,
            "config": config,
            "result": str(result),
            "stderr": str(result.with_suffix(".log")),
        }
        return Run(self, self._ask(request), result)

    def run(self, job: str = "post_session_refresh", **config: Any) -> Outcome:
        """Run a job to its end, which is to be a good one."""
        run = self.start(job, **config)
        outcome = run.outcome()
        assert outcome.success, run.log
        return outcome

    def wait(self, pid: int) -> int:
        """The exit status of a run's process."""
        return self._ask({"pid": pid})

    def _ask(self, request: Mapping[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def stop(self) -> None:
        """End the process that the runs come from."""
        self._process.communicate()


@dataclass(slots=True)
class Run:
    """A run in a process of its own."""

    refreshes: Refreshes
    pid: int
    result: Path

    @property
    def log(self) -> str:
        """What it said."""
        return self.result.with_suffix(".log").read_text(encoding="utf-8")

    def outcome(self) -> Outcome:
        """Wait for its end; how it ended."""
        status = self.refreshes.wait(self.pid)
        assert status == 0, self.log
        return Outcome(**json.loads(self.result.read_text(encoding="utf-8")))

    def kill(self) -> None:
        """End it at once, as it stands."""
        os.kill(self.pid, signal.SIGKILL)
        assert self.refreshes.wait(self.pid) == -signal.SIGKILL


def until(holds: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(0.05)


@contextmanager
def stopping_at(
    url: str, table: str, *, when: str = "before insert"
) -> Iterator[Callable[[], None]]:
    """Whoever writes to a table stops there; yields what waits until somebody has.

    When the context ends they go on, if they still live. `when` "at commit": the writer stops in
    the COMMIT of the transaction in which it inserted a row.
    """
    timing = f"{when} on {table} for each statement"
    trigger = "trigger"
    if when == "at commit":
        timing = f"after insert on {table} deferrable initially deferred for each row"
        trigger = "constraint trigger"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(%s)", (_HOOK,))
        connection.execute(
            "create or replace function public.stop_here() returns trigger language plpgsql as"
            f" 'begin perform pg_advisory_xact_lock({_HOOK}); return new; end'"
        )
        connection.execute(
            f"create {trigger} stop_here {timing} execute function public.stop_here()"
        )

        def somebody_stopped() -> bool:
            row = connection.execute(
                "select exists (select from pg_locks where locktype = 'advisory' and not granted"
                " and objid = %s and database ="
                " (select oid from pg_database where datname = current_database()))",
                (_HOOK,),
            ).fetchone()
            return row is not None and bool(row[0])

        try:
            yield lambda: until(somebody_stopped, f"somebody stopped at {table}")
        finally:
            connection.execute("select pg_advisory_unlock(%s)", (_HOOK,))
            # What a killed process had begun may be ended by the server only now.
            connection.execute(f"drop trigger if exists stop_here on {table}")
