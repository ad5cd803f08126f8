"""The only reader of the environment. Rooms receive values; they never import this.

Every setting is an environment variable `TUTOR_<NAME>`; an empty one counts as not set.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from tutor_pipeline.errors import UsageError
from tutor_pipeline.warehouse.connection import Schemas
from tutor_pipeline.warehouse.locate import Located, locate

PROJECT_DIR = Path(__file__).resolve().parent.parent
"""The checkout: `.tutor/`, `dbt_project/`, `workspace.yaml` and `dagster.yaml` lie in it."""


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone; write it as Europe/Berlin or UTC") from error
    return name


def _postgres_url(url: str) -> str:
    # SQLAlchemy, which Dagster's storage uses, knows only the long name of the scheme.
    url = url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres://") else url
    how = "write it as postgresql://user:password@host:5432/database (@, /, % in a password: %40, "
    how += "%2F, %25)"
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise ValueError(how) from error  # its own message may repeat the password
    ports = str(parts.get("port") or 5432).split(",")
    sound = all(port.isdigit() and 0 < int(port) < 65_536 for port in ports)
    if not url.startswith("postgresql://") or not parts.get("dbname") or not sound:
        raise ValueError(how)
    if "@" in str(parts.get("host", "")) or "@" in str(parts["dbname"]):
        raise ValueError(how)
    return url


def _schema_prefix(prefix: str) -> str:
    if not re.fullmatch(r"([a-z_][a-z0-9_]*)?", prefix) or prefix.startswith("pg_"):
        raise ValueError("write it in lower case letters, digits and _, for instance tutor_")
    return prefix


SchemaPrefix = Annotated[str, AfterValidator(_schema_prefix)]
TimezoneName = Annotated[str, AfterValidator(_timezone)]
PostgresUrl = Annotated[str, AfterValidator(_postgres_url)]


class Settings(BaseSettings):
    """What can be configured, with defaults that work on a laptop."""

    model_config = SettingsConfigDict(env_prefix="TUTOR_", env_ignore_empty=True, extra="ignore")

    home: Path = Field(PROJECT_DIR / ".tutor", description="data, logs and reports of this project")
    database_url: PostgresUrl | None = Field(
        None, description="your PostgreSQL (14 or newer); none = the embedded server"
    )
    dagster_database_url: PostgresUrl | None = Field(
        None, description="Dagster's own database; none = <database>_dagster beside ours"
    )
    platform_schema: str = Field(
        "platform", min_length=1, max_length=63, description="schema of the platform's tables"
    )
    schema_prefix: SchemaPrefix = Field(
        "",
        max_length=40,
        description="put before the names of our schemas where those are taken",
    )
    timezone: TimezoneName = Field("UTC", description="the zone in which a day is a day")
    platform_timezone: TimezoneName = Field(
        "UTC", description="the zone of the platform's timestamps without zone"
    )
    rule_profile: str = Field("conservative", description="rule profile: a name or a file")
    history_start: date = Field(
        date(2025, 1, 1), description="first day that snapshots can be made for"
    )
    ui_port: int = Field(3000, ge=1, le=65535, description="port of the Dagster UI")

    @property
    def schemas(self) -> Schemas:
        """The schema names that follow from the settings."""
        return Schemas(prefix=self.schema_prefix, platform=self.platform_schema)

    def locate(self, progress: Callable[[str], None] = lambda _: None) -> Located:
        """The databases that these settings name (see `warehouse.locate`)."""
        return locate(
            self.home,
            self.database_url,
            self.dagster_database_url,
            self.schemas,
            self.timezone,
            self.platform_timezone,
            progress,
        )


def load_settings() -> Settings:
    """Settings from the environment. Raises UsageError naming each variable that is wrong."""
    try:
        settings = Settings()
    except ValidationError as error:
        lines = [
            f"TUTOR_{'_'.join(map(str, item['loc'])).upper()}: {_sentence(item['msg'])}"
            for item in error.errors()
        ]
        raise UsageError("wrong setting in the environment:\n  " + "\n  ".join(lines)) from error
    absolute: dict[str, object] = {"home": settings.home.expanduser().resolve()}
    profile = Path(settings.rule_profile)
    if profile.suffix or len(profile.parts) > 1:
        # A file: Dagster's processes run in a folder of their own.
        absolute["rule_profile"] = str(profile.expanduser().resolve())
    return settings.model_copy(update=absolute)


def _sentence(message: str) -> str:
    return message.removeprefix("Value error, ")
