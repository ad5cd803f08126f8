"""A person in files below our home: reports, messages, exports, logs of runs and of dbt.

All of these are made anew or only looked back on, so a file about the person is deleted whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.personal_data import Person

_OURS = ("reports", "dagster/storage", "dagster/logs", "dagster/.logs_queue", "dbt/logs")
"""Folders of the home in which every file is one that we wrote."""


def files_about(home: Path, person: Person) -> list[Path]:
    """The files that are about the person: those that may be deleted."""
    return [
        file
        for folder in _OURS
        for file in _files(home / folder)
        # A file is made anew more easily than the numbers in it are told apart.
        if person.is_meant_in(_text(file), numbers_count=True)
    ]


def others_about(home: Path, log: Path, person: Person) -> list[Path]:
    """Files that name the person and are not ours to delete: what somebody put into the home
    itself, and the log of the embedded server, which is writing it. What can't be read is passed.
    """
    beside = [file for file in _in(home) if file.suffix in (".csv", ".json", ".html", ".log")]
    found = []
    for file in (*beside, log):
        with suppress(OSError, TutorPipelineError):
            if file.is_file() and person.is_meant_in(_text(file)):
                found.append(file)
    return found


def delete(files: list[Path]) -> None:
    """Delete files; one that is gone already is no matter. Raises TutorPipelineError."""
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise TutorPipelineError(f"cannot delete {file}: {error.strerror}") from error


def _files(folder: Path) -> Iterator[Path]:
    for each in _in(folder):
        if each.is_symlink():
            continue
        if each.is_dir():
            yield from _files(each)
        else:
            yield each


def _in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise TutorPipelineError(f"cannot read {file}: {error.strerror}") from error
