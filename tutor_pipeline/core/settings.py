"""Reads the settings from the environment; no other module does. Packages receive values.

Every setting is an environment variable `TUTOR_<NAME>`. An empty one counts as not set.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import date
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from tutor_pipeline.core import secret_keys
from tutor_pipeline.core.audiences import Audience, split_addresses
from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.paths import PROJECT_DIR
from tutor_pipeline.core.warehouse.database import Schemas
from tutor_pipeline.core.warehouse.locate import Located, locate

DEFAULT_REPORTS_PORT = 3030
DEFAULT_DESK_PORT = 3040


def _secret_keys(named: SecretStr) -> SecretStr:
    try:
        secret_keys.given(named.get_secret_value())
    except UsageError as error:
        raise ValueError(str(error).partition(": ")[2]) from error
    return named


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"{name!r} is not a time zone; write it as Europe/Berlin or UTC"
        ) from error
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


def _http_url(url: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", url):
        raise ValueError("write it as https://reports.example.com or https://example.com/reports")
    try:
        urlsplit(url).port  # noqa: B018 (it raises on a wrong one)
    except ValueError as error:
        raise ValueError(f"its port is wrong: {error}") from error
    return url


def _schema_prefix(prefix: str) -> str:
    if not re.fullmatch(r"([a-z_][a-z0-9_]*)?", prefix) or prefix.startswith("pg_"):
        raise ValueError("write it in lower case letters, digits and _, for instance tutor_")
    return prefix


_RETIRED_CHAMPIONS = {"signals_v2": "departure_v1", "model_departure": "departure_v1"}


def _champion(name: str) -> str:
    if name in _RETIRED_CHAMPIONS:
        raise ValueError(
            f"{name} is no longer a scorer; set {_RETIRED_CHAMPIONS[name]}, its successor, or auto"
        )
    known = ("auto", "departure_v1", "health_v1", "signals_v1")
    if name not in known:
        raise ValueError(f"it is '{name}', but it must be one of {', '.join(known)}")
    return name


def _proxies(text: str) -> str:
    for each in filter(None, (part.strip() for part in text.split(","))):
        try:
            ip_network(each)
        except ValueError as error:
            raise ValueError(
                f"{each!r} is no address; write 127.0.0.1 or 10.0.0.0/8, with commas between"
            ) from error
    return text


DeskProxies = Annotated[str, AfterValidator(_proxies)]
Champion = Annotated[str, AfterValidator(_champion)]
SchemaPrefix = Annotated[str, AfterValidator(_schema_prefix)]
TimezoneName = Annotated[str, AfterValidator(_timezone)]
SecretKeys = Annotated[SecretStr, AfterValidator(_secret_keys)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
PostgresUrl = Annotated[str, AfterValidator(_postgres_url)]


class Settings(BaseSettings):
    """All settings, with defaults that work on a laptop."""

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
    source_map: Path | None = Field(
        None, description="file that says how the platform calls its tables; none = as in the docs"
    )
    schema_prefix: SchemaPrefix = Field(
        "",
        max_length=40,
        description="prefix of our schemas' names, for databases where the names are taken",
    )
    reporting_schema: str = Field(
        "", max_length=63, description="schema of the views for readers; none = reporting"
    )
    timezone: TimezoneName = Field("UTC", description="the time zone of days")
    platform_timezone: TimezoneName = Field(
        "UTC", description="the time zone of the platform's timestamps without zone"
    )
    rule_profile: str = Field("adaptive", description="rule profile: a name or a file")
    history_start: date = Field(
        date(2025, 1, 1), description="first day that snapshots can be made for"
    )
    automation: Literal["on", "off"] = Field(
        "off", description="whether schedules and sensors run by default; `up` says on"
    )
    linger_seconds: float | None = Field(
        None,
        ge=0,
        le=60,
        description="how long a refresh after sessions waits for the next change; unset = one"
        " always stands by",
    )
    champion: Champion = Field(
        "auto",
        description="the scorer whose level raises alerts: departure_v1 (auto), health_v1,"
        " signals_v1",
    )
    yearly_departure_rate: float = Field(
        0.25,
        ge=0.01,
        le=0.9,
        description="share of tutors who leave within a year, while no departures are recorded",
    )
    yearly_student_departure_rate: float = Field(
        0.5,
        ge=0.01,
        le=0.95,
        description="share of students who leave within a year, while no departures are recorded",
    )
    loss_share: float = Field(
        0.02, ge=0, le=1, description="share of rows that may vanish from a platform table in a day"
    )
    loss_sessions: int = Field(
        20, ge=0, description="rows that may vanish from a platform table in a day, whatever share"
    )
    loss_tutors: int = Field(3, ge=0, description="tutors that may vanish in a day, whatever share")
    ui_port: int = Field(3000, ge=1, le=65535, description="port of the Dagster UI")
    reports_port: int | None = Field(
        None, ge=1, le=65535, description="port of the validation reports; none = 3030 or next free"
    )
    reports_url: HttpUrl | None = Field(
        None, description="where people reach the reports; none = that port on this machine"
    )

    desk_port: int | None = Field(
        None, ge=1, le=65535, description="port of the desk; none = 3040 or the next free"
    )
    desk_host: str = Field("127.0.0.1", min_length=1, description="address the desk listens on")
    desk_url: HttpUrl | None = Field(
        None, description="where people reach the desk; none = that port on this machine"
    )
    secret_key: SecretKeys = Field(
        SecretStr(""),
        description="key that signs links in mails, and behind a comma the one before; none = a"
        " file in TUTOR_HOME",
    )
    desk_proxies: DeskProxies = Field(
        "", description="addresses or networks whose X-Forwarded-For names the visitor"
    )
    desk_student_names: Literal["full", "short", "id"] = Field(
        "short", description="how the desk names students: short is first name and initial"
    )
    events_port: int = Field(
        3050, ge=1, le=65535, description="port of `tutor-pipeline events serve`"
    )
    events_host: str = Field(
        "127.0.0.1", min_length=1, description="address `tutor-pipeline events serve` listens on"
    )
    ui_url: HttpUrl | None = Field(
        None, description="where people reach the UI; none = TUTOR_UI_PORT on this machine"
    )
    notify_critical: SecretStr = Field(
        SecretStr(""), description="addresses that are told of critical alerts at once"
    )
    notify_warning: SecretStr = Field(
        SecretStr(""), description="addresses that are told of the warnings of a day"
    )
    notify_sessions: SecretStr = Field(
        SecretStr(""), description="addresses that get a report of each completed session"
    )
    notify_digest: SecretStr = Field(
        SecretStr(""), description="addresses that get the digest of a week"
    )
    notify_ops: SecretStr = Field(
        SecretStr(""), description="addresses that are told what breaks in the pipeline"
    )

    @property
    def addresses(self) -> dict[Audience, tuple[str, ...]]:
        """The Apprise URLs of each audience. They contain secrets."""
        return {
            audience: split_addresses(getattr(self, f"notify_{audience}").get_secret_value())
            for audience in Audience
        }

    @property
    def messages_dir(self) -> Path:
        """The folder of composed messages."""
        return self.home / "reports" / "messages"

    @property
    def ui_address(self) -> str:
        """The URL of the UI, without a trailing slash."""
        return (self.ui_url or f"http://127.0.0.1:{self.ui_port}").rstrip("/")

    @property
    def schemas(self) -> Schemas:
        """The schema names that follow from the settings."""
        return Schemas(self.schema_prefix, self.platform_schema, self.reporting_schema)

    @property
    def reports_dir(self) -> Path:
        """The folder of the validation reports."""
        return self.home / "reports" / "validation"

    @property
    def backtest_report(self) -> Path:
        """The file of the newest back-test report."""
        return self.home / "reports" / "backtest.html"

    @property
    def reports_port_file(self) -> Path:
        """The file with the port that served the reports last, so that links stay valid."""
        return self.home / "reports.port"

    @property
    def reports_port_in_use(self) -> int:
        """The configured port, else the last one used, else 3030."""
        try:
            return self.reports_port or int(self.reports_port_file.read_text())
        except (OSError, ValueError):
            return DEFAULT_REPORTS_PORT

    def report_address(self, file_name: str) -> str:
        """Returns the URL of a validation report. `up` serves it."""
        base = self.reports_url or f"http://127.0.0.1:{self.reports_port_in_use}"
        return f"{base.rstrip('/')}/{quote(file_name)}"

    @property
    def desk_outside(self) -> str:
        """The address at which people reach the desk from elsewhere, without a slash at the end;
        '' where none is set.
        """
        return (self.desk_url or "").rstrip("/")

    @property
    def secret_key_file(self) -> Path:
        """The file of the key that signs links, where no setting names one."""
        return self.home / "secret_key"

    @property
    def secret_keys(self) -> tuple[str, ...]:
        """The keys of links, the newest first. Makes the file where there is none."""
        named = secret_keys.given(self.secret_key.get_secret_value())
        return named or secret_keys.of_file(self.secret_key_file)

    @property
    def desk_port_file(self) -> Path:
        """A file with the address and port on which the desk was served last."""
        return self.home / "desk.port"

    @property
    def desk_address(self) -> str:
        """Where people reach the desk, without a slash at the end."""
        if self.desk_url is not None:
            return self.desk_url.rstrip("/")
        try:
            host, port = self.desk_port_file.read_text().split()
        except (OSError, ValueError):
            host, port = self.desk_host, str(self.desk_port or DEFAULT_DESK_PORT)
        host = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 (it is not bound)
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def locate(self, progress: Callable[[str], None] = lambda _: None) -> Located:
        """Finds the databases that these settings name (see `warehouse.locate`)."""
        return locate(
            self.home,
            self.database_url,
            self.dagster_database_url,
            self.schemas,
            self.timezone,
            self.platform_timezone,
            progress,
        )


def misspelt(names: Iterable[str]) -> dict[str, str]:
    """Returns the variables that look like a setting and are none, each with the setting meant."""
    known = [f"TUTOR_{name.upper()}" for name in Settings.model_fields]
    found = {}
    for name in names:
        if name.startswith("TUTOR_") and name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.85)
            if near:
                found[name] = near[0]
    return found


def load_settings() -> Settings:
    """Reads the settings. Raises UsageError that names each wrong variable."""
    try:
        settings = Settings()
    except ValidationError as error:
        lines = [
            f"TUTOR_{'_'.join(map(str, item['loc'])).upper()}: {_sentence(item['msg'])}"
            for item in error.errors()
        ]
        raise UsageError("wrong setting in the environment:\n  " + "\n  ".join(lines)) from error
    absolute: dict[str, object] = {"home": settings.home.expanduser().resolve()}
    if settings.source_map is not None:
        absolute["source_map"] = settings.source_map.expanduser().resolve()
    profile = Path(settings.rule_profile)
    if profile.suffix or len(profile.parts) > 1:
        # A file: make it absolute, because Dagster's processes have another working directory.
        absolute["rule_profile"] = str(profile.expanduser().resolve())
    return settings.model_copy(update=absolute)


def _sentence(message: str) -> str:
    return message.removeprefix("Value error, ")
