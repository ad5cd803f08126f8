"""Check: suites are evaluated and stored; what depends on a failing table is not made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from time import monotonic, sleep

from tutor_pipeline.core.findings import MAX_SKIPPED_SHARE, Kind
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.refresh_runs import moment
from tutor_pipeline.judgement.quality import guard, results
from tutor_pipeline.judgement.quality.outcome import MAX_SAMPLE, Outcome, Status, plain
from tutor_pipeline.judgement.quality.suites import Suite
from tutor_pipeline.people.reports import finding_queries

EVERY_TUTOR = "every_tutor_was_evaluated"
EVERY_TUTOR_SAYS = (
    "No tutor was skipped because of unreadable metrics. A few are a warning; over"
    f" {MAX_SKIPPED_SHARE:.0%} fail the run, after the other tutors are done."
)

_AWAIT_SECONDS = 120


def suite(
    warehouse: Warehouse, run_id: str, checked: Suite, chosen: Collection[str]
) -> Sequence[Outcome]:
    """Evaluate the chosen checks of a suite and store their outcomes."""
    # Great Expectations takes seconds to import: only a run that evaluates checks imports it.
    from tutor_pipeline.judgement.quality.run import run_suite

    with warehouse.connect() as database:
        as_of = moment(database, run_id)
        began = database.value("select clock_timestamp()")
    outcomes = run_suite(checked, warehouse, as_of, set(chosen))
    with warehouse.connect() as database:
        results.record(database, run_id, as_of, outcomes, began)
    return outcomes


def every_tutor(warehouse: Warehouse, run_id: str, kind: Kind, asset: str) -> tuple[Outcome, bool]:
    """Store whether all tutors were evaluated by the rules of a kind, as an outcome; return it,
    and whether too many were skipped.
    """
    with warehouse.connect() as database:
        tutors, skipped = finding_queries.skipped_tutors(database, kind, run_id)
        too_many = len(skipped) > MAX_SKIPPED_SHARE * tutors
        outcome = Outcome(
            asset,
            EVERY_TUTOR,
            "pipeline",
            EVERY_TUTOR_SAYS,
            "error" if too_many else "warn",
            False,
            Status.FAILED if skipped else Status.PASSED,
            rows_checked=tutors,
            rows_failing=len(skipped),
            sample=[
                plain({"tutor_id": tutor, "why": why})
                for tutor, why in list(skipped.items())[:MAX_SAMPLE]
            ],
        )
        results.record(database, run_id, moment(database, run_id), [outcome])
    return outcome, bool(skipped) and too_many


def await_checks(
    warehouse: Warehouse,
    run_id: str,
    required: Sequence[guard.Required],
    warn: Callable[[str], None],
) -> None:
    """Wait, for two minutes at most, for the checks of another full refresh that has rebuilt the
    tables meanwhile. Of two concurrent full refreshes, the first continues on the tables of the
    second.
    """
    deadline = monotonic() + _AWAIT_SECONDS
    told = False
    while monotonic() < deadline:
        with warehouse.connect() as database:
            if not (
                guard.is_superseded(database, run_id) and guard.only_unevaluated(database, required)
            ):
                return
        if not told:
            warn("another refresh has rebuilt the tables; waiting for its checks")
            told = True
        sleep(1)
