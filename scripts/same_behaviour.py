#!/usr/bin/env python3
"""Show that two checkouts do the same: what they leave in the database is compared.

Each checkout gets a home and an embedded PostgreSQL of its own and lives through the same two
days: `generate --seed 7 --end D`, `enrich --as-of D`, and on the next day an hour of `simulate`,
replayed in steps with a refresh after each; people act on alerts meanwhile; at last comes a full
refresh at night, and its messages. After each step every table and view is read, and compared but
for the columns in EXCLUDED.

Both live on the same days, whatever day it is: Python's `datetime.now` stands still during a
command, PostgreSQL's `now()` begins at the same moment. Only the command line, the job's name and
SQL are used, so modules may move. What reads another clock (`current_date`, `current_timestamp` in
SQL, `time.time()`) is not covered.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import inspect
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

_OF_THE_DATABASE = "a moment by the database's clock, which goes on while a command runs"
_TOOK = "how long it took"
EXCLUDED = {
    "ops.refresh_runs.started_at": _OF_THE_DATABASE,
    "ops.refresh_runs.built_at": _OF_THE_DATABASE,
    "ops.refresh_passes.settled_at": _OF_THE_DATABASE,
    "ops.reconcile_runs.applied_at": _OF_THE_DATABASE,
    "ops.dq_results.evaluated_at": _OF_THE_DATABASE,
    "ops.rule_coverage.evaluated_at": _OF_THE_DATABASE,
    "ops.session_ledger.processed_at": _OF_THE_DATABASE,
    "ops.history_repairs.noted_at": _OF_THE_DATABASE,
    "ops.tutors_needing_attention.newest_age": "up to now, by the database's clock",
    "ops.dq_results.seconds": _TOOK,
    "ops.refresh_passes.seconds": _TOOK,
    "ops.outbox.outbox_id": "numbers rows of one pass in the order in which the database finds"
    " them",
}
"""Columns that are not compared (`schema.table.column`, with * and ?) -> why."""

UNORDERED = {
    "ops.messages.text_body": "tutors come in the order of ops.outbox.outbox_id",
    "ops.messages.html_body": "tutors come in the order of ops.outbox.outbox_id",
    "ops.messages.tutor_ids": "tutors come in the order of ops.outbox.outbox_id",
}
"""Columns of which lines or entries are compared in any order -> why.

Ids of runs and messages are drawn by chance: of them it is compared which run or message it is (the
first, the second... of `ops.refresh_runs`).
"""

SEED, SIMULATE = "7", ("--rate", "10000/day", "--burst", "100", "--poor-firsts", "0.3")
DEFAULT_END = date(2026, 6, 30)
STEPS, STEP_MINUTES = 3, 20
JOB = ("-m", "tutor_pipeline.definitions", "-j", "post_session_refresh")
DATABASE = "same_behaviour"
RECORDING = "recording.changes"
SHOWN_ROWS = 3
NO_CODE = (".git", ".venv", ".tutor", "__pycache__", ".*_cache", "target", "logs", "*.egg-info")

# Every Python process of a side imports this first.
CLOCK = '''
"""A clock that stands still, and sleeps that take no time."""
import ctypes, datetime, gc, os, time

UTC = datetime.timezone.utc
STEP = float(os.environ.get("SAME_BEHAVIOUR_STEP", "0"))
skipped, steps = 0.0, 0
_monotonic = time.monotonic


def now(cls, tz=None):
    begun = datetime.datetime.fromisoformat(os.environ["SAME_BEHAVIOUR_NOW"])
    moment = begun + datetime.timedelta(seconds=skipped)
    return moment.astimezone(tz) if tz else moment.astimezone().replace(tzinfo=None)


def sleep(seconds):
    global skipped, steps
    skipped += max(seconds, 0)
    while skipped >= STEP * (steps + 1):
        steps += 1
        import psycopg

        with psycopg.connect(os.environ["TUTOR_DATABASE_URL"]) as connection:
            connection.execute("insert into public.changes (op) values ('step')")


def put(cls, name, value):
    """Of a class that is made in C, the attributes lie where only the collector looks."""
    gc.get_referents(cls.__dict__)[0][name] = value
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(cls))


put(datetime.datetime, "now", classmethod(now))
put(datetime.datetime, "today", classmethod(now))
put(datetime.datetime, "utcnow", classmethod(lambda cls: now(cls, UTC).replace(tzinfo=None)))
put(datetime.date, "today", classmethod(lambda cls: now(cls).date()))
if STEP:
    time.sleep = sleep
    time.monotonic = lambda: _monotonic() + skipped
'''

# What takes long to import is imported once: each command is a fork of a process that has it.
FORKS = """
import importlib, json, os, runpy, sys, threading, traceback

for name in ("dagster", "dagster._cli", "dagster_dbt", "dagster_postgres", "dbt.cli.main",
             "dbt.adapters.postgres", "alembic.command", "sqlalchemy.dialects.postgresql",
             "great_expectations", "scipy.special"):
    try:
        importlib.import_module(name)
    except ImportError:
        pass
assert threading.active_count() == 1, "a fork would lose the other threads"
for line in sys.stdin:
    asked = json.loads(line)
    pid = os.fork()
    if pid:
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        continue
    os.environ.clear()
    os.environ.update(asked["environment"])
    for number, path in enumerate((os.devnull, asked["stdout"], asked["stderr"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT if number else os.O_RDONLY), number)
    how, what, *arguments = asked["arguments"]
    sys.argv = [how, *arguments]
    status = 1
    try:
        if how == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(what, {"__name__": "__main__"})
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
"""

# A schema before pg_catalog hides what is there. Defaults and views of ours are bound to these.
DATABASE_CLOCK = """
create function public.now() returns timestamptz language sql stable as
    $$ select pg_catalog.now() - current_setting('same_behaviour.ahead')::interval $$;
create function public.clock_timestamp() returns timestamptz language sql volatile as
    $$ select pg_catalog.clock_timestamp() - current_setting('same_behaviour.ahead')::interval $$;
"""

# Noted at COMMIT, so in the order in which others see it.
RECORDER = """
create table public.changes (
    no bigint generated always as identity, op text not null, name text, key jsonb, new jsonb
);
create function public.record_change() returns trigger language plpgsql as $$
declare
    before jsonb := case when tg_op = 'INSERT' then to_jsonb(new) else to_jsonb(old) end;
begin
    insert into public.changes (op, name, key, new)
    select
        lower(tg_op),
        tg_table_name,
        (select jsonb_object_agg(name, before -> name) from unnest(tg_argv) as key (name)),
        case when tg_op <> 'DELETE' then to_jsonb(new) end;
    return null;
end $$;
"""

KEYS = """
    select c.relname, array_agg(a.attname::text order by a.attname)
    from pg_class as c
    join pg_index as i on i.indrelid = c.oid and i.indisprimary
    join pg_attribute as a on a.attrelid = c.oid and a.attnum = any(i.indkey)
    where c.relnamespace = 'platform'::regnamespace
    group by c.relname
"""

RELATIONS = """
    select
        n.nspname,
        c.relname,
        jsonb_object_agg(a.attname, format_type(a.atttypid, a.atttypmod)) as columns
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relkind in ('r', 'p', 'v', 'm')
        and n.nspname not in ('pg_catalog', 'information_schema', 'public')
        and n.nspname not like 'pg\\_%'
    group by n.nspname, c.relname
    order by n.nspname, c.relname
"""


class FailedError(Exception):
    """A side cannot be run to its end."""


def say(text: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)  # noqa: T201


def tell(text: str = "") -> None:
    """A line of the result."""
    print(text, flush=True)  # noqa: T201


# -- running a side -----------------------------------------------------------------------------


@dataclass
class Side:
    """A copy of a checkout's code, with a home, a database and a clock of its own."""

    name: str
    folder: Path
    python: str
    end: date
    number: int = 0
    url: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    forks: subprocess.Popen[str] | None = None

    @property
    def code(self) -> Path:
        """The code that is run: a copy, so the checkout may be worked on meanwhile."""
        return self.folder / "checkout"

    @property
    def dumps(self) -> Path:
        """What it left, a folder per moment."""
        return self.folder / "dumps"

    def at(self, days: int, hours: int, minutes: float = 0) -> datetime:
        """A moment so many days after the last day of the data."""
        midnight = datetime(self.end.year, self.end.month, self.end.day, tzinfo=UTC)
        return midnight + timedelta(days=days, hours=hours, minutes=minutes)

    def run(self, now: datetime, *arguments: str, **more: str) -> str:
        """Run a command of Python at a moment; what it printed. Raises FailedError."""
        self.number += 1
        environment = self.environment(now) | more
        out, log = (self.folder / "logs" / f"{self.number:02}.{it}" for it in ("out", "log"))
        if self.forks is None or more:
            with out.open("w") as stdout, log.open("w") as stderr:
                status = subprocess.run(
                    [self.python, *arguments],
                    env=environment,
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    check=False,
                ).returncode
        else:
            asked = {"arguments": arguments, "environment": environment}
            asked |= {"stdout": str(out), "stderr": str(log)}
            assert self.forks.stdin is not None  # noqa: S101
            assert self.forks.stdout is not None  # noqa: S101
            self.forks.stdin.write(json.dumps(asked) + "\n")
            self.forks.stdin.flush()
            status = int(self.forks.stdout.readline() or -1)
        if status:
            tail = "\n".join((out.read_text() + log.read_text()).splitlines()[-15:])
            what = " ".join(arguments[-6:])
            raise FailedError(f"{self.name}: {what} ended with {status}\n{tail}")
        return out.read_text()

    def environment(self, now: datetime) -> dict[str, str]:
        """What a command finds: nothing of the user's settings."""
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TUTOR_", "DAGSTER", "DBT_", "PG", "PYTHON", "SAME_"))
        }
        return {
            **clean,
            "PYTHONPATH": f"{self.folder / 'clock'}{os.pathsep}{self.code}",
            "PYTHONSAFEPATH": "1",
            "SAME_BEHAVIOUR_NOW": now.isoformat(),
            "TUTOR_HOME": str(self.folder / "home"),
            "TUTOR_LINGER_SECONDS": "0",
            "COLUMNS": "200",
            "TZ": "UTC",
            **self.settings,
        }

    def begin_forks(self) -> None:
        """From now on commands are forks of a process that has imported what takes long."""
        self.forks = subprocess.Popen(
            [self.python, "-c", FORKS],
            env=self.environment(self.at(1, 6)),
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def end_forks(self) -> None:
        """Commands are processes of their own again."""
        if self.forks is not None:
            self.forks.communicate()
            self.forks = None

    def tutor(self, now: datetime, *arguments: str, **more: str) -> str:
        """Run `tutor-pipeline`, by the entry point that the checkout names."""
        project = tomllib.loads((self.code / "pyproject.toml").read_text())
        module, function = project["project"]["scripts"]["tutor-pipeline"].split(":")
        call = f"from {module} import {function}; {function}()"
        self.set_clock(now)
        return self.run(now, "-c", call, *arguments, **more)

    def set_clock(self, now: datetime) -> None:
        """From now on it is `now` in the database."""
        if self.url:
            self.execute(
                sql.SQL("alter database {} set same_behaviour.ahead = {}").format(
                    sql.Identifier(DATABASE),
                    sql.Literal(f"{(datetime.now(UTC) - now).total_seconds()} s"),
                )
            )

    def execute(self, *statements: Any, url: str = "") -> None:
        """Execute statements, each on its own."""
        with psycopg.connect(url or self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)


def prepare(side: Side) -> None:
    """Make the server, and in it a database that has a clock."""
    for folder in ("clock", "logs", "home", "dumps"):
        (side.folder / folder).mkdir()
    (side.folder / "clock" / "sitecustomize.py").write_text(CLOCK)
    first = side.at(1, 6)
    seen = side.run(
        first,
        "-c",
        "import datetime, tutor_pipeline as it; print(datetime.datetime.now(), it.__file__)",
    )
    if not seen.startswith(f"{first:%Y-%m-%d %H:%M:%S} {side.code}"):
        raise FailedError(f"this Python has another clock, or other code: {seen}")
    made = exports(side.tutor(first, "env"))["TUTOR_DATABASE_URL"]
    url = urlsplit(made)._replace(path=f"/{DATABASE}").geturl()
    # It lives for minutes: nothing of it has to outlive a power cut.
    quick = [f"alter system set {it} = off" for it in ("fsync", "synchronous_commit")]
    # When it analyzes is chance, and so would be the order in which floats are added.
    quick += [
        "alter system set autovacuum = off",
        "alter system set max_parallel_workers_per_gather = 0",
    ]
    create = sql.SQL("create database {}").format(sql.Identifier(DATABASE))
    path = sql.SQL("alter database {} set search_path = public, pg_catalog").format(
        sql.Identifier(DATABASE)
    )
    side.execute(*quick, "select pg_reload_conf()", create, path, url=made)
    side.execute(DATABASE_CLOCK, url=url)
    side.url = url
    side.settings = {"TUTOR_DATABASE_URL": url}
    side.settings = exports(side.tutor(first, "env"))
    side.begin_forks()


def exports(text: str) -> dict[str, str]:
    """The variables that `tutor-pipeline env` prints."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        if name.startswith(("TUTOR_", "DAGSTER_", "DBT_")):
            (found[name],) = shlex.split(value)
    return found


def live(side: Side, changes: Path | None, *, night: bool) -> None:
    """Two days. `changes`: the hour to replay; None = the one that this side records itself."""
    say(f"{side.name}: generate")
    side.tutor(side.at(1, 6), "generate", "--seed", SEED, "--end", side.end.isoformat())
    dump(side, "generate")
    say(f"{side.name}: simulate")
    record(side)
    say(f"{side.name}: enrich --as-of {side.end}")
    side.tutor(side.at(1, 6, 30), "enrich", "--as-of", side.end.isoformat())
    dump(side, "enrich", but=("platform", "truth"))
    rows = read(changes or side.dumps / "simulate" / f"{RECORDING}.jsonl")
    for step in range(STEPS):
        missed = replay(side, [row for row in rows if row["step"] == step])
        say(f"{side.name}: live step {step + 1} of {STEPS}")
        if missed:
            say(f"{side.name}: {missed} changes did not fit its platform")
        now = side.at(1, 12, STEP_MINUTES * (step + 1) + 0.5)
        side.set_clock(now)
        side.run(now, "-m", "dagster", "job", "execute", *JOB)
        dump(side, f"live {step + 1}", but=("platform", "truth", "staging", "intermediate"))
        if step == STEPS // 2 - 1:
            act(side, now + timedelta(minutes=1))
    if not night:
        return
    say(f"{side.name}: enrich at night")
    side.tutor(side.at(2, 3), "enrich")
    side.tutor(side.at(2, 3, 30), "notify", "send")
    dump(side, "night")


def act(side: Side, now: datetime) -> None:
    """People deal with alerts."""
    with psycopg.connect(side.url) as connection:
        tutors = [
            tutor
            for (tutor,) in connection.execute(
                "select distinct tutor_id from ops.alerts where resolved_at is null"
                " order by tutor_id limit 3"
            )
        ]
    acts = (
        ("ack", "--note", "calling"),
        ("snooze", "--days", "7"),
        ("resolve", "--reason", "coached"),
    )
    for tutor, words in zip(tutors, acts, strict=False):
        side.tutor(now, "alerts", *words, "--tutor", tutor, "--by", "somebody")


# -- the live hour ------------------------------------------------------------------------------


def record(side: Side) -> None:
    """Let `simulate` live for an hour in a copy of the database, and note what it commits."""
    copy = f"{DATABASE}_copy"
    url = urlsplit(side.url)._replace(path=f"/{copy}").geturl()
    side.execute(
        sql.SQL("create database {} template {}").format(
            sql.Identifier(copy), sql.Identifier(DATABASE)
        ),
        url=urlsplit(side.url)._replace(path="/postgres").geturl(),
    )
    with psycopg.connect(url) as connection:
        connection.execute("set search_path = public")
        connection.execute(RECORDER)
        for table, key in connection.execute(KEYS).fetchall():
            connection.execute(
                sql.SQL(
                    "create constraint trigger record after insert or update or delete on {}"
                    " deferrable initially deferred for each row"
                    " execute function public.record_change({})"
                ).format(sql.Identifier("platform", table), sql.SQL(", ").join(key))
            )
    side.tutor(
        side.at(1, 12),
        "simulate",
        *SIMULATE,
        "--for",
        f"{STEPS * STEP_MINUTES}m",
        TUTOR_DATABASE_URL=url,
        SAME_BEHAVIOUR_STEP=str(60 * STEP_MINUTES),
    )
    step, rows = 0, []
    with psycopg.connect(url) as connection:
        for no, op, name, key, new in connection.execute(
            "select no, op, name, key, new from public.changes order by no"
        ):
            if op == "step":
                step += 1
            else:
                row = {"no": no, "step": min(step, STEPS - 1), "op": op, "name": name}
                rows.append(row | {"key": key, "new": new})
    if not rows or step < STEPS - 1:
        raise FailedError(f"{side.name}: simulate committed {len(rows)} rows in {step} steps")
    folder = side.dumps / "simulate"
    write(folder / f"{RECORDING}.jsonl", map(json.dumps, rows))
    (folder / "tables.json").write_text(json.dumps({RECORDING: dict.fromkeys(rows[0], "json")}))


def replay(side: Side, rows: Sequence[Mapping[str, Any]]) -> int:
    """Make these changes in one transaction; how many of them found no row of theirs."""
    missed = 0
    with psycopg.connect(side.url) as connection:
        columns = {
            name: names
            for schema, name, names in connection.execute(RELATIONS)
            if schema == "platform"
        }
        for row in rows:
            table = sql.Identifier("platform", row["name"])
            fits = sql.SQL(" and ").join(
                sql.SQL("to_jsonb(t.{0}) = k -> {1}").format(sql.Identifier(name), name)
                for name in row["key"]
            )
            names = sql.SQL(", ").join(map(sql.Identifier, columns[row["name"]]))
            new = sql.SQL("jsonb_populate_record(null::{}, %(new)s)").format(table)
            statement = {
                "insert": "insert into {table} ({names}) select {names} from {new}"
                " on conflict do nothing",
                "update": "update {table} as t set ({names}) = (select {names} from {new})"
                " from (select %(key)s::jsonb as k) as key where {fits}",
                "delete": "delete from {table} as t using (select %(key)s::jsonb as k) as key"
                " where {fits}",
            }[row["op"]]
            done = connection.execute(
                sql.SQL(statement).format(table=table, names=names, new=new, fits=fits),
                {"key": Jsonb(row["key"]), "new": Jsonb(row["new"])},
            )
            missed += not done.rowcount
    return missed


# -- what a side left ---------------------------------------------------------------------------


def dump(side: Side, moment: str, but: Sequence[str] = ()) -> None:
    """Write every table and view as JSON lines, a file each."""
    folder = side.dumps / moment
    tables = {}
    with psycopg.connect(side.url) as connection:
        connection.execute("set timezone to 'UTC'")
        for schema, name, columns in connection.execute(RELATIONS).fetchall():
            if schema in but:
                continue
            tables[f"{schema}.{name}"] = columns
            rows = connection.execute(
                sql.SQL("select to_jsonb(t)::text from {} as t").format(
                    sql.Identifier(schema, name)
                )
            )
            write(folder / f"{schema}.{name}.jsonl", (text for (text,) in rows))
    (folder / "tables.json").write_text(json.dumps(tables))


def write(path: Path, lines: Iterator[str]) -> None:
    """Write lines."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@dataclass
class Table:
    """A table at a moment: the columns that count, and how often each row is there."""

    columns: list[str]
    rows: Counter[str]

    @classmethod
    def load(cls, folder: Path, name: str, columns: Sequence[str]) -> Table:
        """Read it, without what is excluded."""
        counted = [it for it in columns if why_not(f"{name}.{it}") is None]
        ordered = {it for it in counted if f"{name}.{it}" in UNORDERED}
        text = named((folder / f"{name}.jsonl").read_text(encoding="utf-8"), names(folder))
        lines = text.split("\n")[:-1]
        if ordered or len(counted) < len(json.loads(lines[0]) if lines else ()):
            lines = [
                json.dumps({it: in_order(row[it]) if it in ordered else row[it] for it in counted})
                for row in map(json.loads, lines)
            ]
        return cls(counted, Counter(lines))

    @property
    def hash(self) -> str:
        """Of all rows in a fixed order."""
        digest = hashlib.sha256(json.dumps(self.columns).encode())
        for row in sorted(self.rows.elements()):
            digest.update(row.encode() + b"\n")
        return digest.hexdigest()[:12]


@cache
def names(folder: Path) -> dict[str, str]:
    """What is drawn by chance and stands in many tables (ids of runs and messages) -> its name."""
    runs = read_if_there(folder / "ops.refresh_runs.jsonl")
    runs.sort(key=lambda row: row["started_at"])
    messages = read_if_there(folder / "ops.messages.jsonl")
    messages.sort(
        key=lambda row: [
            str(row.get(it)) for it in ("kind", "audience", "made_at", "subject", "items")
        ]
    )
    found: dict[str, str] = {}
    for number, run_id in enumerate(dict.fromkeys(row["run_id"].split("/")[0] for row in runs), 1):
        # Its beginning stands in names of files.
        found |= {run_id: f"(run {number})", f"-{run_id[:8]}.": f"-(run {number})."}
    for number, row in enumerate(messages, 1):
        found[row["message_id"]] = f"(message {number})"
    return found


def read_if_there(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, none where there is no file."""
    return read(path) if path.exists() else []


def named(text: str, known: Mapping[str, str]) -> str:
    """Rows with names in place of ids drawn by chance."""
    for drawn, name in known.items():
        text = text.replace(drawn, name)
    return text


def in_order(value: Any) -> Any:
    """Its lines or entries in a fixed order."""
    return sorted(value.split("\n") if isinstance(value, str) else value or ())


def why_not(column: str) -> str | None:
    """Why a column (schema.table.column) is not compared; None = it is."""
    found = (why for pattern, why in EXCLUDED.items() if fnmatchcase(column, pattern))
    return next(found, None)


def compare(before: Path, after: Path, moment: str, *, quiet: bool) -> dict[str, str]:
    """Tell which tables of a moment differ; for each of them what of it does."""
    sides = [json.loads((side / moment / "tables.json").read_text()) for side in (before, after)]
    differing = {}
    tell(f"\n{moment}")
    for name in sorted(sides[0].keys() | sides[1].keys()):
        if any(name not in side for side in sides):
            differing[name] = "new" if name in sides[1] else "missing"
            tell(f"  {name}: {differing[name]}")
            continue
        types = [side[name] for side in sides]
        both = sorted(types[0].keys() & types[1].keys())
        changed = [f"{it} is new" for it in sorted(types[1].keys() - types[0].keys())]
        changed += [f"{it} is missing" for it in sorted(types[0].keys() - types[1].keys())]
        changed += [
            f"{it} was {types[0][it]}, is {types[1][it]}"
            for it in both
            if types[0][it] != types[1][it]
        ]
        old, new = (Table.load(side / moment, name, both) for side in (before, after))
        is_equal = old.rows == new.rows
        if is_equal and not changed:
            if not quiet:
                tell(f"  {name}: {old.rows.total():,} rows, {old.hash}, equal")
            continue
        differing[name] = "; ".join(changed)
        counts = " -> ".join(f"{it.rows.total():,} rows {it.hash}" for it in (old, new))
        tell(f"  {name}: {counts}, DIFFERENT")
        for text in changed:
            tell(f"    column {text}")
        if not is_equal:
            differing[name] = "; ".join([*changed, show(old, new)])
    return differing


def show(old: Table, new: Table) -> str:
    """Tell the columns that differ, with some rows; the columns again."""
    gone = [json.loads(row) for row in sorted((old.rows - new.rows).elements())]
    come = [json.loads(row) for row in sorted((new.rows - old.rows).elements())]
    names = [
        name
        for name in old.columns
        if Counter(json.dumps(row[name], sort_keys=True) for row in gone)
        != Counter(json.dumps(row[name], sort_keys=True) for row in come)
    ]
    what = ", ".join(names) or "the same values in other rows"
    tell(f"    {len(gone):,} rows before, {len(come):,} after; columns: {what}")
    for row in gone[:SHOWN_ROWS]:
        likest = max(come, key=lambda it: sum(it[name] == row[name] for name in row), default=None)
        if likest is None or sum(likest[name] == row[name] for name in row) < len(row) / 2:
            tell(f"    only before: {short(row)}")
            continue
        differ = [name for name in row if row[name] != likest[name]]
        same = {name: row[name] for name in row if name not in differ and row[name] is not None}
        tell(f"    where {short(dict(list(same.items())[:8]))}")
        for name in differ:
            for path, one, other in list(inner(name, row[name], likest[name]))[:SHOWN_ROWS]:
                tell(f"      {path}: {short(one)} -> {short(other)}")
    if not gone:
        for row in come[:SHOWN_ROWS]:
            tell(f"    only after: {short(row)}")
    return what


def inner(path: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    """Where in a column two values differ: (path, one, other)."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted(one.keys() | other.keys())
        pairs = [(f"{path}.{key}", one.get(key), other.get(key)) for key in keys]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(f"{path}[{n}]", *both) for n, both in enumerate(zip(one, other, strict=True))]
    else:
        pairs = []
        yield path, one, other
    for deeper, this, that in pairs:
        if this != that:
            yield from inner(deeper, this, that)


def short(value: Any, most: int = 300) -> str:
    """A value as text that fits."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else f"{text[:most]} ..."


# -- both sides ---------------------------------------------------------------------------------


def stamp(side: Side) -> str:
    """What a side's result depends on: its code, this recipe, the day."""
    recipe = [CLOCK, FORKS, DATABASE_CLOCK, RECORDER, RELATIONS, f"{side.end}", sys.version]
    recipe += map(inspect.getsource, (Side, prepare, live, act, record, replay, dump))
    digest = hashlib.sha256("\0".join(recipe).encode())
    for path in sorted(it for it in side.code.rglob("*") if it.is_file()):
        digest.update(f"{path.relative_to(side.code)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def copy_code(side: Side, checkout: Path) -> None:
    """Begin a side anew, with a copy of the checkout."""
    shutil.rmtree(side.folder, ignore_errors=True)
    side.folder.mkdir(parents=True)
    shutil.copytree(
        checkout, side.code, ignore=shutil.ignore_patterns(*NO_CODE), ignore_dangling_symlinks=True
    )


def run(side: Side, changes: Path | None, *, night: bool) -> None:
    """Run a side and leave its dumps. Whatever happens, its server is ended."""
    began, used = time.monotonic(), os.times()
    try:
        prepare(side)
        live(side, changes, night=night)
    finally:
        side.end_forks()
        if (side.folder / "home" / "postgres").exists():
            side.url, side.settings = "", {}
            side.tutor(side.at(1, 6), "down", "--delete")
            shutil.rmtree(side.folder / "home")
    now = os.times()
    cpu = sum(now[2:4]) - sum(used[2:4])
    say(f"{side.name}: done in {time.monotonic() - began:.0f} s, {cpu:.0f} s of a core in Python")


def run_both(options: argparse.Namespace, folder: Path) -> tuple[Side, Side]:
    """Run both sides; of the first one, what is kept is taken where its code is the same."""
    kept, fresh, after = (
        Side(name, folder / it, options.python, options.end)
        for name, it in (("before", "before"), ("before", "before.new"), ("after", "after"))
    )
    copy_code(fresh, options.before)
    mark, is_kept = stamp(fresh), kept.folder / "stamp"
    if is_kept.exists() and is_kept.read_text() == mark:
        say("before: kept from an earlier run")
    else:
        shutil.rmtree(kept.folder, ignore_errors=True)
        fresh.folder.rename(kept.folder)
        run(kept, None, night=True)
        is_kept.write_text(mark)
    shutil.rmtree(fresh.folder, ignore_errors=True)
    copy_code(after, options.after)
    run(after, kept.dumps / "simulate" / f"{RECORDING}.jsonl", night=not options.short)
    return kept, after


def conclude(differing: Mapping[str, Mapping[str, str]]) -> int:
    """Tell once more, of each table, where it differs first; the exit status."""
    first: dict[str, str] = {}
    for moment, tables in differing.items():
        for name, what in tables.items():
            first.setdefault(name, f"{name}, first after {moment}: {what}")
    tell(f"\n{len(first)} tables differ:" if first else "\nThe same.")
    for text in first.values():
        tell(f"  {text}")
    return int(bool(first))


def excluded() -> str:
    """The columns that are not compared, and why."""
    lines = ["Not compared:"]
    lines += [f"  {column:40} {why}" for column, why in EXCLUDED.items()]
    lines += ["Compared without the order of their lines or entries:"]
    lines += [f"  {column:40} {why}" for column, why in UNORDERED.items()]
    return "\n".join(lines)


def main() -> int:
    """Run it: 0 = the same, 1 = something differs, 2 = it could not be found out."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: git worktree add ../base main\n"
        "         .venv/bin/python scripts/same_behaviour.py --keep /tmp/same ../base .\n\n"
        "Exit status: 0 the same, 1 something differs, 2 it could not be found out.\n"
        "The Python that runs it has to have the project's dependencies.",
    )
    parser.add_argument("before", type=Path, help="checkout of the code before")
    parser.add_argument("after", type=Path, help="checkout of the code after")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep what the sides left, and"
        " run the first one again only when its code changed")  # fmt: skip
    parser.add_argument("--end", type=date.fromisoformat, default=DEFAULT_END, metavar="DATE",
        help="last day of the data, in the past (default %(default)s)")  # fmt: skip
    parser.add_argument("--python", default=sys.executable, help="the Python that runs both")
    parser.add_argument("--quiet", action="store_true", help="tell only what differs")
    parser.add_argument("--short", action="store_true", help="leave out the night")
    parser.add_argument("--excluded", action="version", version=excluded(),
        help="list the columns that are not compared, and why")  # fmt: skip
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    with ExitStack() as stack:
        if options.keep is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="same-")))
        else:
            folder = options.keep.resolve()
            folder.mkdir(parents=True, exist_ok=True)
        lock = stack.enter_context((folder / "lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another run is using {folder}")
            return 2
        # Root's server runs as another user, who has to get in.
        folder.chmod(0o755)
        try:
            before, after = run_both(options, folder)
        except FailedError as error:
            say(str(error))
            return 2
        found = sorted(after.dumps.iterdir(), key=lambda it: it.stat().st_ctime)
        moments = [it.name for it in found]
        differing = {
            moment: compare(before.dumps, after.dumps, moment, quiet=options.quiet)
            for moment in moments
        }
    return conclude(differing)


if __name__ == "__main__":
    sys.exit(main())
