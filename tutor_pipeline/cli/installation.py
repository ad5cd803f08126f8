"""Start-up of every command: settings, the warehouse, and the environment of child processes."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from tutor_pipeline.cli.console import warn
from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.paths import DBT_PROJECT_DIR, PROJECT_DIR
from tutor_pipeline.core.settings import Settings, load_settings, misspelt
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.embedded import EmbeddedServer
from tutor_pipeline.core.warehouse.locate import Located
from tutor_pipeline.core.warehouse.migrate import upgrade

# Disables telemetry of Dagster, dbt and every tool that honours the common switch.
QUIET = {
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "DO_NOT_TRACK": "1",
    "GX_ANALYTICS_ENABLED": "false",
}


@dataclass(frozen=True, slots=True)
class Session:
    """The settings and their databases."""

    settings: Settings
    located: Located

    @property
    def warehouse(self) -> Warehouse:
        """The pipeline's database."""
        return self.located.warehouse

    @property
    def reports(self) -> Path:
        """The folder of reports."""
        return self.settings.home / "reports"

    def environment(self) -> dict[str, str]:
        """Variables with which `dagster dev`, `dg`, `dbt` and `psql` use the same database."""
        from tutor_pipeline.metrics.dbt import dbt_environment

        settings = self.settings
        return {
            "TUTOR_HOME": str(settings.home),
            "TUTOR_RULE_PROFILE": settings.rule_profile,
            "TUTOR_SOURCE_MAP": str(settings.source_map or ""),
            "TUTOR_DATABASE_URL": self.warehouse.url,
            "TUTOR_DAGSTER_DATABASE_URL": self.located.dagster_url,
            "DAGSTER_HOME": str(dagster_home(settings)),
            **dbt_environment(self.warehouse, None, settings.home),
            # dbt finds the project from any folder.
            "DBT_PROJECT_DIR": str(DBT_PROJECT_DIR),
            "DBT_PROFILES_DIR": str(DBT_PROJECT_DIR),
            **QUIET,
            # dbt types the rows of a unit test by the existing tables: they belong to the
            # test run, which has a database for them.
            "DBT_EXCLUDE_RESOURCE_TYPES": "unit_test",
            # `dg` asks for an activated environment.
            **({"VIRTUAL_ENV": sys.prefix} if sys.prefix != sys.base_prefix else {}),
        }


def open_session(
    progress: Callable[[str], None] = lambda _: None, *, only_reads: bool = False
) -> Session:
    """Find the database (starting the embedded one), migrate it, prepare Dagster's home.

    `only_reads`: the verb looks at the platform's own tables alone, and leaves the database as it
    is; its user may have no right to do more.

    Raises TutorPipelineError with the problem and what to do.
    """
    settings = load_settings()
    for name, meant in misspelt(os.environ).items():
        warn(f"{name} is no setting and is not read; did you mean {meant}?")
    located = settings.locate(progress)
    if not only_reads and upgrade(located.warehouse):
        progress("Brought the database's schemas up to date")
    home = dagster_home(settings)
    try:
        home.mkdir(parents=True, exist_ok=True)
        _copy_when_different(PROJECT_DIR / "deploy" / "dagster.yaml", home / "dagster.yaml")
    except OSError as error:
        raise TutorPipelineError(
            f"cannot write to {home}: {error.strerror}\nSet TUTOR_HOME to a folder of your own."
        ) from error
    session = Session(settings, _mapped(settings, located))
    os.environ.update(session.environment())
    return session


def _mapped(settings: Settings, located: Located) -> Located:
    if settings.source_map is None:
        return located
    from tutor_pipeline.sources.mapping.reading import mapped

    return replace(located, warehouse=mapped(located.warehouse, settings.source_map))


def check_mapping(session: Session) -> None:
    """Raise TutorPipelineError with the line of each entry of the mapping that does not fit the
    database: a refresh would name the first one only, and no line.
    """
    if session.settings.source_map is None:
        return
    from tutor_pipeline.sources.mapping.verifying import verify

    with session.warehouse.connect() as database:
        verify(database, session.settings.source_map)


def check_dagster_database() -> None:
    """Raise TutorPipelineError if Dagster's own database cannot be reached: Dagster itself tries
    for long, and then shows a traceback.
    """
    name = "TUTOR_DAGSTER_DATABASE_URL"
    Warehouse(os.environ[name], named_by=name).connect().close()


def embedded_server(settings: Settings) -> EmbeddedServer:
    """The embedded server of these settings, whether running or not."""
    return EmbeddedServer(settings.home)


def dagster_home(settings: Settings) -> Path:
    """Dagster's home: its configuration and the logs of runs."""
    return settings.home / "dagster"


def program(name: str) -> str:
    """Path of a program installed beside this Python, without an activated environment."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name) or name


def yesterday() -> date:
    """The last whole day, in UTC."""
    return datetime.now(UTC).date() - timedelta(days=1)


def _copy_when_different(source: Path, target: Path) -> None:
    if not target.exists() or target.read_bytes() != source.read_bytes():
        partial = target.with_suffix(f".{os.getpid()}.part")
        shutil.copyfile(source, partial)
        partial.replace(target)
