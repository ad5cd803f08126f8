"""Runs dbt in this process: saves starting an interpreter, and a kill ends dbt too.

Belongs here: the environment that dbt reads, invoking it, readable errors.
Does not belong here: SQL, and knowledge of any model.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from psycopg.pq import Conninfo

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.paths import DBT_PROJECT_DIR
from tutor_pipeline.core.warehouse.database import APPLICATION_NAME, Schemas, Warehouse
from tutor_pipeline.core.warehouse.platform_source import PlatformSource

if TYPE_CHECKING:
    from dbt.cli.main import dbtRunnerResult
    from dbt.contracts.graph.manifest import Manifest


class DbtError(TutorPipelineError):
    """dbt failed: the nodes, each with the database's message."""


PROGRESS = "JinjaLogInfo"
"""The event with a macro's progress, in data.msg."""
# The events with the result of a model or a test, or with progress.
_TOLD = frozenset({"LogModelResult", "LogTestResult", PROGRESS})


def definition(*files: str) -> str:
    """Return the text of files of the project, and the vars: they define the tables."""
    project = yaml.safe_load(
        DBT_PROJECT_DIR.joinpath("dbt_project.yml").read_text(encoding="utf-8")
    )
    texts = [DBT_PROJECT_DIR.joinpath(file).read_text(encoding="utf-8") for file in files]
    return "\n".join([*texts, json.dumps(project["vars"], sort_keys=True)])


def target_dir(home: Path) -> Path:
    """Return the folder of dbt's manifest and compiled SQL: one per home, not in the checkout."""
    return home / "dbt" / "target"


def log_file(home: Path) -> Path:
    """Return the path of dbt's own log."""
    return home / "dbt" / "logs" / "dbt.log"


def compiled_sql(home: Path, node: Mapping[str, Any]) -> str | None:
    """Return the SQL of a manifest's node as dbt last compiled it, or None."""
    name = Path(node["original_file_path"])
    name = name / f"{node['name']}.sql" if name.suffix == ".yml" else name
    path = target_dir(home) / "compiled" / node["package_name"] / name
    return path.read_text(encoding="utf-8").strip() if path.exists() else None


def parse_environment(schemas: Schemas, home: Path) -> dict[str, str]:
    """Return the variables that `dbt parse` reads: names of schemas and folders, no connection."""
    return {
        "TUTOR_SCHEMA_PREFIX": schemas.prefix,
        "TUTOR_PLATFORM_SCHEMA": schemas.platform,
        "TUTOR_REPORTING_SCHEMA": schemas.reporting,
        "DBT_TARGET_PATH": str(target_dir(home)),
        "DBT_LOG_PATH": str(log_file(home).parent),
    }


def dbt_environment(warehouse: Warehouse, run_id: str | None, home: Path) -> dict[str, str]:
    """Return the variables that dbt reads: connection (libpq names), schemas, zones, folders, run.

    `run_id` None = whoever runs dbt gets a full refresh as of now.
    """
    # The settings of the URL under libpq's names. A connection supplies those that the URL leaves
    # to libpq: a socket, the system's user, the host that answers.
    environment = {
        option.envvar.decode(): option.val.decode()
        for option in Conninfo.parse(warehouse.url.encode())
        if option.envvar and option.val
    }
    with warehouse.connect() as database:
        info = database.info
        environment |= {
            "PGHOST": info.host,
            "PGPORT": str(info.port),
            "PGUSER": info.user,
            "PGDATABASE": info.dbname,
        }
    environment.pop("PGHOSTADDR", None)
    # The format of moments in a payload must not depend on the settings of a role.
    environment |= {"PGDATESTYLE": "ISO", "PGTZ": "UTC"}
    environment |= parse_environment(warehouse.schemas, home) | {
        "PGAPPNAME": APPLICATION_NAME,
        "TUTOR_TIMEZONE": warehouse.timezone,
        "TUTOR_PLATFORM_TIMEZONE": warehouse.platform_timezone,
        "TUTOR_SOURCE_TABLES": _mapped_tables(warehouse.source),
    }
    # Always set: a run id left in the shell must not reach a dbt that is called without one.
    environment["TUTOR_RUN_ID"] = run_id or ""
    return environment


def _mapped_tables(source: PlatformSource | None) -> str:
    """Return how the platform's tables are read, for macro platform_mapping; nothing without a
    mapping.
    """
    if source is None:
        return ""
    return json.dumps(
        {
            name: {
                "relation": table.text,
                "shape": table.shape,
                "shown": table.shown,
                "offers": table.offers,
                "timezones": dict(table.timezones),
            }
            for name, table in source.tables.items()
        },
        sort_keys=True,
    )


def invoke(
    args: Sequence[str],
    environment: Mapping[str, str],
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> dbtRunnerResult:
    """Run `dbt <args>` on our project, quietly. `on_event` gets each finished node, and what
    macros say of their progress, as in dbt's log.

    Changes the environment, so do not call it while other threads run. To run dbt in a thread, use
    `hold_environment` in the thread that starts it, and call `run`.
    Raises DbtError naming the nodes that failed, with the database's message.
    """
    with hold_environment(environment):
        return run(args, on_event)


def parse() -> Manifest:
    """Return the parsed project, for a process that calls `run` more than once."""
    result = run(["parse"])
    manifest: Manifest = result.result  # type: ignore[assignment]
    return manifest


def run(
    args: Sequence[str],
    on_event: Callable[[dict[str, Any]], None] | None = None,
    manifest: Manifest | None = None,
) -> dbtRunnerResult:
    """Do the same as `invoke` in the process's environment as it is. With `manifest`, the project
    is not parsed.
    """
    # Importing dbt takes a second, so it is imported on first use.
    from dbt.cli.main import dbtRunner
    from google.protobuf.json_format import MessageToDict

    complaints: list[str] = []

    def forward(event: Any) -> None:
        if event.info.level == "error":
            complaints.append(event.info.msg)
        if on_event is not None and event.info.name in _TOLD:
            on_event(MessageToDict(event, preserving_proto_field_name=True))

    # A copy: a run stores its compiled SQL in the manifest, and the next run refuses it.
    known = None if manifest is None else manifest.deepcopy()  # type: ignore[no-untyped-call]
    runner = dbtRunner(manifest=known, callbacks=[forward])
    where = ["--project-dir", str(DBT_PROJECT_DIR), "--profiles-dir", str(DBT_PROJECT_DIR)]
    result = runner.invoke(["--quiet", "--log-level", "none", *args, *where])
    if result.exception is not None and not isinstance(result.exception, Exception):
        raise result.exception  # somebody ends this process: no failure of dbt's
    if not result.success:
        raise DbtError(_failure(args, result, complaints))
    return result


def _failure(args: Sequence[str], result: dbtRunnerResult, complaints: Sequence[str]) -> str:
    nodes = [
        node
        for node in getattr(result.result, "results", None) or []
        if str(node.status) in {"error", "fail", "runtime error"}
    ]
    command = next((f"dbt {each}" for each in args if not each.startswith("-")), "dbt")
    if nodes:
        failures = [f"{node.node.name}: {_said(node.message)}" for node in nodes]
        return f"{command} failed at " + "\n".join(failures)
    # What a table reads may not compile; dbt then skips the table, and names the cause in its log
    # alone.
    causes = [_COLOUR.sub("", each) for each in complaints if " SKIP " not in each]
    said = str(result.exception or "\n".join(causes[:2]) or "see the log of dbt")
    return f"{command} failed: {_said(said)}"


_COLOUR = re.compile(r"\x1b\[\d*m")
_WHERE = re.compile(r"(?:\w+ Error|Failure) in .+ \((?P<file>.+)\)")
"""How dbt begins a message: it names the file, and the cause comes on the next line."""


def _said(message: str | None) -> str:
    """Return an error message without its stack of macros: the cause first, then the file. Who
    shortens a message to its first line keeps the cause.
    """
    lines = [line.strip() for line in (message or "").strip().splitlines()]
    lines = [line for line in lines if line and not line.startswith("> ")]
    file = None
    while len(lines) > 1 and (where := _WHERE.fullmatch(lines[0])):
        file, lines = where["file"], lines[1:]
    # What goes on after a colon ends with what to do.
    if file is not None and not lines[0].endswith(":"):
        lines.append(f"in {file}")
    return "\n".join(lines)


@contextmanager
def hold_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set `variables` in the process's environment, and restore it afterwards.

    PostgreSQL's client library reads the environment whenever it connects, and in C that is not
    safe while another thread adds or removes a variable: the process may crash. So use it in the
    thread that starts the others and outlives them. It changes only variables that differ.
    """
    wanted = {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false", **variables}
    before = {name: os.environ.get(name) for name in wanted}
    _set(wanted)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if os.environ.get(name) == value:
            continue
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
