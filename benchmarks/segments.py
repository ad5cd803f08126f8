"""Who is called a star or at_risk, beside the truth, on synthetic platforms.

    python benchmarks/segments.py                       # seeds 1 and 2 of three worlds, 150 tutors
    python benchmarks/segments.py --world sparse --seeds 8

Each platform runs for 400 days on an embedded server in a temporary folder. The weekly days of the
history are judged, each by what was usual that day, with nothing learned and no segment held.
Prints Markdown: AUC of burnout for being at risk now; stars, those truly at risk among them; and
how many are at_risk on a day, on the median one and on the one with most of them.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import psycopg

from tutor_pipeline.core.warehouse import migrate
from tutor_pipeline.core.warehouse.database import Schemas, Warehouse
from tutor_pipeline.core.warehouse.embedded import EmbeddedServer
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun, end_of_day, write_header
from tutor_pipeline.judgement.scores import health, segments
from tutor_pipeline.judgement.scores.departure import learning, outcomes, scorer
from tutor_pipeline.judgement.scores.departure.tutors import TUTORS
from tutor_pipeline.judgement.scores.known_truth import auc
from tutor_pipeline.judgement.scores.score import Level
from tutor_pipeline.judgement.scores.segments import TutorSegment
from tutor_pipeline.judgement.scores.storage import evidence_history
from tutor_pipeline.metrics import dbt
from tutor_pipeline.sources.synthetic import Parameters, generate
from tutor_pipeline.sources.synthetic.load import load
from tutor_pipeline.sources.synthetic.worlds import WORLDS
from tutor_pipeline.steps.backtest_tutors import Past, read_past

END, DAYS = date(2026, 6, 27), 400
WEEKS = 52
YEARLY_RATE = 0.25
BUILT = (
    "+tutor_aggregates",
    "dim_students",
    "+tutor_evidence_history",
    "tutor_departures",
)
Levels = dict[tuple[str, date], Level | None]


def make(server: EmbeddedServer, home: Path, world: str, tutors: int, seed: int) -> Warehouse:
    """A platform, and the tables of its past."""
    name = f"segments_{uuid4().hex}"
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(f'create database "{name}"')
    warehouse = Warehouse(server.url(name), Schemas(), "UTC", "UTC")
    migrate.upgrade(warehouse)
    sessions: dict[str, Any] = (
        {} if WORLDS[world].sessions_a_week else {"sessions_per_day": round(0.4 * tutors)}
    )
    population = generate(
        Parameters(
            end=END,
            tutors=tutors,
            days=DAYS,
            seed=seed,
            world=world,
            interventions=False,
            experiments=False,
            **sessions,
        )
    )
    with warehouse.connect() as connection:
        load(connection, population)
    first = END - timedelta(days=DAYS - 91)
    for models, days in (
        (BUILT, (None, None)),
        (("tutor_aggregates_history",), (first, END)),
        (("tutor_features_history",), (None, None)),
    ):
        run = RefreshRun(uuid4().hex, end_of_day(END, "UTC"), None, *days)
        write_header(warehouse, run)
        environment = dbt.dbt_environment(warehouse, run.run_id, home)
        dbt.invoke(["run", "--select", *models], environment)
    return warehouse


def levels(warehouse: Warehouse) -> Levels:
    """What departure_v1 would have called each tutor, each week, with nothing learned."""
    found: Levels = {}
    with warehouse.connect() as database:
        days = evidence_history.days(database, TUTORS, END)
        for week in evidence_history.weeks(database, TUTORS, days, {}):
            standard = outcomes.standard(TUTORS, week)
            version = learning.learn(
                TUTORS,
                standard.z[standard.is_there],
                standard.reference.known,
                learning.nothing(TUTORS),
                YEARLY_RATE,
            )
            for score in scorer.score_columns(
                week.ids, week.columns, standard.reference, version, "priors"
            ):
                found[score.subject_id, week.day] = score.level
    return found


def judged(past: Past, risks: Levels) -> Iterator[tuple[date, TutorSegment | None, float, bool]]:
    """Day, segment, burnout and truth of everybody whose burnout is told."""
    for day, every in past.history.items():
        rows = [row for row in every if (row["tutor_id"], day) in past.at_risk]
        usual = health.fit(rows)
        for tutor in health.assess(rows, usual):
            at = tutor.tutor_id, day
            evidence = health.star_evidence(tutor, usual, risks.get(at))
            segment = segments.of_tutor(tutor.burnout_risk_30d, tutor.health_score, None, evidence)
            if tutor.burnout_risk_30d is not None:
                yield day, segment, tutor.burnout_risk_30d, past.at_risk[at]


def line(warehouse: Warehouse, world: str, seed: int) -> str:
    with warehouse.connect() as connection:
        past = read_past(connection, end_of_day(END, "UTC"), WEEKS)
    assert past is not None
    found = list(judged(past, levels(warehouse)))
    truth = np.array([at_risk for *_, at_risk in found])
    ranked = auc(np.array([burnout for *_, burnout, _ in found]), truth)
    stars = [at_risk for _, segment, _, at_risk in found if segment is TutorSegment.STAR]
    a_day = Counter(dict.fromkeys(past.history, 0))
    a_day.update(day for day, segment, *_ in found if segment is TutorSegment.AT_RISK)
    most = max(a_day, key=lambda day: (a_day[day], day))
    return (
        f"| {world} | {seed} | {len(found):,} | {truth.sum()} | {ranked:.3f} | {len(stars)} |"
        f" {sum(stars)} | {statistics.median(a_day.values()):.0f} | {a_day[most]} on {most} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--world", action="append", choices=WORLDS, help="may be repeated")
    parser.add_argument("--tutors", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=2)
    chosen = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="tutor-benchmark-"))
    home.chmod(0o755)  # as root, the server runs as another user
    server = EmbeddedServer(home)
    print("| world | seed | rows | at risk | AUC | stars | at risk | at_risk a day | most |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    try:
        server.ensure_running()
        for world in chosen.world or ("ordinary", "sparse", "seasonal"):
            for seed in range(1, chosen.seeds + 1):
                warehouse = make(server, home, world, chosen.tutors, seed)
                print(line(warehouse, world, seed), flush=True)
    finally:
        server.stop()
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
