"""The import under load: memory, and a kill at any moment. Slow."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.unit.sources.conftest import SESSION, Export, Imports, line_of

pytestmark = pytest.mark.long

ROWS = 5_000_000
"""The promise: so many rows in under 200 MB."""

_IMPORT = """
import json, re, sys
from datetime import UTC, datetime
from pathlib import Path
from tutor_pipeline.sources.csv.importing import Wishes, import_folder
from tutor_pipeline.core.warehouse.database import Warehouse

print("started", flush=True)
summary = import_folder(
    Warehouse(sys.argv[1]),
    Path(sys.argv[2]),
    Wishes(max_bad=1),
    as_of=datetime(2026, 3, 1, tzinfo=UTC),
)
sessions = summary.files[1]
# Not getrusage: its peak survives exec, and so holds the memory of the process that forked.
peak_kb = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
print(json.dumps({
    "loaded": sessions.loaded,
    "quarantined": sessions.quarantined,
    "peak_mb": int(peak_kb) / 1024,
}))
"""


def write_sessions(path: Path, rows: int, *, bad_every: int) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)
    with path.open("w", encoding="utf-8") as file:
        file.write(line_of(list(SESSION)))
        rest = line_of(list(SESSION.values())[3:])
        for n in range(rows):
            moment = start + timedelta(seconds=n, microseconds=n % 1_000_000)
            tutor = "T9" if n % bad_every == 0 else "T1"
            file.write(f"S{n},{tutor},{moment},{rest}")


def start_import(imports: Imports, export: Export) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _IMPORT, imports.warehouse.url, str(export.path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


@pytest.mark.timeout(3600)
def test_memory_does_not_grow_with_the_file(export: Export, imports: Imports) -> None:
    write_sessions(export.path / "sessions.csv", ROWS, bad_every=1000)
    process = start_import(imports, export)
    out, _ = process.communicate()
    result = json.loads(out)
    bad = ROWS // 1000
    assert (result["loaded"], result["quarantined"]) == (ROWS - bad, bad)
    assert result["peak_mb"] < 200


def test_a_kill_at_any_moment_leaves_all_or_nothing(
    export: Export, imports: Imports, tmp_path: Path
) -> None:
    one_session = Export(tmp_path / "before")
    write_sessions(export.path / "sessions.csv", 40_000, bad_every=100)

    def reset() -> None:
        imports.run(one_session, clear=True)

    def state() -> tuple[object, object]:
        return imports.platform(), imports.quarantine()

    reset()
    before = state()
    process = start_import(imports, export)
    begun = time.monotonic()
    process.communicate()
    whole = time.monotonic() - begun
    wanted = state()
    reset()
    interrupted = 0
    for moment in range(1, 12):
        process = start_import(imports, export)
        time.sleep(whole * moment / 12)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        wait_for_server(imports)
        now = state()
        # The server may have been committing already; half of it is never there.
        assert now in (before, wanted), moment
        interrupted += now == before
        if now == wanted:
            reset()
    assert interrupted >= 5
    start_import(imports, export).communicate()
    assert state() == wanted


def wait_for_server(imports: Imports) -> None:
    """Until the server has noticed that its client is gone."""
    while imports.query(
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and pid <> pg_backend_pid() and backend_type = 'client backend'"
    ) != [(0,)]:
        time.sleep(0.1)
