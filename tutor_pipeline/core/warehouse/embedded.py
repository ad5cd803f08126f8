"""The embedded PostgreSQL server: created when first needed, left running, stopped by `down`.

All files of the server are in `<home>/postgres/`: the password (mode 0600), the port, a lock for
processes that start it, and `server/` with data and log. Where the server's user cannot reach the
home, `server/` is below SHARED_ROOT instead.

Belongs here: creating, starting, finding and stopping the server.
Does not belong here: PostgreSQL's programs and who runs them (embedded_programs.py).
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psutil
import psycopg
from filelock import FileLock, Timeout
from psycopg import sql

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.embedded_programs import (
    SHARED_ROOT,
    ServerPrograms,
    make_shared_root,
)

USER = "tutor"
DATABASE = "tutor"
DAGSTER_DATABASE = "tutor_dagster"
START_SECONDS = 60
_PORT_ATTEMPTS = 5

# Reachable only from this machine. wal_level minimal: a table that is created and loaded in one
# transaction skips the log; nothing here is replicated.
_CONFIGURATION = """
# Written by tutor-pipeline.
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
password_encryption = 'scram-sha-256'
max_connections = 100
shared_buffers = '256MB'
work_mem = '32MB'
maintenance_work_mem = '256MB'
max_wal_size = '2GB'
wal_level = 'minimal'
max_wal_senders = 0
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_min_messages = 'warning'
log_line_prefix = '%m [%p] %a '
"""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """The state of the embedded server. `port` and `pid` are None while it is stopped."""

    exists: bool
    running: bool
    data_dir: Path
    log: Path
    port: int | None
    pid: int | None


def _silent(_: str) -> None:
    return None


class EmbeddedServer:
    """The server of one home directory. Several processes may use it at once."""

    def __init__(self, home: Path, progress: Progress = _silent) -> None:
        self._dir = home / "postgres"
        self._progress = progress
        self._programs = ServerPrograms(progress)

    def ensure_running(self) -> str:
        """Creates, starts or finds the server. Returns the URL of the pipeline's database.

        Raises TutorPipelineError with the reason and the log's path when that fails.
        """
        if (url := self._answering_url()) is not None:
            return url
        try:
            self._dir.mkdir(parents=True, exist_ok=True)
            # The server's user must be able to enter this folder; secrets have their own mode.
            lock = FileLock(self._dir / "starter.lock", timeout=2 * START_SECONDS)
            with lock:
                return self._answering_url() or self._make_and_start()
        except Timeout as error:
            raise TutorPipelineError(
                f"another process has been starting the embedded PostgreSQL in {self._dir} for"
                f" {2 * START_SECONDS} s.\nSee {self._log}; if no such process runs, try again."
            ) from error
        except PermissionError as error:
            raise TutorPipelineError(
                f"no permission on {error.filename or self._dir}: it belongs to another user,"
                " most likely from an earlier run as root.\n"
                "Run as that user, set TUTOR_HOME to a folder of your own, or remove it."
            ) from error
        except OSError as error:
            raise TutorPipelineError(_explain(str(error), self._log)) from error

    def stop(self) -> bool:
        """Stops the server and ends its sessions. Returns True when it was running."""
        if not self._dir.exists():
            return False
        with FileLock(self._dir / "starter.lock", timeout=2 * START_SECONDS):
            if self._running_pid() is None:
                return False
            stop = f"stop -m fast -w -t {START_SECONDS} -D".split()
            self._run("pg_ctl", *stop, str(self._data))
            return True

    def delete(self) -> None:
        """Stops the server and deletes its data, password and port, if there is one."""
        self.stop()
        if self._dir.exists():
            shutil.rmtree(self._server, ignore_errors=True)
            shutil.rmtree(self._dir)

    def status(self) -> ServerStatus:
        """Returns the state of the server without starting it."""
        exists = self._dir.exists() and self._initialised
        pid = self._running_pid() if exists else None
        return ServerStatus(
            exists=exists,
            running=pid is not None,
            data_dir=self._data,
            log=self._log,
            port=self._port if pid is not None else None,
            pid=pid,
        )

    def url(self, database: str = DATABASE) -> str:
        """Returns the URL of one of the server's databases, including the password."""
        password = (self._dir / "password").read_text().strip()
        return f"postgresql://{USER}:{password}@127.0.0.1:{self._port}/{database}"

    # -- places ---------------------------------------------------------------------------------

    @cached_property
    def _server(self) -> Path:
        """The folder of data and log: below the home, or below SHARED_ROOT."""
        if self._programs.user is None or self._programs.can_enter(self._dir):
            return self._dir / "server"
        identity = hashlib.sha256(str(self._dir).encode()).hexdigest()[:12]
        return SHARED_ROOT / identity

    @property
    def _data(self) -> Path:
        return self._server / "data"

    @property
    def _log(self) -> Path:
        return self._server / "server.log"

    @property
    def _initialised(self) -> bool:
        return (self._data / "PG_VERSION").exists()

    # -- making and starting --------------------------------------------------------------------

    def _make_and_start(self) -> str:
        if not self._initialised:
            self._initialise()
        if not (self._dir / "password").exists():
            raise TutorPipelineError(
                f"{self._dir / 'password'} is gone, and with it the way into the embedded server.\n"
                "Put it back, or start over: tutor-pipeline down --delete removes the data."
            )
        if self._running_pid() is None:
            self._remove_stale_pid_file()
            self._start()
        else:
            # The server's own file has the port (line 4); our file may be outdated.
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            _write_atomically(self._dir / "port", lines[3].strip())
        self._wait_until_answering()
        self._create_databases()
        return self.url()

    def _initialise(self) -> None:
        self._progress("Creating the embedded PostgreSQL")
        if self._server.is_relative_to(SHARED_ROOT):
            make_shared_root()
        self._server.mkdir(mode=0o700, exist_ok=True)
        self._programs.give(self._server)
        password = self._dir / "password"
        _write_secret(password, secrets.token_urlsafe(24))
        # initdb runs as the server's user, who cannot read our file: give it a copy.
        copy = self._server / "password.initdb"
        _write_secret(copy, password.read_text())
        self._programs.give(copy)
        # Create under another name, so that a kill leaves no incomplete server behind.
        partial = self._server / "data.part"
        shutil.rmtree(partial, ignore_errors=True)
        try:
            self._run(
                "initdb",
                f"--pgdata={partial}",
                f"--username={USER}",
                f"--pwfile={copy}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-instructions",
            )
        finally:
            copy.unlink(missing_ok=True)
        with (partial / "postgresql.conf").open("a") as configuration:
            configuration.write(_CONFIGURATION)
        shutil.rmtree(self._data, ignore_errors=True)
        partial.rename(self._data)

    def _run(self, program: str, *arguments: str) -> None:
        """Runs one of PostgreSQL's programs. Raises TutorPipelineError when it fails."""
        result = self._programs.run(program, *arguments)
        if result.returncode != 0:
            raise TutorPipelineError(_explain(f"{program}: {result.stdout}", self._log))

    def _start(self) -> None:
        self._progress("Starting the embedded PostgreSQL")
        log_size = self._log.stat().st_size if self._log.exists() else 0
        for attempt in range(_PORT_ATTEMPTS):
            port = self._port if attempt == 0 and self._port else _free_port()
            _write_atomically(self._dir / "port", str(port))
            places = ("-D", str(self._data), "-l", str(self._log))
            waiting = ("-w", "-t", str(START_SECONDS))
            result = self._programs.run("pg_ctl", "start", *places, *waiting, "-o", f"-p {port}")
            if result.returncode == 0:
                return
            said = self._log_since(log_size) + result.stdout
            if "Address already in use" not in said and "could not bind" not in said:
                raise TutorPipelineError(_explain(said, self._log))
            self._progress(f"Port {port} is taken, trying another")
            log_size = self._log.stat().st_size if self._log.exists() else 0
        raise TutorPipelineError(
            f"no free port found on 127.0.0.1 in {_PORT_ATTEMPTS} attempts; see {self._log}"
        )

    def _wait_until_answering(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with psycopg.connect(self.url("postgres"), connect_timeout=5):
                    return
            except psycopg.OperationalError as error:
                hopeless = ("authentication failed", "no password supplied")
                if time.monotonic() > deadline or any(text in str(error) for text in hopeless):
                    raise TutorPipelineError(_explain(str(error), self._log)) from error
                time.sleep(0.1)

    def _create_databases(self) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            for name in (DATABASE, DAGSTER_DATABASE):
                if not connection.execute(
                    "select 1 from pg_database where datname = %s", (name,)
                ).fetchone():
                    connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))

    # -- what is there --------------------------------------------------------------------------

    @property
    def _port(self) -> int | None:
        try:
            return int((self._dir / "port").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def _answering_url(self) -> str | None:
        """Returns the URL if the server answers, with our password and our data directory."""
        if self._port is None or not (self._dir / "password").exists():
            return None
        try:
            url = self.url()
            with psycopg.connect(url, connect_timeout=3) as connection:
                row = connection.execute("select current_setting('data_directory')").fetchone()
            # A copied home has the password and the port of the original.
            is_ours = row is not None and Path(row[0]).resolve() == self._data.resolve()
            return url if is_ours else None
        except PermissionError as error:
            raise TutorPipelineError(
                f"cannot read {error.filename}: the embedded server belongs to another user.\n"
                "Run as that user, or set TUTOR_HOME to a folder of your own."
            ) from error
        except psycopg.Error:
            return None

    def _pid_file(self) -> tuple[int, str] | None:
        """Returns (pid, data directory) from the server's own file."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return int(lines[0]), lines[1]
        except (OSError, ValueError, IndexError):
            return None

    def _running_pid(self) -> int | None:
        """Returns the server's pid; None if the file is stale: no process, another one, a copy."""
        entry = self._pid_file()
        if entry is None:
            return None
        pid, data = entry
        try:
            process = psutil.Process(pid)
            is_postgres = "postgres" in process.name()
            is_alive = process.status() != psutil.STATUS_ZOMBIE
        except psutil.AccessDenied:
            is_postgres = is_alive = True
        except psutil.Error:
            return None
        is_ours = Path(data).resolve() == self._data.resolve()
        return pid if is_postgres and is_alive and is_ours else None

    def _remove_stale_pid_file(self) -> None:
        # PostgreSQL accepts the pid of a dead process, but not one that another program has now.
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _log_since(self, position: int) -> str:
        try:
            with self._log.open("rb") as log:
                log.seek(position)
                return log.read().decode(errors="replace")
        except OSError:
            return ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write_secret(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def _write_atomically(path: Path, text: str) -> None:
    partial = path.with_suffix(".part")
    partial.write_text(text)
    partial.replace(path)


def _explain(said: str, log: Path) -> str:
    """Returns an error message for PostgreSQL's output, with what to do about it."""
    if "No space left on device" in said or "Disk quota exceeded" in said:
        return (
            f"the disk is full: PostgreSQL could not write to {log.parent}.\n"
            "Free some space there (a new server takes about 50 MB), or set TUTOR_HOME to a folder"
            " on another disk; then run the same command again."
        )
    if "too old" in said or "initialized by PostgreSQL version" in said:
        return (
            f"the data in {log.parent} was made by another version of PostgreSQL.\n"
            "Install the version that made it, dump it and load it here; see docs/operations.md."
        )
    tail = "\n".join(f"  {line}" for line in said.strip().splitlines()[-8:])
    return f"the embedded PostgreSQL did not start:\n{tail}\nIts log is {log}."
