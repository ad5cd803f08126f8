"""Lists as files: CSV for spreadsheets, JSON for programs. Each download is noted in
`ops.downloads`, without what was searched for or of whom it is.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from starlette.responses import Response

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.warehouse.database import Row
from tutor_pipeline.desk.site import Visit

MAX_ROWS = 50_000
"""The most rows of a file."""
_NOTED = ("state", "severity", "about", "older", "order", "group", "level", "kind", "day", "page")
"""Parts of an address that name nobody."""

# A spreadsheet runs what begins like a formula; a text with an apostrophe before it, it shows. Some
# take a semicolon or a line break within a text for the end of a cell.
_FORMULA = re.compile(r"\s*[-=+@＝＋－＠]")
_CELLS = re.compile(r"([;\t\r\n])")
_NUMBER = re.compile(r"[-+]?[0-9]+([.][0-9]+)?")


def as_csv(visit: Visit, name: str, rows: Sequence[Row]) -> Response:
    """Returns rows as a CSV file to download, with a header line."""
    _note(visit, rows)
    out = io.StringIO()
    writer = csv.writer(out)
    if rows:
        writer.writerow(rows[0])
    for row in rows:
        writer.writerow([_cell(value) for value in row.values()])
    # With a byte order mark: otherwise a spreadsheet misreads names.
    return _file(visit, "\ufeff" + out.getvalue(), name, "text/csv; charset=utf-8")


def as_json(visit: Visit, name: str, rows: Sequence[Row]) -> Response:
    """Returns rows as a JSON list of objects."""
    _note(visit, rows)
    text = json.dumps([dict(row) for row in rows], default=_plain, indent=1)
    return _file(visit, text, name, "application/json")


def defused(text: str) -> str:
    """Returns a text that no spreadsheet runs."""
    if _NUMBER.fullmatch(text.strip()):
        return text
    shown = "".join(f"'{part}" if _FORMULA.match(part) else part for part in _CELLS.split(text))
    return f"'{shown}" if shown.startswith(("\t", "\r", "\n")) else shown


def _cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        value = ", ".join(map(str, value)) if isinstance(value, list) else json.dumps(value)
    if isinstance(value, str):
        return defused(value)
    return value if isinstance(value, int | float | Decimal) or value is None else _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, date):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else str(value)


def _file(visit: Visit, text: str, name: str, media_type: str) -> Response:
    as_attachment = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(
        text, media_type=media_type, headers=as_attachment if name.endswith(".csv") else None
    )


def _note(visit: Visit, rows: Sequence[Row]) -> None:
    if len(rows) >= MAX_ROWS:
        raise UsageError(f"a file has at most {MAX_ROWS:,} rows: ask for less, with the filter")
    asked = "&".join(f"{name}={value}" for name, value in visit.asked.items() if name in _NOTED)
    visit.database.execute(
        "insert into {ops}.downloads (at, account, what, row_count) values (%s, %s, %s, %s)",
        (
            visit.now,
            visit.account,
            (visit.request.url.path + (f"?{asked}" if asked else ""))[:500].replace("\0", ""),
            len(rows),
        ),
    )
