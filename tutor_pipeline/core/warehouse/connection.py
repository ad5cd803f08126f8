"""Connections to the warehouse, and the names of the schemas in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tutor_pipeline.core.errors import TutorPipelineError

APPLICATION_NAME = "tutor-pipeline"


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

    def identifiers(self) -> dict[str, sql.Identifier]:
        """For `psycopg.sql.SQL("… {ops}.alerts").format(**schemas.identifiers())`."""
        return {
            "platform": sql.Identifier(self.platform),
            "staging": sql.Identifier(self.staging),
            "intermediate": sql.Identifier(self.intermediate),
            "marts": sql.Identifier(self.marts),
            "ops": sql.Identifier(self.ops),
            "truth": sql.Identifier(self.truth),
        }


@dataclass(frozen=True, slots=True)
class Warehouse:
    """One PostgreSQL database and the schema names in it. `url` is a libpq URL."""

    url: str = field(repr=False)  # it holds the password
    schemas: Schemas = field(default_factory=Schemas)
    timezone: str = "UTC"
    platform_timezone: str = "UTC"

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """A psycopg 3 connection (not autocommit unless asked). Raises TutorPipelineError."""
        options.setdefault("application_name", APPLICATION_NAME)
        options.setdefault("connect_timeout", 10)
        autocommit = options.pop("autocommit", False)
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
        return connection

    def sql(self, text: str) -> sql.Composed:
        """`text` with {platform}, {staging}, {intermediate}, {marts}, {ops}, {truth} filled in."""
        return sql.SQL(text).format(**self.schemas.identifiers())

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
