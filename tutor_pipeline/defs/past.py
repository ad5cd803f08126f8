"""The past as a back-test sees it: what was known then, what then happened, and who is asked.

The only place that reads `truth`, and only to hold scores against it: no scorer is given it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg

from tutor_pipeline.metrics.catalogue import metric_columns
from tutor_pipeline.scores import store
from tutor_pipeline.scores.score import Score, Target
from tutor_pipeline.warehouse.connection import Warehouse

WARM_UP_DAYS = 30
"""After the first session, before metrics of 30 days say what they will."""

SETTLING_DAYS = 1
"""A day's row is used a day later: feedback comes hours after a session."""

HORIZON_DAYS = 30


def dates_to_test(recorded: Sequence[date], first_session: date, weeks: int) -> list[date]:
    """The days to test among those that the history has: the newest one and every seventh day
    before it, oldest first.
    """
    days = {day for day in recorded if day >= first_session + timedelta(days=WARM_UP_DAYS)}
    if not days:
        return []
    newest = max(days)
    wanted = (newest - timedelta(days=7 * back) for back in range(weeks))
    return sorted(day for day in wanted if day in days)


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of the past. `left_out` counts rows by why they are not looked at:
    `recorded_later`, they rest on what was recorded after they would have been used;
    `left_at_an_unknown_time`, the tutor is inactive and never completed a session.
    """

    known_until: date
    history: Mapping[date, Sequence[Mapping[str, Any]]]
    departures: Mapping[str, date]
    burnout: Mapping[tuple[str, date], float]
    at_risk: Mapping[tuple[str, date], bool]
    left_out: Mapping[str, int]

    @property
    def share_recorded_later(self) -> float:
        """Of all rows, the share that rests on what was recorded later."""
        late = self.left_out["recorded_later"]
        return late / (late + sum(map(len, self.history.values())) or 1)


def read_past(
    connection: psycopg.Connection[Any], warehouse: Warehouse, as_of: datetime, weeks: int
) -> Past | None:
    """Rows of the history by day, and what became of the tutors; None where no day can be
    tested.
    """
    from tutor_pipeline.scores import panel

    today = as_of.astimezone(ZoneInfo(warehouse.timezone)).date()
    known_until = today - timedelta(days=1)
    rows_of = store.rows_of
    recorded = rows_of(
        connection,
        warehouse.sql(
            "select distinct as_of_date as day from {marts}.tutor_aggregates_history"
            " where as_of_date <= %(until)s"
        ),
        {"until": known_until},
    )
    ((first_session,),) = connection.execute(
        warehouse.sql("select min(session_on) from {marts}.fct_sessions")
    ).fetchall()
    if first_session is None:
        return None
    dates = dates_to_test([row["day"] for row in recorded], first_session, weeks)
    if not dates:
        return None
    names = sorted({*panel.READS, "tutor_id", "as_of_date"})
    parameters = {
        "dates": dates,
        "settling": SETTLING_DAYS,
        "timezone": warehouse.timezone,
        "from": dates[0],
        "until": dates[-1],
    }
    late = {
        (row["tutor_id"], row["as_of_date"])
        for row in rows_of(connection, warehouse.sql(_LATE), parameters)
    }
    departures = {
        row["tutor_id"]: row["departed_on"]
        for row in rows_of(
            connection, warehouse.sql("select tutor_id, departed_on from {marts}.tutor_departures")
        )
    }
    inactive = rows_of(
        connection, warehouse.sql("select tutor_id from {marts}.dim_tutors where not is_active")
    )
    unknown = {row["tutor_id"] for row in inactive} - departures.keys()
    left_out = {"recorded_later": 0, "left_at_an_unknown_time": 0}
    history: dict[date, list[dict[str, Any]]] = {day: [] for day in dates}
    for row in rows_of(
        connection,
        warehouse.sql("select ")
        + _columns(names)
        + warehouse.sql(
            " from {marts}.tutor_aggregates_history as metrics"
            " inner join {marts}.tutor_features_history as features using (tutor_id, as_of_date)"
            " where as_of_date = any(%(dates)s) order by as_of_date, tutor_id"
        ),
        parameters,
    ):
        if row["tutor_id"] in unknown:
            left_out["left_at_an_unknown_time"] += 1
        elif (row["tutor_id"], row["as_of_date"]) in late:
            left_out["recorded_later"] += 1
        else:
            history[row["as_of_date"]].append(row)
    truth = _truth(connection, warehouse, dates)
    return Past(
        known_until,
        {day: rows for day, rows in history.items() if rows},
        departures,
        {(row["tutor_id"], row["day"]): row["burnout"] for row in truth},
        {(row["tutor_id"], row["day"]): row["is_at_risk"] for row in truth},
        left_out,
    )


def _columns(names: Sequence[str]) -> psycopg.sql.Composable:
    """Of two tables: a metric comes from the history of metrics, what is none from features'."""
    metrics = metric_columns()["tutor_aggregates_history"]
    keys = {"tutor_id", "as_of_date"}
    return psycopg.sql.SQL(", ").join(
        psycopg.sql.Identifier(name)
        if name in keys
        else psycopg.sql.Identifier("metrics" if name in metrics else "features", name)
        for name in names
    )


# Rows of the history that hold a session of which something was recorded after the row is used.
_LATE = """
    with recorded as (
        select
            tutor_id,
            session_on,
            (greatest(created_at, audio_created_at, feedback_submitted_at)
                at time zone %(timezone)s)::date as recorded_on
        from {marts}.fct_sessions
        where session_on between %(from)s::date - 90 and %(until)s
            and status not in ('scheduled', 'in_progress')
    )

    select distinct recorded.tutor_id, tested.as_of_date
    from recorded
    inner join unnest(%(dates)s::date[]) as tested (as_of_date)
        on recorded.session_on <= tested.as_of_date
        and recorded.session_on > tested.as_of_date - 90
        and recorded.recorded_on > tested.as_of_date + %(settling)s
    where recorded.recorded_on > recorded.session_on + %(settling)s
"""


def _truth(
    connection: psycopg.Connection[Any], warehouse: Warehouse, dates: Sequence[date]
) -> list[dict[str, Any]]:
    """The hidden state on those days, of a platform that was made up; nothing of a real one."""
    # to_regclass would raise where the schema may not be looked into.
    readable = connection.execute(
        "select from pg_class as c inner join pg_namespace as n on n.oid = c.relnamespace"
        " where n.nspname = %s and c.relname = 'tutor_days'"
        " and has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')",
        (warehouse.schemas.truth,),
    ).fetchone()
    if readable is None:
        return []
    return store.rows_of(
        connection,
        warehouse.sql(
            "select tutor_id, day, burnout, is_at_risk from {truth}.tutor_days"
            " where day = any(%(dates)s)"
        ),
        {"dates": list(dates)},
    )


def nothing_to_test(past: Past | None) -> str | None:
    """Why there is nothing to test; None where there is something."""
    if past is None:
        return (
            "nothing to test yet: marts.tutor_aggregates_history has no day that lies"
            f" {WARM_UP_DAYS} days or more after the first session"
        )
    if past.history:
        return None
    return "nothing to test: " + (
        ", ".join(f"{n:,} rows {why.replace('_', ' ')}" for why, n in past.left_out.items() if n)
        or "no tested day has features (marts.tutor_features_history)"
    )


def run_backtest(past: Past, progress: Callable[[str, int, int], None]) -> Any:
    """The back-test of every scorer: a `scores.backtest.Result`."""
    from tutor_pipeline.scores import backtest

    return backtest.run(
        past.history,
        past.departures,
        _scorers(past),
        plan_of(past),
        state=past.at_risk or None,
        left_out=past.left_out,
        progress=progress,
    )


def plan_of(past: Past) -> Any:
    """What is tested of the past: a `scores.backtest.Plan`."""
    from tutor_pipeline.scores import backtest

    return backtest.Plan(past.known_until, HORIZON_DAYS, SETTLING_DAYS)


def _scorers(past: Past) -> list[Any]:
    """Everyone that can be asked about past days, and where the truth is known, the ceiling."""
    from tutor_pipeline.scores import backtest, health, reliability, signals
    from tutor_pipeline.scores.shrinkage import fit_priors

    def second(rows: Sequence[Mapping[str, Any]]) -> list[Score]:
        return signals.score_v2(rows, fit_priors(rows, 0))

    scorers = [
        backtest.plain(signals.V1, "1", signals.score_v1),
        backtest.plain(signals.V2, "priors of the day", second),
        backtest.plain(reliability.SCORER, reliability.VERSION, reliability.score),
        backtest.plain(health.TUTOR_SCORER, health.VERSION, _burnout),
        *backtest.learned(),
    ]
    return [*scorers, backtest.oracle(past.burnout)] if past.burnout else scorers


def _burnout(rows: Sequence[Mapping[str, Any]]) -> list[Score]:
    """Of what health_v1 says, the risk of the next 30 days."""
    from tutor_pipeline.scores import health

    return [
        score
        for tutor in health.assess(rows)
        for score in tutor.scores
        if score.target is Target.TUTOR_BURNOUT and score.horizon_days == HORIZON_DAYS
    ]
