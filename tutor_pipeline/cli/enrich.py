"""Verbs that compute, by materializing assets: enrich, backfill, seed-weights; and clear."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any

import typer
from rich.markup import escape

from tutor_pipeline.cli.console import done, emit_json, err, note, out, warn
from tutor_pipeline.cli.failing_tutors import find_failing
from tutor_pipeline.cli.installation import Session, check_mapping, open_session
from tutor_pipeline.cli.launch import FINDINGS, SCORES, Outcome, refresh
from tutor_pipeline.cli.options import (
    AsJson,
    AsOf,
    By,
    IdForm,
    IdsAs,
    actor,
    check_as_of,
    day,
)
from tutor_pipeline.core.errors import RefusedError, UsageError
from tutor_pipeline.core.formatting import count
from tutor_pipeline.core.warehouse import remedies
from tutor_pipeline.people.reports import status_queries, tutor_queries
from tutor_pipeline.people.reports.status_queries import STALE_DAYS
from tutor_pipeline.sources import losses

LAST = "last"
"""The as-of of the current alerts."""

_NAMED = 3
"""How many tables that were not made are named."""
HIGH_VOLUME = 30
"""Median sessions of a tutor in 30 days above which counts alone say little."""


class Step(StrEnum):
    """The steps that `enrich --only` accepts."""

    SCORES = "scores"
    ALERTS = "alerts"
    INSIGHTS = "insights"
    ACHIEVEMENTS = "achievements"


_ASSETS = {Step.SCORES: list(SCORES)} | {Step(name): [key] for name, key in FINDINGS.items()}


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command()(enrich)
    app.command()(backfill)
    app.command("seed-weights")(seed_weights)
    app.command()(clear)


def enrich(
    only: Annotated[
        Step | None, typer.Option(help="Only this step, from the current tables.")
    ] = None,
    as_of: AsOf = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Make scores, alerts, insights and achievements even if data quality checks stop"
            " them; it is recorded.",
        ),
    ] = False,
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss",
            help="Take it as true that rows of the platform are gone; it is recorded.",
        ),
    ] = False,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Recompute everything: weights, metrics (dbt), checks, scores, alerts, insights, achievements.

    Steps that depend on a failed step are skipped and listed; the others continue.

    Example: [bold]tutor-pipeline enrich --as-of latest[/bold]
    """
    check_as_of(as_of)
    if by is not None and not (force or accept_loss):
        raise UsageError(
            "--by says who forces it or accepts a loss: say --force or --accept-loss too, or leave"
            " --by out"
        )
    if accept_loss and only is not None:
        raise UsageError("--only reads no platform table: leave --accept-loss out")
    if only is not None and as_of is not None:
        raise UsageError(
            "--only computes from the metrics as they are, and so as of their moment: leave --as-of"
            " out, or leave --only out"
        )
    session = open_session(note)
    check_mapping(session)
    outcome = refresh(
        as_of=as_of,
        only=_ASSETS[only] if only else None,
        forced_by=actor(by) if force else None,
        accept_loss_by=actor(by) if accept_loss else None,
    )
    report(outcome, as_json)
    if not as_json and only is None:
        if as_of is None:
            hint_at_stale_data(session)
        hint_at_adaptive(session)
    raise typer.Exit(0 if outcome.success else 1)


def backfill(
    tutor: Annotated[
        list[str] | None, typer.Option("--tutor", metavar="ID", help="This tutor. May be repeated.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="The tutors with a session since this day."),
    ] = None,
    as_of: AsOf = None,
    ids_as: IdsAs = IdForm.SHORT,
    as_json: AsJson = False,
) -> None:
    """Recompute some tutors (default: all) and show the findings of each.

    A tutor that fails is reported, the others continue, and the exit status is 1.

    Example: [bold]tutor-pipeline backfill --tutor T0007 --tutor T0012[/bold]
    """
    check_as_of(as_of)
    first = day(since, "--since") if since else None
    session = open_session(note)
    with session.warehouse.connect() as database:
        chosen = tutor_queries.tutors_to_refresh(database, tutor or None, first)
        age = status_queries.newest_session_age_days(database)
        short = tutor_queries.short_ids(database) if ids_as is IdForm.SHORT else {}
    if not chosen:
        done(f"No tutor has a session since {since}: nothing to do")
        if as_json:
            emit_json({"tutors": [], "broken": {}, "runs": []})
        return
    if as_of is None and age is not None and age > STALE_DAYS:
        # As of the current alerts: on old data, one tutor must not be computed as of today.
        as_of = LAST
    work = _Backfill(
        session, chosen, as_of, everybody=not (tutor or since), quiet=as_json, short=short
    )
    broken = find_failing(chosen, work.attempt, warn)
    _report_backfill(work.rows, broken, work.outcomes, len(chosen), as_json)
    skipped = any(outcome.unreadable for outcome in work.outcomes)
    raise typer.Exit(0 if all(work.worked) and not broken and not skipped else 1)


@dataclass
class _Backfill:
    """The tutors of a backfill, and their results so far."""

    session: Session
    chosen: Sequence[str]
    as_of: str | None
    everybody: bool
    quiet: bool
    short: Mapping[str, str]
    rows: list[dict[str, Any]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    worked: list[bool] = field(default_factory=list)

    @cached_property
    def _number(self) -> dict[str, int]:
        return {tutor_id: number for number, tutor_id in enumerate(self.chosen, 1)}

    def attempt(self, tutors: Sequence[str]) -> str | None:
        """Compute some tutors in one run. Returns None on success, else the error."""
        whole = self.everybody and len(tutors) == len(self.chosen)
        outcome = refresh(as_of=self.as_of, tutors=None if whole else tutors)
        self.outcomes.append(outcome)
        if outcome.blocking:
            # The checks concern the tables of all tutors, so it is no tutor's fault.
            raise RefusedError(
                "data quality checks stop what follows, for all tutors:\n"
                + "\n".join(f"  {name}: {says}" for name, says in outcome.blocking.items())
                + "\nSee tutor-pipeline validate; the alerts stay as they were"
            )
        if not set(FINDINGS.values()).isdisjoint(outcome.skipped):
            return "; ".join(outcome.failed.values()) or "not computed"
        if not tutors:
            return None
        self.worked.append(outcome.success)
        with self.session.warehouse.connect() as database:
            found = tutor_queries.findings_by_tutor(database, tutors)
        self.rows.extend(found)
        if not self.quiet:
            for row in found:
                number = f"Tutor {self._number[row['tutor_id']]}/{len(self.chosen)}"
                out.print(f"{number}: {escape(_findings_of(row, self.short))}", soft_wrap=True)
        return None


def _findings_of(row: dict[str, Any], short: Mapping[str, str]) -> str:
    tutor_id = short.get(row["tutor_id"], row["tutor_id"])
    name = f"{row['name']} ({tutor_id})" if row["name"] else tutor_id
    return f"{name}: {count(row['alerts'], 'alert')}, {count(row['insights'], 'insight')}"


def _report_backfill(
    rows: Sequence[dict[str, Any]],
    broken: dict[str, str],
    outcomes: Sequence[Outcome],
    chosen: int,
    as_json: bool,
) -> None:
    totals = {
        "alerts": sum(row["alerts"] for row in rows),
        "insights": sum(row["insights"] for row in rows),
        "achievements": sum(row["achievements"] for row in rows),
        "tutors_with_critical_alerts": sum(1 for row in rows if row["critical"]),
        "tutors_with_warnings": sum(1 for row in rows if row["warning"]),
    }
    if as_json:
        emit_json(
            {
                "tutors": rows,
                "totals": totals,
                "broken": broken
                | {tutor: why for each in outcomes for tutor, why in each.unreadable.items()},
                "runs": [outcome.as_dict() for outcome in outcomes],
            }
        )
        return
    for tutor_id, message in broken.items():
        err.print(f"[bold red]broken:[/bold red] {escape(f'{tutor_id}: {message}')}")
    out.print(
        f"{len(rows):,} of {count(chosen, 'tutor')}: {count(totals['alerts'], 'alert')},"
        f" {count(totals['insights'], 'insight')}, {count(totals['achievements'], 'achievement')};"
        f" tutors with critical alerts: {totals['tutors_with_critical_alerts']:,},"
        f" with warnings: {totals['tutors_with_warnings']:,}"
    )
    for outcome in outcomes:
        report(outcome, False)


def seed_weights(as_json: AsJson = False) -> None:
    """Write the first weights of the student churn score, if there are none.

    Example: [bold]tutor-pipeline seed-weights[/bold] (a second time changes nothing)
    """
    session = open_session(note)
    outcome = refresh(only=["ops/churn_algorithm_weights"], report=lambda _: None)
    if not outcome.success:
        report(outcome, as_json)
        raise typer.Exit(1)
    from tutor_pipeline.judgement.scores.storage.churn_weights import current

    with session.warehouse.connect() as database:
        newest = current(database)
    assert newest is not None
    seeded = bool(outcome.metadata["ops/churn_algorithm_weights"]["seeded"])
    if as_json:
        emit_json({"seeded": seeded, "version": newest.version, "weights": newest.weights})
        return
    done(f"{'Wrote' if seeded else 'There already:'} version {newest.version}")
    for factor, weight in newest.weights.items():
        out.print(f"  {weight:.2f}  {factor}")


def clear(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove all findings (alerts with their history, insights, achievements) and scores.

    The platform's rows, overrides and learned weights stay. `enrich` recomputes the findings, but
    not the actions of administrators: export the alerts first to keep those.

    Example: [bold]tutor-pipeline clear --yes[/bold]
    """
    from tutor_pipeline.judgement.lifecycle import store
    from tutor_pipeline.judgement.scores.storage import score_tables

    session = open_session(note)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("clear asks first, and nobody can answer here: say --yes")
        typer.confirm(
            "Remove all alerts (with their history), insights, achievements and scores"
            f" from {session.warehouse.masked_url}?",
            abort=True,
        )
    with session.warehouse.connect() as database, database.transaction():
        removed = store.clear(database)
        removed += score_tables.clear(database)
        losses.accept_next(database, datetime.now(UTC), why="tutor-pipeline clear")
    if as_json:
        emit_json({"removed": removed})
    else:
        done(
            f"Removed {count(removed, 'row')}; `tutor-pipeline enrich` finds"
            " what is true today again"
        )


def report(outcome: Outcome, as_json: bool) -> None:
    """Print the outcome of a run: its times, failed steps, skipped assets."""
    if as_json:
        emit_json(outcome.as_dict())
        return
    for tutor_id, reason in outcome.unreadable.items():
        warn(f"tutor {tutor_id} skipped: {reason}")
    if outcome.skipped:
        more = len(outcome.skipped) - _NAMED
        rest = f" and {more:,} more" if more > 0 else ""
        warn(f"not made, because of that: {', '.join(outcome.skipped[:_NAMED])}{rest}")
    profile = outcome.metadata.get(FINDINGS["alerts"], {}).get("rule_profile")
    rules = f", rules {profile}" if profile else ""
    times = ", ".join(
        f"{name} {outcome.seconds[name]:.1f} s"
        for name in ("start", "dbt", "checks", "rules", "write")
        if name in outcome.seconds
    )
    if outcome.report is not None:
        note(f"Validation report {outcome.report}")
    if outcome.success:
        done(f"Run {outcome.run_id[:8]} finished ({times}{rules})")
    else:
        warn(f"Run {outcome.run_id[:8]} failed ({times}); `tutor-pipeline up` shows its log")
    _report_failures(outcome)


def _report_failures(outcome: Outcome) -> None:
    """Print what failed and, last, what to do about it."""
    for step, message in outcome.failed.items():
        err.print(f"[bold red]failed:[/bold red] {escape(f'{step}: {message}')}", soft_wrap=True)
    if outcome.blocking:
        see = "see tutor-pipeline validate"
        warn(
            f"made although data quality checks object: {see}"
            if outcome.success
            else f"data quality checks stop what follows: {see}; to go on all the same:"
            " tutor-pipeline enrich --force"
        )
        return
    said = "\n".join(outcome.failed.values())
    remedy = remedies.of_statement(said)
    if remedy is not None and remedy not in said:
        note(remedy)


def hint_at_stale_data(session: Session) -> None:
    """Warn if windows are empty because the data is old."""
    from tutor_pipeline.judgement.lifecycle import store

    with session.warehouse.connect() as database:
        age = status_queries.newest_session_age_days(database)
        applied = store.last_applied(database)
    if age is not None and age > STALE_DAYS:
        # Findings as of today block an older as-of.
        before = "tutor-pipeline clear --yes && " if applied is not None else ""
        warn(
            f"the newest session is {count(age, 'day')} old, so windows of 7 to 30 days hold"
            " little or nothing. To compute as of that day:"
            f" {before}tutor-pipeline enrich --as-of latest"
        )


def hint_at_adaptive(session: Session) -> None:
    """Warn if tutors give so many sessions that counts alone raise alerts."""

    if session.settings.rule_profile not in ("conservative", "standard"):
        return
    with session.warehouse.connect() as database:
        if not status_queries.exists(database, session.warehouse.schemas.marts, "tutor_aggregates"):
            return
        load = status_queries.monthly_load(database)
    if load is not None and load > HIGH_VOLUME:
        warn(
            f"half of the tutors gave {count(round(load), 'session')} or more in 30 days: at that"
            " load a count alone says little. The profile adaptive asks for what is unusual here as"
            " well; see what it would change with: tutor-pipeline rules check --profile adaptive"
            " --against-data"
        )
