"""Tutors and students: where they stand, their names, their ids."""

from __future__ import annotations

from dataclasses import dataclass

from tutor_pipeline.sources.mapping.draft.catalog import (
    INTEGERS,
    TEXTS,
)
from tutor_pipeline.sources.mapping.draft.likeness import (
    LIKELY,
    SURE,
    known_words,
    place_in,
)
from tutor_pipeline.sources.mapping.draft.matching import Matcher
from tutor_pipeline.sources.mapping.draft.writing import (
    sql_name,
)


@dataclass(frozen=True, slots=True)
class Users:
    """Where the names of people stand. `query`: the lines of a query; empty: one table has all."""

    relation: str
    sureness: float
    query: tuple[str, ...]


class People:
    """Which tables are the people's. `tutors`, `students`: None: no table is theirs alone."""

    def __init__(self, match: Matcher) -> None:
        self.match = match
        self.tutors, self.students = match.people("tutor"), match.people("student")

    @property
    def has_own_ids(self) -> bool:
        """Whether the ids of tutors and students are numbers of two tables."""
        if self.tutors is None or self.students is None or self.tutors == self.students:
            return False
        ids = (self.match.choose("users", "id", name) for name in (self.tutors, self.students))
        return all(choice is not None and choice.column.type in INTEGERS for choice in ids)

    def users(self) -> Users | None:
        """Returns where the names of people stand, None: nowhere."""
        wanted = self.match.contract.table("users")
        taken = filter(None, (self.match.sessions.relation, self.students))
        relation, sureness = self.match.best_table(wanted, {*taken})
        if self.tutors is not None and self.tutors != relation:
            relation, sureness = self.tutors, SURE
        if relation is None:
            return None
        kinds = {relation: self.kind(relation)}
        if self.students is not None and self.students != relation:
            kinds[self.students] = "student"
        has_role = self.match.choose("users", "role", relation) is not None
        is_plain = self.name(relation) is not None and (len(kinds) == 1 or has_role)
        if is_plain or all(self._names_of(name) is None for name in kinds):
            return Users(relation, sureness, ())
        lines = ["    unique: id"] if self.has_own_ids else []
        lines.append("    query: |")
        for number, (table, kind) in enumerate(kinds.items()):
            if number:
                lines.append("      union all")
            lines += [f"      {line}" for line in self._query_of(table, kind)]
        return Users(relation, sureness, tuple(lines))

    def _query_of(self, relation: str, kind: str) -> list[str]:
        names = self._names_of(relation)
        key = self.match.choose("users", "id", relation)
        identity = f"p.{sql_name(key.column.name if key else 'id')}::text"
        if kind == "student" and self.has_own_ids:
            identity = f"'s' || {identity}"
        name, join = names or ("null::text", "")
        return [
            f"select {identity} as id, {name} as name, '{kind}' as role",
            f"from {sql_name(relation)} as p{join}",
        ]

    def _names_of(self, relation: str) -> tuple[str, str] | None:
        """Returns the name of a person and the join that it needs, None: no column says it."""
        name = self.name(relation, "p.")
        if name is not None:
            return name, ""
        for found in self.match.tables[relation]:
            other = found.points_to
            if other is not None and (name := self.name(other, "n.")) is not None:
                key = self.match.choose("users", "id", other)
                identity = sql_name(key.column.name if key else "id")
                join = (
                    f" left join {sql_name(other)} as n on n.{identity} = p.{sql_name(found.name)}"
                )
                return name, join
        return None

    def name(self, relation: str, of: str = "") -> str | None:
        """Returns the expression of a person's name."""
        whole = self.match.choose("users", "name", relation)
        if whole is None or whole.sureness < LIKELY + 0.05:
            first = self.match.named(relation, known_words().first_name, TEXTS)
            last = self.match.named(relation, known_words().last_name, TEXTS)
            if first is not None and last is not None and first.column != last.column:
                parts = (sql_name(each.column.name) for each in (first, last))
                return f"concat_ws(' ', {', '.join(f'{of}{part}' for part in parts)})"
        return None if whole is None else f"{of}{sql_name(whole.column.name)}"

    def kind(self, relation: str) -> str:
        """Returns whether a table's people are taken as tutors or as students."""
        words = self.match.words(relation)
        is_student = place_in(words, known_words().tables["students"])
        return "student" if is_student and relation != self.tutors else "tutor"
