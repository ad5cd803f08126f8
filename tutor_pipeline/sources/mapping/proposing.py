"""Drafts a mapping from the catalog and a sample of values, for a person to correct.

Nothing is guessed silently: each line says how sure it is and why, and what was not found is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.formatting import count
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.core.yaml_models import YamlModel, read_yaml
from tutor_pipeline.sources.contract import Table, load_contract

_FEW = 30
"""A column with more values than this in the sample is no status."""
_SURE, _LIKELY, _WEAK = 0.9, 0.7, 0.5
_PREFIX_SHARE = 0.6
_SHOWN = 200
"""Letters of values that a comment shows."""
_MILLISECONDS = 100_000_000_000
"""Seconds since 1970 are smaller for the next 3,000 years."""

_NUMBERS = {"smallint", "integer", "bigint", "real", "double precision", "numeric"}
_INTEGERS = {"smallint", "integer", "bigint"}
_MOMENTS = {"date", "timestamp without time zone", "timestamp with time zone"}
_NAIVE = "timestamp without time zone"
_TEXTS = {"text", "character varying", "character", "citext"}
_TYPES = {
    "integer": _NUMBERS,
    "double precision": _NUMBERS,
    "numeric": _NUMBERS,
    "boolean": {"boolean", "smallint"},
    "timestamptz": _MOMENTS | {"bigint"},
    "date": _MOMENTS,
}


class _Gone(YamlModel):
    moments: tuple[str, ...]
    flags: tuple[str, ...]
    kept: tuple[str, ...]


class _Words(YamlModel):
    tables: dict[str, tuple[str, ...]]
    columns: dict[str, dict[str, tuple[str, ...]]]
    statuses: dict[str, tuple[str, ...]]
    gone: _Gone


@dataclass(frozen=True, slots=True)
class Found:
    """A column of the platform. `points_to`: the table that it is a foreign key of."""

    name: str
    type: str
    points_to: str | None
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Choice:
    column: Found
    sureness: float
    why: str


Tables = Mapping[str, Sequence[Found]]
"""Table → columns, of the platform's schema."""


@cache
def _words() -> _Words:
    return read_yaml(Path(__file__).with_name("words.yml"), _Words, "list of words")


def propose(database: Database) -> str:
    """Returns the text of a mapping for the platform's schema, with a comment per line. Only reads.

    Raises TutorPipelineError: there is no table that may hold the sessions.
    """
    tables = _read_tables(database)
    if not tables:
        raise TutorPipelineError(_nothing(database))
    return _Draft(database, tables).text()


def _nothing(database: Database) -> str:
    """Says why no table is found."""
    schema = database.schemas.platform
    names = database.execute(
        "select nspname from pg_namespace where nspname !~ '^pg_' and nspname <>"
        " 'information_schema' order by 1"
    ).fetchall()
    there = [name for (name,) in names]
    if schema in there:
        return (
            f'the schema "{schema}" is empty, or this user may read none of its tables\n'
            f'Ask its owner to grant usage on schema "{schema}" and select on its tables'
        )
    return (
        f'there is no schema "{schema}" in this database; there is {", ".join(there)}\n'
        "Set TUTOR_PLATFORM_SCHEMA to the schema of the platform's tables"
    )


def words_of(name: str, prefixes: Iterable[str] = ()) -> str:
    """Returns a name as words in lower case and singular: `lessonStartsAt` → `lesson starts at`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z0-9]+", " ", name)
    words = [_singular(word) for word in spaced.lower().split()]
    for prefix in prefixes:
        parts = prefix.split()
        if len(words) > len(parts) and words[: len(parts)] == parts:
            words = words[len(parts) :]
    return " ".join(words)


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if word.endswith(("sses", "xes", "ches")):
        return word[:-2]
    # starts (at) and status are no plurals.
    if word.endswith("s") and not word.endswith(("ss", "us", "starts", "begins", "is")):
        return word[:-1]
    return word


def _read_tables(database: Database) -> Tables:
    found: dict[str, list[Found]] = {}
    rows = database.execute(
        statement(__file__, "platform_columns"), {"schema": database.schemas.platform}
    )
    for table, name, kind, points_to, labels in rows:
        found.setdefault(table, []).append(Found(name, kind, points_to, tuple(labels)))
    return found


class _Draft:
    def __init__(self, database: Database, tables: Tables) -> None:
        self.database = database
        self.tables = tables
        self.prefix = _common_prefix(tables)
        self.contract = load_contract()

    def text(self) -> str:
        """The file."""
        sessions, sureness, others = self._relation_of_sessions()
        lines = [
            f"# Drafted from the schema {self.database.schemas.platform}. The number before each",
            "# comment is how sure the line is, from 0 to 1. Correct it, then:",
            "# tutor-pipeline check-source --map FILE",
            "tables:",
            *self._table("sessions", sessions, sureness, others),
        ]
        taken = {sessions}
        for table in self.contract.tables:
            if table.name == "sessions":
                continue
            name, sureness = self._best_table(table, taken)
            if name is not None:
                lines += self._table(table.name, name, sureness, [])
                taken.add(name)
        lines += self._ratings_beside(sessions, taken)
        return "\n".join(lines) + "\n"

    def _name_words(self, table: str) -> str:
        return words_of(table, [self.prefix] if self.prefix else [])

    def _relation_of_sessions(self) -> tuple[str, float, list[str]]:
        wanted = self.contract.table("sessions")
        scored = sorted(
            ((self._fit(wanted, name, needed=True), name) for name in self.tables), reverse=True
        )
        best, name = scored[0]
        if best <= 0:
            raise TutorPipelineError(
                f'no table of the schema "{self.database.schemas.platform}" looks like sessions:'
                " one is needed with a moment, a tutor and a status\n"
                f"There are: {', '.join(sorted(self.tables)[:20])}"
            )
        return name, min(best, 1), [other for score, other in scored[1:4] if score > best / 2]

    def _best_table(self, wanted: Table, taken: Iterable[str]) -> tuple[str | None, float]:
        left = [name for name in self.tables if name not in taken]
        scored = sorted(((self._fit(wanted, name), name) for name in left), reverse=True)
        if not scored or scored[0][0] < _WEAK:
            return None, 0
        return scored[0][1], min(scored[0][0], 1)

    def _fit(self, wanted: Table, name: str, *, needed: bool = False) -> float:
        """How well a table fits one of the contract: by its name, and the columns it must have."""
        known = (wanted.name, *_words().tables.get(wanted.name, ()))
        named = _place_in(self._name_words(name), known)
        required = [column.name for column in wanted.columns if column.required]
        there = [self._choose(wanted.name, column, name) for column in required]
        share = sum(choice.sureness for choice in there if choice is not None) / len(required)
        if needed:
            return share * 0.6 + named * 0.4 if share > _WEAK else 0
        missing = {name for name, choice in zip(required, there, strict=True) if choice is None}
        # A table of one kind of people does not say which.
        if missing - ({"role"} if wanted.name == "users" else set()):
            return 0
        return named * (0.5 + share / 2)

    def _choose(self, table: str, column: str, relation: str) -> _Choice | None:
        """The column of a relation that is most like one of the contract."""
        wanted = self.contract.table(table).column(column)
        known = (column, *_words().columns.get(table, {}).get(column, ()))
        is_id = column == "id" or column.endswith("_id")
        best: _Choice | None = None
        for found in self.tables[relation]:
            if not _may_be(wanted.type, found, is_id=is_id):
                continue
            words = words_of(found.name, [self._name_words(relation)])
            sureness = _place_in(words, known)
            why = "" if found.name == column else f"the name {found.name}"
            if is_id:
                # teacherId, teacherid, id_teacher
                bare = words.removesuffix("id").removeprefix("id ").strip()
                sureness = max(sureness, _place_in(bare, known)) if bare else sureness
                role = column.removesuffix("_id")
                if found.points_to and _place_in(
                    self._name_words(found.points_to), _words().tables.get(f"{role}s", ())
                ):
                    sureness, why = _SURE, f"refers to {found.points_to}"
            if sureness > (best.sureness if best else 0):
                best = _Choice(found, sureness, why)
        return best

    def _table(self, name: str, relation: str, sureness: float, others: Sequence[str]) -> list[str]:
        also = f"; or {', '.join(others)}" if others else ""
        lines = [f"  {name}:", _commented(f"    relation: {_yaml(relation)}", sureness, also[2:])]
        where = self._where(relation)
        if where:
            lines.append(
                _commented(f"    where: {_yaml(where)}", _LIKELY, "leaves out what is gone")
            )
        lines.append("    columns:")
        table = self.contract.table(name)
        used: set[str] = set()
        for column in table.columns:
            choice = self._choose(name, column.name, relation)
            if choice is not None and choice.column.name in used and not column.required:
                choice = None
            if choice is not None:
                used.add(choice.column.name)
                lines += self._column(name, column.name, relation, choice)
            elif name == "users" and column.name == "role":
                lines += self._role(relation)
            elif column.required:
                lines.append(f"      # {column.name}: ?  not found: {column.costs}")
        return lines

    def _role(self, relation: str) -> list[str]:
        kinds = _words().tables
        words = self._name_words(relation)
        role = "student" if _place_in(words, kinds["students"]) else "tutor"
        text = f"      role: {{expression: \"'{role}'\"}}"
        return [_commented(text, _WEAK, f"no column says it: all are taken as {role}s")]

    def _column(self, table: str, column: str, relation: str, choice: _Choice) -> list[str]:
        found = choice.column
        wanted = self.contract.table(table).column(column)
        if wanted.type == "timestamptz" and found.type == "bigint":
            divided = " / 1000.0" if self._highest(relation, found.name) > _MILLISECONDS else ""
            expression = f"to_timestamp({_sql_name(found.name)}{divided})"
            text = f"      {column}: {{expression: {_yaml(expression)}}}"
            return [_commented(text, choice.sureness, f"{choice.why}; seconds since 1970")]
        if wanted.accepted:
            return self._values(column, relation, choice, wanted.accepted)
        if column == "student_satisfaction_rating":
            highest = self._highest(relation, found.name)
            if highest > 5:
                scale = 10 if highest <= 10 else 100
                text = f"      {column}: {{column: {_yaml(found.name)}, scale: [0, {scale}]}}"
                return [_commented(text, _WEAK, f"{choice.why}; goes up to {highest:g}")]
        why = choice.why
        if found.type == _NAIVE and wanted.type == "timestamptz":
            text = f"      {column}: {{column: {_yaml(found.name)}, timezone: UTC}}"
            return [
                _commented(
                    text,
                    min(choice.sureness, _WEAK),
                    "; ".join(filter(None, (why, "has no zone: is it UTC?"))),
                )
            ]
        return [_commented(f"      {column}: {_yaml(found.name)}", choice.sureness, why)]

    def _values(
        self, column: str, relation: str, choice: _Choice, accepted: Sequence[str]
    ) -> list[str]:
        counts = self._counts(relation, choice.column)
        if counts is None:
            return [f"      # {column}: {choice.column.name}?  it has more than {_FEW} values"]
        known = _words().statuses if column == "status" else {word: (word,) for word in accepted}
        if all(value in accepted for value in counts):
            text = f"      {column}: {_yaml(choice.column.name)}"
            return [_commented(text, choice.sureness, choice.why)]
        meanings = {value: _meaning(value, known, accepted) for value in counts}
        if not any(meant for meant, _ in meanings.values()):
            seen = ", ".join(f"{_yaml(value)} ({rows:,})" for value, rows in counts.items())
            return [
                f"      # {column}: {{column: {choice.column.name}, values: {{…: …}}}}  one of"
                f" {', '.join(accepted)} for each of {seen[:_SHOWN]}"
            ]
        lines = [
            f"      {column}:",
            _commented(f"        column: {_yaml(choice.column.name)}", choice.sureness, choice.why),
            "        values:",
        ]
        for value, rows in counts.items():
            meant, sureness = meanings[value]
            if meant is None:
                lines.append(f"          # {_yaml(value)}: ?  {count(rows, 'row')} in the sample")
            else:
                text = f"          {_yaml(value)}: {meant}"
                lines.append(_commented(text, sureness, f"{count(rows, 'row')} in the sample"))
        return lines

    def _ratings_beside(self, sessions: str, taken: Iterable[str]) -> list[str]:
        """Ratings often stand in the row of the session."""
        feedback = self.contract.table("session_feedback")
        if self._best_table(feedback, [each for each in taken if each == sessions])[0]:
            return []
        choice = self._choose("session_feedback", "student_satisfaction_rating", sessions)
        identity = self._choose("sessions", "id", sessions)
        if choice is None or identity is None:
            return []
        return [
            "  session_feedback:",
            _commented(f"    relation: {_yaml(sessions)}", choice.sureness, choice.why),
            f"    where: {_yaml(f'{_sql_name(choice.column.name)} is not null')}",
            "    columns:",
            f"      session_id: {_yaml(identity.column.name)}",
            *self._column("session_feedback", "student_satisfaction_rating", sessions, choice),
        ]

    def _where(self, relation: str) -> str:
        gone = _words().gone
        conditions = []
        for found in self.tables[relation]:
            words = words_of(found.name)
            name = _sql_name(found.name)
            if found.type in _MOMENTS and words in gone.moments:
                conditions.append(f"{name} is null")
            elif found.type == "boolean" and words in gone.flags:
                conditions.append(f"{name} is not true")
            elif found.type in _INTEGERS and words in gone.flags:
                conditions.append(f"coalesce({name}, 0) = 0")
            elif found.type == "boolean" and words in gone.kept:
                conditions.append(f"{name} is not false")
        return " and ".join(conditions)

    def _highest(self, relation: str, column: str) -> float:
        rows = self._rows("select max({column}) from {sample}", relation, column)
        return float(rows[0][0] or 0) if rows else 0

    def _counts(self, relation: str, column: Found) -> dict[str, int] | None:
        """The values of a column and how often they are in the sample; None: too many."""
        rows = self._rows(
            "select {column}::text, count(*) from {sample} where {column} is not null"
            " group by 1 order by 2 desc limit {most}",
            relation,
            column.name,
        )
        if len(rows) > _FEW:
            return None
        return dict(rows) | {label: 0 for label in column.labels if label not in dict(rows)}

    def _rows(self, query: str, relation: str, column: str) -> list[tuple[Any, ...]]:
        schema = self.database.schemas.platform
        sampled = sql.SQL("(select {} from {} limit 50000) as sampled").format(
            sql.Identifier(column), sql.Identifier(schema, relation)
        )
        try:
            with self.database.transaction():
                return self.database.execute(
                    self.database.sql(
                        query,
                        column=sql.Identifier(column),
                        sample=sampled,
                        most=sql.Literal(_FEW + 1),
                    )
                ).fetchall()
        except psycopg.DatabaseError:
            if self.database.connection.closed:
                raise
            return []


def _common_prefix(tables: Iterable[str]) -> str:
    """The first word of most tables' names: `mdl` of `mdl_user`."""
    firsts = [words_of(name).split()[0] for name in tables if " " in words_of(name)]
    if not firsts:
        return ""
    most = max(set(firsts), key=firsts.count)
    number = len(list(tables))
    return most if number > 2 and firsts.count(most) >= _PREFIX_SHARE * number else ""


def _place_in(words: str, known: Sequence[str]) -> float:
    """How sure a name is: 1 for the first of the known ones, less further back, less again if
    only its last words are known.
    """
    bare = words.replace(" ", "")
    for number, each in enumerate(known):
        sureness = 1 - 0.3 * number / len(known)
        if bare == words_of(each).replace(" ", ""):
            return sureness
    for number, each in enumerate(known):
        sureness = 1 - 0.3 * number / len(known)
        if f" {words} ".endswith(f" {words_of(each)} ") or f" {words} ".startswith(f" {each} "):
            return sureness * 0.7
    return 0


def _may_be(wanted: str, found: Found, *, is_id: bool) -> bool:
    if is_id:
        return found.type in {*_INTEGERS, *_TEXTS, "uuid"}
    if wanted in ("text", "jsonb"):
        return found.type not in ("boolean", *_MOMENTS)
    return found.type in _TYPES.get(wanted, {wanted})


def _meaning(
    value: str, known: Mapping[str, Sequence[str]], accepted: Sequence[str]
) -> tuple[str | None, float]:
    words = words_of(value)
    for meant, names in known.items():
        if meant in accepted and words in (words_of(name) for name in names):
            return meant, _SURE
    for meant, names in known.items():
        if meant in accepted and any(words_of(name) in words for name in names if " " in name):
            return meant, _WEAK
    return None, 0


def _commented(text: str, sureness: float, why: str) -> str:
    return f"{text}  # {sureness:.1f}{f' {why}' if why else ''}"


def _sql_name(name: str) -> str:
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else f'"{name}"'


def _yaml(text: str) -> str:
    """A scalar of YAML, in quotes where it needs them."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_ .]*", text) and text == text.strip():
        return text
    return "'" + text.replace("'", "''") + "'"
