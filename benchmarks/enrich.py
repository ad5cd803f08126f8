"""`tutor-pipeline enrich` as a whole process, with its time split into start, dbt, rules, write.

    .venv/bin/python benchmarks/enrich.py                # 150 and 3,000 tutors
    .venv/bin/python benchmarks/enrich.py --tutors 150 --runs 5

Each size gets an embedded server and a home of its own in a temporary folder. The first run of a
size is not counted (tables are made, caches are cold). The baseline of a size is the same process
doing nothing but loading the pipeline (`start`); ratios say what the work itself costs beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

COMMAND = [sys.executable, "-c", "from tutor_pipeline.cli import main; main()"]
# 5,400 sessions in 90 days, the default month of a platform, and 271,000.
SESSIONS_PER_DAY = {150: 60, 3_000: 3_011}
STAGES = ("start", "dbt", "rules", "write")


def run(home: Path, *arguments: str) -> tuple[float, str]:
    began = time.perf_counter()
    result = subprocess.run(
        [*COMMAND, *arguments],
        env={**os.environ, "TUTOR_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        sys.exit(f"{arguments} failed:\n{result.stdout}{result.stderr}")
    return time.perf_counter() - began, result.stdout


def measure(tutors: int, runs: int) -> None:
    home = Path(tempfile.mkdtemp(prefix="tutor-benchmark-"))
    home.chmod(0o755)  # as root, the server runs as another user
    try:
        per_day = SESSIONS_PER_DAY.get(tutors, tutors)
        run(home, "generate", "--tutors", str(tutors), "--sessions-per-day", str(per_day))
        cold, _ = run(home, "enrich")
        measured = []
        for _ in range(runs):
            wall, out = run(home, "enrich", "--json")
            measured.append({"whole process": wall, **json.loads(out)["seconds"]})
        _, out = run(home, "status", "--json")
        sessions = json.loads(out)["rows"]["platform.sessions"]
        print(
            f"\n{tutors:,} tutors, {sessions:,} sessions; first run {cold:.1f} s, then {runs} warm"
        )
        start = median(row["start"] for row in measured)
        for name in ("whole process", *STAGES):
            values = [row[name] for row in measured]
            print(
                f"  {name:14} median {median(values):6.2f} s   min {min(values):6.2f}"
                f"   max {max(values):6.2f}   {median(values) / start:5.2f} x start"
            )
    finally:
        run(home, "down")
        shutil.rmtree(home)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tutors", type=int, action="append", help="a size; may be repeated")
    parser.add_argument("--runs", type=int, default=3, help="warm runs of each size (default 3)")
    options = parser.parse_args()
    for tutors in options.tutors or (150, 3_000):
        measure(tutors, options.runs)


if __name__ == "__main__":
    main()
