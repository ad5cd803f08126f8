"""How fast the wide row is: ours beside straightforward SQL and beside a loop over tutors.

    python benchmarks/metrics.py --sizes 22500 271000 899000

Starts a PostgreSQL of its own in a temporary folder (or uses --url, where it makes and drops a
database), fills fct_sessions with random sessions of 90 days, and measures, in interleaved rounds:

full      tutor_aggregates for all tutors: our compiled model (reading int_tutor_days), the same
          columns in metrics_straightforward.sql (reading fct_sessions), and the ten queries of
          metrics_per_tutor.sql for each tutor (a sample of tutors, scaled to all), sent as most
          drivers do and as prepared statements
days      building int_tutor_days, which ours needs and which is kept up to date incrementally;
          "ours with days" is both
scoped    1, 20 and 200 tutors: delete and insert of int_tutor_days and tutor_aggregates ("ours
          with days"), of tutor_aggregates alone ("ours"), and straightforward SQL of those tutors

All on one core (no parallel plans), without jit and with the work_mem that dbt sets; medians.
Filling fct_sessions is not measured: all formulations read it, with the indexes and in the order
that the model gives it.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4
from zoneinfo import ZoneInfo

import psycopg

from tutor_pipeline.core.warehouse import migrate
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.embedded import EmbeddedServer
from tutor_pipeline.core.warehouse.platform import ensure_platform
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun, write_header
from tutor_pipeline.metrics import dbt

HERE = Path(__file__).parent
AS_OF = datetime(2026, 3, 18, 23, 59, 59, tzinfo=UTC)
TUTORS = {22_500: 150, 271_000: 3_000, 899_000: 10_000}
LOOP_SAMPLE = 100

FILL = """
insert into {marts}.fct_sessions (
    tutor_id, session_id, student_id, session_on, scheduled_start, status, actual_start,
    late_minutes, is_late, is_first_session, next_session_at, rescheduled_by, is_tutor_reschedule,
    technical_issues, follow_up_booked, session_score, tutor_talk_ratio, student_engagement_score,
    student_frustration_count, tutor_checks_understanding_count,
    tutor_positive_reinforcement_count, open_ended_questions, closed_ended_questions,
    student_on_screen_attention_pct, tutor_uses_visual_aids, tutor_camera_on_pct, empathy_score,
    clarity_score, overall_sentiment, student_satisfaction_rating, student_satisfaction,
    would_recommend, feedback_text
)
select
    tutor_id, 's' || lpad(n::text, 9, '0'), 'p' || n % 100000, (start at time zone 'UTC')::date,
    start, status, case when done then start + make_interval(secs => 60 * late) end,
    case when done then late end, done and late > 5, done and r[1] < 0.15,
    case when r[2] < 0.7 then start + make_interval(days => (r[3] * 30)::int) end,
    case when status = 'rescheduled' then 'tutor' end, status = 'rescheduled',
    r[4] < 0.08, case when done then r[5] < 0.7 end, case when done then 4 + 6 * r[6] end,
    case when done then 0.3 + 0.5 * r[7] end, case when done then 3 + 7 * r[8] end,
    case when done then (r[9] * 1.2)::int end, case when done then (r[10] * 15)::int end,
    case when done then (r[11] * 15)::int end, case when done then (r[12] * 20)::int end,
    case when done then (r[13] * 20)::int end, case when done and r[14] < 0.7 then r[15] end,
    case when done and r[14] < 0.7 then r[16] < 0.6 end,
    case when done and r[14] < 0.7 then r[17] end, case when done then 3 + 7 * r[18] end,
    case when done then 3 + 7 * r[19] end, case when done then 2 * r[20] - 1 end,
    rating, 2 * rating, rating >= 3, case when rating is not null then 'A good lesson.' end
from (
    select
        n, r, 't' || lpad((n % %(tutors)s)::text, 6, '0') as tutor_id,
        timestamptz %(as_of)s - make_interval(secs => r[21] * 90 * 86400) as start,
        30 * r[22] ^ 4 as late,
        case
            when r[23] < 0.92 then 'completed' when r[23] < 0.95 then 'rescheduled'
            when r[23] < 0.97 then 'no_show_tutor' else 'cancelled'
        end as status,
        r[23] < 0.92 as done,
        case when r[23] < 0.92 and r[24] < 0.6 then 1 + round((4 * sqrt(r[25]))::numeric) end
            as rating
    from generate_series(1, %(sessions)s) as n
    cross join lateral (
        select array_agg(random() + 0 * (n + i)) as r from generate_series(1, 25) as i
    ) as noise
) as sessions
order by tutor_id, start desc  -- as the model orders them
"""


def straightforward(
    warehouse: Warehouse,
    scope: str = "true",
    as_of: datetime = AS_OF,
    has_follow_up: bool = True,
    has_reschedules: bool = True,
) -> str:
    """The straightforward SQL of the wide row for the tutors in `scope`, a predicate."""
    facts = {":has_follow_up": has_follow_up, ":has_reschedules": has_reschedules}
    return filled("metrics_straightforward.sql", warehouse, scope, as_of, facts)


def filled(
    name: str,
    warehouse: Warehouse,
    scope: str = "true",
    as_of: datetime = AS_OF,
    facts: Mapping[str, bool] | None = None,
) -> str:
    """The SQL of a file beside this one, its placeholders filled in and its head left out."""
    text = (HERE / name).read_text(encoding="utf-8")
    text = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    values = {
        "dim_tutors.:scope": scope.replace("tutor_id", "dim_tutors.tutor_id"),
        ":scope": scope,
        ":as_of_on": f"date '{as_of.astimezone(ZoneInfo(warehouse.timezone)).date()}'",
        ":as_of": f"timestamptz '{as_of.isoformat()}'",
        ":timezone": f"'{warehouse.timezone}'",
        "{marts}": warehouse.schemas.marts,
    } | {placeholder: str(value) for placeholder, value in (facts or {}).items()}
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text


class Bench:
    """One database of one size."""

    def __init__(self, url: str, home: Path, sessions: int, tutors: int) -> None:
        self.warehouse, self.home, self.tutors = Warehouse(url), home, tutors
        migrate.upgrade(self.warehouse)
        with self.warehouse.connect() as connection:
            ensure_platform(connection)
        self._dbt("run", None)
        self._execute("select setseed(0.5)", FILL, sessions=sessions, tutors=tutors)
        self._execute("drop table {marts}.dim_tutors cascade")
        self._dbt("run", None, "dim_tutors", "int_tutor_days", "tutor_aggregates")
        self._execute("vacuum analyze {marts}.fct_sessions")
        self._database = self.warehouse.connect(
            autocommit=True,
            options="-c jit=off -c work_mem=128MB -c max_parallel_workers_per_gather=0",
        )

    def close(self) -> None:
        self._database.close()

    def _execute(self, *statements: str, **values: int) -> None:
        with self.warehouse.connect(autocommit=True) as connection:
            for statement in statements:
                text = statement.replace("%(as_of)s", f"'{AS_OF.isoformat()}'")
                for name, value in values.items():
                    text = text.replace(f"%({name})s", str(value))
                connection.execute(text)

    def _execute_as_it_is(self, statement: str) -> None:
        """Run compiled SQL: its braces are no placeholders."""
        self._database.connection.execute(statement.encode())

    def _dbt(self, command: str, tutors: list[str] | None, *models: str) -> None:
        run = RefreshRun(uuid4().hex, AS_OF, None if tutors is None else tuple(tutors))
        write_header(self.warehouse, run)
        select = ["--select", *models] if models else []
        environment = dbt.dbt_environment(self.warehouse, run.run_id, self.home)
        dbt.invoke([command, *select], environment)

    def compiled(self, model: str, tutors: list[str] | None) -> str:
        """The model's SQL of a full or a scoped refresh."""
        self._dbt("compile", tutors, model)
        folder = dbt.target_dir(self.home) / "compiled"
        (path,) = folder.rglob(f"{model}.sql")
        return path.read_text(encoding="utf-8")

    def build(self, query: str) -> float:
        """Seconds to make a table of the query."""
        with self._database.transaction(force_rollback=True):
            return timed(lambda: self._execute_as_it_is(f"create table wide as {query}"))

    def replace(self, *parts: tuple[str, str, str]) -> float:
        """Seconds to delete and insert the rows of some tutors: (table, scope, query) each."""
        with self._database.transaction(force_rollback=True):

            def work() -> None:
                for table, scope, query in parts:
                    self._execute_as_it_is(f"delete from {table} where {scope}")
                    self._execute_as_it_is(f"insert into {table} {query}")

            return timed(work)

    def loop(self, tutors: list[str], prepare: bool) -> float:
        """Seconds for ten queries per tutor, for all of these tutors; a sample where many."""
        sample = tutors[:LOOP_SAMPLE]
        queries = filled("metrics_per_tutor.sql", self.warehouse).split(";")
        execute = self._database.connection.execute

        def work() -> None:
            for tutor in sample:
                for query in queries:
                    execute(query, {"tutor": tutor}, prepare=prepare).fetchall()

        return timed(work) * len(tutors) / len(sample)

    def measure(self, rounds: int) -> Iterator[tuple[str, dict[str, float]]]:
        """(what, {formulation: median seconds}) of every comparison."""
        rng = random.Random(7)
        names = [f"t{number:06d}" for number in range(self.tutors)]
        days, wide = (
            self.compiled(model, None) for model in ("int_tutor_days", "tutor_aggregates")
        )
        plain, shuffled = straightforward(self.warehouse), rng.sample(names, len(names))
        yield (
            "full",
            medians(
                rounds,
                {
                    "ours": lambda: self.build(wide),
                    "days": lambda: self.build(days),
                    "straightforward": lambda: self.build(plain),
                    "loop": lambda: self.loop(shuffled, prepare=False),
                    "prepared loop": lambda: self.loop(shuffled, prepare=True),
                },
            ),
        )
        marts, intermediate = self.warehouse.schemas.marts, self.warehouse.schemas.intermediate
        for count in (1, 20, 200):
            if count > self.tutors:
                continue
            chosen = rng.sample(names, count)
            scope = "tutor_id = any(array[{}])".format(", ".join(f"'{name}'" for name in chosen))
            aggregates = (
                f"{marts}.tutor_aggregates",
                scope,
                self.compiled("tutor_aggregates", chosen),
            )
            tutor_days = (
                f"{intermediate}.int_tutor_days",
                scope,
                self.compiled("int_tutor_days", chosen),
            )
            ordered = (f"{marts}.tutor_aggregates", scope, straightforward(self.warehouse, scope))
            yield (
                f"scoped {count}",
                medians(
                    rounds,
                    {
                        "ours": lambda part=aggregates: self.replace(part),
                        "ours with days": lambda parts=(tutor_days, aggregates): self.replace(
                            *parts
                        ),
                        "straightforward": lambda part=ordered: self.replace(part),
                        "loop": lambda chosen=chosen: self.loop(chosen, prepare=False),
                        "prepared loop": lambda chosen=chosen: self.loop(chosen, prepare=True),
                    },
                ),
            )


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def medians(rounds: int, contenders: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Median seconds of each, measured in turns so that a busy machine slows all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            seconds[name].append(measure())
    return {name: statistics.median(values) for name, values in seconds.items()}


def report(sessions: int, tutors: int, what: str, found: dict[str, float]) -> None:
    if "days" in found:
        found = {"ours with days": found["ours"] + found["days"], **found}
    line = ", ".join(f"{name} {1000 * value:,.1f} ms" for name, value in found.items())
    ratios = ", ".join(
        f"{name} {found[name] / found['ours']:.1f} (with days"
        f" {found[name] / found['ours with days']:.1f})"
        for name in ("straightforward", "loop", "prepared loop")
    )
    sys.stdout.write(
        f"{sessions:,} sessions, {tutors:,} tutors, {what}\n  {line}\n  times ours: {ratios}\n"
    )
    sys.stdout.flush()


@contextmanager
def database(url: str | None) -> Iterator[tuple[Callable[[], str], Path]]:
    """(a maker of new databases, a folder), both gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tutor-benchmark-") as folder:
        home = Path(folder)
        home.chmod(0o755)  # as root, the server runs as another user
        server = None if url else EmbeddedServer(home)
        if server:
            server.ensure_running()
            url = server.url("postgres")
        names: list[str] = []

        def create() -> str:
            names.append(f"benchmark_{uuid4().hex[:8]}")
            with psycopg.connect(str(url), autocommit=True) as connection:
                connection.execute(f"create database {names[-1]}")
            return str(url).rsplit("/", 1)[0] + f"/{names[-1]}"

        try:
            yield create, home
        finally:
            with psycopg.connect(str(url), autocommit=True) as connection:
                for name in names:
                    connection.execute(f"drop database if exists {name} with (force)")
            if server:
                server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(TUTORS), choices=list(TUTORS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--url", help="a server's database URL; without it an embedded one")
    arguments = parser.parse_args()
    with database(arguments.url) as (create, home):
        for sessions in arguments.sizes:
            bench = Bench(create(), home, sessions, TUTORS[sessions])
            try:
                for what, found in bench.measure(arguments.rounds):
                    report(sessions, TUTORS[sessions], what, found)
            finally:
                bench.close()


if __name__ == "__main__":
    main()
