"""Finds and deletes files about a person below the home: reports, messages, exports, logs.

A file about the person is deleted as a whole: the pipeline writes each of them again, or nobody
depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.personal_data import Person

_OURS = ("reports", "dagster/storage", "dagster/logs", "dagster/.logs_queue", "dbt/logs")
"""Folders of the home in which the pipeline wrote every file."""


def files_about(home: Path, person: Person) -> list[Path]:
    """Returns the files of the pipeline that mention the person."""
    return [
        file
        for folder in _OURS
        for file in _files(home / folder)
        # A file with a number that only looks like the id is deleted too: it is written again.
        if person.is_meant_in(_text(file), numbers_count=True)
    ]


def others_about(home: Path, log: Path, person: Person) -> list[Path]:
    """Returns files that mention the person and that the pipeline must not delete: files that
    somebody put into the home, and the log that the embedded server is writing.

    Skips files that cannot be read.
    """
    beside = [file for file in _in(home) if file.suffix in (".csv", ".json", ".html", ".log")]
    found = []
    for file in (*beside, log):
        with suppress(OSError, TutorPipelineError):
            if file.is_file() and person.is_meant_in(_text(file)):
                found.append(file)
    return found


def delete(files: list[Path]) -> None:
    """Deletes files that still exist. Raises TutorPipelineError when one cannot be deleted."""
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
