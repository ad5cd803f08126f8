"""Finds and ends Dagster's processes below `up`, and restarts a code server that Dagster does not.

They are one process group. Its leader, `dagster dev`, starts a web server, a daemon, and a proxy
that starts the code server. If the code server dies, the proxy starts no other until it is told to,
and all sensors stop silently.
"""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from tutor_pipeline.cli.console import note
from tutor_pipeline.core.errors import TutorPipelineError

DAGSTER, CODE_SERVER, PROXY, RUN = "dagster", "api grpc", "code-server start", "spawn_main"
"""Parts of the command lines of these processes; no run's command line contains `dagster`."""

_END_SECONDS = 15
_LOOK_SECONDS = 2
_PATIENCE = 3
"""Consecutive polls that may miss the code server: a reload removes it for a moment."""
_RELOAD_SECONDS = 60

_RELOAD = """
    mutation { reloadRepositoryLocation(repositoryLocationName: "tutor_pipeline") { __typename } }
"""


def running_group(pid_file: Path) -> int | None:
    """The process group named in a file, or None if none of its processes runs."""
    try:
        group = int(pid_file.read_text())
    except (OSError, ValueError):
        return None
    return group if members(group) else None


def members(group: int, part: str = DAGSTER) -> list[psutil.Process]:
    """The processes of a group whose command line contains `part`; the leader may be gone."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.getpgid(process.pid) != group:
                continue
            # One that has ended, and that nobody has waited for yet, has no command line.
            line = " ".join(process.cmdline())
            if line and part in line:
                found.append(process)
    return found


def end_group(group: int) -> None:
    """End a process group: Dagster first, then the runs, which would otherwise outlive it and write
    on after being marked as ended. A run that is asked to end, or ends before Dagster, counts as a
    failure; a killed run loses nothing.
    """
    _end(group, DAGSTER, _END_SECONDS)
    _end(group, RUN, 0)
    _end(group, "", _END_SECONDS)  # what cleans up after them


def _end(group: int, part: str, polite_seconds: float) -> None:
    """Send SIGTERM, again for processes that have just started, then SIGKILL."""
    deadline = time.monotonic() + polite_seconds
    while processes := members(group, part):
        for process in processes:
            with suppress(psutil.Error):
                if time.monotonic() < deadline:
                    process.terminate()
                else:
                    process.kill()
        psutil.wait_procs(processes, timeout=1)


def keep_code_server(group: int, url: str, tell: Callable[[str], None]) -> None:
    """Restart a code server that died, as long as the group lives. A dead proxy cannot restart it:
    then end the group, so that the caller of `up` notices.
    """
    has_been_there = False
    missing = 0
    while members(group):
        time.sleep(_LOOK_SECONDS)
        if members(group, CODE_SERVER):
            has_been_there, missing = True, 0
            continue
        missing += has_been_there
        if missing < _PATIENCE:
            continue
        if not members(group, PROXY):
            tell("the process that keeps the code server is gone: ending")
            end_group(group)
        elif _reload(url):
            tell("the code server had died; it was started again")
            missing = 0


def _reload(url: str) -> bool:
    request = urllib.request.Request(  # noqa: S310 (a server of our own)
        f"{url}/graphql",
        data=json.dumps({"query": _RELOAD}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=_RELOAD_SECONDS) as response:  # noqa: S310
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def free_port(
    host: str, wanted: int, *, is_wish: bool, option: str, taken: tuple[int, ...] = ()
) -> int:
    """The wanted port or, if it is only a default, the next free one. Never one of `taken`."""
    last = wanted if is_wish else min(wanted + 19, 65_535)
    for candidate in range(wanted, last + 1):
        if candidate in taken:
            continue
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
            except OSError:
                continue
            if candidate != wanted:
                note(f"Port {wanted} is taken, using {candidate}")
            return candidate
    ports = f"port {wanted}" if is_wish else f"port {wanted} to {last}"
    raise TutorPipelineError(f"{ports} on {host} is taken; name another: {option}")
