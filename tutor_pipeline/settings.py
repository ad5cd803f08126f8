"""The only reader of the environment. Rooms receive values; they never import this.

Every setting is an environment variable `TUTOR_<NAME>`; an empty one counts as not set.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from tutor_pipeline.errors import UsageError
from tutor_pipeline.warehouse.connection import Schemas

PROJECT_DIR = Path(__file__).resolve().parent.parent
"""The checkout: `.tutor/`, `dbt_project/`, `workspace.yaml` and `dagster.yaml` lie in it."""


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"{name!r} is no time zone; write it as Europe/Berlin or UTC") from error
    return name


def _postgres_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres") or not parts.path.strip("/"):
        raise ValueError("write it as postgresql://user:password@host:5432/database")
    return url


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
    schema_prefix: str = Field(
        "",
        pattern=r"^([a-z_][a-z0-9_]*)?$",
        max_length=40,
        description="put before the names of our schemas where those are taken",
    )
    timezone: TimezoneName = Field("UTC", description="the zone in which a day is a day")
    platform_timezone: TimezoneName = Field(
        "UTC", description="the zone of the platform's timestamps without zone"
    )
    rule_profile: str = Field("conservative", description="rule profile: a name or a file")
    history_start: str = Field(
        "2025-01-01",
        pattern=r"^\d{4}-\d{2}-\d{2}$",
        description="first day that snapshots can be made for",
    )
    ui_port: int = Field(3000, ge=1, le=65535, description="port of the Dagster UI")

    @property
    def schemas(self) -> Schemas:
        """The schema names that follow from the settings."""
        return Schemas(prefix=self.schema_prefix, platform=self.platform_schema)


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
    return settings.model_copy(update={"home": settings.home.expanduser().resolve()})


def _sentence(message: str) -> str:
    return message.removeprefix("Value error, ")
