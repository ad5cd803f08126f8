"""The command `import`: what it asks, what it says, and what a kill leaves."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.integration.conftest import COMMAND, Project
from tests.unit.sources.conftest import SESSION, Export, line_of

pytestmark = pytest.mark.usefixtures("starts_something")


@pytest.fixture
def export(tmp_path: Path) -> Export:
    return Export(tmp_path / "export")


@contextmanager
def nobody_notes_a_load(project: Project) -> Iterator[None]:
    """An import waits here when everything is written and only its note is missing."""
    with psycopg.connect(project.url) as connection:
        connection.execute("lock table ops.platform_loads in exclusive mode")
        yield


def started(project: Project, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=project.environment,
    )


def wait_until(project: Project, condition: str) -> None:
    while project.query(f"select 1 where {condition}") == []:
        time.sleep(0.05)


WAITS_FOR_THE_NOTE = (
    "exists (select 1 from pg_locks where not granted"
    " and relation = to_regclass('ops.platform_loads'))"
)
ALONE = (
    "not exists (select 1 from pg_stat_activity where datname = current_database()"
    " and pid <> pg_backend_pid() and backend_type = 'client backend')"
)
STATE = (
    "select (select array_agg(id order by id) from platform.sessions),"
    " (select count(*) from ops.platform_loads)"
)


def test_a_kill_before_the_note_leaves_nothing_of_the_import(
    project: Project, export: Export
) -> None:
    project.run("import", "--clear", "--yes", str(export.path))
    before = project.query(STATE)
    export.sessions({"session_id": "S2"})
    with nobody_notes_a_load(project):
        process = project.start("import", "--clear", "--yes", str(export.path))
        wait_until(project, WAITS_FOR_THE_NOTE)
        process.send_signal(signal.SIGKILL)
        process.wait()
    wait_until(project, ALONE)
    assert project.query(STATE) == before
    result = project.json("import", str(export.path))
    assert [file["loaded"] for file in result["files"]] == [1, 1]
    assert project.query(STATE) == [(["S1", "S2"], before[0][1] + 1)]


def test_a_second_import_says_at_once_for_whom_it_waits(project: Project, export: Export) -> None:
    project.run("import", str(export.path))
    with nobody_notes_a_load(project):
        first = project.start("import", str(export.path))
        wait_until(project, WAITS_FOR_THE_NOTE)
        second = started(project, "import", str(export.path))
        assert second.stderr is not None
        said = next(line for line in second.stderr if "waiting for it to finish" in line)
    assert f"tutor-pipeline import (process {first.pid})" in said
    assert first.wait() == 0
    assert second.communicate() and second.returncode == 0


def test_clear_with_a_file_without_rows_asks_first(project: Project, export: Export) -> None:
    export.sessions({"session_id": "S7"})
    project.run("import", str(export.path))
    export.text("sessions.csv", line_of(list(SESSION)))
    before = project.query(STATE)
    said = " ".join(project.run("import", "--clear", str(export.path), status=3).stderr.split())
    assert "sessions.csv (the platform has" in said
    assert "Nothing was changed. If that is meant, say --yes." in said
    assert project.query(STATE) == before
    project.run("import", str(export.path))
    assert project.query(STATE)[0][0] == before[0][0]
    project.run("import", "--clear", "--yes", str(export.path))
    assert project.query(STATE)[0][0] is None


def test_what_an_import_says(project: Project, export: Export) -> None:
    good = dict.fromkeys(SESSION, "") | {
        name: SESSION[name] for name in ("session_id", "tutor_id", "session_completed")
    }
    good["session_datetime"] = "2001-02-03 16:00:00"
    export.rows("sessions.csv", [good])
    project.run("import", "--clear", "--yes", str(export.path))
    said = project.run("import", str(export.path)).stderr
    assert "days old (2001-02-03)" in said
    assert "enrich --as-of latest" in said
    export.text("sessions.csv", "sep=;\n" + ";".join(SESSION) + "\n")
    assert "sessions.csv: read as semicolons (its line sep= says so), UTF-8" in (
        project.run("import", str(export.path)).stderr
    )
    export.sessions({"session_datetime": "03/04/2026"})
    refused = project.run("import", str(export.path), status=3).stderr
    assert 'line 2: session_datetime is "03/04/2026"' in refused
    assert "docs/csv-format.md#values" in refused


def test_a_mapping_says_what_an_export_calls_its_columns(
    new_project, export: Export, tmp_path: Path
) -> None:
    project = new_project()
    (export.path / "sessions.csv").unlink()
    row = {**SESSION, "session_datetime": "3.2.2026 16:00", "empathy_score": "7.5"}
    row = {
        name: value.replace(".", ",") if name != "session_datetime" else value
        for name, value in row.items()
    }
    row["Lesson No."] = row.pop("session_id")
    export.text("lessons.csv", ";".join(row) + "\n" + ";".join(row.values()) + "\n")
    path = tmp_path / "source.yml"
    path.write_text(
        "files:\n  sessions.csv:\n    file: lessons.csv\n    dates: day first\n"
        "    decimal: ','\n    columns: {session_id: Lesson}\n",
        encoding="utf-8",
    )
    refused = project.run("import", "--map", str(path), str(export.path), status=3)
    assert "no column Lesson, which the mapping has for session_id (nearest: Lesson No.)" in (
        " ".join(refused.stderr.split())
    )
    path.write_text(path.read_text().replace("Lesson}", "Lesson No.}"), encoding="utf-8")
    project.run("import", "--map", str(path), str(export.path))
    assert project.query("select id, scheduled_start::text from platform.sessions") == [
        ("S1", "2026-02-03 16:00:00+00")
    ]
    # A mapping may be about another database too.
    path.write_text(
        f"tables: {{sessions: {{relation: lessons}}}}\n{path.read_text()}", encoding="utf-8"
    )
    assert "Imported." in project.run("import", "--map", str(path), str(export.path)).stderr
    path.write_text("files: {session.csv: {}}\n", encoding="utf-8")
    wrong = project.run("import", "--map", str(path), str(export.path), status=1)
    assert "did you mean sessions.csv?" in wrong.stderr
