"""The handle for the database: `Warehouse` says where it is, `Database` is an open connection.

Belongs here: connecting, queries with schema names, locks of one transaction.
Does not belong here: any table, and locks that outlive a transaction (`locks`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from psycopg.sql import SQL, Composable, Composed, Identifier

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse import remedies
from tutor_pipeline.core.warehouse.platform_source import PlatformSource

APPLICATION_NAME = "tutor-pipeline"

KEEPALIVE: dict[str, Any] = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""Options of libpq by which a host that vanished is noticed within 60 seconds (milliseconds in
`tcp_user_timeout`). A URL may say otherwise.
"""

Query = str | SQL | Composed
"""A text with schema names as {ops}, {marts} …, or what `psycopg.sql` composed."""
Parameters = Sequence[Any] | Mapping[str, Any] | None
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Schemas:
    """Names of the schemas. Ours have the prefix; the platform's owner names the platform's."""

    prefix: str = ""
    platform: str = "platform"
    reporting_name: str = ""

    @property
    def staging(self) -> str:
        """Incoming rows with their quarantine reasons."""
        return f"{self.prefix}staging"

    @property
    def intermediate(self) -> str:
        """Steps between staging and marts."""
        return f"{self.prefix}intermediate"

    @property
    def marts(self) -> str:
        """What people and rules read."""
        return f"{self.prefix}marts"

    @property
    def ops(self) -> str:
        """The pipeline's own rows with a history."""
        return f"{self.prefix}ops"

    @property
    def reporting(self) -> str:
        """Views for the readers of others, of `warehouse.reporting`."""
        return self.reporting_name or f"{self.prefix}reporting"

    @property
    def truth(self) -> str:
        """The hidden truth of the synthetic platform; no model, rule or scorer may read it."""
        return f"{self.prefix}truth"

    @property
    def ours(self) -> tuple[str, ...]:
        """The schemas that the migrations create."""
        return (self.staging, self.intermediate, self.marts, self.ops)

    def identifiers(self) -> dict[str, Identifier]:
        """Returns name → identifier, for `sql.SQL("… {ops}.alerts").format(**identifiers)`."""
        return {
            "platform": Identifier(self.platform),
            "staging": Identifier(self.staging),
            "intermediate": Identifier(self.intermediate),
            "marts": Identifier(self.marts),
            "ops": Identifier(self.ops),
            "truth": Identifier(self.truth),
        }


@dataclass(frozen=True, slots=True)
class Warehouse:
    """One PostgreSQL database and the schema names in it. `url` is a libpq URL, `named_by` the
    setting that holds it, for messages. `source`: how the platform's tables are called, None = as
    in the contract.
    """

    url: str = field(repr=False)  # it holds the password
    schemas: Schemas = field(default_factory=Schemas)
    timezone: str = "UTC"
    platform_timezone: str = "UTC"
    named_by: str = "TUTOR_DATABASE_URL"
    source: PlatformSource | None = None

    def platform_table(self, table: str) -> Composable:
        """Returns what stands after FROM to read a table of the contract: its name, or a query in
        parentheses. Raises KeyError: the mapping leaves the table out.
        """
        if self.source is None:
            return Identifier(self.schemas.platform, table)
        return SQL(self.source.tables[table].text)

    def timezone_of(self, table: str, column: str) -> str:
        """Returns the time zone of a platform column's timestamps without one."""
        if self.source is not None and table in self.source.tables:
            return self.source.tables[table].timezones.get(column, self.platform_timezone)
        return self.platform_timezone

    def connect(self, *, autocommit: bool = False, **options: Any) -> Database:
        """Opens a connection. `options` are libpq's. Raises TutorPipelineError."""
        options.setdefault("application_name", APPLICATION_NAME)
        options.setdefault("connect_timeout", 10)
        try:
            named = conninfo_to_dict(self.url)
            options = {name: value for name, value in KEEPALIVE.items() if name not in named} | (
                options
            )
            # Behind a pooler the next transaction may run on another connection of the server,
            # where a statement prepared before is unknown, or another one.
            connection = psycopg.connect(
                self.url, autocommit=True, prepare_threshold=None, **options
            )
        except (psycopg.OperationalError, psycopg.ProgrammingError) as error:
            raise TutorPipelineError(
                f"cannot connect to {self.masked_url}: {remedies.cause(error)}\n"
                f"{remedies.of_connecting(str(error), self.named_by)}"
            ) from error
        prepare(connection)
        connection.autocommit = autocommit
        return Database(connection, self)

    def sql(self, text: str, **parts: Composable) -> Composed:
        """Fills {platform}, {staging}, {intermediate}, {marts}, {ops}, {truth} and `parts` into
        `text`. Literal braces are doubled.
        """
        return SQL(text).format(**self.schemas.identifiers(), **parts)

    @property
    def masked_url(self) -> str:
        """The URL without its password, for messages."""
        try:
            parts = conninfo_to_dict(self.url)
        except psycopg.ProgrammingError:
            return "the database of TUTOR_DATABASE_URL"
        user = f"{parts['user']}@" if parts.get("user") else ""
        port = f":{parts['port']}" if parts.get("port") else ""
        return f"postgresql://{user}{parts.get('host') or ''}{port}/{parts.get('dbname') or ''}"


@dataclass(frozen=True, slots=True)
class Database:
    """A warehouse with an open connection and its transaction.

    As a context manager it commits at the end, rolls back after an error, and closes. A `query` may
    be a text with schema names as {ops}, {marts} …
    """

    connection: psycopg.Connection[Any]
    warehouse: Warehouse

    @property
    def schemas(self) -> Schemas:
        """The names of the schemas."""
        return self.warehouse.schemas

    @property
    def timezone(self) -> str:
        """The time zone of days."""
        return self.warehouse.timezone

    @property
    def info(self) -> psycopg.ConnectionInfo:
        """psycopg's information about the server and the connection."""
        return self.connection.info

    def sql(self, text: str, **parts: Composable) -> Composed:
        """See `Warehouse.sql`."""
        return self.warehouse.sql(text, **parts)

    def execute(self, query: Query, parameters: Parameters = None) -> psycopg.Cursor[Any]:
        """Runs a query. Returns its cursor: rows as tuples, and `rowcount`."""
        return self.connection.execute(self._composed(query), parameters)

    def execute_many(
        self, query: Query, parameters: Sequence[Sequence[Any] | Mapping[str, Any]]
    ) -> None:
        """Runs a query once for each set of parameters, in few round trips."""
        with self.connection.cursor() as cursor:
            cursor.executemany(self._composed(query), parameters)

    def rows(self, query: Query, parameters: Parameters = None) -> list[Row]:
        """Returns all rows of a query as dicts."""
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(self._composed(query), parameters).fetchall()

    def one(self, query: Query, parameters: Parameters = None) -> Row | None:
        """Returns the first row of a query as a dict, None without rows."""
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(self._composed(query), parameters).fetchone()

    def value(self, query: Query, parameters: Parameters = None) -> Any:
        """Returns the first column of the first row, None without rows."""
        row = self.execute(query, parameters).fetchone()
        return None if row is None else row[0]

    def copy(self, query: Query) -> AbstractContextManager[psycopg.Copy]:
        """Starts a COPY in or out on a new cursor."""
        return self.connection.cursor().copy(self._composed(query))

    def transaction(self, *, force_rollback: bool = False) -> AbstractContextManager[Any]:
        """Opens a transaction, or a savepoint within the open one."""
        return self.connection.transaction(force_rollback=force_rollback)

    @contextmanager
    def long_transaction(self) -> Iterator[None]:
        """Opens a transaction that may take its time. What was set on connecting is another
        connection's behind a pooler in transaction mode: each transaction may get one that has the
        limits of the role.
        """
        with self.connection.transaction():
            self.lift_limits()
            yield

    def lift_limits(self) -> None:
        """Lifts the limits of time of the open transaction."""
        self.connection.execute(
            "set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0"
        )

    def lock(self, name: str, *, schema: str | None = None, wait: bool = True) -> bool:
        """Takes the lock `name` until the transaction ends. Without `wait`: False if it is taken.

        A lock belongs to a schema (None = `ops`), so two installations do not share locks.
        """
        if wait:
            # A role's limit is meant for the platform's locks. Our own are waited for, and so is
            # what this transaction locks afterwards.
            self.execute("set local lock_timeout = 0")
        function = "pg_advisory_xact_lock" if wait else "pg_try_advisory_xact_lock"
        taken = self.value(
            f"select {function}(hashtextextended(%s, 0))", (f"{schema or self.schemas.ops}.{name}",)
        )
        return wait or bool(taken)

    def commit(self) -> None:
        """Commits the transaction."""
        self.connection.commit()

    def rollback(self) -> None:
        """Rolls back the transaction."""
        self.connection.rollback()

    def close(self) -> None:
        """Closes the connection and rolls back an open transaction."""
        self.connection.close()

    def __enter__(self) -> Self:
        self.connection.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.connection.__exit__(kind, error, traceback)

    def _composed(self, query: Query) -> SQL | Composed:
        return self.sql(query) if isinstance(query, str) else query


def prepare(connection: psycopg.Connection[Any]) -> None:
    """Sets what all our connections have in common. The connection is in autocommit mode."""
    # Settings of a server, a role or a URL may change the form of timestamps, or an isolation
    # level under which a transaction that waited for a lock does not see what was committed.
    # A pooler keeps the first two for this client; the isolation level goes with each BEGIN.
    # What an administrator sets for a role is a default, meant for whoever forgets something.
    # We do not: a statement over all sessions takes what it takes, and so does thinking
    # between two of a transaction. `lock_timeout` stays, it is meant for the platform's locks.
    connection.execute(
        "set datestyle to 'ISO'; set timezone to 'UTC';"
        " set statement_timeout = 0; set idle_in_transaction_session_timeout = 0;"
        " set idle_session_timeout = 0"
    )
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED


def identifiers(names: Iterable[str]) -> Composed:
    """Names of columns (or one table) for a query, quoted and separated by commas."""
    return SQL(", ").join(map(Identifier, names))
