"""Who needs attention under each rule profile, on synthetic platforms of many kinds.

    python benchmarks/attention.py                # 9 worlds, seeds 1 to 10, 150 tutors
    python benchmarks/attention.py --world busy --seeds 2
    python benchmarks/attention.py --world ordinary --seeds 2 --refreshes 30

Makes each platform on a server of its own in a temporary folder, refreshes, scores and evaluates
it with the pipeline's own code, and prints two tables: how many tutors each profile lists per
world, and of each rule of the first profile how many it lists, with how many of them are planted
or truly at risk. `--refreshes` evaluates so many days in a row instead, and counts alerts that
open and close more than once.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from statistics import mean
from uuid import uuid4

import psycopg
from psycopg import sql

from tutor_pipeline.core.findings import Kind, Step
from tutor_pipeline.core.warehouse import migrate
from tutor_pipeline.core.warehouse.database import Schemas, Warehouse
from tutor_pipeline.core.warehouse.embedded import EmbeddedServer
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun, end_of_day, write_header
from tutor_pipeline.judgement.lifecycle import store
from tutor_pipeline.judgement.rules.catalogue import load_catalogue
from tutor_pipeline.judgement.rules.evaluate import evaluate
from tutor_pipeline.judgement.rules.profiles import shipped
from tutor_pipeline.metrics import dbt, wide_rows
from tutor_pipeline.metrics.thresholds import thresholds
from tutor_pipeline.sources.synthetic import Parameters, generate
from tutor_pipeline.sources.synthetic.load import load
from tutor_pipeline.sources.synthetic.worlds import WORLDS
from tutor_pipeline.steps.judge import judge
from tutor_pipeline.steps.score import Scoring, score_tutors
from tutor_pipeline.steps.usual import usual_here

DAYS = 120
ENDS = {"seasonal": date(2026, 7, 20)}
"""The last day: in the world with holidays one of them."""
END = date(2026, 6, 27)
MODELS = ("+tutor_aggregates", "+tutor_features", "+tutor_evidence", "dim_tutors")

# Who has something to be found, beside those at risk: kinds of tutors, and what was planted.
KINDS = ("no_show_problem", "burned_out_veteran", "struggling_newbie")
PATTERNS = ("reschedules_on_fridays", "declining_veteran", "technical_trouble", "runs_of_bad_days")
RIGHT = """
    select tutor_id from {truth}.tutor_days where day = %(day)s and is_at_risk
    union select tutor_id from {truth}.tutors where persona = any(%(kinds)s)
    union select tutor_id from {truth}.planted_patterns where pattern = any(%(patterns)s)
"""


@dataclass
class Found:
    """Of one world: tutors listed by profile, an entry per seed; by rule how many, and right."""

    tutors: int = 0
    by_profile: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    by_rule: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)


@contextmanager
def platform(
    server: EmbeddedServer, world: str, tutors: int, seed: int, end: date
) -> Iterator[Warehouse]:
    name = f"bench_{uuid4().hex}"
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    warehouse = Warehouse(server.url(name), Schemas(), "UTC", "UTC")
    migrate.upgrade(warehouse)
    load_of = {} if WORLDS[world].sessions_a_week else {"sessions_per_day": tutors * 4 // 10}
    population = generate(
        Parameters(
            end=end,
            tutors=tutors,
            days=DAYS,
            seed=seed,
            world=world,
            interventions=False,
            experiments=False,
            **load_of,
        )
    )
    with warehouse.connect() as connection:
        load(connection, population)
    yield warehouse
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def refresh(warehouse: Warehouse, home: Path, day: date) -> str:
    """The metrics and scores as of the end of a day."""
    run = RefreshRun(uuid4().hex, end_of_day(day, "UTC"), None)
    write_header(warehouse, run)
    dbt.invoke(["run", "--select", *MODELS], dbt.dbt_environment(warehouse, run.run_id, home))
    with warehouse.connect() as connection:
        score_tutors(connection, run.run_id, Scoring("auto", 0.25, 0.5))
    return run.run_id


def look(warehouse: Warehouse, home: Path, end: date, found: Found) -> None:
    run_id = refresh(warehouse, home, end)
    with warehouse.connect() as connection:
        right = {
            tutor
            for (tutor,) in connection.execute(
                RIGHT,
                {"day": end, "kinds": list(KINDS), "patterns": list(PATTERNS)},
            ).fetchall()
        }
        for number, profile in enumerate(shipped()):
            catalogue = load_catalogue(profile, wide_rows.rule_inputs(), thresholds())
            wide = wide_rows.read(connection, run_id, catalogue.columns(Kind.ALERT))
            usual = usual_here(connection, catalogue, Kind.ALERT, wide, keep=False)
            evaluation = evaluate(catalogue, Kind.ALERT, wide.rows, wide.as_of, (), usual)
            listed = {each.tutor_id for each in evaluation.findings}
            found.by_profile[profile].append(len(listed))
            if number == 0:
                found.tutors += len(wide.rows)
                for each in evaluation.findings:
                    found.by_rule[each.rule_id] += 1
                    found.right[each.rule_id] += each.tutor_id in right


def follow(
    warehouse: Warehouse, home: Path, end: date, refreshes: int
) -> tuple[int, int, list[int]]:
    """How many alerts there were in so many days, how many of them opened and closed twice, and the
    tutors listed on each day.
    """
    catalogue = load_catalogue(next(iter(shipped())), wide_rows.rule_inputs(), thresholds())
    opened: Counter[tuple[str, str]] = Counter()
    closed: Counter[tuple[str, str]] = Counter()
    listed = []
    for back in reversed(range(refreshes)):
        run_id = refresh(warehouse, home, end - timedelta(days=back))
        with warehouse.connect() as connection:
            store.lock(connection, Kind.ALERT)
            changes = judge(connection, catalogue, Kind.ALERT, run_id).applied.changes
            for change in changes:
                pair = change.tutor_id, change.rule_id
                opened[pair] += change.step is Step.OPENED
                closed[pair] += change.step is Step.RESOLVED
            row = connection.execute(
                "select count(distinct tutor_id) from {ops}.alerts where resolved_at is null"
            ).fetchone()
            listed.append(row[0] if row else 0)
    alerts = sum(number > 0 for number in opened.values())
    twice = sum(min(opened[pair], closed[pair]) > 1 for pair in opened)
    return alerts, twice, listed


def show(found: dict[str, Found], seeds: int) -> None:
    profiles = list(shipped())
    print(f"\n| world | {' | '.join(profiles)} |\n| --- |{' --- |' * len(profiles)}")
    for world, each in found.items():
        cells = [
            f"{mean(counts):.1f} ({min(counts)} to {max(counts)})"
            for counts in (each.by_profile[profile] for profile in profiles)
        ]
        print(f"| {world} | {' | '.join(cells)} |")
    rules = sorted({rule for each in found.values() for rule in each.by_rule})
    print(f"\n| rule | {' | '.join(found)} |\n| --- |{' --- |' * len(found)}")
    for rule in rules:
        cells = [
            f"{each.by_rule[rule]} ({each.right[rule]})" if each.by_rule[rule] else "–"
            for each in found.values()
        ]
        print(f"| `{rule}` | {' | '.join(cells)} |")
    print(f"\n{seeds} seeds; {', '.join(f'{w}: {e.tutors:,} tutors' for w, e in found.items())}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--world", action="append", choices=list(WORLDS))
    parser.add_argument("--tutors", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--refreshes", type=int, default=0, help="so many days in a row")
    chosen = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="tutor-benchmark-"))
    home.chmod(0o755)  # as root, the server runs as another user
    server = EmbeddedServer(home)
    found: dict[str, Found] = {}
    try:
        server.ensure_running()
        for world in chosen.world or WORLDS:
            end = ENDS.get(world, END)
            found[world] = Found()
            for seed in range(1, chosen.seeds + 1):
                with platform(server, world, chosen.tutors, seed, end) as warehouse:
                    if chosen.refreshes:
                        alerts, twice, listed = follow(warehouse, home, end, chosen.refreshes)
                        print(
                            f"{world}, seed {seed}: {alerts} alerts, {twice} opened and closed"
                            f" twice; tutors listed {min(listed)} to {max(listed)}",
                            flush=True,
                        )
                    else:
                        look(warehouse, home, end, found[world])
                        counts = {name: each[-1] for name, each in found[world].by_profile.items()}
                        print(f"{world}, seed {seed}: {counts}", flush=True)
        if not chosen.refreshes:
            show(found, chosen.seeds)
    finally:
        server.stop()
        shutil.rmtree(home)


if __name__ == "__main__":
    sys.exit(main())
