"""The key that signs links: a setting, or a file of this installation that is made when needed.

The newest key signs; the ones before are still taken, so that links in mails outlive a rotation.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tutor_pipeline.core.errors import TutorPipelineError, UsageError

SHORTEST = 32
"""The fewest characters of a key."""
_KEPT = 2


def given(text: str) -> tuple[str, ...]:
    """Returns the keys of a setting, the newest first, with commas between. Raises UsageError."""
    keys = tuple(filter(None, (each.strip() for each in text.split(","))))
    if any(len(key) < SHORTEST for key in keys):
        raise UsageError(
            f"TUTOR_SECRET_KEY: a key has at least {SHORTEST} characters; make one with"
            " `openssl rand -hex 32`, and keep the one before behind a comma for a week"
        )
    return keys


def of_file(file: Path) -> tuple[str, ...]:
    """Returns the keys in a file, the newest first; makes the file where there is none, readable by
    its owner alone. Raises TutorPipelineError.
    """
    with suppress(FileNotFoundError):
        return _read(file)
    _write(file, [secrets.token_hex(32)], is_new=True)
    return _read(file)


def rotate(file: Path) -> None:
    """Makes a new key and keeps the one before. Raises TutorPipelineError."""
    _write(file, [secrets.token_hex(32), *of_file(file)][:_KEPT], is_new=False)


def _read(file: Path) -> tuple[str, ...]:
    try:
        keys = tuple(file.read_text(encoding="ascii").split())
    except FileNotFoundError:
        raise
    except (OSError, UnicodeError) as error:
        raise TutorPipelineError(_cannot("read", file)) from error
    if not keys or any(len(key) < SHORTEST for key in keys):
        raise TutorPipelineError(
            f"{file} holds no key: delete it, and a new one is made (links sent before are over)"
        )
    return keys


def _write(file: Path, keys: Sequence[str], *, is_new: bool) -> None:
    part = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as opened:
            opened.write("\n".join(keys) + "\n")
        if is_new:
            # Whoever makes it first is right: two processes sign with the same key.
            with suppress(FileExistsError):
                os.link(part, file)
        else:
            part.replace(file)
    except OSError as error:
        raise TutorPipelineError(_cannot("write", file)) from error
    finally:
        part.unlink(missing_ok=True)


def _cannot(what: str, file: Path) -> str:
    return f"cannot {what} {file}, the key that signs links; or set TUTOR_SECRET_KEY"
