"""A CSV file in a temporary table: read with COPY, with the reasons of its bad rows.

Belongs here: reading a file into its table, and finding its bad rows.
Does not belong here: reading records (records.py) and values (values.py), writing to the platform
(loading.py).
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

from psycopg import sql
from psycopg.copy import QueuedLibpqWriter

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.sources.csv.format import CsvFile
from tutor_pipeline.sources.csv.records import Batch, CsvRecords, UnusableFileError, fields_of
from tutor_pipeline.sources.csv.values import NULL, POSTGRES_TYPES, ColumnReader, copy_text
from tutor_pipeline.sources.quarantine import MAX_BUSINESS_KEY

Progress = Callable[[str, int, int], None]
"""Called with the name of the step, how much of it is done, and the total."""

_BAD_ROWS_FETCHED = 500

# Repeated keys of rows that are good so far: the first row keeps its place, the others are bad.
_LABEL_REPEATED = """
    update {table} as incoming set _reasons = array['duplicate_id']
    from (
        select _line, row_number() over (partition by {key} order by _line) as nth
        from {table}
        where _reasons = '{{}}' and ({key}) in (
            select {key} from {table} where _reasons = '{{}}' group by {key} having count(*) > 1
        )
    ) as repeated
    where incoming._line = repeated._line and incoming._reasons = '{{}}' and repeated.nth > 1
"""


@dataclass(slots=True)
class StagedFile:
    """A file in its temporary table. `refused` says why nothing of it is loaded."""

    file: CsvFile
    path: Path
    header: list[str] = field(default_factory=list)
    rows: int = 0
    bad: int = 0
    refused: str | None = None

    @property
    def table(self) -> sql.Identifier:
        """The temporary table."""
        return sql.Identifier("pg_temp", f"incoming_{self.file.stem}")

    @property
    def source(self) -> str:
        """The name of the file as a source in the quarantine."""
        return f"csv:{self.file.name}"

    @property
    def key(self) -> sql.Composed:
        """The key's columns, separated by commas."""
        return sql.SQL(", ").join(map(sql.Identifier, self.file.key))

    @property
    def missing_columns(self) -> tuple[str, ...]:
        """Columns of the format that the file lacks."""
        return tuple(c.name for c in self.file.columns if c.name not in self.header)

    @property
    def unknown_columns(self) -> tuple[str, ...]:
        """Columns of the file that are not in the format."""
        known = {column.name for column in self.file.columns}
        return tuple(dict.fromkeys(name for name in self.header if name not in known))


def create_table_of_bad_rows(database: Database) -> None:
    """Creates the temporary table that collects the bad rows of all files."""
    database.execute(
        "create temporary table incoming_quarantine (source text, digest text, business_key text,"
        " file text, line bigint, payload jsonb, raw text, reasons text[]) on commit drop"
    )


def read_file(database: Database, staged: StagedFile, progress: Progress) -> None:
    """Reads the file into its temporary table. Raises UnusableFileError and OSError."""
    size = staged.path.stat().st_size
    with staged.path.open("rb") as binary:
        records = CsvRecords(binary)
        staged.header = records.header
        _check_header(staged)
        _create_table(database, staged)
        encoder = _Encoder(staged)
        cursor = database.connection.cursor()
        # The queue lets Python read the next rows while the server takes these.
        with cursor.copy(
            sql.SQL("copy {} from stdin").format(staged.table), writer=QueuedLibpqWriter(cursor)
        ) as copy:
            for batch in records.batches():
                copy.write(encoder.encode(batch))
                staged.rows += len(batch.raws)
                progress(f"reading {staged.file.name}", binary.tell(), size)
    database.execute(sql.SQL("analyze {}").format(staged.table))


def _create_table(database: Database, staged: StagedFile) -> None:
    columns = [
        sql.SQL("{} {}").format(sql.Identifier(c.name), sql.SQL(POSTGRES_TYPES[c.type]))
        for c in staged.file.columns
    ]
    database.execute(
        database.sql(
            "create temporary table {table} (_line bigint not null, _raw text not null,"
            " _reasons text[] not null, {columns}) on commit drop",
            table=sql.Identifier(f"incoming_{staged.file.stem}"),
            columns=sql.SQL(", ").join(columns),
        )
    )


def label_bad_rows(
    database: Database, staged: StagedFile, others: Sequence[StagedFile], *, replaced: bool
) -> None:
    """Adds the reasons that need more than one value: rules, references, repeated keys.

    `others` are the files read before. `replaced`: the import replaces all rows of the platform, so
    references to those do not count.
    """
    conditions: dict[str, sql.Composable] = {}
    conditions |= {reason: sql.SQL(rule) for reason, rule in staged.file.rules.items()}
    for column, (table, target_column) in staged.file.references.items():
        known = [_values_given(other, table, target_column) for other in others]
        if not replaced:
            known.append(
                database.sql(
                    "select {column} from {platform}.{table}",
                    column=sql.Identifier(target_column),
                    table=sql.Identifier(table),
                )
            )
        conditions[f"unknown_{column.removesuffix('_id')}"] = sql.SQL("{} not in ({})").format(
            sql.Identifier(column), sql.SQL(" union ").join(filter(None, known))
        )
    for reason, condition in conditions.items():
        database.execute(
            sql.SQL("update {} set _reasons = _reasons || {} where {}").format(
                staged.table, sql.Literal([reason]), condition
            )
        )
    database.execute(database.sql(_LABEL_REPEATED, table=staged.table, key=staged.key))


def _values_given(other: StagedFile, table: str, column: str) -> sql.Composable | None:
    """Returns a query of the values that a file gives to a column of the platform, or None."""
    for target in other.file.targets:
        if target.table == table:
            return sql.SQL("select {} from {} where _reasons = '{{}}'").format(
                sql.SQL(target.columns[column]), other.table
            )
    return None


def collect_bad_rows(database: Database, staged: StagedFile) -> None:
    """Copies the bad rows, as they are in the file, to the table of all bad rows."""
    with database.connection.cursor(name="bad_rows") as bad_rows:
        bad_rows.execute(
            sql.SQL(
                "select _line, _raw, _reasons from {} where _reasons <> '{{}}' order by _line"
            ).format(staged.table)
        )
        while chunk := bad_rows.fetchmany(_BAD_ROWS_FETCHED):
            staged.bad += len(chunk)
            with database.copy(
                "copy pg_temp.incoming_quarantine (source, file, line, reasons, raw, payload,"
                " digest, business_key) from stdin"
            ) as copy:
                for line, raw, reasons in chunk:
                    place = (staged.source, str(staged.path.resolve()), line, reasons, raw)
                    copy.write_row(place + _identity(staged, raw))


class _Encoder:
    """Turns batches of records into bytes for COPY: line, raw text, reasons, the file's columns."""

    def __init__(self, staged: StagedFile) -> None:
        self._width = len(staged.header)
        self._columns = [
            (ColumnReader(column), staged.header.index(column.name))
            if column.name in staged.header
            else None
            for column in staged.file.columns
        ]

    def encode(self, batch: Batch) -> bytes:
        """Returns the lines of a batch. Unreadable fields are NULL; the row has their reasons."""
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


def _check_header(staged: StagedFile) -> None:
    """Raises UnusableFileError when a required column is missing or a known one is repeated."""
    missing = [c.name for c in staged.file.columns if c.required and c.name not in staged.header]
    if missing:
        raise UnusableFileError(f"has no column {', '.join(missing)}")
    twice = [c.name for c in staged.file.columns if staged.header.count(c.name) > 1]
    if twice:
        raise UnusableFileError(f"has the column {', '.join(twice)} more than once")


def _identity(staged: StagedFile, raw: str) -> tuple[str, str, str | None]:
    """Returns a bad row's payload (JSON), the payload's MD5, and its business key or None."""
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


def _first_fields(staged: StagedFile, raw: str) -> dict[str, str]:
    """Returns the probable fields of a malformed row, to recognise the row once it is corrected."""
    try:
        fields = next(csv.reader([raw]), [])
    except csv.Error:
        return {}
    return dict(zip(staged.header, fields, strict=False))
