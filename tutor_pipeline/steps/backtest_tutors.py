"""Input of the tutors' back-test: what was known on each past date, the outcome, and the cohort.

This is the only module that reads `truth`, and only to evaluate scores. No scorer receives it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol
from zlib import crc32
from zoneinfo import ZoneInfo

import psycopg

from tutor_pipeline.core.formatting import count
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.judgement.scores.score import Score, Target
from tutor_pipeline.metrics.catalogue import metric_columns

if TYPE_CHECKING:
    from tutor_pipeline.judgement.scores.departure.measures import Columns
    from tutor_pipeline.judgement.scores.departure.outcomes import Standard

WARM_UP_DAYS = 30
"""Days after the first session until metrics over 30 days are meaningful."""

SETTLING_DAYS = 1
"""Days until a day's row is used: feedback arrives hours after a session."""

HORIZON_DAYS = 30


def dates_to_test(recorded: Sequence[date], first_session: date, weeks: int) -> list[date]:
    """Return the days to test: the newest day of the history and every seventh day before it,
    oldest first.
    """
    days = {day for day in recorded if day >= first_session + timedelta(days=WARM_UP_DAYS)}
    if not days:
        return []
    newest = max(days)
    wanted = (newest - timedelta(days=7 * back) for back in range(weeks))
    return sorted(day for day in wanted if day in days)


WATCHED = 1_000
"""The columns behind the signs are kept for about this many who stay, and for all who left."""


class Learnable(Protocol):
    """Training data on tutors or students: evidence of past weeks, and who left."""

    @property
    def weeks(self) -> "Sequence[Standard]":
        """Oldest first."""

    @property
    def departures(self) -> Mapping[str, date]:
        """The day after the last day, of each who left."""

    @property
    def known_until(self) -> date:
        """The last day for which departures are known."""


@dataclass(frozen=True, slots=True)
class Watched:
    """Some rows of a week with the columns behind their signs, to detect leakage."""

    week: "Standard"
    columns: "Columns"


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of the past. `left_out` counts excluded rows by reason: `recorded_later`, the
    row rests on data recorded after its time of use; `left_at_an_unknown_time`, the tutor is
    inactive and never completed a session. `weeks`: the evidence of all past weeks, oldest first;
    there may be more weeks than days in the history. `watched`: some rows of each of those weeks
    with their columns. `days`: how many days were looked at; `late`: the day on which the most
    sessions were recorded too late for their own, and how many.
    """

    known_until: date
    history: Mapping[date, Sequence[Mapping[str, Any]]]
    departures: Mapping[str, date]
    burnout: Mapping[tuple[str, date], float]
    at_risk: Mapping[tuple[str, date], bool]
    left_out: Mapping[str, int]
    weeks: "Sequence[Standard]"
    watched: "Sequence[Watched]" = ()
    days: int = 0
    late: tuple[date, int] | None = None

    @property
    def lost_days(self) -> str | None:
        """Why days cannot be tested, where all their rows rest on what was recorded later."""
        if len(self.history) >= self.days or not self.left_out["recorded_later"]:
            return None
        of_days = f"{len(self.history):,} of {count(self.days, 'day')} can be tested"
        why = "the other days rest on what was recorded more than a day after its time"
        if self.late is None:
            return f"{of_days}: {why}"
        day, sessions = self.late
        return (
            f"{of_days}: {why}. Of {count(sessions, 'session')} something was recorded on {day},"
            " long after: if that is the day of an import or a copy, only days from then on can be"
            " tested, unless created_at and submitted_at tell when it happened"
        )

    @property
    def share_recorded_later(self) -> float:
        """The share of all rows that rests on data recorded later."""
        late = self.left_out["recorded_later"]
        return late / (late + sum(map(len, self.history.values())) or 1)


def read_past(database: Database, as_of: datetime, weeks: int) -> Past | None:
    """Return the rows of the history by day and the tutors' outcomes, or None if no day can be
    tested and there is no evidence to learn from.
    """
    from tutor_pipeline.judgement.scores.departure.tutors import TUTORS
    from tutor_pipeline.judgement.scores.storage import evidence_history

    today = as_of.astimezone(ZoneInfo(database.timezone)).date()
    known_until = today - timedelta(days=1)
    first_session = database.value("select min(session_on) from {marts}.fct_sessions")
    if first_session is None:
        return None
    recorded = database.execute(
        "select distinct as_of_date from {marts}.tutor_aggregates_history"
        " where as_of_date <= %(until)s",
        {"until": known_until},
    )
    dates = dates_to_test([day for (day,) in recorded], first_session, weeks)
    evidence_days = evidence_history.days(database, TUTORS, known_until)
    if not dates and not evidence_days:
        return None
    departures = dict(
        database.execute("select tutor_id, departed_on from {marts}.tutor_departures").fetchall()
    )
    inactive = database.execute("select tutor_id from {marts}.dim_tutors where not is_active")
    unknown = {tutor_id for (tutor_id,) in inactive} - departures.keys()
    late = _recorded_later(database, sorted({*dates, *evidence_days}))
    rows, left_out = _history(database, dates, late, unknown)
    evidence, watched = _evidence(database, evidence_days, late, unknown, departures)
    truth = read_truth(database, dates)
    latest = database.one(
        statement(__file__, "most_recorded_late"),
        {"timezone": database.timezone, "settling": SETTLING_DAYS, "until": known_until},
    )
    return Past(
        known_until,
        rows,
        departures,
        {(row["tutor_id"], row["day"]): row["burnout"] for row in truth},
        {(row["tutor_id"], row["day"]): row["is_at_risk"] for row in truth},
        left_out,
        evidence,
        watched,
        len(dates),
        None if latest is None else (latest["recorded_on"], latest["sessions"]),
    )


def _recorded_later(database: Database, days: Sequence[date]) -> set[tuple[str, date]]:
    """The rows (tutor, day) that rest on data recorded after their time of use."""
    parameters = {
        "dates": list(days),
        "settling": SETTLING_DAYS,
        "timezone": database.timezone,
        "first": days[0],
        "last": days[-1],
    }
    return set(database.execute(statement(__file__, "recorded_later"), parameters).fetchall())


def _history(
    database: Database,
    dates: Sequence[date],
    late: set[tuple[str, date]],
    unknown: set[str],
) -> tuple[dict[date, list[dict[str, Any]]], dict[str, int]]:
    """Return the rows to back-test by day, and the number of excluded rows by reason."""
    from tutor_pipeline.judgement.scores import tutor_scorers

    of_row, of_features = (
        metric_columns()[table] for table in ("tutor_aggregates", "tutor_features")
    )
    names = sorted(
        {name for name in tutor_scorers.READS if name in of_row or name in of_features}
        | {"tutor_id", "as_of_date", "days_since_last_session"}
    )
    query = database.sql(
        "select {columns} from {marts}.tutor_aggregates_history as metrics"
        " inner join {marts}.tutor_features_history as features using (tutor_id, as_of_date)"
        " where as_of_date = any(%(dates)s) order by as_of_date, tutor_id",
        columns=_columns(names),
    )
    left_out = {"recorded_later": 0, "left_at_an_unknown_time": 0}
    by_day: dict[date, list[dict[str, Any]]] = {}
    for row in database.rows(query, {"dates": list(dates)}):
        if row["tutor_id"] in unknown:
            left_out["left_at_an_unknown_time"] += 1
        elif (row["tutor_id"], row["as_of_date"]) in late:
            left_out["recorded_later"] += 1
        else:
            by_day.setdefault(row["as_of_date"], []).append(row)
    return by_day, left_out


def _evidence(
    database: Database,
    days: Sequence[date],
    late: set[tuple[str, date]],
    unknown: set[str],
    departures: Mapping[str, date],
) -> "tuple[list[Standard], list[Watched]]":
    """Return the evidence of past weeks, each against its reference, and some rows of each."""
    from tutor_pipeline.judgement.scores.departure import outcomes
    from tutor_pipeline.judgement.scores.departure.tutors import TUTORS
    from tutor_pipeline.judgement.scores.storage import evidence_history

    not_used: dict[date, set[str]] = {day: set(unknown) for day in days}
    for tutor, day in late:
        if day in not_used:
            not_used[day].add(tutor)
    one_in = max(1, database.value("select count(*) from {marts}.dim_tutors") // WATCHED)
    evidence, watched = [], []
    left_out = {day: frozenset(tutors) for day, tutors in not_used.items()}
    for week in evidence_history.weeks(database, TUTORS, days, left_out):
        evidence.append(outcomes.standard(TUTORS, week))
        watched.append(watch(evidence[-1], week.columns, departures, one_in))
    return evidence, watched


def watch(
    week: "Standard", columns: "Columns", departures: Mapping[str, date], one_in: int
) -> Watched:
    """Everyone of a week who leaves, and a sample of the others: the same ones each week."""
    places = [
        place
        for place, whose in enumerate(week.ids)
        if whose in departures or crc32(whose.encode()) % one_in == 0
    ]
    return Watched(week.only(places), {name: column[places] for name, column in columns.items()})


def _columns(names: Sequence[str]) -> psycopg.sql.Composable:
    """Read metrics from the history of metrics, and other columns from the history of features."""
    metrics = metric_columns()["tutor_aggregates_history"]
    keys = {"tutor_id", "as_of_date"}
    return psycopg.sql.SQL(", ").join(
        psycopg.sql.Identifier(name)
        if name in keys
        else psycopg.sql.Identifier("metrics" if name in metrics else "features", name)
        for name in names
    )


def read_truth(database: Database, dates: Sequence[date]) -> list[dict[str, Any]]:
    """The hidden state on those days of a synthetic platform; empty for a real one."""
    # to_regclass would raise without the right to use the schema.
    readable = database.execute(
        "select 1 from pg_class as c inner join pg_namespace as n on n.oid = c.relnamespace"
        " where n.nspname = %s and c.relname = 'tutor_days'"
        " and has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')",
        (database.schemas.truth,),
    ).fetchone()
    if readable is None:
        return []
    return database.rows(
        "select tutor_id, day, burnout, is_at_risk from {truth}.tutor_days"
        " where day = any(%(dates)s)",
        {"dates": list(dates)},
    )


def levels_and_truth(database: Database) -> dict[str, tuple[int, int]]:
    """For a synthetic platform: the number of tutors at each level of risk now, and how many of
    them are at risk on the newest day of the truth.
    """
    rows = database.execute(
        "select coalesce(risk.level, 'unknown'), count(*),"
        " count(*) filter (where truth.is_at_risk)"
        " from {ops}.current_tutor_risk as risk"
        " left join {truth}.tutor_days as truth on risk.tutor_id = truth.tutor_id"
        " and truth.day = (select max(day) from {truth}.tutor_days) group by 1"
    ).fetchall()
    return {level: (tutors, at_risk) for level, tutors, at_risk in rows}


def nothing_to_test(past: Past | None) -> str | None:
    """Return why there is nothing to test, or None if there is something."""
    if past is None:
        return (
            "nothing to test yet: marts.tutor_aggregates_history has no day that lies"
            f" {WARM_UP_DAYS} days or more after the first session"
        )
    if past.history:
        return None
    return "nothing to test: " + (
        past.lost_days
        or ", ".join(
            f"{count(n, 'row')} {why.replace('_', ' ')}" for why, n in past.left_out.items() if n
        )
        or f"no day of the history lies {WARM_UP_DAYS} days or more after the first session, or"
        " none of them has features (marts.tutor_features_history)"
    )


def run_backtest(past: Past, yearly_rate: float, progress: Callable[[str, int, int], None]) -> Any:
    """Back-test every scorer. Returns a `scores.backtest.Result`."""
    from tutor_pipeline.judgement.scores import backtest

    result = backtest.run(
        past.history,
        past.departures,
        _scorers(past, yearly_rate),
        backtest.Plan(past.known_until, HORIZON_DAYS, SETTLING_DAYS),
        state=past.at_risk or None,
        left_out=past.left_out,
        progress=progress,
    )
    return replace(result, notes=(*filter(None, [past.lost_days]), *result.notes))


def learn_from(past: Learnable, yearly_rate: float) -> Any:
    """Learn from all matured evidence. Returns a `scores.departure.version.Version`, or None if
    nothing has matured.

    A platform that does not record who left has no departures, so nothing is learned from it.
    """
    from tutor_pipeline.judgement.scores.departure import learning, outcomes

    found = outcomes.matured(past.weeks, past.departures, past.known_until)
    if not found:
        return None
    newest = past.weeks[-1].reference
    known = outcomes.gather(newest.forecast, found, past.known_until)
    return learning.learn(newest.forecast, known.z, newest.known, known, yearly_rate)


def decision_of(learned: Any) -> str:
    """Describe in words what was learned."""
    if not learned.departures:
        return (
            "Nothing learned: no departure is recorded. Documented weights, and"
            f" {learned.yearly_rate:.0%} of the {learned.forecast.who}s leaving in a year"
        )
    told = (
        "forecasts are shown as percentages"
        if learned.is_probability
        else "too few for percentages: forecasts rank, and show their evidence"
    )
    return (
        f"Learned from {count(learned.departures, 'departure')} in"
        f" {count(learned.learned_rows, 'row')} of {learned.learned_from} to"
        f" {learned.learned_until}: {told}; the documented weights count"
        f" {learned.multiplier:,.2f} times, {learned.base_rate:.1%} leave within 30 days"
    )


def _scorers(past: Past, yearly_rate: float) -> list[Any]:
    """All scorers that can be tested on past days and, if the truth is known, the ceiling."""
    from tutor_pipeline.judgement.scores import backtest, health, tutor_scorers
    from tutor_pipeline.judgement.scores.departure.tutors import TUTORS

    scorers = [
        *backtest.forecasts(TUTORS, {week.day: week for week in past.weeks}, yearly_rate),
        *(
            backtest.plain(scorer.SCORER, scorer.VERSION, scorer.score)
            for scorer in tutor_scorers.PLAIN
        ),
        backtest.plain(health.TUTOR_SCORER, health.VERSION, _burnout),
    ]
    return [*scorers, backtest.oracle(past.burnout)] if past.burnout else scorers


def _burnout(rows: Sequence[Mapping[str, Any]]) -> list[Score]:
    """The risk of the next 30 days according to health_v1; the usual values of a day come from the
    rows of that day.
    """
    from tutor_pipeline.judgement.scores import health

    return [
        score
        for tutor in health.assess(rows, health.fit(rows))
        for score in tutor.scores
        if score.target is Target.TUTOR_BURNOUT and score.horizon_days == HORIZON_DAYS
    ]
