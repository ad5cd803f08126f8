"""Reads long SQL from files in the folder `sql` beside the module that runs it.

Statements of more than about fifteen lines are in such files, which editors and sqlfluff read.
Schema names are {ops}, {marts} …; parameters are %(name)s.
"""

from __future__ import annotations

from pathlib import Path


def statement(module: str, name: str) -> str:
    """Returns the text of `sql/<name>.sql` beside a module. `module` is its `__file__`."""
    return Path(module).parent.joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
