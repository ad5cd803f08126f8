"""Compares a platform's schema with the contract. Only reads.

Belongs here: finding and naming the differences.
Does not belong here: printing them, the values of rows (staging labels those).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.platform_source import MappedTable
from tutor_pipeline.core.yaml_models import placed
from tutor_pipeline.sources import relations
from tutor_pipeline.sources.changes.versions import PARTS
from tutor_pipeline.sources.column_samples import sample
from tutor_pipeline.sources.contract import Column, Contract, Table
from tutor_pipeline.sources.relations import MOMENT

Found = TypeVar("Found")

MAX_COUNTED = 1_000_000
"""The most rows counted per table."""
PATIENCE_MS = 10_000
"""Time limit of each query, to keep the load on a live database low."""

_TEXT = {"text", "character varying", "character", "citext"}
_WITH_ZONE = "timestamptz"
"""The type of moments in the contract."""
_NAMED = 5
"""How many columns without a zone are named."""
_NUMBERS = {"smallint", "integer", "bigint", "real", "double precision", "numeric"}
_MOMENTS = {"date", "timestamp without time zone", "timestamp with time zone"}
READABLE: dict[str, set[str]] = {
    "integer": _NUMBERS,
    "double precision": _NUMBERS,
    "numeric": _NUMBERS,
    "boolean": {"boolean", "smallint", "integer", "bigint"} | _TEXT,
    "timestamptz": _MOMENTS,
    "date": _MOMENTS,
    "jsonb": {"json", "jsonb"} | _TEXT,
}
"""Contract type → types that staging (macro platform_value) can convert to it. Every type can be
converted to text.
"""
_TEXT_AS_NUMBER_SINCE = 160000
_COLLATION_VERSIONS_SINCE = 150000
"""From PostgreSQL 16 on, a query can test whether a text is a number."""

_MOST_STATUSES = 30
QUARANTINED = 0.02
"""A refresh stops where a larger share of the incoming sessions is in quarantine."""

_RELATIONS = """
    select c.oid, c.relname,
        case c.relkind when 'r' then 'table' when 'p' then 'partitioned table' when 'v' then 'view'
            when 'm' then 'materialized view' when 'f' then 'foreign table' end,
        has_any_column_privilege(c.oid, 'select'), row_security_active(c.oid)
    from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
    where n.nspname = %s and c.relkind in ('r', 'p', 'v', 'm', 'f')
"""
_COLUMNS = """
    select a.attname, format_type(coalesce(nullif(t.typbasetype, 0), t.oid), null),
        has_column_privilege(a.attrelid, a.attnum, 'select'),
        array(
            select e.enumlabel::text from pg_enum as e
            where e.enumtypid = coalesce(nullif(t.typbasetype, 0), t.oid) order by e.enumsortorder
        )
    from pg_attribute as a join pg_type as t on t.oid = a.atttypid
    where a.attrelid = %s and a.attnum > 0 and not a.attisdropped
"""


def share_of(share: float) -> str:
    """Returns a share above 0 as a whole percentage that is not 0."""
    return f"{max(share, 0.01):.0%}"


@dataclass(frozen=True, slots=True)
class ColumnFound:
    """A contract column that the platform has. `readable`: its type converts to the contract's.
    `comes_from`: the platform's column or expression.

    Of a sample of the rows: `nulls` is the share without a value (0 to 1), `low` and `high` the
    range of numbers and moments, `values` up to three, `wrong` the share of rows with a value that
    the contract does not allow, `wrong_values` up to three. None, or no values, where nothing is
    known.
    """

    name: str
    type: str
    wanted: str
    readable: bool
    comes_from: str
    nulls: float | None = None
    low: str | None = None
    high: str | None = None
    values: tuple[str, ...] = ()
    wrong: float = 0
    wrong_values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TableFound:
    """A contract table that the platform has.

    `rows` is exact up to MAX_COUNTED (`more`: there are more), None if the count failed.
    """

    name: str
    kind: str
    rows: int | None
    more: bool
    columns: tuple[ColumnFound, ...]


@dataclass(frozen=True, slots=True)
class StatusFound:
    """A status of sessions, how many have it, and whether the contract knows it."""

    value: str
    rows: int
    known: bool


@dataclass(frozen=True, slots=True)
class Gap:
    """A missing optional column, and what is lost without it. `column` None = the whole table."""

    table: str
    column: str | None
    costs: str


@dataclass(slots=True)
class SourceReport:
    """The result of the comparison.

    `problems` are sentences about what keeps the pipeline from running, `gaps` missing optional
    parts, `remarks` other sentences, `statuses` those of sessions, the most frequent first.
    `newest_session` is the scheduled start of the newest completed session up to now.
    """

    schema: str
    tables: list[TableFound] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    statuses: list[StatusFound] = field(default_factory=list)
    newest_session: datetime | None = None

    @property
    def usable(self) -> bool:
        """Whether the pipeline can run on it."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Returns the report as values for JSON."""
        newest = self.newest_session
        return {
            **asdict(self),
            "usable": self.usable,
            "newest_session": None if newest is None else newest.isoformat(),
        }


def check_source(
    database: Database, contract: Contract, now: datetime, mapping: Path | None = None
) -> SourceReport:
    """Compares the platform's schema with the contract in one transaction. Only reads.

    `now`: a session that starts later did not take place. `mapping`: the file by which the
    warehouse reads the platform.
    """
    schema = database.schemas.platform
    report = SourceReport(schema)
    with database.transaction():
        database.execute("select set_config('statement_timeout', %s, true)", (f"{PATIENCE_MS}ms",))
        if mapping is not None and database.warehouse.source is not None:
            # sqlglot takes a second to import.
            from tutor_pipeline.sources.mapping.verifying import faults

            report.problems += [
                f"{mapping}, {each}" for each in placed(mapping, faults(database, mapping))
            ]
        if not report.problems and _schema_is_there(database, report):
            _Check(database, report, now).run(contract)
    return report


def _schema_is_there(database: Database, report: SourceReport) -> bool:
    row = database.one(
        "select has_schema_privilege(oid, 'usage') as allowed, current_user as name"
        " from pg_namespace where nspname = %s",
        (report.schema,),
    )
    if row is None:
        report.problems.append(
            f'there is no schema "{report.schema}" in this database: set TUTOR_PLATFORM_SCHEMA to'
            " the schema of the platform's tables, or fill it with tutor-pipeline generate or"
            " import"
        )
        return False
    if not row["allowed"]:
        report.problems.append(
            f'the user {row["name"]} may not look into the schema "{report.schema}": ask its owner'
            f' to grant usage on schema "{report.schema}" to "{row["name"]}"'
        )
    return bool(row["allowed"])


# [sessions, those with a stranger, a stranger]; no row where nobody is known at all.
_STRANGERS = """
    with people as materialized ({people})
    select array[
        (select count(*) from (select 1 from {sessions} as r limit {most}) as counted)::text,
        count(distinct key) filter (where who is not null and id is null)::text,
        min(who) filter (where id is null)
    ]
    from (select {key}::text as key, {who}::text as who from {table} as r limit {most}) as held
    left join people on held.who = people.id
    having exists (select 1 from people)
"""


class _Check:
    def __init__(self, database: Database, report: SourceReport, now: datetime) -> None:
        self.database = database
        self.report = report
        self.now = now
        text_is_readable = database.info.server_version >= _TEXT_AS_NUMBER_SINCE
        self.text_as_number = _TEXT if text_is_readable else set[str]()

    def run(self, contract: Contract) -> None:
        """Adds to the report what is there and what is missing."""
        self._collation()
        if self.database.warehouse.source is None:
            self._tables_of_the_contract(contract)
        else:
            self._mapped_tables(contract, self.database.warehouse.source.tables)
        self._statuses(contract)
        self._values(contract)
        self._strangers()
        self._doubles()
        self._gaps_that_lists_fill()
        self._zones()

    def _zones(self) -> None:
        """Names the zones of the columns that have none of their own."""
        without: dict[str, list[str]] = {}
        for table in self.report.tables:
            for column in table.columns:
                if column.wanted == _WITH_ZONE and column.readable and column.type != MOMENT:
                    zone = self.database.warehouse.timezone_of(table.name, column.name)
                    without.setdefault(zone, []).append(f"{table.name}.{column.name}")
        where = "TUTOR_PLATFORM_TIMEZONE sets another"
        if self.database.warehouse.source is not None:
            where = "timezone in the mapping sets another"
        for zone, names in without.items():
            more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
            self.report.remarks.append(
                f"moments without a zone are read as {zone} ({', '.join(names[:_NAMED])}{more});"
                f" {where}"
            )

    def _gaps_that_lists_fill(self) -> None:
        """Where lists say who takes part, sessions need not."""
        if any(table.name == "session_students" for table in self.report.tables):
            self.report.gaps = [
                gap
                for gap in self.report.gaps
                if (gap.table, gap.column) != ("sessions", "student_id")
            ]

    def _tables_of_the_contract(self, contract: Contract) -> None:
        found = {
            name: (oid, kind, allowed, hides)
            for oid, name, kind, allowed, hides in self.database.execute(
                _RELATIONS, (self.report.schema,)
            )
        }
        if not found:
            self.report.remarks.append(f'the schema "{self.report.schema}" has no tables at all')
        for table in contract.tables:
            if table.name in found:
                self._table(table, *found[table.name])
            else:
                self._missing(table)

    def _mapped_tables(self, contract: Contract, tables: Mapping[str, MappedTable]) -> None:
        for table in contract.tables:
            if table.name not in tables:
                self._missing(table)
                continue
            try:
                with self.database.transaction():
                    columns = relations.read_columns(self.database, [table.name])
                    relations.refuse_hidden(self.database, columns)
            except TutorPipelineError as error:
                self.report.problems.append(str(error).splitlines()[0])
                continue
            actual: dict[str, tuple[str, bool, list[str]]] = {
                name: (column.type, True, [])
                for name, column in columns.get(table.name, {}).items()
            }
            self._columns(table, f"{tables[table.name].shown}", actual)

    def _missing(self, table: Table) -> None:
        if table.required:
            self.report.problems.append(
                f"the table {self._name(table)} is missing: {table.costs}. If the platform calls it"
                " otherwise, a mapping says so: tutor-pipeline source propose"
            )
        elif table.costs is not None:
            self.report.gaps.append(Gap(table.name, None, table.costs))

    def _statuses(self, contract: Contract) -> None:
        """The statuses of sessions, and which of them nobody knows."""
        sessions = next((each for each in self.report.tables if each.name == "sessions"), None)
        if sessions is None or "status" not in {column.name for column in sessions.columns}:
            return
        table = contract.table("sessions")
        rows = self._value(
            "the statuses of sessions were not counted",
            "select array_agg(array[status, rows::text] order by rows desc) from"
            " (select coalesce(status::text, '') as status, count(*) as rows from {table} as r"
            " group by 1 order by 2 desc limit {most}) as counted",
            table=self.database.warehouse.platform_table("sessions"),
            most=sql.Literal(_MOST_STATUSES),
        )
        accepted = table.column("status").accepted
        self.report.statuses = [
            StatusFound(value, int(count), value in accepted) for value, count in rows or []
        ]
        unknown = [each for each in self.report.statuses if not each.known]
        if unknown:
            named = ", ".join(f"{each.value or 'none'} ({each.rows:,})" for each in unknown)
            share = sum(each.rows for each in unknown) / sum(
                each.rows for each in self.report.statuses
            )
            self._quarantined(
                share,
                "sessions with a status that the contract does not know go into quarantine:"
                f" {named}",
            )

    def _values(self, contract: Contract) -> None:
        """What of the sample the contract does not allow."""
        for table in self.report.tables:
            wanted = contract.table(table.name)
            for found in table.columns:
                column = wanted.column(found.name)
                name = self._name(wanted, column)
                if table.name == "sessions" and column.required and found.nulls:
                    self._quarantined(
                        found.nulls,
                        f"{name} has no value in {share_of(found.nulls)} of the rows: these go"
                        " into quarantine",
                    )
                if found.wrong and (table.name, found.name) != ("sessions", "status"):
                    self._wrong(table, column, found, name)
            starts = {column.name: column.type for column in table.columns}
            if starts.get("scheduled_start") == "date":
                self.report.remarks.append(
                    f"{self._name(wanted)}.scheduled_start is a date without a time of day: every"
                    " session begins at midnight"
                )

    def _wrong(self, table: TableFound, column: Column, found: ColumnFound, name: str) -> None:
        """Says which values the contract does not allow, and what becomes of their rows."""
        allowed = ", ".join(column.accepted) or " to ".join(
            f"{bound:g}" for bound in (column.minimum, column.maximum) if bound is not None
        )
        sentence = (
            f"{name} is {' or '.join(found.wrong_values)} in {share_of(found.wrong)} of the rows;"
            f" the contract allows {allowed}"
        )
        if table.name not in ("sessions", *PARTS):
            self.report.remarks.append(f"{sentence}: such values count as none")
            return
        sessions = next((each.rows for each in self.report.tables if each.name == "sessions"), 0)
        share = found.wrong * (table.rows or 0) / (sessions or 1)
        self._quarantined(share, f"{sentence}: sessions with such values go into quarantine")

    @property
    def _remedy(self) -> str:
        if self.database.warehouse.source is None:
            return "A mapping says what they are: tutor-pipeline source propose"
        return "Say in the mapping what they are"

    def _quarantined(self, share: float, sentence: str) -> None:
        """A problem if so many rows of sessions go into quarantine that refreshes stop."""
        if share > QUARANTINED:
            self.report.problems.append(
                f"{sentence}; over {QUARANTINED:.0%} of the sessions, and every refresh stops."
                f" {self._remedy}"
            )
        else:
            self.report.remarks.append(sentence)

    def _strangers(self) -> None:
        """Sessions whose tutor or student no table of people has: the ids may be of other rows."""
        readable = {
            table.name: {column.name for column in table.columns if column.readable}
            for table in self.report.tables
        }
        place = self.database.warehouse.platform_table
        for table, key, role in (
            ("sessions", "id", "tutor"),
            ("sessions", "id", "student"),
            ("session_students", "session_id", "student"),
        ):
            people = {
                name: sql.SQL(
                    "select id::text as id from {table} as r where role::text = {role}"
                    if name == "users"
                    else "select user_id::text as id from {table} as r"
                ).format(table=place(name), role=sql.Literal(role))
                for name, needed in ((f"{role}s", {"user_id"}), ("users", {"id", "role"}))
                if needed <= readable.get(name, set())
            }
            if not people or not {key, f"{role}_id"} <= readable.get(table, set()):
                continue
            whose = f"{relations.shown(self.database.warehouse, table)}.{role}_id"
            counted = self._value(
                f"whether {whose} names {role}s was not looked at",
                _STRANGERS,
                people=sql.SQL(" union ").join(people.values()),
                key=sql.Identifier(key),
                who=sql.Identifier(f"{role}_id"),
                table=place(table),
                sessions=place("sessions"),
                most=sql.Literal(MAX_COUNTED),
            )
            if counted is None or counted[1] == "0":
                continue
            share = int(counted[1]) / max(int(counted[0]), 1)
            where = [relations.shown(self.database.warehouse, each) for each in people]
            nowhere = (
                f"in neither {' nor '.join(where)}" if where[1:] else f"in no row of {where[0]}"
            )
            self._quarantined(
                share,
                f"{whose} of {share_of(share)} of the sessions is {nowhere} ({counted[2]}, for"
                " example; are they ids of another table?): these go into quarantine",
            )

    def _doubles(self) -> None:
        """Whether what a mapping says of a query holds: one row for each id."""
        source = self.database.warehouse.source
        if source is None:
            return
        for table in self.report.tables:
            key = source.tables[table.name].key
            twice = None if key is None else self._double(table.name, key)
            if twice is not None:
                self.report.problems.append(
                    f"the mapping says that {key} of {table.name} is unique, but the query gives"
                    f" {twice} more than once: correct the query, or leave unique out"
                )

    def _double(self, table: str, key: str) -> str | None:
        """Returns a value that stands twice, or says that one is missing."""
        found: str | None = self._value(
            f"whether {key} of {table} is unique was not looked at",
            "select coalesce({key}::text, 'no value') from {rows} as r group by {key}"
            " having count(*) > 1 or {key} is null limit 1",
            key=sql.Identifier(key),
            rows=self.database.warehouse.platform_table(table),
        )
        return found

    def _collation(self) -> None:
        """Indexes on text were built in the order of a library that may have changed since."""
        if self.database.info.server_version < _COLLATION_VERSIONS_SINCE:
            return
        drift = self.database.one(
            "select datname, datcollversion as built, now_is from pg_database"
            " cross join lateral pg_database_collation_actual_version(oid) as now_is"
            " where datname = current_database() and datcollversion <> now_is"
        )
        if drift is not None:
            name = sql.Identifier(drift["datname"]).as_string(None)
            self.report.remarks.append(
                "the server sorts text in another way than when this database was made"
                f" ({drift['built']}, now {drift['now_is']}): indexes may miss rows until somebody"
                f" runs reindex database {name}; alter database {name} refresh collation version"
            )

    def _name(self, table: Table, column: Column | None = None) -> str:
        shown = relations.shown(self.database.warehouse, table.name)
        return f"{shown}.{column.name}" if column else shown

    def _table(self, table: Table, oid: int, kind: str, allowed: bool, hides: bool) -> None:
        if not allowed:
            self._refused(self._name(table))
            return
        if hides:
            user = self.database.info.user
            self.report.problems.append(
                f"row-level security hides rows of {self._name(table)} from the user {user}: ask"
                f' its owner for a user that sees them all (alter role "{user}" bypassrls)'
            )
            return
        actual = {
            name: (type_, readable, labels)
            for name, type_, readable, labels in self.database.execute(_COLUMNS, (oid,))
        }
        self._columns(table, kind, actual)

    def _columns(
        self, table: Table, kind: str, actual: Mapping[str, tuple[str, bool, list[str]]]
    ) -> None:
        """Compares the columns, counts the rows and looks at a sample of them."""
        columns = []
        for column in table.columns:
            if column.name in actual:
                found = self._column(table, column, *actual[column.name])
                columns.append(found)
            elif column.required:
                otherwise = (
                    ""
                    if table.required or self.database.warehouse.source is None
                    else f". Map it (null::{column.type} is none), or leave {table.name} out"
                )
                self.report.problems.append(
                    f"the column {self._name(table, column)} is missing: {column.costs}{otherwise}"
                )
            else:
                self.report.gaps.append(Gap(table.name, column.name, column.costs))
        rows = self._count(table)
        self.report.tables.append(
            TableFound(
                name=table.name,
                kind=kind,
                rows=rows if rows is None else min(rows, MAX_COUNTED),
                more=rows is not None and rows > MAX_COUNTED,
                columns=self._with_samples(table, columns),
            )
        )
        if table.required and rows == 0:
            self.report.remarks.append(f"the table {self._name(table)} is empty")
        types = {column.name: column for column in columns}
        if table.name == "sessions" and {"scheduled_start", "status"} <= types.keys():
            self._newest_session(types["scheduled_start"])

    def _with_samples(
        self, table: Table, columns: Sequence[ColumnFound]
    ) -> tuple[ColumnFound, ...]:
        types = {each.name: each.type for each in columns}
        samples = self._tried(
            f"the values of {self._name(table)} were not looked at",
            lambda: sample(self.database, table, types),
        )
        return tuple(
            replace(each, **asdict(samples[each.name])) if samples else each for each in columns
        )

    def _column(
        self, table: Table, column: Column, type_: str, allowed: bool, labels: list[str]
    ) -> ColumnFound:
        readable = column.type == "text" or type_ in self._readable(column.type)
        if not allowed:
            self._refused(self._name(table, column))
        elif not readable:
            self.report.problems.append(
                f"the column {self._name(table, column)} is {type_}, which cannot be read as"
                f" {column.type}: map it to an expression of that type (TUTOR_SOURCE_MAP), change"
                " its type, or offer it through a view in another schema"
            )
        unknown = [label for label in labels if column.accepted and label not in column.accepted]
        if unknown:
            self.report.remarks.append(
                f"the type of {self._name(table, column)} also has the values"
                f" {', '.join(unknown)}: the contract does not know them, and a session with one"
                " of them goes into quarantine"
            )
        source = self.database.warehouse.source
        comes_from = column.name
        if source is not None:
            comes_from = source.tables[table.name].comes_from.get(column.name, column.name)
        return ColumnFound(column.name, type_, column.type, readable, comes_from)

    def _readable(self, wanted: str) -> set[str]:
        types = READABLE[wanted]
        return types | self.text_as_number if types is _NUMBERS else types

    def _refused(self, name: str) -> None:
        user = self.database.info.user
        self.report.problems.append(
            f"the user {user} may not read {name}: ask its owner to grant select on it"
        )

    def _count(self, table: Table) -> int | None:
        rows: int | None = self._value(
            f"the rows of {self._name(table)} were not counted",
            "select count(*) from (select 1 from {table} as r limit {most}) as counted",
            table=self.database.warehouse.platform_table(table.name),
            most=sql.Literal(MAX_COUNTED + 1),
        )
        return rows

    def _newest_session(self, start: ColumnFound) -> None:
        if not start.readable:
            return
        self.report.newest_session = self._tried(
            "the newest session was not looked up",
            lambda: relations.newest_completed_session(self.database, self.now),
        )

    def _value(self, otherwise: str, query: str, **parts: sql.Composable) -> Any:
        return self._tried(
            otherwise, lambda: self.database.value(self.database.sql(query, **parts))
        )

    def _tried(self, otherwise: str, look: Callable[[], Found]) -> Found | None:
        """Returns what a query finds. Reports `otherwise` and returns None if it fails: as a remark
        if it takes too long, else as a problem.
        """
        try:
            with self.database.transaction():
                return look()
        except psycopg.errors.QueryCanceled:
            self.report.remarks.append(f"{otherwise}: it took over {PATIENCE_MS // 1000} s")
        except psycopg.errors.InsufficientPrivilege as error:
            self.report.problems.append(f"{otherwise}: {error.diag.message_primary}")
        except psycopg.DatabaseError as error:
            if self.database.connection.closed:
                raise
            self.report.problems.append(f"{otherwise}: {str(error).strip()}")
        return None
