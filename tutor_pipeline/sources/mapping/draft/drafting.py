"""Writes the draft of a mapping.

Nothing is guessed silently: each line says how sure it is and why, and what was not found is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.formatting import agree
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.sources.contract import Table
from tutor_pipeline.sources.mapping.draft.catalog import (
    INTEGERS,
    MOMENTS,
    NAIVE,
    Catalog,
)
from tutor_pipeline.sources.mapping.draft.likeness import (
    LIKELY,
    SURE,
    WEAK,
    known_words,
    place_in,
    words_of,
)
from tutor_pipeline.sources.mapping.draft.matching import Choice, Matcher
from tutor_pipeline.sources.mapping.draft.moments import ZONE, Moments
from tutor_pipeline.sources.mapping.draft.outcomes import Outcomes
from tutor_pipeline.sources.mapping.draft.people import People
from tutor_pipeline.sources.mapping.draft.writing import (
    commented,
    expression,
    literal,
    of_student,
    scalar,
    sql_name,
)


def propose(database: Database) -> str:
    """Returns the text of a mapping for the platform's schema, with a comment per line. Only reads.

    Raises TutorPipelineError: there is no table that may hold the sessions.
    """
    catalog = Catalog(database)
    if not catalog.tables:
        raise TutorPipelineError(_nothing(catalog))
    return _Draft(catalog).text()


def _nothing(catalog: Catalog) -> str:
    """Says why no table is found."""
    schema, there = catalog.schema, catalog.schemas()
    if schema in there:
        return (
            f'the schema "{schema}" is empty, or this user may read none of its tables\n'
            f'Ask its owner to grant usage on schema "{schema}" and select on its tables'
        )
    return (
        f'there is no schema "{schema}" in this database; there is {", ".join(there)}\n'
        "Set TUTOR_PLATFORM_SCHEMA to the schema of the platform's tables"
    )


class _Draft:
    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.match = Matcher(catalog)
        self.words = known_words()
        self.sessions = self.match.sessions.relation
        self.people = People(self.match)
        self.moments = Moments(catalog, self.match)
        self.outcomes = Outcomes(catalog, self.match, self.moments)

    def text(self) -> str:
        """The file."""
        tables = [*self._sessions()]
        taken = {self.sessions}
        users = self.people.users()
        if users is not None and users.query:
            tables += ["  users:", *users.query]
        elif users is not None:
            tables += self._table("users", users.relation, users.sureness)
            taken.add(users.relation)
        for table in self.match.contract.tables:
            if table.name in ("sessions", "users"):
                continue
            name, sureness = self._relation_of(table, taken)
            if name is not None:
                lines = [*self._table(table.name, name, sureness)]
                # An id alone says nothing of a person.
                if table.name not in ("tutors", "students") or _has_more(lines, "user_id"):
                    tables += lines
                    taken.add(name)
        tables += self._ratings_beside(taken)
        return "\n".join([*self._head(), "tables:", *tables]) + "\n"

    def _relation_of(self, table: Table, taken: set[str]) -> tuple[str | None, float]:
        own = {"tutors": self.people.tutors, "students": self.people.students}.get(table.name)
        if own is not None and own not in taken:
            return own, SURE
        # A table of tutors may be read twice: for their names, and for what else it says of them.
        if own is not None and place_in(self.match.words(own), self.words.tables[table.name]):
            return own, LIKELY
        return self.match.best_table(table, taken)

    def _head(self) -> Iterator[str]:
        yield f"# Drafted from the schema {self.catalog.schema}. The number before each"
        yield "# comment is how sure the line is, from 0 to 1. Correct it, then:"
        yield "# tutor-pipeline check-source --map FILE"
        if self.moments.naive:
            names = list(dict.fromkeys(self.moments.naive))
            some = ", ".join(names[:3]) + (" and others" if len(names) > 3 else "")
            why = f"{some} {agree(len(names), 'has', 'have')} no zone: is it {ZONE}?"
            yield commented(f"timezone: {ZONE}", WEAK, why)

    def _sessions(self) -> Iterator[str]:
        chosen = self.match.sessions
        elsewhere = self.match.teachers_elsewhere()
        yield "  sessions:"
        also = f"or {', '.join(chosen.others)}" if chosen.others else ""
        columns = self._columns_of("sessions", self.sessions)
        if elsewhere is None:
            yield commented(f"    relation: {scalar(self.sessions)}", chosen.sureness, also)
            where = self._where(self.sessions)
            if where:
                yield commented(f"    where: {scalar(where)}", LIKELY, "leaves out what is gone")
        else:
            relation, about, tutor = elsewhere
            identity = self._identity()
            used = [
                sql_name(found.name)
                for found in self.match.tables[self.sessions]
                if re.search(rf"\b{re.escape(found.name)}\b", "\n".join(columns))
            ]
            yield f"    unique: {scalar(identity)}  # if one teaches each session"
            yield f"    query: |  # the tutor stands in {relation}"
            yield f"      select {', '.join(f's.{name}' for name in used)},"
            yield f"        t.{sql_name(tutor.column.name)} as tutor_id"
            yield f"      from {sql_name(self.sessions)} as s"
            yield (
                f"      left join {sql_name(relation)} as t on"
                f" t.{sql_name(about.column.name)} = s.{sql_name(identity)}"
            )
            for condition in self._conditions(relation, "t.", teaches=True):
                yield f"        and {condition}"
            if gone := self._conditions(self.sessions, "s."):
                yield f"      where {' and '.join(gone)}"
            columns = [
                "      tutor_id: tutor_id" if line.startswith("      # tutor_id: ?") else line
                for line in columns
            ]
        yield "    columns:"
        yield from columns

    def _identity(self) -> str:
        choice = self.match.choose("sessions", "id", self.sessions)
        return choice.column.name if choice is not None else "id"

    def _table(self, name: str, relation: str, sureness: float) -> Iterator[str]:
        yield f"  {name}:"
        yield commented(f"    relation: {scalar(relation)}", sureness, "")
        where = self._where(relation, students=name == "session_students")
        if where:
            yield commented(f"    where: {scalar(where)}", LIKELY, "leaves out the others")
        yield "    columns:"
        yield from self._columns_of(name, relation)

    def _columns_of(self, name: str, relation: str) -> list[str]:
        lines: list[str] = []
        used: set[str] = set()
        for column in self.match.contract.table(name).columns:
            choice = self.match.choose(name, column.name, relation)
            if choice is not None and choice.column.name in used and not column.required:
                choice = None
            special = self._special(name, column.name, relation, choice)
            if special is not None:
                lines += special
            elif choice is not None:
                lines += self._column(name, column.name, relation, choice)
            elif column.required:
                lines.append(f"      # {column.name}: ?  not found: {column.costs}")
            if choice is not None:
                used.add(choice.column.name)
        return lines

    def _special(
        self, table: str, column: str, relation: str, choice: Choice | None
    ) -> list[str] | None:
        """Returns the lines of a column that several columns say, None: it is like the others."""
        several = {
            ("sessions", "scheduled_start"): self.moments.start_of_two,
            ("sessions", "scheduled_duration"): self.moments.duration,
            ("sessions", "status"): self.outcomes.status,
            ("sessions", "rescheduled_by"): self.outcomes.mover,
            ("session_students", "attended"): self.outcomes.attended,
            ("users", "name"): self._name,
            ("users", "role"): self._role,
        }
        of = several.get((table, column))
        return None if of is None else of(relation, choice)

    def _name(self, relation: str, choice: Choice | None) -> list[str] | None:
        name = self.people.name(relation)
        if name is None or (choice is not None and name == sql_name(choice.column.name)):
            return None
        return [commented(f"      name: {expression(name)}", SURE, "")]

    def _role(self, relation: str, choice: Choice | None) -> list[str] | None:
        if choice is not None:
            return None
        kind = self.people.kind(relation)
        text = f"      role: {expression(literal(kind))}"
        return [commented(text, WEAK, f"no column says it: all are taken as {kind}s")]

    def _column(self, table: str, column: str, relation: str, choice: Choice) -> list[str]:
        found = choice.column
        wanted = self.match.contract.table(table).column(column)
        name = sql_name(found.name)
        if wanted.type == "timestamptz" and found.type == "bigint":
            text = f"      {column}: {expression(self.moments.since_1970(relation, found))}"
            return [commented(text, choice.sureness, f"{choice.why}; seconds since 1970")]
        if self.people.has_own_ids and column in ("student_id", "user_id") and table != "tutors":
            text = f"      {column}: {expression(of_student(name))}"
            why = f"{self.people.tutors} and {self.people.students} have ids of their own"
            return [commented(text, min(choice.sureness, LIKELY), why)]
        if wanted.accepted:
            return self.outcomes.values(table, column, relation, choice)
        if column == "student_satisfaction_rating":
            lowest, highest = self.catalog.ends(relation, found.name)
            if highest > 5:
                scale = 10 if highest <= 10 else 100
                text = f"      {column}: {{column: {scalar(found.name)}, scale: [0, {scale}]}}"
                why = f"{choice.why}; goes from {lowest:g} to {highest:g}: is 0 the worst?"
                return [commented(text, WEAK, why)]
        if wanted.type == "timestamptz" and found.type in (NAIVE, "date"):
            self.moments.naive.append(found.name)
        return [commented(f"      {column}: {scalar(found.name)}", choice.sureness, choice.why)]

    def _ratings_beside(self, taken: Iterable[str]) -> list[str]:
        """Ratings often stand in the row of the session."""
        choice = self.match.choose("session_feedback", "student_satisfaction_rating", self.sessions)
        feedback = self.match.contract.table("session_feedback")
        if choice is None or self.match.best_table(feedback, set(taken) - {self.sessions})[0]:
            return []
        rated = f"{sql_name(choice.column.name)} is not null"
        where = " and ".join([*self._conditions(self.sessions), rated])
        return [
            "  session_feedback:",
            commented(f"    relation: {scalar(self.sessions)}", choice.sureness, choice.why),
            f"    where: {scalar(where)}",
            "    columns:",
            f"      session_id: {scalar(self._identity())}",
            *self._column("session_feedback", "student_satisfaction_rating", self.sessions, choice),
        ]

    def _where(self, relation: str, *, students: bool = False) -> str:
        conditions = self._conditions(relation, teaches=False if students else None)
        kind = self.match.kind(relation)
        if kind is not None:
            conditions.append(f"{sql_name(kind.type_column.name)} = {literal(kind.value)}")
        return " and ".join(conditions)

    def _conditions(self, relation: str, of: str = "", *, teaches: bool | None = None) -> list[str]:
        """Returns the conditions on the rows that are still there; with `teaches`, on those of who
        teaches, or of the others.
        """
        gone = self.words.gone
        # Who is not active any more is known all the same.
        people = (self.people.tutors, self.people.students)
        conditions = []
        if teaches is not None:
            for found in self.match.flags(relation, self.words.teaches):
                sign = "" if teaches else "not "
                conditions.append(f"{sign}{of}{sql_name(found.name)}")
        for found in self.match.tables[relation]:
            words = words_of(found.name)
            name = f"{of}{sql_name(found.name)}"
            if found.type in MOMENTS and words in gone.moments:
                conditions.append(f"{name} is null")
            elif found.type == "boolean" and words in gone.flags:
                conditions.append(f"{name} is not true")
            elif found.type in INTEGERS and words in gone.flags:
                conditions.append(f"coalesce({name}, 0) = 0")
            elif found.type == "boolean" and words in gone.kept and relation not in people:
                conditions.append(f"{name} is not false")
        return conditions


def _has_more(lines: Sequence[str], key: str) -> bool:
    """Whether a table has columns besides its key."""
    listed = lines[lines.index("    columns:") + 1 :]
    return any(not line.lstrip().startswith((f"{key}:", "#")) for line in listed)
