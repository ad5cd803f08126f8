"""Files with a header and no rows: `--clear` would leave nothing of what they are about.

Belongs here: looking at a folder before an import.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from psycopg import sql

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.sources.csv.dialects import Source, UnusableFileError, recognise
from tutor_pipeline.sources.csv.folder import find
from tutor_pipeline.sources.csv.format import CsvFile
from tutor_pipeline.sources.csv.headers import Names, known_columns
from tutor_pipeline.sources.csv.mapped_files import AS_IN_THE_FORMAT, MappedFiles
from tutor_pipeline.sources.csv.records import CsvRecords


def rows_without_successor(database: Database, folder: Path, mapped: MappedFiles) -> dict[str, int]:
    """Returns the files without a row, with the rows of the platform that they would replace.

    Raises UsageError and RefusedError like the import.
    """
    lost = {}
    for file, source in find(folder, mapped).sources:
        names = mapped.get(file.name, AS_IN_THE_FORMAT).columns
        if _has_rows(file, names, source):
            continue
        # The table that is about the file's key has a row for each of its rows.
        table = next(each for each in file.targets if each.owner is None and not each.each)
        if rows := _rows(database, table.table):
            lost[file.name] = rows
    return lost


def _has_rows(file: CsvFile, names: Names, source: Source) -> bool:
    """Whether a record follows the header; so too of a file that the import will refuse."""
    try:
        with source.open() as (binary, _, _):
            records = CsvRecords(binary, recognise(binary, partial(known_columns, file, names)))
            return next(records.batches(), None) is not None
    except (UnusableFileError, OSError):
        return True


def _rows(database: Database, table: str) -> int:
    name = database.sql("{platform}.{table}", table=sql.Identifier(table))
    if database.value("select to_regclass(%s)", (name.as_string(),)) is None:
        return 0
    return int(database.value(sql.SQL("select count(*) from {}").format(name)))
