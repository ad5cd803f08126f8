"""The validation report's content: is the data sound, what does not hold, what changed.

Belongs here: reading it from what the pipeline kept, and the verdict. Does not belong here:
evaluating checks, and how the report looks (`render`, the command line). Outcomes of checks are
read from `ops.dq_results` only, so the report is the same whoever asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from itertools import groupby
from typing import Any

from tutor_pipeline.core.formatting import count, moment, visible
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.people.reports.queries import (
    Row,
    exists,
    is_stale,
    profile_in_force,
)

TREND_DAYS = 30
"""Days of the quarantine's trend, the newest included."""

_NAMED = 3
"""Checks that the verdict names; the report lists all."""


class Level(StrEnum):
    """The verdict in one word."""

    SOUND = "sound"
    WARNINGS = "warnings"
    BLOCKED = "blocked"


class State(StrEnum):
    """What is known of a check. `Missing`: it was evaluated before the newest full refresh and not
    since; `errored`: it could not be evaluated. Worst first.
    """

    ERRORED = "errored"
    MISSING = "missing"
    FAILED = "failed"
    PASSED = "passed"


@dataclass(frozen=True, slots=True)
class Check:
    """A check and its newest outcome; a missing one keeps its last, which says nothing of today.

    `sample` holds failing rows, `query` lists all of them; `owner` is who states the rule.
    """

    asset: str
    name: str
    says: str
    owner: str
    severity: str
    blocking: bool
    state: State
    observed: str | None
    rows_checked: int | None
    rows_failing: int | None
    sample: Sequence[Mapping[str, Any]]
    query: str | None
    message: str | None
    as_of: datetime
    evaluated_at: datetime
    run_id: str

    @property
    def is_sound(self) -> bool:
        """Whether it holds, as far as the newest refresh knows."""
        return self.state is State.PASSED

    @property
    def stops(self) -> bool:
        """Whether findings are not derived because of it."""
        return self.blocking and not self.is_sound

    @property
    def is_error(self) -> bool:
        """Whether it counts as an error; what is not evaluated always does."""
        return self.severity == "error" or self.state in (State.ERRORED, State.MISSING)

    @property
    def percent_failing(self) -> float | None:
        """Failing rows in percent of those checked; None where either is unknown."""
        if self.rows_failing is None or not self.rows_checked:
            return None
        return 100 * self.rows_failing / self.rows_checked


@dataclass(frozen=True, slots=True)
class Verdict:
    """`headline` says how it is, `names` which checks it is about (as people read them)."""

    level: Level
    headline: str
    names: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """Both in one line."""
        return self.headline + (f" ({'; '.join(self.names)})" if self.names else "")


@dataclass(frozen=True, slots=True)
class Reason:
    """Open quarantined rows of one source that broke one rule; a row may break several."""

    source: str
    reason: str
    rows: int


@dataclass(frozen=True, slots=True)
class Day:
    """What happened to the quarantine on a day (UTC); `open` at its end."""

    day: date
    opened: int
    resolved: int
    open: int


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Rows that broke their contract and are not corrected, and how it went lately."""

    open: int
    sources: Mapping[str, int]
    reasons: tuple[Reason, ...]
    days: tuple[Day, ...]


@dataclass(frozen=True, slots=True)
class Freshness:
    """How new it all is. `loaded_since` = the platform was loaded anew since the last refresh."""

    newest_session: datetime | None
    as_of: datetime | None
    refreshed_at: datetime | None
    loaded_since: bool


@dataclass(frozen=True, slots=True)
class AlertCount:
    """Open alerts of one type; `snoozed` ones are among them."""

    alert_type: str
    title: str
    critical: int
    warning: int
    snoozed: int


@dataclass(frozen=True, slots=True)
class InsightCount:
    """Tutors that an insight holds of."""

    category: str
    insight_type: str
    tutors: int


@dataclass(frozen=True, slots=True)
class AchievementCount:
    """Tutors that hold a badge, and those that earned it and do not meet it at present."""

    achievement_type: str
    title: str
    icon: str
    held: int
    lapsed: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """For how many tutors a rule could be evaluated; the others had too little to judge by."""

    kind: str
    rule_id: str
    tutors: int
    evaluated: int

    @property
    def share(self) -> float:
        """0 to 1; 1 of nobody."""
        return self.evaluated / self.tutors if self.tutors else 1.0


@dataclass(frozen=True, slots=True)
class Forced:
    """A table derived although checks objected."""

    asset: str
    forced_by: str
    forced_at: datetime
    objections: Sequence[str]


@dataclass(frozen=True, slots=True)
class Count:
    """A number then and now."""

    name: str
    then: int | None
    now: int

    @property
    def change(self) -> int:
        """Now less then; 0 where it is not known."""
        return self.now - self.then if self.then is not None else 0


@dataclass(frozen=True, slots=True)
class Changes:
    """What is otherwise than in the previous report, which was made at `since` (None = none)."""

    since: datetime | None
    began: tuple[Check, ...] = ()
    mended: tuple[Check, ...] = ()
    counts: tuple[Count, ...] = ()


@dataclass(frozen=True, slots=True)
class Validation:
    """Everything the report says. `checks` are ordered by table, the worst first; `rules` is the
    profile in force.
    """

    made_at: datetime
    verdict: Verdict
    sessions: int | None
    freshness: Freshness
    checks: tuple[Check, ...]
    changes: Changes
    forced: tuple[Forced, ...]
    quarantine: Quarantine
    alerts: tuple[AlertCount, ...]
    insights: tuple[InsightCount, ...]
    achievements: tuple[AchievementCount, ...]
    coverage: tuple[Coverage, ...]
    rules: str | None = None

    @property
    def attention(self) -> tuple[Check, ...]:
        """The checks that do not hold: what stops findings first, then errors, then warnings."""
        wrong = (check for check in self.checks if not check.is_sound)
        return tuple(sorted(wrong, key=_urgency))

    @property
    def passed(self) -> int:
        """How many checks hold."""
        return sum(check.is_sound for check in self.checks)

    def by_table(self) -> Iterator[tuple[str, tuple[Check, ...]]]:
        """The checks of each table."""
        for asset, checks in groupby(self.checks, key=lambda check: check.asset):
            yield asset, tuple(checks)

    def summary(self) -> dict[str, Any]:
        """What the next report compares itself with."""
        states = {
            asset: {check.name: check.state.value for check in checks}
            for asset, checks in self.by_table()
        }
        return {
            "verdict": self.verdict.sentence,
            "checks": states,
            "counts": {each.name: each.now for each in self.changes.counts},
        }

    def as_dict(self) -> dict[str, Any]:
        """For `--json`: every field, and what follows from it."""
        return {
            **asdict(self),
            "verdict": {**asdict(self.verdict), "sentence": self.verdict.sentence},
            "checks": [
                {**asdict(check), "stops": check.stops, "percent_failing": check.percent_failing}
                for check in self.checks
            ],
            "changes": {
                **asdict(self.changes),
                "began": [_identity(check) for check in self.changes.began],
                "mended": [_identity(check) for check in self.changes.mended],
            },
            "coverage": [{**asdict(each), "share": each.share} for each in self.coverage],
        }


def gather(database: Database, now: datetime, run_id: str | None = None) -> Validation:
    """Read the report as of `now`. What was not built yet is left out.

    `run_id` is the run that the report is of: written again, it is not compared with itself.
    """

    def rows(query: str, **values: Any) -> list[Row]:
        return database.rows(query, values or None)

    sessions, newest_session = None, None
    if exists(database, database.schemas.marts, "fct_sessions"):
        ((sessions, newest_session),) = (row.values() for row in rows(_SESSIONS, now=now))
    refreshes = rows(_REFRESHES)
    newest = refreshes[0] if refreshes else {"as_of": None, "started_at": None}
    freshness = Freshness(newest_session, newest["as_of"], newest["started_at"], is_stale(database))
    checks = tuple(
        sorted(
            (
                Check(**{**row, "state": State(row["state"]), "sample": _ids_first(row["sample"])})
                for row in rows(_CHECKS)
            ),
            key=lambda check: (check.asset, check.is_sound, not check.stops, not check.is_error),
        )
    )
    sources = {row["source"]: row["rows"] for row in rows(_SOURCES)}
    quarantine = Quarantine(
        open=sum(sources.values()),
        sources=sources,
        reasons=tuple(Reason(**row) for row in rows(_REASONS)),
        days=_trend(rows(_EVENTS), (freshness.as_of or now).astimezone(UTC).date()),
    )
    alerts = tuple(AlertCount(**row) for row in rows(_ALERTS, now=now))
    insights = tuple(InsightCount(**row) for row in rows(_INSIGHTS))
    achievements = tuple(AchievementCount(**row) for row in rows(_ACHIEVEMENTS))
    counts = {
        "sessions": sessions or 0,
        "checks": len(checks),
        "checks_not_holding": sum(not check.is_sound for check in checks),
        "quarantined_rows": quarantine.open,
        "critical_alerts": sum(each.critical for each in alerts),
        "warning_alerts": sum(each.warning for each in alerts),
        "strengths": sum(each.tutors for each in insights if each.insight_type == "strength"),
        "growth_areas": sum(each.tutors for each in insights if each.insight_type == "growth_area"),
        "achievements": sum(each.held for each in achievements),
    }
    previous = next(iter(rows(_PREVIOUS, run_id=run_id)), None)
    changes = _changes(previous, checks, counts)
    return Validation(
        made_at=now,
        verdict=judge(checks, sessions, freshness),
        sessions=sessions,
        freshness=freshness,
        checks=checks,
        changes=changes,
        forced=tuple(Forced(**row) for row in rows(_FORCED, since=changes.since)),
        quarantine=quarantine,
        alerts=alerts,
        insights=insights,
        achievements=achievements,
        coverage=tuple(Coverage(**row) for row in rows(_COVERAGE)),
        rules=profile_in_force(database),
    )


def judge(checks: Sequence[Check], sessions: int | None, freshness: Freshness) -> Verdict:
    """The verdict: blocked while a blocking check does not hold, or none was evaluated."""
    since = freshness.refreshed_at
    ran = [check for check in checks if check.state is not State.MISSING]
    if not any(check.owner == "suite" for check in ran):
        when = f" since the refresh of {moment(since)}" if checks and since else " yet"
        headline = f"Blocked: no check has been run{when}; run tutor-pipeline enrich"
        return Verdict(Level.BLOCKED, headline)
    total = count(len(checks), "check")
    if stopping := [check for check in checks if check.stops]:
        verb = "stops" if len(stopping) == 1 else "stop"
        return Verdict(
            Level.BLOCKED,
            f"Blocked: {len(stopping):,} of {total} {verb} alerts, insights and achievements",
            _names(sorted(stopping, key=_urgency)),
        )
    facts = [total]
    if sessions is not None:
        facts.append(count(sessions, "session"))
    if freshness.as_of is not None:
        facts.append(f"as of {moment(freshness.as_of)}")
    errors = sum(not check.is_sound and check.is_error for check in checks)
    warnings = sum(not check.is_sound and not check.is_error for check in checks)
    parts = ((errors, "error"), (warnings, "warning"))
    if found := " and ".join(count(number, noun) for number, noun in parts if number):
        return Verdict(Level.WARNINGS, f"Sound with {found}: {', '.join(facts)}")
    return Verdict(Level.SOUND, f"Sound: {', '.join(facts)}")


def _urgency(check: Check) -> tuple[bool, bool, bool]:
    """What stops findings first, then errors; what is missing is mostly due to what failed."""
    return not check.stops, not check.is_error, check.state is State.MISSING


def _ids_first(sample: Sequence[Any]) -> list[Row]:
    """Failing rows with what identifies them in front: jsonb does not keep the order."""
    rows = [row if isinstance(row, dict) else {"value": row} for row in sample]
    return [dict(sorted(row.items(), key=lambda item: not item[0].endswith("_id"))) for row in rows]


def _identity(check: Check) -> Row:
    return {"asset": check.asset, "name": check.name, "says": check.says}


def _names(checks: Sequence[Check]) -> tuple[str, ...]:
    names = [visible(check.says, 90).rstrip(".") for check in checks[:_NAMED]]
    if len(checks) > _NAMED:
        names.append(f"and {len(checks) - _NAMED} more")
    return tuple(names)


def _changes(previous: Row | None, checks: Sequence[Check], counts: Mapping[str, int]) -> Changes:
    """Compared with the previous report. A check that it did not know began with it."""
    if previous is None:
        now = tuple(Count(name, None, number) for name, number in counts.items())
        return Changes(since=None, counts=now)
    states = previous["summary"].get("checks", {})

    def was_sound(check: Check) -> bool:
        return bool(states.get(check.asset, {}).get(check.name, State.PASSED) == State.PASSED)

    before = previous["summary"].get("counts", {})
    return Changes(
        since=previous["made_at"],
        began=tuple(check for check in checks if not check.is_sound and was_sound(check)),
        mended=tuple(check for check in checks if check.is_sound and not was_sound(check)),
        counts=tuple(Count(name, before.get(name), number) for name, number in counts.items()),
    )


def _trend(events: Sequence[Row], until: date) -> tuple[Day, ...]:
    """The last TREND_DAYS days up to `until`, or to the newest event."""
    until = max([until, *(row["day"] for row in events)])
    first = until - timedelta(days=TREND_DAYS - 1)
    by_day = {row["day"]: row for row in events}
    still_open = sum(row["opened"] - row["resolved"] for row in events if row["day"] < first)
    days = []
    for number in range(TREND_DAYS):
        day = first + timedelta(days=number)
        opened, resolved = (by_day.get(day, {}).get(name, 0) for name in ("opened", "resolved"))
        still_open += opened - resolved
        days.append(Day(day, opened, resolved, still_open))
    return tuple(days)


_SESSIONS = """
    select
        count(*) as sessions,
        max(scheduled_start) filter (where status = 'completed' and scheduled_start <= %(now)s)
            as newest_session
    from {marts}.fct_sessions
"""

_REFRESHES = """
    select as_of, started_at from {ops}.refresh_runs
    where is_full and snapshot_from is null
    order by started_at desc, run_id
"""

# The state of a check is its newest row since the newest full refresh began. Which checks should
# be there is what was evaluated since the full refresh before it; or, where refreshes died early,
# since the last one whose alerts were derived: dying twice must not look like having no checks.
_CHECKS = f"""
    with refreshes as ({_REFRESHES}),

    bounds as (
        select
            newest.started_at as newest,
            coalesce(
                (
                    select max(started_at) from refreshes
                    where started_at < (
                        select max(applied_at) from {{ops}}.reconcile_runs
                        where kind = 'alert' and applied_at < newest.started_at
                    )
                ),
                (select max(started_at) from refreshes where started_at < newest.started_at),
                newest.started_at,
                '-infinity'
            ) as oldest
        from (select max(started_at) as started_at from refreshes) as newest
    )

    select distinct on (results.asset, results.check_name)
        results.asset,
        results.check_name as name,
        results.says,
        results.owner,
        results.severity,
        results.blocking,
        case
            when
                results.evaluated_at < bounds.newest
                and header.snapshot_from is null
                -- Of a table that was not made again, what was true of it stands.
                and results.owner <> 'pipeline'
                then 'missing'
            else results.status
        end as state,
        results.observed,
        results.rows_checked,
        results.rows_failing,
        results.sample,
        results.query,
        results.message,
        results.as_of,
        results.evaluated_at,
        results.run_id
    from {{ops}}.dq_results as results
    cross join bounds
    -- What a run over days of its own checked is no business of a refresh.
    left join {{ops}}.refresh_runs as header on results.run_id = header.run_id
    where results.evaluated_at >= bounds.oldest
    order by results.asset, results.check_name, results.evaluated_at desc, results.run_id desc
"""

_ALERTS = """
    select
        alert_type,
        (array_agg(title order by triggered_date desc, alert_id))[1] as title,
        count(*) filter (where severity = 'critical') as critical,
        count(*) filter (where severity = 'warning') as warning,
        count(*) filter (where snoozed_until > %(now)s) as snoozed
    from {ops}.alerts
    where resolved_at is null
    group by alert_type
    order by critical desc, warning desc, alert_type
"""

_INSIGHTS = """
    select category, insight_type, count(*) as tutors
    from {ops}.tutor_insights
    where resolved_at is null
    group by category, insight_type
    order by insight_type desc, tutors desc, category
"""

_ACHIEVEMENTS = """
    select
        achievement_type,
        (array_agg(title order by last_earned_date desc, tutor_id))[1] as title,
        (array_agg(icon order by last_earned_date desc, tutor_id))[1] as icon,
        count(*) filter (where resolved_at is null) as held,
        count(*) filter (where resolved_at is not null) as lapsed
    from {ops}.achievements
    group by achievement_type
    order by held desc, achievement_type
"""

# Of each kind the newest run: another kind's may be older.
_COVERAGE = """
    select kind, rule_id, tutors, evaluated
    from (
        select *, first_value(run_id) over newest as newest_run_id
        from {ops}.rule_coverage
        window newest as (partition by kind order by evaluated_at desc, run_id)
    ) as coverage
    where run_id = newest_run_id
    order by kind, evaluated::double precision / nullif(tutors, 0), rule_id
"""

_FORCED = """
    select asset, forced_by, forced_at, objections
    from {ops}.dq_overrides
    where %(since)s::timestamptz is null or forced_at > %(since)s
    order by forced_at desc, asset
"""

_SOURCES = """
    select source, count(*) as rows
    from {ops}.quarantine
    where resolved_at is null
    group by source
    order by source
"""

_REASONS = """
    select source, reason, count(*) as rows
    from {ops}.quarantine, unnest(reasons) as reason
    where resolved_at is null
    group by source, reason
    order by source, rows desc, reason
"""

# What was corrected and broke again keeps its first day and counts as open ever since.
_EVENTS = """
    select day, sum(opened)::int as opened, sum(resolved)::int as resolved
    from (
        select (first_seen at time zone 'UTC')::date as day, 1 as opened, 0 as resolved
        from {ops}.quarantine
        union all
        select (resolved_at at time zone 'UTC')::date as day, 0 as opened, 1 as resolved
        from {ops}.quarantine
        where resolved_at is not null
    ) as events
    group by day
    order by day
"""

_PREVIOUS = """
    select made_at, summary
    from {ops}.validation_reports
    where run_id is distinct from %(run_id)s::text
    order by made_at desc, run_id
    limit 1
"""
