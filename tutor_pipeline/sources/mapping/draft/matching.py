"""Chooses the tables and columns of a platform that are most like those of the contract."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.sources.contract import Table, load_contract
from tutor_pipeline.sources.mapping.draft.catalog import (
    FLAGS,
    MOMENTS,
    TEXTS,
    Catalog,
    Found,
)
from tutor_pipeline.sources.mapping.draft.likeness import (
    LIKELY,
    SURE,
    WEAK,
    common_prefix,
    known_words,
    place_in,
    words_of,
)


@dataclass(frozen=True, slots=True)
class Choice:
    """A column that was chosen, how sure that is, and why."""

    column: Found
    sureness: float
    why: str


@dataclass(frozen=True, slots=True)
class Sessions:
    """The table of the sessions. `others`: tables that fit nearly as well."""

    relation: str
    sureness: float
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """`ratable_type = 'Lesson'`: the type and its value for sessions, and the column of the id."""

    column: Found
    type_column: Found
    value: str


class Matcher:
    """What of a catalog is what of the contract."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.tables = catalog.tables
        self.contract = load_contract()
        self._prefix = common_prefix(self.tables)
        self._sessions: str | None = None
        # Asked for every column of the contract, and answered by a query.
        self._kinds: dict[str, Kind | None] = {}
        self.sessions = self._choose_sessions()
        self._sessions = self.sessions.relation

    def words(self, table: str) -> str:
        """Returns a table's name as words, without what most tables begin with."""
        return words_of(table, [self._prefix] if self._prefix else [])

    def named(self, relation: str, known: Sequence[str], types: set[str]) -> Choice | None:
        """Returns the column of a relation whose name is most like one of the known ones."""
        best: Choice | None = None
        for found in self.tables[relation]:
            if found.type in types:
                sureness = place_in(words_of(found.name, [self.words(relation)]), known)
                if sureness > (best.sureness if best else 0):
                    best = Choice(found, sureness, f"the name {found.name}")
        return best

    def choose(self, table: str, column: str, relation: str) -> Choice | None:
        """Returns the column of a relation that is most like one of the contract."""
        wanted = self.contract.table(table).column(column)
        known = (column, *known_words().columns.get(table, {}).get(column, ()))
        is_id = column == "id" or column.endswith("_id")
        best: Choice | None = None
        if column == "session_id" and self._sessions is not None and (kind := self.kind(relation)):
            return Choice(kind.column, SURE, f"where {kind.type_column.name} says so")
        if column == "user_id" and relation in self.referred_to:
            known = ("id",)  # what sessions refer to is the id of the person
        for found in self.tables[relation]:
            if not found.may_be(wanted.type, is_id=is_id):
                continue
            words = words_of(found.name, [self.words(relation)])
            sureness = place_in(words, known)
            why = "" if found.name == column else f"the name {found.name}"
            if is_id and known != ("id",):
                sureness, why = self._as_reference(column, found, words, known, sureness, why)
            if sureness > (best.sureness if best else 0):
                best = Choice(found, sureness, why)
        return best

    def _as_reference(
        self,
        column: str,
        found: Found,
        words: str,
        known: Sequence[str],
        sureness: float,
        why: str,
    ) -> tuple[float, str]:
        # teacherId, teacherid, id_teacher
        bare = words.removesuffix("id").removeprefix("id ").strip()
        sureness = max(sureness, place_in(bare, known)) if bare else sureness
        role = column.removesuffix("_id")
        if role == "session" and self._sessions is not None:
            ours = words_of(self._sessions)
            if found.points_to == self._sessions:
                return 1, f"refers to {found.points_to}"
            if (
                bare
                and place_in(bare, (ours, self.words(self._sessions), ours.split()[-1])) > LIKELY
            ):
                return SURE, why
        if found.points_to and place_in(
            self.words(found.points_to), known_words().tables.get(f"{role}s", ())
        ):
            return SURE, f"refers to {found.points_to}"
        return sureness, why

    @cached_property
    def referred_to(self) -> tuple[str, ...]:
        """The tables of people to which the sessions' foreign keys refer."""
        if self._sessions is None:
            return ()
        people = (
            self.choose("sessions", column, self._sessions) for column in ("tutor_id", "student_id")
        )
        return tuple(
            choice.column.points_to
            for choice in people
            if choice is not None and choice.column.points_to is not None
        )

    def person(self, role: str) -> Choice | None:
        """Returns the column of the sessions that says their tutor, or their student."""
        return self.choose("sessions", f"{role}_id", self.sessions.relation)

    def people(self, role: str) -> str | None:
        """Returns the table of the tutors, or of the students: the one that the sessions refer to,
        or one of that name.
        """
        choice = self.person(role)
        if choice is None and role == "tutor" and (elsewhere := self.teachers_elsewhere()):
            choice = elsewhere[2]
        if choice is not None and choice.column.points_to is not None:
            return choice.column.points_to
        known = known_words().tables[f"{role}s"]
        scored = [(place_in(self.words(name), known), name) for name in self.tables]
        best, name = max(scored)
        is_it = best >= WEAK and name != self.sessions.relation
        return name if is_it and self.choose("users", "id", name) else None

    def best_table(self, wanted: Table, taken: Iterable[str]) -> tuple[str | None, float]:
        """Returns the table most like one of the contract, None: there is none."""
        left = [name for name in self.tables if name not in taken]
        scored = sorted(((self._fit(wanted, name), name) for name in left), reverse=True)
        if not scored or scored[0][0] < WEAK:
            return None, 0
        return scored[0][1], min(scored[0][0], 1)

    def reference(self, relation: str) -> Choice | None:
        """Returns the column of another table that says which session its row is about."""
        if relation == self.sessions.relation:
            return None
        choice = self.choose("session_students", "session_id", relation)
        return choice if choice is not None and choice.sureness >= SURE else None

    def teachers_elsewhere(self) -> tuple[str, Choice, Choice] | None:
        """Returns a table that names several people per session, with its reference to the session
        and its column of the tutor; None: the sessions name their tutor, or nobody does.
        """
        if self.person("tutor") is not None:
            return None
        known = (*known_words().tables["tutors"], *known_words().tables["users"])
        for relation in self.tables:
            about = self.reference(relation)
            for found in self.tables[relation]:
                people = found.points_to
                if about is None or found == about.column or people is None:
                    continue
                if sureness := place_in(words_of(people), known):
                    return relation, about, Choice(found, sureness, f"refers to {people}")
        return None

    def kind(self, relation: str) -> Kind | None:
        """Returns how a table about rows of several tables says which rows are about sessions."""
        if relation not in self._kinds:
            self._kinds[relation] = self._read_kind(relation)
        return self._kinds[relation]

    def _read_kind(self, relation: str) -> Kind | None:
        if relation == self.sessions.relation:
            return None
        columns = {found.name: found for found in self.tables[relation]}
        for found in columns.values():
            stem = re.fullmatch(r"(.+?)_?type", found.name, re.IGNORECASE)
            if stem is None or found.type not in TEXTS:
                continue
            identity = next(
                (columns[n] for end in ("_id", "Id") if (n := stem[1] + end) in columns), None
            )
            ours = words_of(self.sessions.relation).split()[-1]
            for value in (self.catalog.counts(relation, found) or ()) if identity else ():
                if words_of(value).split()[-1:] == [ours]:
                    assert identity is not None
                    return Kind(identity, found, value)
        return None

    def flags(self, relation: str, known: Sequence[str]) -> Iterator[Found]:
        """Yields the columns that say yes or no under one of these names."""
        for found in self.tables[relation]:
            words = words_of(found.name, [self.words(relation)]).removeprefix("is ")
            if found.type in FLAGS and place_in(words, known) > LIKELY:
                yield found

    def moments(self, relation: str, known: Sequence[str]) -> Choice | None:
        """Returns the moment of a relation whose name is most like one of the known ones."""
        return self.named(relation, known, MOMENTS | {"bigint"})

    def _choose_sessions(self) -> Sessions:
        wanted = self.contract.table("sessions")
        scored = sorted(
            ((self._fit(wanted, name, needed=True), name) for name in self.tables), reverse=True
        )
        best, name = scored[0]
        if best <= 0:
            raise TutorPipelineError(
                f'no table of the schema "{self.catalog.schema}" looks like sessions:'
                " one is needed with a moment, a tutor and a status\n"
                f"There are: {', '.join(sorted(self.tables)[:20])}"
            )
        others = tuple(other for score, other in scored[1:4] if score > best / 2)
        return Sessions(name, min(best, 1), others)

    def _fit(self, wanted: Table, name: str, *, needed: bool = False) -> float:
        """How well a table fits one of the contract: by its name, and the columns it must have."""
        known = (wanted.name, *known_words().tables.get(wanted.name, ()))
        named = place_in(self.words(name), known)
        required = [column.name for column in wanted.columns if column.required]
        there = [self.choose(wanted.name, column, name) for column in required]
        share = sum(choice.sureness for choice in there if choice is not None) / len(required)
        if needed:
            return share * 0.6 + named * 0.4 if share > WEAK else 0
        missing = {name for name, choice in zip(required, there, strict=True) if choice is None}
        if wanted.name == "session_students" and not missing and not named:
            # Payments name a session and a student too: only who says who came lists students.
            came = [*self.flags(name, known_words().columns[wanted.name]["attended"])]
            named = SURE if came and self.reference(name) else 0
        # A table of one kind of people does not say which.
        if missing - ({"role"} if wanted.name == "users" else set()):
            return 0
        return named * (0.5 + share / 2)
