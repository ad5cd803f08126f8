"""What a mapping costs: the same rows read by the contract's names and by others, in turns.

    .venv/bin/python benchmarks/mapping.py                   # 14 days of 10,000 sessions
    .venv/bin/python benchmarks/mapping.py --per-day 1000 --rounds 9

Starts a PostgreSQL of its own in a temporary folder (or uses --url, where it makes and drops a
database), loads a synthetic platform, and copies its tables under other names of tables and
columns, with the same keys and indexes. Then medians of some rounds, and the ratio of the mapped
tables to the contract's:

peek       what the sensor does when nothing differs
take       500 changes, peek included
staging    dbt's session_rows, all of them
pass       dbt after a session: the rows and metrics of one tutor
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import uuid4

import yaml
from metrics import database, timed

from tutor_pipeline.core.warehouse import migrate
from tutor_pipeline.core.warehouse.database import Database, Schemas, Warehouse
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun, write_header
from tutor_pipeline.metrics import dbt
from tutor_pipeline.sources.changes import ledger
from tutor_pipeline.sources.contract import load_contract
from tutor_pipeline.sources.mapping.reading import mapped
from tutor_pipeline.sources.synthetic.generator import generate
from tutor_pipeline.sources.synthetic.load import load
from tutor_pipeline.sources.synthetic.parameters import Parameters

NOW = datetime(2026, 4, 1, tzinfo=UTC)
PASS = ("session_rows", "fct_sessions", "int_tutor_days", "tutor_aggregates")
TOUCH = """
    update {0} set {1} = coalesce({1}, 0) + 1
    where {2} in (select {2} from {0} where {3} <= '2026-04-01' order by {3} desc limit 500)
"""


class Side:
    """The pipeline's schemas for one way to read the platform."""

    def __init__(self, warehouse: Warehouse, home: Path, touch: str) -> None:
        self.warehouse = warehouse
        self.home = home
        self.touch = touch
        self.seconds: dict[str, list[float]] = {}
        migrate.upgrade(warehouse)
        self.database = warehouse.connect(autocommit=True)
        self.build()
        ledger.take_all(self.database, "full", NOW)
        self.settle("full")

    def settle(self, run_id: str) -> None:
        with self.database.transaction():
            ledger.settle(self.database, run_id)

    def build(self, tutors: tuple[str, ...] | None = None, *models: str) -> None:
        run = RefreshRun(uuid4().hex, NOW, tutors, None, None)
        write_header(self.warehouse, run)
        selected = ["--select", *models] if models else []
        dbt.invoke(
            ["--no-write-json", "run", *selected],
            dbt.dbt_environment(self.warehouse, run.run_id, self.home),
        )

    def time(self, name: str, work: Callable[[], object]) -> None:
        self.seconds.setdefault(name, []).append(timed(work))

    def round(self, tutor: str) -> None:
        self.time("peek", lambda: ledger.compare(self.database, NOW, whole=False))
        self.database.execute(self.touch)
        ledger.compare(self.database, NOW, whole=False)
        self.time("take", lambda: ledger.take(self.database, uuid4().hex, NOW))
        ledger.take_all(self.database, "full", NOW)
        self.settle("full")
        self.time("staging", lambda: self.build(None, "session_rows"))
        self.time("pass", lambda: self.build((tutor,), *PASS))


def rename(platform: Database, folder: Path) -> Path:
    """Copies the tables under other names, and returns the mapping that reads them."""
    platform.execute("create schema shop")
    entries = {}
    for table in load_contract().tables:
        if platform.value("select to_regclass(%s)", (f"platform.{table.name}",)) is None:
            continue
        theirs = f"their_{table.name}"
        platform.execute(
            f"create table shop.{theirs} (like platform.{table.name} including all);"
            f" insert into shop.{theirs} select * from platform.{table.name}"
        )
        columns = {}
        for column in table.columns:
            camel = "the" + column.name.title().replace("_", "")
            platform.execute(f'alter table shop.{theirs} rename {column.name} to "{camel}"')
            columns[column.name] = camel
        entries[table.name] = {"relation": theirs, "columns": columns}
    path = folder / "source.yml"
    path.write_text(yaml.safe_dump({"tables": entries}), encoding="utf-8")
    platform.execute("analyze")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--per-day", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--url", help="a server's database URL; without it an embedded one")
    arguments = parser.parse_args()
    with database(arguments.url) as (create, _), tempfile.TemporaryDirectory() as folder:
        plain = Warehouse(create())
        migrate.upgrade(plain)
        population = generate(
            Parameters(
                end=date(2026, 3, 31),
                days=arguments.days,
                tutors=max(20, arguments.per_day * 3 // 10),
                sessions_per_day=arguments.per_day,
                engagement_events=False,
                interventions=False,
                experiments=False,
            )
        )
        with plain.connect() as connection:
            load(connection, population)
        with plain.connect(autocommit=True) as connection:
            path = rename(connection, Path(folder))
            tutor = connection.value("select min(tutor_id) from {platform}.sessions")
        other = replace(plain, schemas=Schemas("mapped_", "shop"))
        sides = {
            "contract": Side(
                plain,
                Path(folder) / "plain",
                TOUCH.format("platform.sessions", "session_number", "id", "scheduled_start"),
            ),
            "mapped": Side(
                mapped(other, path),
                Path(folder) / "mapped",
                TOUCH.format(
                    "shop.their_sessions", '"theSessionNumber"', '"theId"', '"theScheduledStart"'
                ),
            ),
        }
        for number in range(arguments.rounds):
            for side in list(sides.values())[:: 1 if number % 2 else -1]:
                side.round(tutor)
        sys.stdout.write(f"{arguments.days} days of {arguments.per_day:,} sessions\n")
        for name in sides["contract"].seconds:
            names, mapping = (statistics.median(side.seconds[name]) for side in sides.values())
            sys.stdout.write(
                f"  {name:10} contract {1000 * names:8,.0f} ms   mapped {1000 * mapping:8,.0f} ms"
                f"   {mapping / names:5.2f} x\n"
            )
        for side in sides.values():
            side.database.close()


if __name__ == "__main__":
    main()
