"""How long a year of days takes: snapshots and history, beside the wide row once per day.

    python benchmarks/history.py                       # 150 and 3,000 tutors, 365 days
    python benchmarks/history.py --tutors 3000 --days 90

Each size gets an embedded server in a temporary folder, a synthetic platform of 90 days more than
asked for and a refresh; then dbt builds each table for the whole range, as a backfill does. The
baseline is `tutor_aggregates` (its SELECT into a new table, without dbt) as of the ends of some
of these days, spread evenly, times the number of days. It is what history would take if it were
that model once per day; it has the evidence, which history has not.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from tutor_pipeline.core.warehouse import migrate
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.embedded import EmbeddedServer
from tutor_pipeline.core.warehouse.platform import ensure_platform
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun, end_of_day, write_header
from tutor_pipeline.metrics import dbt
from tutor_pipeline.sources.synthetic.generator import generate
from tutor_pipeline.sources.synthetic.load import load
from tutor_pipeline.sources.synthetic.parameters import Parameters

SESSIONS_PER_DAY = {150: 155, 3_000: 3_100}
CURRENT = ("session_rows", "fct_sessions", "dim_tutors", "int_tutor_days", "tutor_aggregates")
SAMPLE = 6


class Bench:
    """One platform of one size."""

    def __init__(
        self,
        home: Path,
        url: str,
        tutors: int,
        days: int,
        last: date,
        sessions_per_day: int | None = None,
    ) -> None:
        self.warehouse, self.home = Warehouse(url), home
        migrate.upgrade(self.warehouse)
        parameters = Parameters(
            tutors=tutors,
            days=days + 90,
            sessions_per_day=sessions_per_day or SESSIONS_PER_DAY.get(tutors, tutors),
            end=last,
        )
        with self.warehouse.connect() as database:
            ensure_platform(database)
            load(database, generate(parameters))

    def dbt(self, command: str, as_of: date, *models: str, first: date | None = None) -> float:
        """Seconds that dbt takes for these models, as of the end of a day or for days."""
        run = RefreshRun(
            uuid4().hex,
            min(end_of_day(as_of, self.warehouse.timezone), datetime.now(UTC)),
            snapshot_from=first,
            snapshot_until=None if first is None else as_of,
        )
        write_header(self.warehouse, run)
        environment = dbt.dbt_environment(self.warehouse, run.run_id, self.home)
        began = time.perf_counter()
        dbt.invoke([command, "--select", *models], environment)
        return time.perf_counter() - began

    def wide_row(self, day: date) -> float:
        """Seconds of the wide row of all tutors as of the end of the day."""
        self.dbt("compile", day, "tutor_aggregates")
        (path,) = (dbt.target_dir(self.home) / "compiled").rglob("tutor_aggregates.sql")
        with self.warehouse.connect(options="-c jit=off -c work_mem=128MB") as database:
            began = time.perf_counter()
            database.execute(f"create table pg_temp.wide as {path.read_text(encoding='utf-8')}")
            return time.perf_counter() - began

    def rows(self, table: str) -> int:
        with self.warehouse.connect() as database:
            query = self.warehouse.sql(f"select count(*) from {{marts}}.{table}")
            ((found,),) = database.execute(query).fetchall()
        return int(found)


def measure(tutors: int, days: int) -> None:
    home = Path(tempfile.mkdtemp(prefix="tutor-benchmark-"))
    home.chmod(0o755)  # as root, the server runs as another user
    server = EmbeddedServer(home)
    try:
        server.ensure_running()
        last = datetime.now(UTC).date() - timedelta(days=1)
        first = last - timedelta(days=days - 1)
        bench = Bench(home, server.url("postgres"), tutors, days, last)
        bench.dbt("run", last, *CURRENT)
        step = max(days // SAMPLE, 1)
        sampled = [first + timedelta(days=at) for at in range(0, days, step)]
        plain = sum(map(bench.wide_row, sampled)) / len(sampled) * days
        report(f"\n{tutors:,} tutors, {days} days\n")
        report(f"  the wide row once per day   {plain:7.1f} s (from {len(sampled)} days)\n")
        for table in ("tutor_performance_snapshots", "tutor_aggregates_history"):
            for what in ("first", "again"):
                seconds = bench.dbt("run", last, table, first=first)
                report(
                    f"  {table} {what}: {seconds:7.1f} s, {bench.rows(table):,} rows,"
                    f" {plain / seconds:.1f} x as fast as the wide row once per day\n"
                )
    finally:
        server.stop()
        shutil.rmtree(home)


def report(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tutors", type=int, action="append", help="a size; may be repeated")
    parser.add_argument("--days", type=int, default=365)
    options = parser.parse_args()
    for tutors in options.tutors or (150, 3_000):
        measure(tutors, options.days)


if __name__ == "__main__":
    main()
