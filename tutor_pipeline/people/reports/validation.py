"""The content of the validation report: is the data sound, what does not hold, what changed. Pure.

Belongs here: the values of the report, and the verdict.
Does not belong here: reading them (`validation_reader`), running checks (`judgement.quality`), and
how the report looks (`render`, the command line).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from enum import StrEnum
from itertools import groupby
from typing import Any

from tutor_pipeline.core.formatting import agree, count, moment, visible
from tutor_pipeline.core.warehouse.database import Row

_NAMED = 3
"""How many checks the verdict names; the report lists all."""


class Level(StrEnum):
    """The verdict in one word."""

    SOUND = "sound"
    WARNINGS = "warnings"
    BLOCKED = "blocked"


class State(StrEnum):
    """The state of a check, worst first.

    `errored`: it could not be evaluated. `missing`: it was evaluated before the newest full refresh
    and not since.
    """

    ERRORED = "errored"
    MISSING = "missing"
    FAILED = "failed"
    PASSED = "passed"


@dataclass(frozen=True, slots=True)
class Check:
    """A check and its newest outcome. A missing check has its last outcome, which may be outdated.

    `sample` holds failing rows, `query` is SQL that lists all of them. `owner` states the rule:
    dbt, a suite or the pipeline.
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
        """Whether the check passed since the newest refresh began."""
        return self.state is State.PASSED

    @property
    def stops(self) -> bool:
        """Whether it stops the findings: alerts, insights and achievements."""
        return self.blocking and not self.is_sound

    @property
    def is_error(self) -> bool:
        """Whether it counts as an error; a check without a current outcome always does."""
        return self.severity == "error" or self.state in (State.ERRORED, State.MISSING)

    @property
    def percent_failing(self) -> float | None:
        """Failing rows in percent of the rows checked; None when either number is unknown."""
        if self.rows_failing is None or not self.rows_checked:
            return None
        return 100 * self.rows_failing / self.rows_checked


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict: a headline, and the sentences of the checks that it is about."""

    level: Level
    headline: str
    names: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """Headline and names in one line."""
        return self.headline + (f" ({'; '.join(self.names)})" if self.names else "")


@dataclass(frozen=True, slots=True)
class Reason:
    """How many open quarantined rows of a source broke a rule; a row may break several."""

    source: str
    reason: str
    rows: int


@dataclass(frozen=True, slots=True)
class Day:
    """The quarantine on one day (UTC). `open` counts the open rows at the end of the day."""

    day: date
    opened: int
    resolved: int
    open: int


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Rows that broke their contract and are not corrected, and the trend of the last days."""

    open: int
    sources: Mapping[str, int]
    reasons: tuple[Reason, ...]
    days: tuple[Day, ...]


@dataclass(frozen=True, slots=True)
class Freshness:
    """How new the data is.

    `as_of` belongs to the newest full refresh, `alerts_as_of` to the newest alerts, which are older
    while a blocking check stops them. `loaded_since`: the platform was loaded again after the last
    refresh.
    """

    newest_session: datetime | None
    as_of: datetime | None
    refreshed_at: datetime | None
    loaded_since: bool
    alerts_as_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class AlertCount:
    """Open alerts of one type by severity. `snoozed` counts those of them that are snoozed."""

    alert_type: str
    title: str
    critical: int
    warning: int
    snoozed: int


@dataclass(frozen=True, slots=True)
class InsightCount:
    """How many tutors have an insight."""

    category: str
    insight_type: str
    tutors: int


@dataclass(frozen=True, slots=True)
class AchievementCount:
    """How many tutors hold a badge, and how many earned it but do not meet it at present."""

    achievement_type: str
    title: str
    icon: str
    held: int
    lapsed: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """For how many tutors a rule could be evaluated; the others had too little data."""

    kind: str
    rule_id: str
    tutors: int
    evaluated: int

    @property
    def share(self) -> float:
        """The share of tutors evaluated, 0 to 1; 1 without tutors."""
        return self.evaluated / self.tutors if self.tutors else 1.0


@dataclass(frozen=True, slots=True)
class Forced:
    """A table that somebody derived although blocking checks did not hold."""

    asset: str
    forced_by: str
    forced_at: datetime
    objections: Sequence[str]


@dataclass(frozen=True, slots=True)
class Count:
    """A number in the previous report and now."""

    name: str
    then: int | None
    now: int

    @property
    def change(self) -> int:
        """The difference; 0 without a previous number."""
        return self.now - self.then if self.then is not None else 0


@dataclass(frozen=True, slots=True)
class Changes:
    """The differences from the previous report, made at `since` (None = there is none).

    `began`: checks that no longer hold. `mended`: checks that hold again.
    """

    since: datetime | None
    began: tuple[Check, ...] = ()
    mended: tuple[Check, ...] = ()
    counts: tuple[Count, ...] = ()


@dataclass(frozen=True, slots=True)
class Validation:
    """The whole report. `checks` are ordered by table, the most urgent first; `rules` is the rule
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
        """The checks that do not hold: those that stop findings, then errors, then warnings."""
        wrong = (check for check in self.checks if not check.is_sound)
        return tuple(sorted(wrong, key=_urgency))

    @property
    def passed(self) -> int:
        """The number of checks that hold."""
        return sum(check.is_sound for check in self.checks)

    def by_table(self) -> Iterator[tuple[str, tuple[Check, ...]]]:
        """Yields each table with its checks."""
        for asset, checks in groupby(self.checks, key=lambda check: check.asset):
            yield asset, tuple(checks)

    def summary(self) -> dict[str, Any]:
        """Returns what the next report compares itself with."""
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
        """Returns every field and every derived value, for `--json`."""
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


def judge(
    checks: Sequence[Check],
    sessions: int | None,
    freshness: Freshness,
    forced: Sequence[Forced] = (),
) -> Verdict:
    """Returns the verdict: blocked when a blocking check does not hold or no suite has run, sound
    when every check holds and nothing was `forced`.
    """
    since = freshness.refreshed_at
    ran = [check for check in checks if check.state is not State.MISSING]
    if not any(check.owner == "suite" for check in ran):
        when = f" since the refresh of {moment(since)}" if checks and since else " yet"
        headline = f"Blocked: no check has been run{when}; run tutor-pipeline enrich"
        return Verdict(Level.BLOCKED, headline)
    total = count(len(checks), "check")
    if stopping := [check for check in checks if check.stops]:
        verb = agree(len(stopping), "stops", "stop")
        return Verdict(
            Level.BLOCKED,
            f"Blocked: {len(stopping):,} of {total} {verb} alerts, insights and achievements",
            _names(sorted(stopping, key=_urgency)),
        )
    told = [total]
    if sessions is not None:
        told.append(count(sessions, "session"))
    if freshness.as_of is not None:
        anew = ", the platform was loaded anew since" if freshness.loaded_since else ""
        told.append(f"as of {moment(freshness.as_of)}{anew}")
    wrong = [check for check in checks if not check.is_sound]
    if wrong:
        errors = sum(check.is_error for check in wrong)
        parts = ((errors, "error"), (len(wrong) - errors, "warning"))
        found = " and ".join(count(number, noun) for number, noun in parts if number)
        of_all = f"{len(wrong):,} of {total} {agree(len(wrong), 'does', 'do')} not hold"
        also = f": {', '.join(told[1:])}" if told[1:] else ""
        return Verdict(Level.WARNINGS, f"{of_all} ({found}; nothing stops){also}")
    if forced:
        tables = f"{count(len(forced), 'table')} {agree(len(forced), 'was', 'were')}"
        return Verdict(
            Level.WARNINGS, f"Every check holds now, but {tables} forced before: {', '.join(told)}"
        )
    return Verdict(Level.SOUND, f"Sound: {', '.join(told)}")


def _urgency(check: Check) -> tuple[bool, bool, bool]:
    """Sort key: checks that stop findings, then errors; missing ones last, as most miss because
    another check failed.
    """
    return not check.stops, not check.is_error, check.state is State.MISSING


def _identity(check: Check) -> Row:
    return {"asset": check.asset, "name": check.name, "says": check.says}


def _names(checks: Sequence[Check]) -> tuple[str, ...]:
    """Returns the sentences of the first checks, and how many more there are."""
    names = [visible(check.says, 90).rstrip(".") for check in checks[:_NAMED]]
    if len(checks) > _NAMED:
        names.append(f"and {len(checks) - _NAMED:,} more")
    return tuple(names)
