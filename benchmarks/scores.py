"""How long scoring and the back-test take, and how well the scores do.

    python benchmarks/scores.py scoring                 # 10,000 tutors
    python benchmarks/scores.py backtest                # 26 weekly dates, 3,000 tutors

Each arm gets an embedded server in a temporary folder, a synthetic platform and the tables that dbt
builds of it.

scoring   every scorer over all tutors, from reading their rows to the written tables, beside the
          same tutors scored one at a time (a sample of them, scaled to all)
backtest  reading the weekly dates, then every scorer on them, learned ones fitted anew per fold,
          figures with intervals for both targets, and the report; beside reading the rows alone.
          Then a version learned from all weeks that have matured, and the figures
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from history import CURRENT, Bench, report

from tutor_pipeline.core.warehouse.embedded import EmbeddedServer
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun, end_of_day, write_header
from tutor_pipeline.people.reports.backtest import render
from tutor_pipeline.steps.backtest_tutors import decision_of, learn_from, read_past, run_backtest
from tutor_pipeline.steps.score import Scoring, score_tutors

SAMPLE = 40
"""Tutors scored one at a time."""

SCORING = Scoring("auto", 0.25, 0.5)
EVIDENCE = ("int_tutor_logins", "int_import_days", "tutor_evidence")


@contextmanager
def platform(tutors: int, days: int, sessions_per_day: int) -> Iterator[Bench]:
    """A synthetic platform that ends yesterday, refreshed."""
    home = Path(tempfile.mkdtemp(prefix="tutor-benchmark-"))
    home.chmod(0o755)  # as root, the server runs as another user
    server = EmbeddedServer(home)
    try:
        server.ensure_running()
        last = datetime.now(UTC).date() - timedelta(days=1)
        bench = Bench(
            home, server.url("postgres"), tutors, days - 90, last, sessions_per_day=sessions_per_day
        )
        bench.dbt("run", last, *CURRENT, *EVIDENCE, "tutor_features", "tutor_departures")
        yield bench
    finally:
        server.stop()
        shutil.rmtree(home)


def measure_scoring(tutors: int, rounds: int) -> None:
    with platform(tutors, 90, tutors * 4 // 10) as bench:
        warehouse = bench.warehouse
        for _ in range(rounds):
            began = time.perf_counter()
            with warehouse.connect() as database:
                scored = score_tutors(database, "", SCORING)
            whole = time.perf_counter() - began
            report(
                f"{scored.subjects:,} tutors, {len(scored.scores):,} scores: {whole:.2f} s"
                f" from reading to COMMIT\n"
            )
        some = sorted({score.subject_id for score in scored.scores})[:SAMPLE]
        began = time.perf_counter()
        for tutor in some:
            run = RefreshRun(uuid4().hex, scored.as_of, (tutor,))
            write_header(warehouse, run)
            with warehouse.connect() as database:
                score_tutors(database, run.run_id, SCORING)
        each = (time.perf_counter() - began) / len(some)
        report(
            f"one at a time: {1000 * each:.0f} ms each, so {each * scored.subjects:.0f} s,"
            f" {each * scored.subjects / whole:.0f} x as long\n"
        )


def measure_backtest(tutors: int, weeks: int) -> None:
    days = 7 * weeks + 60
    with platform(tutors, days, tutors * 4 // 10) as bench:
        warehouse = bench.warehouse
        last = datetime.now(UTC).date() - timedelta(days=1)
        first = last - timedelta(days=7 * (weeks - 1))
        seconds = bench.dbt("run", last, "tutor_aggregates_history", first=first)
        report(f"history of {(last - first).days + 1} days: {seconds:.1f} s\n")
        for what in ("features", "evidence"):
            seconds = bench.dbt("run", last + timedelta(days=1), f"tutor_{what}_history")
            rows = bench.rows(f"tutor_{what}_history")
            report(f"{what} of past weeks: {seconds:.1f} s, {rows:,} rows\n")

        began = time.perf_counter()
        now = end_of_day(last, warehouse.timezone) + timedelta(hours=3)
        with warehouse.connect() as database:
            past = read_past(database, now, weeks)
        assert past is not None
        read = time.perf_counter()
        rate = SCORING.yearly_departure_rate
        result = run_backtest(past, rate, lambda step, done, total: None)
        page = render(result.content(), last)
        done = time.perf_counter()
        learned = learn_from(past, rate)
        taught = time.perf_counter() - done
        tested = sum(map(len, past.history.values()))
        report(
            f"{len(past.history)} dates, {tested:,} rows: reading {read - began:.1f} s,"
            f" back-test and report ({len(page) // 1024} KB) {done - read:.1f} s;"
            f" {(done - began) / (read - began):.1f} x reading alone\n"
            f"left out: {dict(result.left_out)}\n"
            f"learning from {len(past.weeks)} weeks: {taught:.1f} s\n"
        )
        if learned is not None:
            report(f"  {decision_of(learned)}\n")
        for row in result.metric_rows():
            if row["metric"] in SHOWN and row["value"] is not None:
                report(
                    f"  {row['target']:10} {row['scorer']:20} {row['metric']:34}"
                    f" {row['value']:.3f} ({row['lower'] or 0:.3f} to {row['upper'] or 0:.3f}),"
                    f" {row['leavers']} tutors\n"
                )
        for note in result.notes:
            report(f"  {note}\n")


SHOWN = {
    "auc",
    "average_precision",
    "recall_at_15_percent_false_flags",
    "precision_at_8",
    "calibration_slope",
    "lift_over_signals_v1",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arms = parser.add_subparsers(dest="arm", required=True)
    scoring = arms.add_parser("scoring")
    scoring.add_argument("--tutors", type=int, default=10_000)
    scoring.add_argument("--rounds", type=int, default=3)
    tested = arms.add_parser("backtest")
    tested.add_argument("--tutors", type=int, default=3_000)
    tested.add_argument("--weeks", type=int, default=26)
    chosen = parser.parse_args()
    if chosen.arm == "scoring":
        measure_scoring(chosen.tutors, chosen.rounds)
    else:
        measure_backtest(chosen.tutors, chosen.weeks)


if __name__ == "__main__":
    sys.exit(main())
