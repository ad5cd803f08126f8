"""Rows of generated tables as Python values, for whoever does not load them into PostgreSQL.

Belongs here: numpy columns to Python. Does not belong here: the wire format of COPY
(copy_binary.py), the CSV format (export.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC
from typing import Any

from tutor_pipeline.sources.contract import load_contract
from tutor_pipeline.sources.synthetic.population import Array, Columns, is_missing


def rows_of(table: str, columns: Columns) -> Iterator[dict[str, Any]]:
    """Yields the rows of a table of the platform, each column → value."""
    of_json = {each.name for each in load_contract().table(table).columns if each.type == "jsonb"}
    values = [
        [text and json.loads(text) for text in plain(column)] if name in of_json else plain(column)
        for name, column in columns.items()
    ]
    for row in zip(*values, strict=True):
        yield dict(zip(columns, row, strict=True))


def plain(values: Array) -> list[Any]:
    """Returns a column as Python values: None for NULL, timestamps in UTC."""
    found = values.tolist()
    match values.dtype.kind:
        case "S":
            found = [value.decode() for value in found]
        case "M" if values.dtype != "M8[D]":
            found = [value and value.replace(tzinfo=UTC) for value in found]
        case "i" if values.dtype.itemsize == 1:
            found = [value == 1 for value in found]
    return [None if gone else value for value, gone in zip(found, is_missing(values), strict=True)]
