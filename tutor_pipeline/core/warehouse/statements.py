"""SQL that stands in files of its own, in the folder `sql` beside the module that runs it.

A statement of more than about fifteen lines stands there: editors colour it and sqlfluff reads it.
Schema names are {ops}, {marts} …; parameters are %(name)s.
"""

from __future__ import annotations

from pathlib import Path


def statement(module: str, name: str) -> str:
    """The text of `sql/<name>.sql` beside a module; `module` is its `__file__`."""
    return Path(module).parent.joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
