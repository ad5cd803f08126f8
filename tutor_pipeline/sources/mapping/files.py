"""The part of a mapping that is about the files of a CSV export."""

from __future__ import annotations

from collections.abc import Iterator

from tutor_pipeline.core.formatting import either
from tutor_pipeline.core.yaml_models import Fault
from tutor_pipeline.sources.csv.format import CsvColumn, CsvFile, csv_format
from tutor_pipeline.sources.csv.mapped_files import MappedFile, MappedFiles
from tutor_pipeline.sources.csv.readings import EXAMPLES, Meaning
from tutor_pipeline.sources.csv.values import NUMBERS
from tutor_pipeline.sources.mapping.model import FileColumnEntry, FileEntry, SourceMap
from tutor_pipeline.sources.mapping.names import nearest


def mapped_files(source_map: SourceMap) -> MappedFiles:
    """Returns what a mapping says of files, for the import."""
    files = {file.name: file for file in csv_format().files}
    return {name: _mapped(files[name], entry) for name, entry in source_map.files.items()}


def _mapped(file: CsvFile, entry: FileEntry) -> MappedFile:
    columns = {
        name: column.column for name, column in entry.columns.items() if column.column is not None
    }
    readings = {}
    for column in file.columns:
        meaning = _meaning(column, entry.columns.get(column.name, FileColumnEntry()), entry)
        if meaning != Meaning():
            readings[column.name] = meaning.reading()
    accepted = {
        column.name: text
        for column in file.columns
        if (text := _form(column, entry.columns.get(column.name, FileColumnEntry()), entry))
    }
    return MappedFile(entry.file, columns, readings, accepted)


def _form(column: CsvColumn, entry: FileColumnEntry, file: FileEntry) -> str | None:
    """Returns how a mapping says that texts are written, None: as in the format."""
    if entry.values is not None and entry.others is None:
        return either(list(entry.values))
    if column.type == "timestamp" and (dates := entry.dates or file.dates) is not None:
        return f"a moment such as {EXAMPLES[dates]} ({dates})"
    if column.type in NUMBERS and (decimal := entry.decimal or file.decimal) is not None:
        return f"a number such as 37{decimal}25"
    return None


def _meaning(column: CsvColumn, entry: FileColumnEntry, file: FileEntry) -> Meaning:
    is_moment, is_number = column.type == "timestamp", column.type in NUMBERS
    scale = None
    if entry.scale is not None:
        assert column.minimum is not None
        assert column.maximum is not None
        scale = (entry.scale, (float(column.minimum), float(column.maximum)))
    return Meaning(
        dates=(entry.dates or file.dates) if is_moment else None,
        timezone=(entry.timezone or file.timezone) if is_moment else None,
        # Values that are listed are words, and the format has their numbers.
        decimal=(entry.decimal or file.decimal) if is_number and not entry.values else None,
        values=entry.values or {},
        others_are_none=entry.others is not None,
        scale=scale,
    )


def faults_of_files(source_map: SourceMap) -> Iterator[Fault]:
    """Yields what in the part about files does not fit the format."""
    files = {file.name: file for file in csv_format().files}
    for name, entry in source_map.files.items():
        if name not in files:
            hint = nearest(name, files)
            yield ("files", name), f"the format has no such file{hint}"
            continue
        columns = {column.name: column for column in files[name].columns}
        for each, column in entry.columns.items():
            place = ("files", name, "columns", each)
            if each not in columns:
                yield place, f"{name} has no column {each}{nearest(each, columns)}"
            else:
                yield from ((place, said) for said in _wrong(columns[each], column))


def _wrong(column: CsvColumn, entry: FileColumnEntry) -> Iterator[str]:
    is_moment = column.type == "timestamp"
    if not is_moment and (entry.dates is not None or entry.timezone is not None):
        yield f"{column.name} is no moment, so it has no dates and no timezone"
    if entry.decimal is not None and column.type not in NUMBERS:
        yield f"{column.name} is no number, so it has no decimals"
    if entry.scale is not None and (column.minimum is None or column.maximum is None):
        yield f"{column.name} has no bounds in the format, so nothing can be scaled to them"
    words = csv_format().words
    accepted = column.accepted
    if column.type == "boolean":
        accepted = ("true", "false")
    for theirs, ours in (entry.values or {}).items():
        is_word = column.type == "boolean" and ours.lower() in words.true | words.false
        if accepted and ours not in accepted and not is_word:
            yield (
                f"{theirs} becomes {ours}, which {column.name} cannot be{nearest(ours, accepted)}"
            )
