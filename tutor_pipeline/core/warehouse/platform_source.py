"""How the tables of the contract are read from a platform that has its own names for them.

Belongs here: the texts of SQL that every reader of the platform puts after FROM.
Does not belong here: the file that says so, and how it becomes SQL (`sources.mapping`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


def quoted(*names: str) -> str:
    """Returns a name as the database has it, after its schema."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def literal(text: str) -> str:
    """Returns a text as a literal, without a percent sign, which drivers take for a parameter."""
    if "%" not in text:
        return "'" + text.replace("'", "''") + "'"
    escaped = text.replace("\\", "\\\\").replace("%", "\\0025").replace("'", "''")
    return f"U&'{escaped}'"


@dataclass(frozen=True, slots=True)
class Read:
    """Columns of a table of the platform that a mapped table reads. None = all of them."""

    schema: str
    relation: str
    columns: frozenset[str] | None


@dataclass(frozen=True, slots=True, eq=False)
class MappedTable:
    """A table of the contract as the platform has it.

    `text` stands after FROM and has the contract's names. `shape` is a query of its columns, as
    (table, name, type, is_not_null, is_unique). `timezones`: the zone of a column's timestamps
    without one, where it is not the platform's. `shown`: what the platform calls the table,
    `comes_from`: a column. `key`: the column that a query is said to give once each.
    """

    text: str
    shape: str
    shown: str
    reads: tuple[Read, ...]
    timezones: Mapping[str, str] = field(default_factory=dict)
    comes_from: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None

    @property
    def offers(self) -> str:
        """A query of whether this user may read all of it."""
        wanted = [
            f"(to_regclass({literal(quoted(read.schema, read.relation))}),"
            f" {'null' if column is None else literal(column)})"
            for read in self.reads
            for column in sorted(read.columns or ()) or (None,)
        ]
        if not wanted:
            return "select true"
        return (
            "select bool_and(case when name is null then has_table_privilege(relation, 'select')"
            " else has_column_privilege(relation, name, 'select') end)"
            f" from (values {', '.join(wanted)}) as wanted (relation, name)"
        )


@dataclass(frozen=True, slots=True, eq=False)
class PlatformSource:
    """The tables of the contract that the platform has; it has no others.

    `fingerprint` names what they are made of: two of one fingerprint read the same.
    """

    tables: Mapping[str, MappedTable]
    fingerprint: str
