"""Judge: evaluates rules over the wide rows and reconciles the result with the stored findings.

One function serves alerts, insights and achievements; they differ only in data. Messages about the
findings are noted in the outbox in the same transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter

from tutor_pipeline.core.findings import Applied, Evaluation, Kind
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.judgement.lifecycle import store
from tutor_pipeline.judgement.rules.catalogue import Catalogue
from tutor_pipeline.judgement.rules.evaluate import evaluate
from tutor_pipeline.judgement.rules.profiles import shipped
from tutor_pipeline.metrics import wide_rows
from tutor_pipeline.people.notify.kinds import alert, rules
from tutor_pipeline.steps.usual import exceptions_of, usual_here


@dataclass(frozen=True, slots=True)
class Findings:
    """One kind of finding: its table in `ops`, and a sentence that describes it."""

    kind: Kind
    table: str
    says: str


FINDINGS = (
    Findings(Kind.ALERT, "alerts", "description"),
    Findings(Kind.INSIGHT, "tutor_insights", "display_text"),
    Findings(Kind.ACHIEVEMENT, "achievements", "description"),
)
"""In the order in which they are made: an open alert may suppress an insight that says the same."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The findings of one kind in a run, and how they changed the stored ones."""

    evaluation: Evaluation
    applied: Applied
    is_full: bool
    rules_seconds: float
    write_seconds: float


def judge(database: Database, catalogue: Catalogue, kind: Kind, run_id: str) -> Judged:
    """Evaluate the rules of one kind over the rows of a refresh, reconcile, and note messages in
    the outbox. Runs in the transaction of the caller, who holds the lock of the kind.
    """
    began = perf_counter()
    wide = wide_rows.read(database, run_id, catalogue.columns(kind))
    exceptions = exceptions_of(database, kind, wide.as_of)
    usual = usual_here(database, catalogue, kind, wide)
    evaluation = evaluate(catalogue, kind, wide.rows, wide.as_of, exceptions, usual)
    evaluated = perf_counter()
    before = None
    if kind is Kind.ALERT and wide.scope is None:
        before = store.last_profile(database)
    applied = store.apply(
        database,
        evaluation,
        run_id=run_id,
        active_tutors=wide.active_tutors,
        scope=wide.scope,
        without_evidence=store.without_evidence(database, kind, wide.scope),
        excused=store.excused(database, kind, wide.scope, wide.as_of),
    )
    if kind is Kind.ALERT:
        now = datetime.now(UTC)
        alert.note(database, applied.changes, as_of=wide.as_of, now=now, run_id=run_id)
        if before is not None and before[0] != catalogue.profile:
            told = {
                "before": before[0],
                "profile": catalogue.profile,
                "is_shipped": before[0] in shipped(),
                **store.adopt(database, catalogue.profile, before[1]),
            }
            rules.note(database, told, as_of=wide.as_of, now=now, run_id=run_id)
    written = perf_counter()
    return Judged(evaluation, applied, wide.scope is None, evaluated - began, written - evaluated)
