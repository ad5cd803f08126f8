"""Imports a CSV export into a platform schema that we made: streaming, idempotent, complete.

Each file is read once into a temporary table and checked there, then written to the platform's
tables. All files share one transaction, so a kill at any moment leaves the previous state.

Belongs here: the order of the steps, the summary, the quarantine of bad rows.
Does not belong here: reading files (staged_files.py), writing to the platform (loading.py), the
format (format.yml, values.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tutor_pipeline.core.errors import RefusedError, TutorPipelineError, UsageError
from tutor_pipeline.core.formatting import count
from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.core.warehouse.platform import ensure_platform
from tutor_pipeline.sources.csv.format import CsvFile, csv_format
from tutor_pipeline.sources.csv.loading import clear_platform, load_rows
from tutor_pipeline.sources.csv.records import UnusableFileError
from tutor_pipeline.sources.csv.staged_files import (
    Progress,
    StagedFile,
    collect_bad_rows,
    create_table_of_bad_rows,
    label_bad_rows,
    read_file,
)
from tutor_pipeline.sources.quarantine import record

MAX_BAD = 0.02
"""Share of bad rows above which a file is refused."""


@dataclass(frozen=True, slots=True)
class FileSummary:
    """The result for one file. Rows = loaded + quarantined, unless the file was refused.

    `changed` counts rows of the platform that were added, updated or removed. `refused` says why
    nothing of the file was loaded.
    """

    name: str
    rows: int = 0
    loaded: int = 0
    quarantined: int = 0
    changed: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    unknown_columns: tuple[str, ...] = ()
    missing_columns: tuple[str, ...] = ()
    refused: str | None = None


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


def import_folder(
    warehouse: Warehouse,
    folder: Path,
    *,
    as_of: datetime,
    clear: bool = False,
    max_bad: float = MAX_BAD,
    progress: Progress | None = None,
) -> ImportSummary:
    """Loads a CSV export: loads good rows, and quarantines bad rows as of `as_of`.

    Refuses a file with a share of bad rows above `max_bad`, or without a usable header, and files
    that refer to a refused file. The summary names refused files; nothing of them is loaded, but
    their bad rows are quarantined. `clear` removes the platform's rows first; then one refused
    file means that nothing is loaded or removed.

    Raises UsageError (no such folder, a share out of range), RefusedError (a required file is
    missing, the platform schema is not ours) and TutorPipelineError (the database failed).
    """
    if not 0 <= max_bad <= 1:
        raise UsageError(f"the share of bad rows must lie between 0 and 1, not {max_bad:g}")
    paths, notes = _find(folder)
    try:
        with warehouse.connect() as database:
            files = _Import(database, as_of, max_bad, progress or _silent).run(paths, clear)
    except psycopg.Error as error:
        raise TutorPipelineError(
            f"the import of {folder} was given up, nothing was changed: {str(error).strip()}"
        ) from error
    return ImportSummary(folder, files, (*notes, *_column_notes(files)))


def _silent(step: str, done: int, total: int) -> None:
    pass


def _find(folder: Path) -> tuple[list[tuple[CsvFile, Path]], tuple[str, ...]]:
    """Returns the files to read, in the format's order, and notes about the others."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}; import takes the folder of a CSV export")
    layout = csv_format()
    missing = [
        file.name for file in layout.files if file.required and not (folder / file.name).is_file()
    ]
    if missing:
        raise RefusedError(
            f"{folder} has no {' and no '.join(missing)}: nothing was loaded.\n"
            "The format is described in docs/csv-format.md."
        )
    known = {file.name for file in layout.files}
    others = sorted(path.name for path in folder.glob("*.csv") if path.name not in known)
    notes = tuple(
        f"{name} is not read: {layout.never_read.get(name, 'it is no file of this format')}"
        for name in others
    )
    found = [(file, folder / file.name) for file in layout.files]
    return [(file, path) for file, path in found if path.is_file()], notes


def _column_notes(files: tuple[FileSummary, ...]) -> Iterator[str]:
    for file in files:
        if file.unknown_columns:
            names = ", ".join(name or "(without a name)" for name in file.unknown_columns)
            yield f"{file.name}: not read, because the format does not know them: {names}"
        if file.missing_columns and not file.refused:
            yield f"{file.name}: missing, so NULL in every row: {', '.join(file.missing_columns)}"


class _Import:
    """One import in one transaction: stages every file, decides, writes."""

    def __init__(
        self, database: Database, as_of: datetime, max_bad: float, progress: Progress
    ) -> None:
        self.database = database
        self.as_of = as_of
        self.max_bad = max_bad
        self.progress = progress
        self.staged: list[StagedFile] = []

    def run(self, paths: list[tuple[CsvFile, Path]], clear: bool) -> tuple[FileSummary, ...]:
        # ensure_platform holds a lock until the transaction ends, so imports (and `generate`) run
        # one after the other.
        ensure_platform(self.database)
        self._set_session()
        create_table_of_bad_rows(self.database)
        for file, path in paths:
            self.staged.append(self._stage(file, path, replaced=clear))
        refused = [staged.file.name for staged in self.staged if staged.refused]
        if clear and refused:
            for staged in self.staged:
                staged.refused = staged.refused or (
                    "not loaded: --clear replaces everything or nothing, and"
                    f" {', '.join(refused)} was refused"
                )
        elif clear:
            clear_platform(self.database)
        summaries = tuple(self._load(staged) for staged in self.staged)
        self._quarantine(resolve_all=clear and not refused)
        return summaries

    def _set_session(self) -> None:
        for name, value in (
            ("timezone", self.database.warehouse.platform_timezone),
            ("client_encoding", "UTF8"),
            ("work_mem", "64MB"),
        ):
            self.database.execute("select set_config(%s, %s, true)", (name, value))

    def _stage(self, file: CsvFile, path: Path, *, replaced: bool) -> StagedFile:
        """Reads one file into its temporary table and labels its bad rows."""
        staged = StagedFile(file, path)
        refused = {s.file.name: s for s in self.staged if s.refused}
        for table, _ in file.references.values():
            for name, other in refused.items():
                if any(target.table == table for target in other.file.targets):
                    staged.refused = f"not loaded: it refers to {name}, which was refused"
                    return staged
        try:
            read_file(self.database, staged, self.progress)
        except UnusableFileError as problem:
            staged.refused = f"{file.name} {problem}; nothing of it was loaded"
            return staged
        except OSError as error:
            raise TutorPipelineError(f"cannot read {path}: {error.strerror}") from error
        label_bad_rows(self.database, staged, self.staged, replaced=replaced)
        collect_bad_rows(self.database, staged)
        if staged.bad > self.max_bad * staged.rows:
            staged.refused = (
                f"{staged.bad:,} of {count(staged.rows, 'row')} ({staged.bad / staged.rows:.1%})"
                f" are bad, more than {self.max_bad:.1%}; nothing of it was loaded"
            )
        return staged

    def _load(self, staged: StagedFile) -> FileSummary:
        """Writes a file's good rows to the platform, unless the file was refused."""
        changed = 0
        targets = () if staged.refused else staged.file.targets
        for done, target in enumerate(targets):
            self.progress(f"loading {staged.file.name}", done, len(targets))
            changed += load_rows(self.database, staged, target)
        if targets:
            self.progress(f"loading {staged.file.name}", len(targets), len(targets))
        return FileSummary(
            name=staged.file.name,
            rows=staged.rows,
            loaded=0 if staged.refused else staged.rows - staged.bad,
            quarantined=staged.bad,
            changed=changed,
            reasons=self._reasons(staged),
            unknown_columns=staged.unknown_columns,
            missing_columns=staged.missing_columns if staged.header else (),
            refused=staged.refused,
        )

    def _reasons(self, staged: StagedFile) -> dict[str, int]:
        """Returns reason → bad rows of a file, the most frequent first."""
        return dict(
            self.database.execute(
                "select reason, count(*) from pg_temp.incoming_quarantine,"
                " unnest(reasons) as reason where source = %s group by reason order by 2 desc, 1",
                (staged.source,),
            ).fetchall()
        )

    def _quarantine(self, *, resolve_all: bool) -> None:
        """Records the bad rows, and resolves open entries that are no longer bad."""
        self.database.execute(
            "create temporary table incoming_bad on commit drop as"
            " select source, digest || '#' || row_number() over"
            " (partition by source, digest order by line) as row_key,"
            " business_key, file, line, payload, raw, reasons"
            " from pg_temp.incoming_quarantine"
        )
        rows = sql.SQL("select * from pg_temp.incoming_bad")
        record(self.database, rows, {"as_of": self.as_of})
        if resolve_all:
            self._resolve(sql.SQL("kept.source like 'csv:%%'"), {})
            return
        for staged in self.staged:
            if staged.refused:
                continue
            # An entry is resolved when this file no longer has the row, or another one brought it.
            self._resolve(
                sql.SQL(
                    "kept.source = %(source)s and (kept.file = %(file)s or kept.business_key in"
                    " (select concat_ws('/', {}) from {} where _reasons = '{{}}'))"
                ).format(staged.key, staged.table),
                {"source": staged.source, "file": str(staged.path.resolve())},
            )

    def _resolve(self, which: sql.Composable, values: dict[str, Any]) -> None:
        """Resolves the open entries `which` selects, unless they are bad again."""
        self.database.execute(
            self.database.sql(
                "update {ops}.quarantine as kept set resolved_at = %(as_of)s"
                " where kept.resolved_at is null and {which} and not exists ("
                " select 1 from pg_temp.incoming_bad as bad"
                " where bad.source = kept.source and bad.row_key = kept.row_key)",
                which=which,
            ),
            {"as_of": self.as_of, **values},
        )
