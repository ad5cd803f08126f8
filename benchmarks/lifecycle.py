"""How fast alerts are reconciled and shown: ours beside straightforward SQL and beside row by row.

    python benchmarks/lifecycle.py
    python benchmarks/lifecycle.py --tutors 10000 --sessions-per-tutor 90 --rounds 9

Starts a PostgreSQL of its own in a temporary folder (or uses --url, where it makes and drops
databases) and fills it with 200,000 resolved alerts beside the open ones of two days:

ordinary  5 % of the tutors have one or two open alerts; a run confirms most of them with new
          values, resolves some and opens as many others
extreme   two open alerts per tutor on average, and a run confirms every one with new values

Per day, medians of interleaved rounds:

views     ops.tutors_needing_attention and ops.critical_alert_summary, whole and the first 8, from
          sending the query to Python objects; `straightforward` is the same rows of the first as
          one DISTINCT ON over window functions, `fetch` the same rows from a table that holds them
          ready, which no view can beat
reconcile one run over all tutors (`store.apply`, without the evaluation of the rules); `row by row`
          looks up, updates or inserts one finding after the other with prepared statements, on a
          sample of 1,000 scaled to all

fct_sessions is as wide as the real one; a run counts the sessions completed on each day in it.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import product

import psycopg
from metrics import database, medians, timed

from tutor_pipeline.core.findings import Evaluation, Finding, Kind, Reading, Severity, Subject
from tutor_pipeline.core.warehouse import migrate
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.judgement.lifecycle import store
from tutor_pipeline.judgement.lifecycle.reconcile import row_id

AS_OF = datetime(2026, 4, 1, tzinfo=UTC)
RESOLVED = 200_000
SAMPLE = 1_000
RULES = (
    "no_show_pattern",
    "high_reschedule_rate",
    "chronic_lateness",
    "declining_performance",
    "consistently_poor_scores",
    "repeated_student_frustration",
    "poor_first_session_pattern",
    "extreme_talk_ratio",
)
Pair = tuple[str, str]

FILL_SESSIONS = """
create table {marts}.fct_sessions as
select
    't' || lpad((n %% %(tutors)s)::text, 6, '0') as tutor_id,
    's' || lpad(n::text, 9, '0') as session_id,
    (%(as_of)s::timestamptz - start)::date as session_on,
    %(as_of)s::timestamptz - start as scheduled_start,
    case when random() < 0.92 then 'completed' else 'no_show_tutor' end as status,
    repeat(md5(n::text), 11) as other_columns
from generate_series(1, %(sessions)s) as n
cross join lateral (select random() * interval '90 days' + 0 * n * interval '1 day') as r (start)
order by 1, 4 desc;
"""

FILL_RESOLVED = """
insert into {ops}.alerts (
    tutor_id, subject_id, alert_id, alert_type, occurrence, severity, title, description,
    recommended_action, session_id, evidence_session_ids, metrics, excess, rule_profile,
    rule_version, triggered_date, last_confirmed_at, resolved_at, resolved_by, resolution
)
select
    tutor_id, tutor_id, substr(md5(n::text), 1, 12), alert_type,
    row_number() over (partition by tutor_id, alert_type order by n),
    case when random() < 0.33 then 'critical' else 'warning' end, 'High Reschedule Rate Detected',
    n || ' sessions rescheduled by the tutor in the last 30 days, of 23 (30 %%).',
    'Review schedule availability and workload', 's' || n,
    array['s' || n, 's' || n + 1, 's' || n + 2, 's' || n + 3, 's' || n + 4],
    '{{"tutor_reschedules_30d": {{"value": 7, "exposure": 23, "threshold": 5}}}}', random(),
    'conservative', '3fa9c1d2', at, at + interval '2 days', at + interval '3 days', 'pipeline',
    'auto'
from (
    select
        n, %(as_of)s::timestamptz - interval '1 day' * (100 - n * 90.0 / %(resolved)s) as at,
        't' || lpad(floor(random() * %(tutors)s)::text, 6, '0') as tutor_id,
        (%(rules)s::text[])[1 + floor(random() * 8)::int] as alert_type
    from generate_series(1, %(resolved)s) as n
) as resolved
order by n
"""

STRAIGHTFORWARD = """
with newest as (
    select distinct on (tutor_id)
        tutor_id,
        count(*) filter (where severity = 'critical') over tutor as critical_alerts,
        count(*) filter (where severity = 'warning') over tutor as warning_alerts,
        max(excess) over tutor as excess,
        alert_id as newest_alert_id,
        alert_type as newest_alert_type,
        severity as newest_severity,
        title as newest_title,
        description as newest_description,
        recommended_action,
        session_id,
        evidence_session_ids,
        triggered_date as newest_triggered_date,
        now() - triggered_date as newest_age
    from {ops}.alerts
    where resolved_at is null and (snoozed_until is null or snoozed_until <= now())
    window tutor as (partition by tutor_id)
    order by tutor_id, triggered_date desc, severity, alerts.excess desc, alert_id
)
select
    row_number() over (
        order by
            newest.critical_alerts desc, newest.excess desc, newest.warning_alerts desc,
            risk.score desc nulls last, newest.tutor_id
    ) as attention_rank,
    newest.*, risk.score as churn_score, risk.level as churn_level
from newest
left join {ops}.current_tutor_risk as risk on newest.tutor_id = risk.tutor_id
"""


class Bench:
    """One database in the middle of one kind of day."""

    def __init__(self, url: str, tutors: int, sessions: int, *, is_extreme: bool) -> None:
        self.warehouse, self.is_extreme, self.day = Warehouse(url), is_extreme, 0
        self.rng = random.Random(7)
        self.tutors = [f"t{number:06d}" for number in range(tutors)]
        migrate.upgrade(self.warehouse)
        values = {
            "as_of": AS_OF, "tutors": tutors, "sessions": sessions,
            "resolved": RESOLVED, "rules": list(RULES),
        }  # fmt: skip
        self.database = self.warehouse.connect(autocommit=True)
        # The client fills in the values: a table is not made with parameters.
        filling = psycopg.ClientCursor(self.database.connection)
        filling.execute("select setseed(0.5)")
        for statement in (FILL_SESSIONS, FILL_RESOLVED):
            filling.execute(self.warehouse.sql(statement), values)
        self.open: set[Pair] = set(self._first())
        self.apply(*self.next_day())
        for table in ("{ops}.alerts", "{ops}.alert_events", "{marts}.fct_sessions"):
            self.database.execute(f"vacuum analyze {table}")

    def close(self) -> None:
        self.database.close()

    def _first(self) -> list[Pair]:
        pairs = list(product(self.tutors, RULES))
        if self.is_extreme:
            return self.rng.sample(pairs, min(2 * len(self.tutors), len(pairs)))
        few = self.rng.sample(self.tutors, len(self.tutors) // 20)
        return [
            (tutor, alert_type)
            for tutor in few
            for alert_type in self.rng.sample(RULES, self.rng.choice((1, 2)))
        ]

    def next_day(self) -> tuple[Evaluation, str]:
        """What the rules find on the next day, and the run's name."""
        self.day += 1
        found = set(self.open)
        if not self.is_extreme and self.day > 1:
            gone = self.rng.sample(sorted(found), len(found) // 20)
            others = self.rng.sample(self.tutors, len(gone))
            found = found.difference(gone) | {(each, self.rng.choice(RULES)) for each in others}
        self.open = found
        findings = tuple(self._finding(*pair) for pair in sorted(found))
        evaluated = dict.fromkeys(RULES, frozenset(self.tutors))
        as_of = AS_OF + timedelta(days=self.day)
        return (
            Evaluation(
                Kind.ALERT, as_of, "conservative", True, len(self.tutors), findings, evaluated
            ),
            f"run-{self.day}",
        )

    def _finding(self, tutor: str, alert_type: str) -> Finding:
        value = self.rng.randint(5, 20)
        # A third of the rules are critical.
        is_critical = RULES.index(alert_type) % 3 == 0
        return Finding(
            Subject.tutor(tutor),
            alert_type,
            Severity.CRITICAL if is_critical else Severity.WARNING,
            {
                "title": "High Reschedule Rate Detected",
                "description": f"{value} sessions rescheduled by the tutor in the last 30 days.",
                "recommended_action": "Review schedule availability and workload",
            },
            (Reading("tutor_reschedules_30d", value, 5, 23),),
            tuple(f"s{self.rng.randrange(10**9):09d}" for _ in range(5)),
            self.rng.random(),
            "3fa9c1d2",
        )

    def apply(self, evaluation: Evaluation, run_id: str) -> float:
        """Seconds of one run, from the connection's first statement to the commit."""
        active = frozenset(self.tutors)

        def work() -> None:
            with self.database.transaction():
                store.apply(
                    self.database, evaluation, run_id=run_id,
                    active_tutors=active)  # fmt: skip

        return timed(work)

    def row_by_row(self, evaluation: Evaluation) -> float:
        """Seconds that the findings take one after the other, from a sample; rolled back."""
        sample = evaluation.findings[:SAMPLE]
        look = self.warehouse.sql(
            "select alert_id from {ops}.alerts where tutor_id = %s and alert_type = %s"
            " and resolved_at is null"
        )
        update = self.warehouse.sql(
            "update {ops}.alerts set description = %s, excess = %s, evidence_session_ids = %s,"
            " last_confirmed_at = %s where tutor_id = %s and alert_id = %s"
        )
        insert = self.warehouse.sql(
            "insert into {ops}.alerts (tutor_id, subject_id, alert_id, alert_type, occurrence,"
            " severity, title, description, recommended_action, evidence_session_ids, metrics,"
            " excess, rule_profile, rule_version, triggered_date, last_confirmed_at) values"
            " (%s, %s, %s, %s, 99, %s, '', %s, '', %s, '{{}}', %s, '', '', %s, %s)"
        )

        def work() -> None:
            for each in sample:
                pair = each.tutor_id, each.rule_id
                found = self.database.connection.execute(look, pair, prepare=True).fetchone()
                text, evidence = each.texts["description"], list(each.evidence)
                if found:
                    values = (
                        text, each.excess, evidence, evaluation.as_of, each.tutor_id, found[0],
                    )  # fmt: skip
                    self.database.connection.execute(update, values, prepare=True)
                else:
                    new = row_id(each.subject, each.rule_id, evaluation.as_of, 99)
                    self.database.connection.execute(
                        insert,
                        (
                            each.tutor_id, each.tutor_id, new, each.rule_id, each.severity, text,
                            evidence, each.excess, evaluation.as_of, evaluation.as_of,
                        ),
                        prepare=True,
                    )  # fmt: skip

        with self.database.transaction(force_rollback=True):
            return timed(work) * len(evaluation.findings) / len(sample)

    def measure(self, rounds: int) -> Iterator[tuple[str, dict[str, float]]]:
        """(what, {formulation: median seconds}) of every comparison."""
        views = {
            "tutors needing attention": (
                "select * from {ops}.tutors_needing_attention",
                " where attention_rank <= 8",
            ),
            "critical alert summary": ("select * from {ops}.critical_alert_summary", " limit 8"),
        }
        for number, (name, (query, few)) in enumerate(views.items()):
            ready = f"create temporary table ready_{number} as {query}"
            self.database.execute(ready)
            for suffix, first in (("", "whole"), (few, "first 8")):
                limit = " limit 8" if suffix else ""
                contenders = {
                    "ours": self._asking(query + suffix),
                    "fetch": self._asking(f"select * from ready_{number}{limit}"),
                }
                if "attention" in name:
                    ordered = f"{STRAIGHTFORWARD} order by attention_rank{limit}"
                    contenders["straightforward"] = self._asking(ordered)
                yield f"{name}, {first}", medians(rounds, contenders)
        seconds: dict[str, list[float]] = {"ours": [], "row by row": []}
        for _ in range(rounds):
            evaluation, run_id = self.next_day()
            seconds["row by row"].append(self.row_by_row(evaluation))
            seconds["ours"].append(self.apply(evaluation, run_id))
        yield (
            "reconcile",
            {name: statistics.median(values) for name, values in sorted(seconds.items())},
        )

    def _asking(self, query: str) -> Callable[[], float]:
        statement = self.warehouse.sql(query)
        return lambda: timed(lambda: self.database.execute(statement).fetchall())


def report(what: str, found: dict[str, float]) -> None:
    line = ", ".join(f"{name} {1000 * value:,.1f} ms" for name, value in found.items())
    ratios = ", ".join(
        f"{name} {value / found['ours']:.2f}" for name, value in found.items() if name != "ours"
    )
    sys.stdout.write(f"  {what}: {line}\n    times ours: {ratios}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tutors", type=int, default=10_000)
    parser.add_argument("--sessions-per-tutor", type=int, default=36, help="in 90 days")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--url", help="a server's database URL; without it an embedded one")
    arguments = parser.parse_args()
    sessions = arguments.tutors * arguments.sessions_per_tutor
    with database(arguments.url) as (create, _):
        for is_extreme in (False, True):
            bench = Bench(create(), arguments.tutors, sessions, is_extreme=is_extreme)
            tutors = len({tutor for tutor, _ in bench.open})
            sys.stdout.write(
                f"{'extreme' if is_extreme else 'ordinary'}: {arguments.tutors:,} tutors,"
                f" {sessions:,} sessions, {len(bench.open):,} open alerts of {tutors:,} tutors,"
                f" {RESOLVED:,} resolved\n"
            )
            try:
                for what, found in bench.measure(arguments.rounds):
                    report(what, found)
            finally:
                bench.close()


if __name__ == "__main__":
    main()
