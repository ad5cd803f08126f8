"""A CSV file in a temporary table: read with COPY, with the reasons of its bad rows.

Belongs here: reading a file into its table, and finding its bad rows.
Does not belong here: reading records (records.py) and values (encoding.py, values.py), writing to
the platform (loading.py).
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from psycopg import sql
from psycopg.copy import QueuedLibpqWriter

from tutor_pipeline.core.formatting import count
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.sources.csv.dialects import Dialect, Source, recognise
from tutor_pipeline.sources.csv.encoding import TOTAL, Encoder
from tutor_pipeline.sources.csv.format import CsvFile
from tutor_pipeline.sources.csv.headers import (
    check_header,
    columns_of,
    known_columns,
    places_of,
)
from tutor_pipeline.sources.csv.mapped_files import AS_IN_THE_FORMAT, MappedFile
from tutor_pipeline.sources.csv.records import CsvRecords, fields_of
from tutor_pipeline.sources.csv.values import POSTGRES_TYPES
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
    """A file in its temporary table.

    `header` has the format's names for the columns that it knows, and its own for those that the
    mapping names. `places`: where each column of the format stands in it. `blank` and `totals`
    count rows without a value, and rows of totals at the end: they are no rows. `filled` reads the
    rows with what the platform has of missing columns; None where it is not asked. `refused` says
    why nothing of the file is loaded.
    """

    file: CsvFile
    source: Source
    mapped: MappedFile = AS_IN_THE_FORMAT
    dialect: Dialect = field(default_factory=Dialect)
    packed: str | None = None
    header: list[str] = field(default_factory=list)
    places: Mapping[str, int] = field(default_factory=dict)
    is_read: bool = False
    rows: int = 0
    bad: int = 0
    blank: int = 0
    totals: int = 0
    filled: sql.Composable | None = None
    refused: str | None = None

    @property
    def table(self) -> sql.Identifier:
        """The temporary table."""
        return sql.Identifier("pg_temp", f"incoming_{self.file.stem}")

    @property
    def content(self) -> sql.Composable:
        """The relation of the rows as they are to be written."""
        return self.filled or self.table

    @property
    def label(self) -> str:
        """The name of the file as a source in the quarantine."""
        return f"csv:{self.file.name}"

    @property
    def form(self) -> str:
        """How the file is written and packed, in words."""
        name = "" if self.source.name == self.file.name else f", from {self.source.name}"
        return self.dialect.words + name + (f" ({self.packed})" if self.packed else "")

    @property
    def is_plain(self) -> bool:
        """Whether the file is called and written as the format asks."""
        return self.dialect.is_plain and self.packed is None and self.source.name == self.file.name

    @property
    def skipped(self) -> tuple[str, ...]:
        """Which lines are no rows, in words."""
        numbers = ((self.blank, "empty row"), (self.totals, "row of totals", "rows of totals"))
        return tuple(count(*each) for each in numbers if each[0])

    @property
    def key(self) -> sql.Composed:
        """The key's columns, separated by commas."""
        return sql.SQL(", ").join(map(sql.Identifier, self.file.key))

    @property
    def missing_columns(self) -> tuple[str, ...]:
        """Columns of the format that the file lacks."""
        return tuple(c.name for c in self.file.columns if c.name not in self.places)

    @property
    def unknown_columns(self) -> tuple[str, ...]:
        """Columns of the file that the format does not know."""
        read = set(self.places.values())
        return tuple(dict.fromkeys(name for at, name in enumerate(self.header) if at not in read))

    def name_of(self, column: str) -> str:
        """What the file calls a column of the format; that name, if it has none."""
        return self.header[self.places[column]] if column in self.places else column


def create_table_of_bad_rows(database: Database) -> None:
    """Creates the temporary table that collects the bad rows of all files."""
    database.execute(
        "create temporary table incoming_quarantine (source text, digest text, business_key text,"
        " file text, line bigint, payload jsonb, raw text, reasons text[]) on commit drop"
    )


def read_file(database: Database, staged: StagedFile, progress: Progress) -> None:
    """Reads the file into its temporary table. Raises UnusableFileError and OSError, and then
    leaves no table.
    """
    size = staged.source.path.stat().st_size
    with database.transaction(), staged.source.open() as (binary, tell, staged.packed):
        names = staged.mapped.columns
        staged.dialect = recognise(binary, partial(known_columns, staged.file, names))
        records = CsvRecords(binary, staged.dialect)
        check_header(staged.file, records.header, names, staged.dialect)
        staged.header = columns_of(staged.file, records.header, names)
        staged.places = places_of(staged.file, records.header, names)
        _create_table(database, staged)
        encoder = Encoder(
            staged.file,
            len(staged.header),
            staged.places,
            staged.dialect.separator,
            staged.mapped.readings,
        )
        cursor = database.connection.cursor()
        # The queue lets Python read the next rows while the server takes these.
        with cursor.copy(
            sql.SQL("copy {} from stdin").format(staged.table), writer=QueuedLibpqWriter(cursor)
        ) as copy:
            for batch in records.batches():
                copy.write(encoder.encode(batch))
                staged.rows += len(batch.raws)
                progress(f"reading {staged.file.name}", tell(), size)
        staged.blank = records.blank
        if encoder.totals:
            _take_totals_out(database, staged)
    staged.is_read = True
    database.execute(sql.SQL("analyze {}").format(staged.table))


def _take_totals_out(database: Database, staged: StagedFile) -> None:
    """Removes rows of totals after the last other row. Elsewhere such a row is a bad row."""
    total = sql.Literal(TOTAL)
    staged.totals = database.execute(
        sql.SQL(
            "delete from {table} where {total} = any(_reasons) and _line > coalesce("
            "(select max(_line) from {table} where not {total} = any(_reasons)), 0)"
        ).format(table=staged.table, total=total)
    ).rowcount
    staged.rows -= staged.totals
    database.execute(
        sql.SQL(
            "update {table} set _reasons = array_remove(_reasons, {total})"
            " where {total} = any(_reasons)"
        ).format(table=staged.table, total=total)
    )


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
        givers = [other for other in others if _gives(other, table)]
        if not all(other.is_read for other in givers):
            continue  # The file that would have them cannot be read: nothing is said of these rows.
        known = [_values_given(other, table, target_column) for other in givers]
        if not replaced:
            known.append(
                database.sql(
                    "select {column} from {platform}.{table}",
                    column=sql.Identifier(target_column),
                    table=sql.Identifier(table),
                )
            )
        conditions[f"unknown_{column.removesuffix('_id')}"] = sql.SQL("{} not in ({})").format(
            sql.Identifier(column), sql.SQL(" union ").join(known)
        )
    for reason, condition in conditions.items():
        rows = condition
        if staged.filled is not None:
            rows = sql.SQL("ctid in (select _row from {} as filled where {})").format(
                staged.filled, condition
            )
        database.execute(
            sql.SQL("update {} set _reasons = _reasons || {} where {}").format(
                staged.table, sql.Literal([reason]), rows
            )
        )
    database.execute(database.sql(_LABEL_REPEATED, table=staged.table, key=staged.key))


def _gives(other: StagedFile, table: str) -> bool:
    return any(target.table == table for target in other.file.targets)


def _values_given(other: StagedFile, table: str, column: str) -> sql.Composable:
    """Returns a query of the values that a file gives to a column of the platform."""
    (target,) = (target for target in other.file.targets if target.table == table)
    return sql.SQL("select {} from {} where _reasons = '{{}}'").format(
        sql.SQL(target.columns[column]), other.table
    )


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
                    place = (staged.label, staged.source.place, line, reasons, raw)
                    copy.write_row(place + _identity(staged, raw))


def _identity(staged: StagedFile, raw: str) -> tuple[str, str, str | None]:
    """Returns a bad row's payload (JSON), the payload's MD5, and its business key or None."""
    fields = fields_of(raw, len(staged.header), staged.dialect.separator)
    if fields is not None:
        values = dict(zip(staged.header, fields, strict=True))
        payload = json.dumps(values, ensure_ascii=False)
    else:
        values = _first_fields(staged, raw)
        payload = json.dumps({"raw": raw}, ensure_ascii=False)
    digest = hashlib.md5(payload.encode(), usedforsecurity=False).hexdigest()
    names = map(staged.name_of, staged.file.key)
    key = "/".join(values.get(name, "").strip() for name in names)
    return payload, digest, key if key.strip("/") and len(key) <= MAX_BUSINESS_KEY else None


def _first_fields(staged: StagedFile, raw: str) -> dict[str, str]:
    """Returns the probable fields of a malformed row, to recognise the row once it is corrected."""
    try:
        fields = next(csv.reader([raw], delimiter=staged.dialect.separator), [])
    except csv.Error:
        return {}
    return dict(zip(staged.header, fields, strict=False))
