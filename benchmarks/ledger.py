"""How long it takes to find what changed on the platform, to take it and to settle it.

    .venv/bin/python benchmarks/ledger.py                     # 14 and 90 days of 10,000 sessions
    .venv/bin/python benchmarks/ledger.py --days 14 --rounds 15

Starts a PostgreSQL of its own in a temporary folder (or uses --url, where it makes and drops
databases), loads a synthetic platform of that many days and fills the ledger as a first full
refresh does. Then medians and maxima of some rounds:

look       what a refresh that stands by does: the sessions of the last hours, nothing differs
slice      the same for the newest day, with metrics and feedback
peek       what the sensor does without one: all sessions of 14 days, nothing differs
hashes     the baseline: only the versions of these sessions, compared with nothing
whole      with metrics and feedback, nothing differs
peek, 500  the peek that finds 500 sessions changed, and the one after it, while they wait;
           the newest ones, and any
take       500 changes
settle     500 changes
full       what a full refresh takes when nothing differs
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from metrics import database, timed
from psycopg import sql

from tutor_pipeline.core.warehouse import migrate
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.sources.changes import ledger, versions
from tutor_pipeline.sources.changes.watch import Watch
from tutor_pipeline.sources.synthetic.generator import generate
from tutor_pipeline.sources.synthetic.load import load
from tutor_pipeline.sources.synthetic.parameters import Parameters

PER_DAY = 10_000
NOW = datetime(2026, 4, 1, tzinfo=UTC)
TOUCH = """
    update {platform}.sessions set session_number = coalesce(session_number, 0) + 1
    where id in (
        select id from {platform}.sessions
        where scheduled_start > %s and scheduled_start <= %s
        order by {order} limit 500
    )
"""
HASHES = "select count(session_version) from ({found}) as incoming"


class Bench:
    """One platform and its ledger."""

    def __init__(self, url: str, days: int) -> None:
        self.warehouse = Warehouse(url)
        migrate.upgrade(self.warehouse)
        self.seconds: dict[str, list[float]] = {}
        population = generate(
            Parameters(
                end=date(2026, 3, 31),
                days=days,
                tutors=3_000,
                sessions_per_day=PER_DAY,
                engagement_events=False,
                interventions=False,
                experiments=False,
            )
        )
        with self.warehouse.connect() as database:
            load(database, population)
        self.database = self.warehouse.connect(autocommit=True)
        self.watch = Watch(self.database)
        self.database.execute("vacuum analyze")
        self.time("first full", lambda: ledger.take_all(self.database, "full", NOW))
        self.time("settle first", lambda: self.settle("full"))
        self.database.execute("vacuum analyze")

    def time(self, name: str, work: Callable[[], object]) -> None:
        self.seconds.setdefault(name, []).append(timed(work))

    def settle(self, run_id: str) -> None:
        with self.database.transaction():
            ledger.settle(self.database, run_id)

    def compare(self, changes: int, *, whole: bool = False, since: timedelta | None = None) -> None:
        started = None if since is None else ledger.Started(NOW - since, NOW)
        queue = ledger.compare(self.database, NOW, whole=whole, started=started)
        assert queue.changes == changes, queue

    def hashes(self) -> None:
        columns = versions.read_columns(self.database)
        with self.database.transaction():
            self.database.execute("set local jit = off; set local work_mem = '64MB'")
            since = NOW - ledger.WINDOW
            self.database.execute(
                sql.SQL(HASHES).format(found=versions.session_versions(self.warehouse, columns)),
                {"since": since, "until": NOW, "recent": since},
            ).fetchone()

    def look(self) -> None:
        queue = self.watch.look(NOW)
        assert not queue.changes, queue

    def round(self) -> None:
        self.time("look", self.look)
        self.time("slice", lambda: self.compare(0, whole=True, since=timedelta(days=1)))
        self.time("peek", lambda: self.compare(0))
        self.time("hashes", self.hashes)
        self.time("whole", lambda: self.compare(0, whole=True))
        for which, order in (("newest", "scheduled_start desc"), ("any", "md5(id)")):
            self.database.execute(TOUCH.replace("{order}", order), (NOW - ledger.WINDOW, NOW))
            self.time(f"peek, 500 {which} new", lambda: self.compare(500))
            self.time(f"peek, 500 {which} wait", lambda: self.compare(500))
            self.time(f"take 500 {which}", lambda: ledger.take(self.database, "run", NOW))
            self.time("settle 500", lambda: self.settle("run"))
        self.time("full", lambda: ledger.take_all(self.database, "full", NOW))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--days", type=int, nargs="+", default=[14, 90])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--url", help="a server's database URL; without it an embedded one")
    arguments = parser.parse_args()
    with database(arguments.url) as (create, _):
        for days in arguments.days:
            bench = Bench(create(), days)
            for _ in range(arguments.rounds):
                bench.round()
            baseline = statistics.median(bench.seconds["hashes"])
            sys.stdout.write(f"{days} days of {PER_DAY:,} sessions\n")
            for name, seconds in bench.seconds.items():
                middle = statistics.median(seconds)
                sys.stdout.write(
                    f"  {name:22} median {1000 * middle:8,.0f} ms   max"
                    f" {1000 * max(seconds):8,.0f}   {middle / baseline:5.2f} x hashes\n"
                )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
