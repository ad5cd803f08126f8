"""The one handle for the database: `Warehouse` says where it is, `Database` is open.

Belongs here: connecting, queries over the schema names, locks of one transaction.
Does not belong here: any table, and locks that outlive a transaction (`locks`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from psycopg.sql import SQL, Composable, Composed, Identifier

from tutor_pipeline.core.errors import TutorPipelineError

APPLICATION_NAME = "tutor-pipeline"

Query = str | SQL | Composed
"""A text with schema names as {ops}, {marts} …, or what `psycopg.sql` composed."""
Parameters = Sequence[Any] | Mapping[str, Any] | None
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Schemas:
    """Names of the schemas: ours carry the prefix, the platform's is named by its owner."""

    prefix: str = ""
    platform: str = "platform"

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
    def truth(self) -> str:
        """What the synthetic platform knows and nobody may read."""
        return f"{self.prefix}truth"

    @property
    def ours(self) -> tuple[str, ...]:
        """Schemas that the migrations make."""
        return (self.staging, self.intermediate, self.marts, self.ops)

    def identifiers(self) -> dict[str, Identifier]:
        """For `psycopg.SQL("… {ops}.alerts").format(**schemas.identifiers())`."""
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
    """One PostgreSQL database and the schema names in it. `url` is a libpq URL."""

    url: str = field(repr=False)  # it holds the password
    schemas: Schemas = field(default_factory=Schemas)
    timezone: str = "UTC"
    platform_timezone: str = "UTC"

    def connect(self, *, autocommit: bool = False, **options: Any) -> Database:
        """An open `Database`. `options` are libpq's. Raises TutorPipelineError."""
        options.setdefault("application_name", APPLICATION_NAME)
        options.setdefault("connect_timeout", 10)
        try:
            connection = psycopg.connect(self.url, autocommit=True, **options)
        except (psycopg.OperationalError, psycopg.ProgrammingError) as error:
            raise TutorPipelineError(
                f"cannot connect to {self.masked_url}: {str(error).strip()}\n"
                "Is the server up, and does TUTOR_DATABASE_URL name it?"
            ) from error
        # A server, a role or a URL may have settings under which moments come in another form,
        # or under which who waited for a lock does not see what was done meanwhile.
        connection.execute(
            "set datestyle to 'ISO'; set timezone to 'UTC';"
            " set default_transaction_isolation to 'read committed'"
        )
        connection.autocommit = autocommit
        return Database(connection, self)

    def sql(self, text: str, **parts: Composable) -> Composed:
        """`text` with {platform}, {staging}, {intermediate}, {marts}, {ops}, {truth} and `parts`
        filled in. A brace that is meant is doubled.
        """
        return SQL(text).format(**self.schemas.identifiers(), **parts)

    @property
    def masked_url(self) -> str:
        """The URL as it may be shown: without its password."""
        try:
            parts = conninfo_to_dict(self.url)
        except psycopg.ProgrammingError:
            return "the database of TUTOR_DATABASE_URL"
        user = f"{parts['user']}@" if parts.get("user") else ""
        port = f":{parts['port']}" if parts.get("port") else ""
        return f"postgresql://{user}{parts.get('host') or ''}{port}/{parts.get('dbname') or ''}"


@dataclass(frozen=True, slots=True)
class Database:
    """A warehouse with an open connection, and the transaction on it.

    As a context manager it commits at the end, rolls back after an error, and closes. Everything
    that takes a `query` takes a text with schema names as {ops}, {marts} …, and its parameters.
    """

    connection: psycopg.Connection[Any]
    warehouse: Warehouse

    @property
    def schemas(self) -> Schemas:
        """The names of the schemas."""
        return self.warehouse.schemas

    @property
    def timezone(self) -> str:
        """The zone in which a day is a day."""
        return self.warehouse.timezone

    @property
    def info(self) -> psycopg.ConnectionInfo:
        """What the connection knows of the server and of itself."""
        return self.connection.info

    def sql(self, text: str, **parts: Composable) -> Composed:
        """See `Warehouse.sql`."""
        return self.warehouse.sql(text, **parts)

    def execute(self, query: Query, parameters: Parameters = None) -> psycopg.Cursor[Any]:
        """Run a query; its cursor, which gives rows as tuples and `rowcount`."""
        return self.connection.execute(self._composed(query), parameters)

    def execute_many(
        self, query: Query, parameters: Sequence[Sequence[Any] | Mapping[str, Any]]
    ) -> None:
        """Run a query once for each of some parameters, in few round trips."""
        with self.connection.cursor() as cursor:
            cursor.executemany(self._composed(query), parameters)

    def rows(self, query: Query, parameters: Parameters = None) -> list[Row]:
        """All rows of a query, as dicts."""
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(self._composed(query), parameters).fetchall()

    def one(self, query: Query, parameters: Parameters = None) -> Row | None:
        """The first row of a query as a dict; None where there is none."""
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(self._composed(query), parameters).fetchone()

    def value(self, query: Query, parameters: Parameters = None) -> Any:
        """The first column of the first row; None where there is none."""
        row = self.execute(query, parameters).fetchone()
        return None if row is None else row[0]

    def copy(self, query: Query) -> AbstractContextManager[psycopg.Copy]:
        """A COPY, in or out, on a cursor of its own."""
        return self.connection.cursor().copy(self._composed(query))

    def transaction(self, *, force_rollback: bool = False) -> AbstractContextManager[Any]:
        """A transaction, or a savepoint in the one that is open."""
        return self.connection.transaction(force_rollback=force_rollback)

    def lock(self, name: str, *, schema: str | None = None, wait: bool = True) -> bool:
        """Take the lock `name` until the transaction ends; whether it was free, without `wait`.

        It is the lock of one schema, None = `ops`: two installations never wait for each other.
        """
        function = "pg_advisory_xact_lock" if wait else "pg_try_advisory_xact_lock"
        taken = self.value(
            f"select {function}(hashtextextended(%s, 0))", (f"{schema or self.schemas.ops}.{name}",)
        )
        return wait or bool(taken)

    def commit(self) -> None:
        """End the transaction."""
        self.connection.commit()

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""
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


def identifiers(names: Iterable[str]) -> Composed:
    """Names of columns (or one table) for a query, quoted and separated by commas."""
    return SQL(", ").join(map(Identifier, names))
