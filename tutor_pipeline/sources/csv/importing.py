"""Imports a CSV export into a platform schema that we made: streaming, idempotent, complete.

Each file is read once into a temporary table and checked there, then written to the platform's
tables. All files share one transaction, so a kill at any moment leaves the previous state.

Belongs here: the order of the steps, the summary.
Does not belong here: finding files (folder.py), reading them (staged_files.py), writing to the
platform (loading.py), the quarantine of bad rows (bad_rows.py), the format (format.yml, values.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import psycopg

from tutor_pipeline.core.errors import TutorPipelineError, UsageError
from tutor_pipeline.core.formatting import count
from tutor_pipeline.core.warehouse.database import APPLICATION_NAME, Database, Warehouse
from tutor_pipeline.core.warehouse.platform import ensure_platform, ensure_session_students
from tutor_pipeline.sources.csv.bad_rows import keep_bad_rows, reasons_of
from tutor_pipeline.sources.csv.dialects import Source, UnusableFileError
from tutor_pipeline.sources.csv.existing import filled_rows, kept_columns
from tutor_pipeline.sources.csv.folder import DOCUMENT, find
from tutor_pipeline.sources.csv.format import CsvFile
from tutor_pipeline.sources.csv.loading import clear_platform, load_rows
from tutor_pipeline.sources.csv.mapped_files import AS_IN_THE_FORMAT, MappedFiles
from tutor_pipeline.sources.csv.refusals import Example, examples
from tutor_pipeline.sources.csv.staged_files import (
    Progress,
    StagedFile,
    collect_bad_rows,
    create_table_of_bad_rows,
    label_bad_rows,
    read_file,
)

MAX_BAD = 0.02
"""Share of bad rows above which a file is refused."""


@dataclass(frozen=True, slots=True)
class FileSummary:
    """The result for one file. Rows = loaded + quarantined, unless the file was refused.

    `form` says how it is written, `is_plain` whether that needs no word. `changed` counts rows of
    the platform that were added, updated or removed. Of `missing_columns`, the existing rows keep
    what they have in `kept_columns`. `skipped` says which lines are no rows. `refused` says why
    nothing of the file was loaded, by `examples` where rows are the reason.
    """

    name: str
    source: str = ""
    form: str = ""
    is_plain: bool = True
    rows: int = 0
    loaded: int = 0
    quarantined: int = 0
    changed: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    unknown_columns: tuple[str, ...] = ()
    missing_columns: tuple[str, ...] = ()
    kept_columns: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    refused: str | None = None
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """The result for a folder. `notes` are sentences about what was not read or is missing."""

    folder: Path
    files: tuple[FileSummary, ...]
    notes: tuple[str, ...] = ()

    @property
    def refused(self) -> tuple[FileSummary, ...]:
        """The refused files. If there are any, the command exits with status 3."""
        return tuple(file for file in self.files if file.refused)

    @property
    def is_loaded(self) -> bool:
        """Whether a file was loaded."""
        return len(self.refused) < len(self.files)


@dataclass(frozen=True, slots=True)
class Wishes:
    """How to import.

    `clear` removes the platform's rows first; then one refused file means that nothing is loaded or
    removed. `replace_missing`: columns that a file lacks become NULL in the rows that it has.
    `max_bad`: the share of bad rows above which a file is refused. `mapped`: what files and columns
    are called, and what their texts mean, where that is not as in the format.
    """

    clear: bool = False
    replace_missing: bool = False
    max_bad: float = MAX_BAD
    mapped: MappedFiles = field(default_factory=dict)


def import_folder(
    warehouse: Warehouse,
    folder: Path,
    wishes: Wishes | None = None,
    *,
    as_of: datetime,
    progress: Progress = lambda *_: None,
    on_wait: Callable[[str], None] = lambda _: None,
    before_commit: Callable[[Database, ImportSummary], None] = lambda *_: None,
) -> ImportSummary:
    """Loads a CSV export: loads good rows, and quarantines bad rows as of `as_of`.

    Refuses a file with too large a share of bad rows, or without a usable header, and files
    that refer to a refused file. The summary names refused files; nothing of them is loaded, but
    their bad rows are quarantined. `on_wait` hears of another process that is writing the platform.
    `before_commit` adds what belongs to the same transaction.

    Raises UsageError (no such folder, a share out of range), RefusedError (a required file is
    missing, the platform schema is not ours) and TutorPipelineError (the database failed).
    """
    wishes = wishes or Wishes()
    if not 0 <= wishes.max_bad <= 1:
        raise UsageError(f"the share of bad rows must lie between 0 and 1, not {wishes.max_bad:g}")
    found = find(folder, wishes.mapped)
    # Who has to wait for this import is told its name.
    name = f"{APPLICATION_NAME} import (process {os.getpid()})"
    try:
        with warehouse.connect(application_name=name) as database:
            ensure_platform(database, on_wait)
            if any(file.writes("session_students") for file, _ in found.sources):
                ensure_session_students(database)
            files = _Import(database, as_of, wishes, progress).run(found.sources)
            notes = (*found.notes, *_file_notes(files, wishes))
            summary = ImportSummary(folder, files, notes)
            before_commit(database, summary)
    except psycopg.Error as error:
        raise TutorPipelineError(
            f"the import of {folder} was given up, nothing was changed: {str(error).strip()}"
        ) from error
    return summary


def _file_notes(files: tuple[FileSummary, ...], wishes: Wishes) -> Iterator[str]:
    for file in files:
        if not file.is_plain:
            yield f"{file.name}: read as {file.form}"
        if file.skipped:
            yield f"{file.name}: {' and '.join(file.skipped)} not counted as rows"
        if file.unknown_columns:
            names = ", ".join(name or "(without a name)" for name in file.unknown_columns)
            yield f"{file.name}: not read, because the format does not know them: {names}"
        if file.refused:
            continue
        if file.kept_columns:
            yield (
                f"{file.name}: not in the file, so left as they are in rows that were there before"
                f" (--replace-missing empties them): {', '.join(file.kept_columns)}"
            )
        if missing := [name for name in file.missing_columns if name not in file.kept_columns]:
            yield f"{file.name}: missing, so NULL in every row: {', '.join(missing)}"


class _Import:
    """One import in one transaction: stages every file, decides, writes."""

    def __init__(
        self, database: Database, as_of: datetime, wishes: Wishes, progress: Progress
    ) -> None:
        self.database = database
        self.as_of = as_of
        self.wishes = wishes
        self.progress = progress
        self.staged: list[StagedFile] = []

    def run(self, sources: tuple[tuple[CsvFile, Source], ...]) -> tuple[FileSummary, ...]:
        self._set_session()
        create_table_of_bad_rows(self.database)
        for file, source in sources:
            staged = StagedFile(file, source, self.wishes.mapped.get(file.name, AS_IN_THE_FORMAT))
            self._stage(staged)
            self.staged.append(staged)
        self._refuse_what_refers_to_refused()
        refused = [staged.file.name for staged in self.staged if staged.refused]
        if self.wishes.clear and refused:
            for staged in self.staged:
                staged.refused = staged.refused or (
                    "not loaded: --clear replaces everything or nothing, and"
                    f" {', '.join(refused)} was refused"
                )
        elif self.wishes.clear:
            clear_platform(self.database)
        summaries = tuple(self._load(staged) for staged in self.staged)
        is_new = self.wishes.clear and not refused
        keep_bad_rows(self.database, self.staged, self.as_of, is_new=is_new)
        return summaries

    def _set_session(self) -> None:
        for name, value in (
            ("timezone", self.database.warehouse.platform_timezone),
            ("client_encoding", "UTF8"),
            ("work_mem", "64MB"),
        ):
            self.database.execute("select set_config(%s, %s, true)", (name, value))

    def _stage(self, staged: StagedFile) -> None:
        """Reads one file into its temporary table and labels its bad rows."""
        wishes = self.wishes
        try:
            read_file(self.database, staged, self.progress)
        except UnusableFileError as problem:
            staged.rows = 0
            staged.refused = (
                f"{staged.file.name} {problem}; nothing of it was loaded ({DOCUMENT}#files)"
            )
            return
        except OSError as error:
            raise TutorPipelineError(f"cannot read {staged.source.path}: {error.strerror}") from (
                error
            )
        if staged.missing_columns and not (wishes.clear or wishes.replace_missing):
            staged.filled = filled_rows(self.database, staged)
        label_bad_rows(self.database, staged, self.staged, replaced=wishes.clear)
        collect_bad_rows(self.database, staged)
        if staged.bad > wishes.max_bad * staged.rows:
            staged.refused = (
                f"{staged.bad:,} of {count(staged.rows, 'row')} ({staged.bad / staged.rows:.1%})"
                f" are bad, more than {wishes.max_bad:.1%}; nothing of it was loaded"
            )

    def _refuse_what_refers_to_refused(self) -> None:
        for staged in self.staged:
            needed = {table for table, _ in staged.file.references.values()}
            for other in self.staged:
                tables = {target.table for target in other.file.targets}
                if other.refused and other is not staged and needed & tables:
                    staged.refused = staged.refused or (
                        f"not loaded: it refers to {other.file.name}, which was refused"
                    )

    def _load(self, staged: StagedFile) -> FileSummary:
        """Writes a file's good rows to the platform, unless the file was refused."""
        changed = 0
        targets = () if staged.refused else staged.file.targets
        kept = () if staged.refused or not staged.filled else kept_columns(self.database, staged)
        for done, target in enumerate(targets):
            self.progress(f"loading {staged.file.name}", done, len(targets))
            changed += load_rows(self.database, staged, target)
        if targets:
            self.progress(f"loading {staged.file.name}", len(targets), len(targets))
        return FileSummary(
            name=staged.file.name,
            source=staged.source.name,
            form=staged.form,
            is_plain=staged.is_plain,
            rows=staged.rows,
            loaded=0 if staged.refused else staged.rows - staged.bad,
            quarantined=staged.bad,
            changed=changed,
            reasons=reasons_of(self.database, staged),
            unknown_columns=staged.unknown_columns,
            missing_columns=staged.missing_columns if staged.header else (),
            kept_columns=kept,
            skipped=staged.skipped,
            refused=staged.refused,
            examples=examples(self.database, staged) if staged.refused else (),
        )
