"""PostgreSQL servers of a test's own, for instance a hot standby, and a proxy before a server."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import quote, urlsplit

import psutil
import psycopg
from psycopg import sql

from tests.servers import free_port
from tutor_pipeline.core.warehouse.embedded_programs import ServerPrograms

USER = "tutor"
PASSWORD = "p@ 100%: it's/a?secret"
_IN_URL = f"{USER}:{quote(PASSWORD, safe='')}"

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "jit": "off",
    # The server goes with its test: nothing of it has to outlive a power cut.
    "fsync": "off",
    "full_page_writes": "off",
}


class PostgresServer:
    """A server in a folder of its own, stopped when its context ends."""

    def __init__(self, **settings: str) -> None:
        self._programs = ServerPrograms(lambda _: None)
        # Not pytest's folder: the server's user must be able to enter it, and the path of a
        # socket may not be long.
        self.folder = Path(tempfile.mkdtemp(prefix="tutor-server-"))
        self.folder.chmod(0o755)
        self._programs.give(self.folder)
        self._data = self.folder / "data"
        self._settings = settings
        self.port = free_port()

    def __enter__(self) -> Self:
        secret = self.folder / "password"
        secret.write_text(PASSWORD, encoding="utf-8")
        self._programs.give(secret)
        self._run(
            "initdb",
            f"--pgdata={self._data}",
            f"--username={USER}",
            f"--pwfile={secret}",
            *"--auth=scram-sha-256 --encoding=UTF8 --locale=C --no-sync".split(),
        )
        return self.start()

    def __exit__(self, *_: object) -> None:
        self._programs.run("pg_ctl", "stop", "-m", "immediate", "-D", str(self._data))
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> Self:
        places = {"port": str(self.port), "unix_socket_directories": str(self.folder)}
        settings = _SETTINGS | places | self._settings
        with (self._data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        log = str(self.folder / "log")
        self._run("pg_ctl", "start", "-w", "-t", "120", "-D", str(self._data), "-l", log)
        return self

    def stop(self) -> None:
        """Stop it as a crash does; `start` recovers what was committed."""
        self._run("pg_ctl", "stop", "-m", "immediate", "-D", str(self._data))

    def standby(self, **settings: str) -> Standby:
        """A hot standby that follows this server."""
        return Standby(self, **settings)

    def url(self, database: str = "postgres", host: str = "127.0.0.1") -> str:
        """The URL of a database, by TCP."""
        return f"postgresql://{_IN_URL}@{host}:{self.port}/{quote(database)}"

    def socket_url(self, database: str = "postgres") -> str:
        """The URL of a database, by the server's socket."""
        where = f"host={quote(str(self.folder), safe='')}&port={self.port}"
        return f"postgresql://{_IN_URL}@/{quote(database)}?{where}"

    def create(self, *names: str) -> None:
        """Create databases."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            for name in names:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))

    def _run(self, program: str, *arguments: str) -> None:
        result = self._programs.run(program, *arguments)
        assert result.returncode == 0, result.stdout


class Standby(PostgresServer):
    """A hot standby: a copy of another server, which follows it."""

    def __init__(self, primary: PostgresServer, **settings: str) -> None:
        super().__init__(**settings)
        self._primary = primary

    def __enter__(self) -> Self:
        source = self._primary.url().removesuffix("/postgres")
        self._run(
            "pg_basebackup",
            f"--dbname={source}",
            f"--pgdata={self._data}",
            *"--write-recovery-conf --checkpoint=fast --no-sync".split(),
        )
        return self.start()


_PROXY = """
import socket, sys, threading
target = (sys.argv[1], int(sys.argv[2]))
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
def pump(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
    except OSError:
        pass
    for each in (a, b):
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
while True:
    client, _ = listening.accept()
    server = socket.create_connection(target)
    for pair in ((client, server), (server, client)):
        threading.Thread(target=pump, args=pair, daemon=True).start()
"""


class Proxy:
    """A proxy before a server, a process of its own: it may be stopped as it stands."""

    def __init__(self, server_url: str) -> None:
        server = urlsplit(server_url)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROXY, str(server.hostname), str(server.port)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = port = int(self._process.stdout.readline())
        self.url = server._replace(
            netloc=f"{server.username}:{server.password}@127.0.0.1:{port}"
        ).geturl()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        self._process.send_signal(signal.SIGSTOP)
        while psutil.Process(self._process.pid).status() != psutil.STATUS_STOPPED:
            time.sleep(0.01)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGCONT)
        self._process.kill()
        self._process.wait()
