"""What is wrong with the rows of a file: for each reason one row, and what to write instead."""

from __future__ import annotations

from dataclasses import dataclass

from tutor_pipeline.core.formatting import count, either, visible
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.sources.csv.folder import DOCUMENT
from tutor_pipeline.sources.csv.format import CsvColumn, CsvFile, csv_format
from tutor_pipeline.sources.csv.staged_files import StagedFile
from tutor_pipeline.sources.problems import (
    MISSING,
    OUT_OF_RANGE,
    SUFFIXES,
    TWO_READINGS,
    UNKNOWN_VALUE,
    UNPARSABLE,
)

_MAX_VALUE = 60
_FIRST_OF_EACH = """
    select distinct on (bad.reason) bad.reason, bad.line, bad.payload,
        count(*) over (partition by bad.reason) as rows
    from (
        select unnest(reasons) as reason, line, payload
        from pg_temp.incoming_quarantine where source = %s
    ) as bad
    order by bad.reason, bad.line
"""


@dataclass(frozen=True, slots=True)
class Example:
    """The first bad row with a reason. `value` is None where the reason is about the whole row."""

    reason: str
    rows: int
    line: int
    column: str | None
    value: str | None
    accepted: str
    document: str

    @property
    def sentence(self) -> str:
        """The example in one line."""
        what = self.reason.replace("_", " ")
        if self.column is not None and self.value is not None:
            what = f'{self.column} is "{visible(self.value, _MAX_VALUE)}" ({self.reason})'
        more = f", and {count(self.rows - 1, 'more row')}" if self.rows > 1 else ""
        return f"line {self.line:,}: {what}; accepted: {self.accepted} ({self.document}){more}"


def examples(database: Database, staged: StagedFile) -> tuple[Example, ...]:
    """Returns an example for each reason of the collected bad rows, the most frequent first."""
    found = [_example(staged, row) for row in database.rows(_FIRST_OF_EACH, (staged.label,))]
    return tuple(sorted(found, key=lambda each: (-each.rows, each.reason)))


def _example(staged: StagedFile, row: dict[str, object]) -> Example:
    file, reason, payload = staged.file, str(row["reason"]), row["payload"]
    assert isinstance(payload, dict)
    column, problem = _column_and_problem(file, reason)
    name = column.name if column else _referring(file, reason)
    mapped = staged.mapped.accepted.get(column.name) if column else None
    if mapped is not None and problem in (UNKNOWN_VALUE, UNPARSABLE):
        accepted, part = f"{mapped}, as the mapping says", "values"
    else:
        accepted, part = _accepted(file, column, problem, reason)
    return Example(
        reason=reason,
        rows=int(str(row["rows"])),
        line=int(str(row["line"])),
        column=staged.name_of(name) if name else None,
        value=payload.get(staged.name_of(name), "") if name else None,
        accepted=accepted,
        document=f"{DOCUMENT}#{part}",
    )


def _column_and_problem(file: CsvFile, reason: str) -> tuple[CsvColumn | None, str]:
    for suffix in SUFFIXES:
        name = reason.removesuffix(f"_{suffix}")
        column = next((each for each in file.columns if each.name == name), None)
        if name != reason and column is not None:
            return column, suffix
    return None, ""


def _referring(file: CsvFile, reason: str) -> str | None:
    """Returns the column of `unknown_tutor` or the repeated key."""
    if reason == "duplicate_id":
        return file.key[0]
    return next(
        (name for name in file.references if reason == f"unknown_{name.removesuffix('_id')}"), None
    )


def _accepted(
    file: CsvFile, column: CsvColumn | None, problem: str, reason: str
) -> tuple[str, str]:
    """Returns what would be accepted, and the part of the document that says more."""
    accepted = csv_format().accepted
    rows = "what-becomes-of-a-row"
    if column is None:
        return accepted.reasons.get(reason, "see there"), rows
    form = accepted.types[column.type]
    match problem:
        case _ if problem == TWO_READINGS:
            said = accepted.two_readings[column.type]
            return f"one reading: {said}, or say which in a mapping", "values"
        case _ if problem == UNKNOWN_VALUE or column.accepted:
            return either(column.accepted), "files"
        case _ if problem == OUT_OF_RANGE:
            return _within(column, form), "files"
        case _ if problem == UNPARSABLE:
            return form, "values"
        case _:
            assert problem == MISSING
            return f"{form}; it is required", "files"


def _within(column: CsvColumn, form: str) -> str:
    if column.max_length is not None:
        return f"{form}, of up to {column.max_length} characters"
    if column.type == "timestamp":
        return f"{form}, between 1900 and 2199"
    if column.minimum is not None and column.maximum is not None:
        return f"{form}, from {column.minimum:g} to {column.maximum:g}"
    if column.minimum is not None:
        return f"{form}, from {column.minimum:g} on"
    return form
