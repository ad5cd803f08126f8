"""Reads the file of a mapping, and says what is wrong in it before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.yaml_models import Fault, faulty, read_yaml
from tutor_pipeline.sources.contract import Column, Table, load_contract
from tutor_pipeline.sources.mapping import statements
from tutor_pipeline.sources.mapping.compiling import compiled
from tutor_pipeline.sources.mapping.files import faults_of_files
from tutor_pipeline.sources.mapping.model import ColumnEntry, SourceMap, TableEntry
from tutor_pipeline.sources.mapping.names import nearest

WHAT = "mapping of a platform"


def read_map(path: Path) -> SourceMap:
    """Returns the mapping in a file. Raises TutorPipelineError with the line of each fault."""
    if path.is_file() and not path.read_bytes().strip():
        raise TutorPipelineError(
            f"{path} is empty\nDraft a mapping with: tutor-pipeline source propose"
        )
    source_map = read_yaml(path, SourceMap, WHAT, as_text=True)
    if faults := [*_faults(source_map)]:
        raise faulty(path, WHAT, faults)
    return source_map


def mapped(warehouse: Warehouse, path: Path | None) -> Warehouse:
    """Returns the warehouse whose platform is read as the mapping in a file says, None = as in the
    contract. Raises TutorPipelineError.
    """
    if path is None:
        return warehouse
    source_map = read_map(path)
    return replace(
        warehouse,
        source=compiled(source_map, warehouse.schemas.platform),
        platform_timezone=source_map.timezone or warehouse.platform_timezone,
    )


def _faults(source_map: SourceMap) -> Iterator[Fault]:
    tables = {table.name: table for table in load_contract().tables}
    for name, entry in source_map.tables.items():
        if name not in tables:
            yield ("tables", name), f"the contract has no such table{nearest(name, tables)}"
        else:
            yield from _faults_of_table(tables[name], entry)
    if source_map.tables:
        for table in tables.values():
            if table.required and table.name not in source_map.tables:
                yield ("tables",), f"{table.name} is missing: {table.costs}"
    yield from faults_of_files(source_map)


def _faults_of_table(table: Table, entry: TableEntry) -> Iterator[Fault]:
    steps = ("tables", table.name)
    known = {column.name: column for column in table.columns}
    listed = entry.columns
    if entry.query is not None:
        outputs = statements.parse_query(entry.query).outputs
        yield from _faults_of_query(table, entry, outputs)
    if listed is None:
        if entry.query is None:
            return
        listed = {output: ColumnEntry(column=output) for output in outputs}
        at: tuple[str, ...] = ("query",)
    else:
        at = ("columns",)
    for name, column in listed.items():
        place = (*steps, *at, name) if at == ("columns",) else (*steps, *at)
        if name not in known:
            yield place, f"{table.name} has no column {name}{nearest(name, known)}"
        else:
            yield from ((place, message) for message in _wrong(known[name], column))
    for wanted in table.columns:
        if wanted.required and wanted.name not in listed:
            yield (*steps, *at), f"{wanted.name} is missing: {wanted.costs}"


def _faults_of_query(table: Table, entry: TableEntry, outputs: tuple[str, ...]) -> Iterator[Fault]:
    steps = ("tables", table.name)
    for name, column in (entry.columns or {}).items():
        if column.column is not None and column.column not in outputs:
            yield (
                (*steps, "columns", name),
                f"the query gives no column {column.column}{nearest(column.column, outputs)}",
            )
    if entry.unique is not None and entry.unique not in (entry.columns or outputs):
        yield (
            (*steps, "unique"),
            f"the table has no column {entry.unique} of the contract"
            f"{nearest(entry.unique, entry.columns or outputs)}",
        )


def _wrong(column: Column, entry: ColumnEntry) -> Iterator[str]:
    if entry.timezone is not None and column.type != "timestamptz":
        yield f"{column.name} is no moment, so it has no timezone"
    if entry.scale is not None and (column.minimum is None or column.maximum is None):
        yield f"{column.name} has no bounds in the contract, so nothing can be scaled to them"
    for theirs, ours in (entry.values or {}).items():
        if column.accepted and ours not in column.accepted:
            yield (
                f"{theirs} becomes {ours}, which {column.name} cannot be"
                f"{nearest(ours, column.accepted)}"
            )
