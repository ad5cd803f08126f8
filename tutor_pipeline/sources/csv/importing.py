"""Import of a CSV export into a platform schema that we made: streaming, idempotent, nothing lost.

Every file is read once into a temporary table (COPY), judged there, and then written to the
platform's tables, all files in one transaction: a kill at any moment leaves the state before.
What a value must look like is in `csv_values.py`, what a row becomes in `csv_format.yml`.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import repeat
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.copy import QueuedLibpqWriter

from tutor_pipeline.core.errors import RefusedError, TutorPipelineError, UsageError
from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.core.warehouse.platform import ensure_platform
from tutor_pipeline.sources.csv.format import CsvFile, Target, csv_format
from tutor_pipeline.sources.csv.records import Batch, CsvRecords, UnusableFileError, fields_of
from tutor_pipeline.sources.csv.values import NULL, POSTGRES_TYPES, ColumnReader, copy_text
from tutor_pipeline.sources.quarantine import MAX_BUSINESS_KEY, record

MAX_BAD = 0.02
"""Share of bad rows above which nothing of a file is loaded."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

_BAD_ROWS_FETCHED = 500


@dataclass(frozen=True, slots=True)
class FileSummary:
    """What became of one file. Rows = loaded + quarantined, unless it was refused.

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
    """What became of a folder; `notes` are sentences about what was not read or not there."""

    folder: Path
    files: tuple[FileSummary, ...]
    notes: tuple[str, ...] = ()

    @property
    def refused(self) -> tuple[FileSummary, ...]:
        """The files of which nothing was loaded; with any, the command's exit status is 3."""
        return tuple(file for file in self.files if file.refused)


@dataclass(slots=True)
class _Staged:
    """A file in its temporary table."""

    file: CsvFile
    path: Path
    header: list[str] = field(default_factory=list)
    rows: int = 0
    bad: int = 0
    refused: str | None = None

    @property
    def table(self) -> sql.Identifier:
        return sql.Identifier("pg_temp", f"incoming_{self.file.stem}")

    @property
    def source(self) -> str:
        return f"csv:{self.file.name}"

    @property
    def missing_columns(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.file.columns if c.name not in self.header)

    @property
    def unknown_columns(self) -> tuple[str, ...]:
        known = {column.name for column in self.file.columns}
        return tuple(dict.fromkeys(name for name in self.header if name not in known))


def import_folder(
    warehouse: Warehouse,
    folder: Path,
    *,
    as_of: datetime,
    clear: bool = False,
    max_bad: float = MAX_BAD,
    progress: Progress | None = None,
) -> ImportSummary:
    """Load a CSV export. Good rows are loaded, bad ones quarantined as of `as_of`.

    A file with a share of bad rows above `max_bad`, or without a usable header, is refused: it is
    named in the summary and nothing of it is loaded; its bad rows are quarantined all the same, and
    files that refer to it are refused with it. With `clear` the platform's rows are removed
    first, and then any refused file means that nothing is loaded or removed at all.

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
    """The files to read, in the format's order, and notes about the others."""
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
    """One import in one transaction: stage every file, decide, write."""

    def __init__(
        self, database: Database, as_of: datetime, max_bad: float, progress: Progress
    ) -> None:
        self.database = database
        self.as_of = as_of
        self.max_bad = max_bad
        self.progress = progress
        self.staged: list[_Staged] = []

    def run(self, paths: list[tuple[CsvFile, Path]], clear: bool) -> tuple[FileSummary, ...]:
        # ensure_platform holds a lock until the end of the transaction: imports (and generate)
        # follow one another.
        ensure_platform(self.database)
        self._prepare()
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
            self._clear()
        summaries = tuple(self._load(staged) for staged in self.staged)
        self._quarantine(resolve_all=clear and not refused)
        return summaries

    def _execute(
        self, query: sql.SQL | sql.Composed, values: Mapping[str, Any] | None = None
    ) -> psycopg.Cursor[Any]:
        return self.database.execute(query, values)

    def _prepare(self) -> None:
        for name, value in (
            ("timezone", self.database.warehouse.platform_timezone),
            ("client_encoding", "UTF8"),
            ("work_mem", "64MB"),
        ):
            self._execute(
                sql.SQL("select set_config({}, {}, true)").format(
                    sql.Literal(name), sql.Literal(value)
                )
            )
        self._execute(
            sql.SQL(
                "create temporary table incoming_quarantine (source text, digest text,"
                " business_key text, file text, line bigint, payload jsonb, raw text,"
                " reasons text[]) on commit drop"
            )
        )

    # Reading ---------------------------------------------------------------------------------

    def _stage(self, file: CsvFile, path: Path, *, replaced: bool) -> _Staged:
        """Read one file into its temporary table and label its bad rows."""
        staged = _Staged(file, path)
        refused = {s.file.name: s for s in self.staged if s.refused}
        for table, _ in file.references.values():
            for name, other in refused.items():
                if any(target.table == table for target in other.file.targets):
                    staged.refused = f"not loaded: it refers to {name}, which was refused"
                    return staged
        try:
            self._copy(staged)
        except UnusableFileError as problem:
            staged.refused = f"{file.name} {problem}; nothing of it was loaded"
            return staged
        except OSError as error:
            raise TutorPipelineError(f"cannot read {path}: {error.strerror}") from error
        self._label(staged, replaced=replaced)
        self._collect_bad_rows(staged)
        if staged.bad > self.max_bad * staged.rows:
            staged.refused = (
                f"{staged.bad:,} of {staged.rows:,} rows ({staged.bad / staged.rows:.1%}) are bad,"
                f" more than {self.max_bad:.1%}; nothing of it was loaded"
            )
        return staged

    def _copy(self, staged: _Staged) -> None:
        columns = staged.file.columns
        size = staged.path.stat().st_size
        with staged.path.open("rb") as binary:
            records = CsvRecords(binary)
            staged.header = records.header
            _check_header(staged)
            self._execute(
                sql.SQL(
                    "create temporary table {} (_line bigint not null, _raw text not null,"
                    " _reasons text[] not null, {}) on commit drop"
                ).format(
                    sql.Identifier(f"incoming_{staged.file.stem}"),
                    sql.SQL(", ").join(
                        sql.SQL("{} {}").format(
                            sql.Identifier(c.name), sql.SQL(POSTGRES_TYPES[c.type])
                        )
                        for c in columns
                    ),
                )
            )
            encoder = _Encoder(staged)
            cursor = self.database.connection.cursor()
            # Queued: Python reads the next rows while the server takes these.
            with cursor.copy(
                sql.SQL("copy {} from stdin").format(staged.table),
                writer=QueuedLibpqWriter(cursor),
            ) as copy:
                for batch in records.batches():
                    copy.write(encoder.encode(batch))
                    staged.rows += len(batch.raws)
                    self.progress(f"reading {staged.file.name}", binary.tell(), size)
        self._execute(sql.SQL("analyze {}").format(staged.table))

    def _label(self, staged: _Staged, *, replaced: bool) -> None:
        """Add the reasons that need more than one value: rules, references, repeated keys."""
        conditions: dict[str, sql.Composable] = {}
        conditions |= {reason: sql.SQL(rule) for reason, rule in staged.file.rules.items()}
        for column, (table, target_column) in staged.file.references.items():
            known = [self._known(table, target_column, other) for other in self.staged]
            if not replaced:
                known.append(
                    sql.SQL("select {} from {}").format(
                        sql.Identifier(target_column), self._platform(table)
                    )
                )
            reason = f"unknown_{column.removesuffix('_id')}"
            conditions[reason] = sql.SQL("{} not in ({})").format(
                sql.Identifier(column), sql.SQL(" union ").join(filter(None, known))
            )
        for reason, condition in conditions.items():
            self._execute(
                sql.SQL("update {} set _reasons = _reasons || {} where {}").format(
                    staged.table, sql.Literal([reason]), condition
                )
            )
        key = sql.SQL(", ").join(map(sql.Identifier, staged.file.key))
        self._execute(
            sql.SQL(
                "update {table} as incoming set _reasons = array['duplicate_id'] from ("
                "  select _line, row_number() over (partition by {key} order by _line) as nth"
                "  from {table} where _reasons = '{{}}' and ({key}) in ("
                "    select {key} from {table} where _reasons = '{{}}'"
                "    group by {key} having count(*) > 1)"
                ") as repeated"
                " where incoming._line = repeated._line and incoming._reasons = '{{}}'"
                " and repeated.nth > 1"
            ).format(table=staged.table, key=key)
        )

    def _known(self, table: str, column: str, other: _Staged) -> sql.Composable | None:
        """The values that a file of this import gives to a column of the platform."""
        for target in other.file.targets:
            if target.table == table:
                return sql.SQL("select {} from {} where _reasons = '{{}}'").format(
                    sql.SQL(target.columns[column]), other.table
                )
        return None

    def _collect_bad_rows(self, staged: _Staged) -> None:
        """Copy the bad rows, as the file has them, to the table of all bad rows."""
        with self.database.connection.cursor(name="bad_rows") as bad_rows:
            bad_rows.execute(
                sql.SQL(
                    "select _line, _raw, _reasons from {} where _reasons <> '{{}}' order by _line"
                ).format(staged.table)
            )
            while chunk := bad_rows.fetchmany(_BAD_ROWS_FETCHED):
                staged.bad += len(chunk)
                with self.database.connection.cursor().copy(
                    "copy pg_temp.incoming_quarantine (source, file, line, reasons, raw, payload,"
                    " digest, business_key) from stdin"
                ) as copy:
                    for line, raw, reasons in chunk:
                        place = (staged.source, str(staged.path.resolve()), line, reasons, raw)
                        copy.write_row(place + _identity(staged, raw))

    # Writing ---------------------------------------------------------------------------------

    def _platform(self, table: str) -> sql.Identifier:
        return sql.Identifier(self.database.schemas.platform, table)

    def _clear(self) -> None:
        tables = self.database.execute(
            "select tablename from pg_tables where schemaname = %s order by tablename",
            (self.database.schemas.platform,),
        ).fetchall()
        self._execute(
            sql.SQL("truncate {}").format(
                sql.SQL(", ").join(self._platform(name) for (name,) in tables)
            )
        )

    def _load(self, staged: _Staged) -> FileSummary:
        """Write a file's good rows to the platform, unless the file was refused."""
        changed = 0
        targets = () if staged.refused else staged.file.targets
        for done, target in enumerate(targets):
            self.progress(f"loading {staged.file.name}", done, len(targets))
            rows = _rows_of(staged, target)
            if target.owner is not None:
                changed += self._remove_stale(staged, target, rows)
            changed += self._upsert(target, rows)
            self._execute(sql.SQL("analyze {}").format(self._platform(target.table)))
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

    def _upsert(self, target: Target, rows: sql.Composable) -> int:
        return self._execute(
            sql.SQL("insert into {table} as kept ({columns}) {rows} {otherwise}").format(
                table=self._platform(target.table),
                columns=sql.SQL(", ").join(map(sql.Identifier, target.columns)),
                rows=rows,
                # Into an empty table nothing can conflict, and not to look is twice as fast.
                otherwise=sql.SQL("") if self._is_empty(target) else _on_conflict(target),
            )
        ).rowcount

    def _is_empty(self, target: Target) -> bool:
        query = sql.SQL("select 1 from {} limit 1").format(self._platform(target.table))
        return self._execute(query).fetchone() is None

    def _remove_stale(self, staged: _Staged, target: Target, rows: sql.Composable) -> int:
        """Remove rows of this file's owners that the file no longer gives."""
        assert target.owner is not None
        (key,) = staged.file.key
        return self._execute(
            sql.SQL(
                "delete from {table} as kept using {incoming} as incoming"
                " where incoming._reasons = '{{}}' and kept.{owner} = incoming.{key}"
                " and not exists (select 1 from ({rows}) as made where {same})"
            ).format(
                table=self._platform(target.table),
                incoming=staged.table,
                owner=sql.Identifier(target.owner),
                key=sql.Identifier(key),
                rows=rows,
                same=sql.SQL(" and ").join(
                    sql.SQL("made.{0} = kept.{0}").format(sql.Identifier(c)) for c in target.key
                ),
            )
        ).rowcount

    # Bad rows --------------------------------------------------------------------------------

    def _reasons(self, staged: _Staged) -> dict[str, int]:
        return dict(
            self._execute(
                sql.SQL(
                    "select reason, count(*) from pg_temp.incoming_quarantine,"
                    " unnest(reasons) as reason where source = %(source)s"
                    " group by reason order by 2 desc, 1"
                ),
                {"source": staged.source},
            ).fetchall()
        )

    def _quarantine(self, *, resolve_all: bool) -> None:
        """Record the bad rows, and resolve the open entries that are bad no longer."""
        self._execute(
            sql.SQL(
                "create temporary table incoming_bad on commit drop as"
                " select source, digest || '#' || row_number() over"
                " (partition by source, digest order by line) as row_key,"
                " business_key, file, line, payload, raw, reasons"
                " from pg_temp.incoming_quarantine"
            )
        )
        rows = sql.SQL("select * from pg_temp.incoming_bad")
        record(self.database, rows, {"as_of": self.as_of})
        if resolve_all:
            self._resolve(sql.SQL("kept.source like 'csv:%%'"), {})
            return
        for staged in self.staged:
            if staged.refused:
                continue
            # A row is mended when this very file has it no longer, or when another one brought it.
            self._resolve(
                sql.SQL(
                    "kept.source = %(source)s and (kept.file = %(file)s or kept.business_key in"
                    " (select concat_ws('/', {}) from {} where _reasons = '{{}}'))"
                ).format(sql.SQL(", ").join(map(sql.Identifier, staged.file.key)), staged.table),
                {"source": staged.source, "file": str(staged.path.resolve())},
            )

    def _resolve(self, which: sql.Composable, values: dict[str, Any]) -> None:
        self._execute(
            sql.SQL(
                "update {quarantine} as kept set resolved_at = %(as_of)s"
                " where kept.resolved_at is null and {which} and not exists ("
                "  select 1 from pg_temp.incoming_bad as bad"
                "  where bad.source = kept.source and bad.row_key = kept.row_key)"
            ).format(
                quarantine=sql.Identifier(self.database.schemas.ops, "quarantine"), which=which
            ),
            {"as_of": self.as_of, **values},
        )


class _Encoder:
    """Batches of records → bytes for COPY: line, raw text, reasons, then the file's columns."""

    def __init__(self, staged: _Staged) -> None:
        self._width = len(staged.header)
        self._columns = [
            (ColumnReader(column), staged.header.index(column.name))
            if column.name in staged.header
            else None
            for column in staged.file.columns
        ]

    def encode(self, batch: Batch) -> bytes:
        """Fields that cannot be read become NULL, and their reasons are put with the row."""
        reasons = batch.reasons
        malformed = {at for at, fields in enumerate(batch.fields) if fields is None}
        blank = [""] * self._width
        texts = list(zip(*(fields or blank for fields in batch.fields), strict=True))
        columns: list[Iterator[str] | Sequence[str]] = []
        for column in self._columns:
            if column is None:
                columns.append(repeat(NULL, len(batch.raws)))
                continue
            reader, at = column
            values, bad = reader.read(texts[at])
            for row, reason in bad.items():
                if row not in malformed:
                    reasons.setdefault(row, []).append(reason)
            columns.append(values)
        raws = [raw.rstrip("\r\n") for raw in batch.raws]
        everything = "".join(raws)
        if any(character in everything for character in "\\\t\r\n"):
            raws = [copy_text(raw) for raw in raws]
        labels = (
            ["{" + ",".join(reasons.get(row, ())) + "}" for row in range(len(raws))]
            if reasons
            else repeat("{}", len(raws))
        )
        rows = zip(map(str, batch.lines), raws, labels, *columns, strict=True)
        return ("\n".join(map("\t".join, rows)) + "\n").encode()


def _check_header(staged: _Staged) -> None:
    """Raises UnusableFileError: a required column is missing, or a known one is there twice."""
    missing = [c.name for c in staged.file.columns if c.required and c.name not in staged.header]
    if missing:
        raise UnusableFileError(f"has no column {', '.join(missing)}")
    twice = [c.name for c in staged.file.columns if staged.header.count(c.name) > 1]
    if twice:
        raise UnusableFileError(f"has the column {', '.join(twice)} more than once")


def _on_conflict(target: Target) -> sql.Composable:
    """Rows that are there already take the new values, where there is any difference."""
    key = sql.SQL(", ").join(map(sql.Identifier, target.key))
    others = [column for column in target.columns if column not in target.key]
    if not others:
        return sql.SQL("on conflict ({}) do nothing").format(key)
    return sql.SQL(
        "on conflict ({key}) do update set {changes} where ({before}) is distinct from ({after})"
    ).format(
        key=key,
        changes=sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column)) for column in others
        ),
        before=sql.SQL(", ").join(sql.Identifier("kept", column) for column in others),
        after=sql.SQL(", ").join(sql.Identifier("excluded", column) for column in others),
    )


def _rows_of(staged: _Staged, target: Target) -> sql.Composable:
    """The rows of a target that a file's good rows make."""
    return sql.SQL(
        "select {distinct} {columns} from {table} {each} where _reasons = '{{}}' {where}"
    ).format(
        # Two rows of a file may give one and the same row only where it lists things.
        distinct=sql.SQL("distinct" if target.each else ""),
        columns=sql.SQL(", ").join(
            sql.SQL("{} as {}").format(sql.SQL(expression), sql.Identifier(column))
            for column, expression in target.columns.items()
        ),
        table=staged.table,
        each=sql.SQL(" ").join(
            sql.SQL("cross join lateral unnest({}) as {}").format(
                sql.SQL(array), sql.Identifier(name)
            )
            for name, array in target.each.items()
        ),
        where=sql.SQL(f"and ({target.where})" if target.where else ""),
    )


def _identity(staged: _Staged, raw: str) -> tuple[str, str, str | None]:
    """A bad row's payload (JSON), the payload's md5, and its business key if it has one."""
    fields = fields_of(raw, len(staged.header))
    if fields is not None:
        values = dict(zip(staged.header, fields, strict=True))
        payload = json.dumps(values, ensure_ascii=False)
    else:
        values = _first_fields(staged, raw)
        payload = json.dumps({"raw": raw}, ensure_ascii=False)
    digest = hashlib.md5(payload.encode(), usedforsecurity=False).hexdigest()
    key = "/".join(values.get(column, "") for column in staged.file.key)
    return payload, digest, key if key.strip("/") and len(key) <= MAX_BUSINESS_KEY else None


def _first_fields(staged: _Staged, raw: str) -> dict[str, str]:
    """What a malformed row's fields probably are: enough to recognize it once it is mended."""
    try:
        fields = next(csv.reader([raw]), [])
    except csv.Error:
        return {}
    return dict(zip(staged.header, fields, strict=False))
