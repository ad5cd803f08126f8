"""How well who leaves of the students is foretold, on synthetic platforms of every kind.

    python benchmarks/students.py                        # 150 tutors, two seeds of each world
    python benchmarks/students.py --worlds drift --seeds 3

Makes each platform on a server of its own in a temporary folder, then runs the back-test of all
scorers of students: learned scorers are fitted per time fold, on what was known before it, and a
gradient boosting on the same columns shows what there is to be had. Rows of all seeds are taken
together.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import psycopg

from tutor_pipeline.cli.scores_judge import END, SESSIONS_A_DAY
from tutor_pipeline.core.warehouse import migrate
from tutor_pipeline.core.warehouse.database import Schemas, Warehouse
from tutor_pipeline.core.warehouse.embedded import EmbeddedServer
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun, end_of_day, write_header
from tutor_pipeline.judgement.scores.backtest import BOOSTING
from tutor_pipeline.judgement.scores.departure.students import STUDENTS
from tutor_pipeline.judgement.scores.known_truth import DAYS, auc
from tutor_pipeline.judgement.scores.score import Level
from tutor_pipeline.metrics import dbt
from tutor_pipeline.sources.synthetic import Parameters, generate
from tutor_pipeline.sources.synthetic.load import load
from tutor_pipeline.sources.synthetic.worlds import WORLDS
from tutor_pipeline.steps import backtest_students

MODELS = ("+student_evidence_history", "student_aggregates_history")
YEARLY_RATE = 0.5
CHALLENGERS = ("departures_alone", BOOSTING, "weighted_v1", "student_health_v1")
SCORERS = (STUDENTS.priors, STUDENTS.scorer, *CHALLENGERS)


def backtest(server: EmbeddedServer, home: Path, world: str, tutors: int, seed: int) -> Any:
    """The back-test of one platform, of the question whether students leave."""
    name = f"bench_{uuid4().hex}"
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"create database {name}")
    warehouse = Warehouse(server.url(name), Schemas(), "UTC", "UTC")
    migrate.upgrade(warehouse)
    sessions: dict[str, Any] = {"sessions_per_day": round(SESSIONS_A_DAY * tutors)}
    population = generate(
        Parameters(
            end=END,
            tutors=tutors,
            days=DAYS,
            seed=seed,
            world=world,
            interventions=False,
            experiments=False,
            **({} if WORLDS[world].sessions_a_week is not None else sessions),
        )
    )
    run = RefreshRun(uuid4().hex, end_of_day(END, "UTC"), None)
    with warehouse.connect() as connection:
        load(connection, population)
    write_header(warehouse, run)
    dbt.invoke(["run", "--select", *MODELS], dbt.dbt_environment(warehouse, run.run_id, home))
    with warehouse.connect() as connection:
        past = backtest_students.read_past(connection, run.as_of, 52)
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)")
    result = backtest_students.run_backtest(past, YEARLY_RATE, lambda *_: None, replicates=1)
    return result.answers[0]


def line(world: str, answers: list[Any]) -> str:
    """Of all seeds: AUC of every scorer, and how many of those at High left."""
    left = np.concatenate([answer.sample.labels for answer in answers])
    figures = []
    for name in SCORERS:
        found = [answer.predictions[name].scores for answer in answers]
        # Who has no score ranks last.
        scores = np.nan_to_num(np.concatenate(found), nan=-1.0)
        figures.append(f"{auc(scores, left) or 0:.3f}")
    high = right = 0.0
    for answer in answers:
        tested = next(each for each in answer.tested if each.scorer == STUDENTS.scorer)
        for each in tested.levels:
            if each.level is Level.HIGH:
                high += each.rows
                right += each.rows * (each.observed.value or 0.0)
    share = f" ({right / high:.0%})" if high else ""
    cells = (world, len(answers), f"{len(left):,}", f"{left.mean():.1%}", *figures)
    return f"| {' | '.join(map(str, cells))} | {right:.0f} of {high:.0f}{share} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--worlds", nargs="+", choices=list(WORLDS), default=list(WORLDS))
    parser.add_argument("--tutors", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tutor-students-"))
    server = EmbeddedServer(folder)
    server.ensure_running()
    try:
        print(f"| world | seeds | rows | left | {' | '.join(SCORERS)} | High: right |", flush=True)
        print("| --- " * (len(SCORERS) + 5) + "|")
        for world in given.worlds:
            began = time.perf_counter()
            answers = [
                backtest(server, folder, world, given.tutors, seed)
                for seed in range(1, given.seeds + 1)
            ]
            print(line(world, answers), f" {time.perf_counter() - began:.0f} s", flush=True)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
