"""How long departure_v1 takes to learn and to score.

    python benchmarks/departure.py                             # 10,000 tutors, three years
    python benchmarks/departure.py --tutors 1000 --days 400

Makes a platform on a server of its own in a temporary folder, then measures:

evidence   the evidence of all weeks of the past, in SQL
reading    the same as columns, and as the rows that a cursor gives (of one week, scaled)
learning   standardising every week, and the version that all departures teach; beside a plain
           logistic regression of scikit-learn on the same rows
scoring    all tutors, with reasons and intervals; beside the literal rule signals_v1
one tutor  the same of a single tutor, as after a session, from the stored JSON
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg.rows import dict_row

from tutor_pipeline.core.warehouse import migrate
from tutor_pipeline.core.warehouse.database import Schemas, Warehouse
from tutor_pipeline.core.warehouse.embedded import EmbeddedServer
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun, end_of_day, write_header
from tutor_pipeline.judgement.scores import signals
from tutor_pipeline.judgement.scores.departure import learning, outcomes, reference, scorer
from tutor_pipeline.judgement.scores.departure.challenger import departures_alone
from tutor_pipeline.judgement.scores.departure.measures import columns_of
from tutor_pipeline.judgement.scores.departure.tutors import TUTORS
from tutor_pipeline.judgement.scores.departure.version import Version
from tutor_pipeline.judgement.scores.storage import evidence_history
from tutor_pipeline.metrics import dbt
from tutor_pipeline.sources.synthetic import Parameters, generate
from tutor_pipeline.sources.synthetic.load import load

END = date(2026, 6, 30)
ROUNDS = 5


def say(what: str, seconds: float, beside: float | None = None, of: str = "") -> None:
    ratio = "" if beside is None else f"; {of} {beside:.2f} s, ratio {seconds / beside:.2f}"
    print(f"{what:34} {seconds:8.2f} s{ratio}", flush=True)


def make(server: EmbeddedServer, home: Path, tutors: int, days: int) -> Warehouse:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute("create database bench")
    warehouse = Warehouse(server.url("bench"), Schemas(), "UTC", "UTC")
    migrate.upgrade(warehouse)
    population = generate(
        Parameters(
            end=END,
            tutors=tutors,
            days=days,
            sessions_per_day=tutors * 4 // 10,
            interventions=False,
            experiments=False,
        )
    )
    with warehouse.connect() as connection:
        load(connection, population)
    build(warehouse, home, "+tutor_aggregates", "+tutor_evidence", "+tutor_departures")
    return warehouse


def build(warehouse: Warehouse, home: Path, *models: str) -> float:
    run = RefreshRun(uuid4().hex, end_of_day(END, "UTC"), None)
    write_header(warehouse, run)
    began = time.perf_counter()
    dbt.invoke(["run", "--select", *models], dbt.dbt_environment(warehouse, run.run_id, home))
    return time.perf_counter() - began


def measure(warehouse: Warehouse, home: Path) -> None:
    say("evidence of the past (SQL)", sql := build(warehouse, home, "tutor_evidence_history"))
    with warehouse.connect(row_factory=dict_row) as connection:
        began = time.perf_counter()
        some = connection.execute(
            "select * from {marts}.tutor_evidence_history where as_of_date = %s",
            (END - timedelta(days=1),),
        ).fetchall()
        as_rows = time.perf_counter() - began
    with warehouse.connect() as connection:
        began = time.perf_counter()
        days = evidence_history.days(connection, TUTORS, END)
        weeks = list(evidence_history.weeks(connection, TUTORS, days, {}))
        reading = time.perf_counter() - began
        departures = dict(
            connection.execute(
                "select tutor_id, departed_on from {marts}.tutor_departures"
            ).fetchall()
        )
    rows = sum(len(week.ids) for week in weeks)
    print(f"{rows:,} rows of {len(weeks)} weeks, {len(some):,} in the newest")
    say("reading", reading, as_rows * len(weeks), "as rows")

    began = time.perf_counter()
    standard = [outcomes.standard(TUTORS, week) for week in weeks]
    known = outcomes.gather(TUTORS, outcomes.matured(standard, departures, END), END)
    gathered = time.perf_counter() - began
    began = time.perf_counter()
    version = learning.learn(TUTORS, known.z, standard[-1].reference.known, known, 0.25)
    fitted = time.perf_counter() - began
    began = time.perf_counter()
    departures_alone(known)
    say("standardising", gathered)
    say("learning", fitted, time.perf_counter() - began, "scikit-learn")
    say("all of it, with the SQL", sql + reading + gathered + fitted)
    print(f"{version.departures:,} departures in {version.learned_rows:,} rows")

    with warehouse.connect(row_factory=dict_row) as connection:
        tutors = connection.execute(
            "select * from {marts}.tutor_evidence order by tutor_id"
        ).fetchall()
        wide = connection.execute("select * from {marts}.tutor_aggregates").fetchall()
    usual = reference.fit(TUTORS, columns_of(tutors, TUTORS.reads))
    began = time.perf_counter()
    scorer.score(tutors, usual, version, "1.1")
    scored = time.perf_counter() - began
    began = time.perf_counter()
    signals.score(wide)
    say(f"scoring {len(tutors):,} tutors", scored, time.perf_counter() - began, "signals_v1")

    texts = version.to_json(), usual.to_json()
    one = []
    for tutor in tutors[:: max(1, len(tutors) // 50)]:
        began = time.perf_counter()
        scorer.score(
            [tutor],
            reference.Reference.from_json(TUTORS, texts[1]),
            Version.from_json(TUTORS, texts[0]),
            "1.1",
        )
        one.append(time.perf_counter() - began)
    print(f"{'one tutor':34} {1000 * statistics.median(one):8.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tutors", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=1_100)
    chosen = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="tutor-benchmark-"))
    home.chmod(0o755)  # as root, the server runs as another user
    server = EmbeddedServer(home)
    try:
        server.ensure_running()
        measure(make(server, home, chosen.tutors, chosen.days), home)
    finally:
        server.stop()
        shutil.rmtree(home)


if __name__ == "__main__":
    sys.exit(main())
