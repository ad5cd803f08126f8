"""Refines the weights of the student churn score once a week, from who really left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.refresh_runs import built_moment
from tutor_pipeline.judgement.scores import churn_weights
from tutor_pipeline.judgement.scores.storage import churn_weights as stored_weights
from tutor_pipeline.judgement.scores.storage import score_tables, versions


@dataclass(frozen=True, slots=True)
class Refined:
    """The weights in force, and what was decided (`scores.refinement.Decision`)."""

    in_force: Mapping[str, float]
    decision: Any


def refine(database: Database, run_id: str) -> Refined:
    """Fit weights, and write a new version only if it predicts held-out weeks better. Every
    attempt is stored, a refused one with the reason. The caller holds the lock of the students'
    scores.
    """
    from tutor_pipeline.judgement.scores import refinement

    now = datetime.now(UTC)
    as_of = built_moment(database)
    stored_weights.seed(database, now)
    current = stored_weights.current(database)
    assert current is not None
    known_until = score_tables.day_of(database.warehouse, as_of) - timedelta(days=1)
    rows = database.rows(refinement.OUTCOMES, {"known_until": known_until})
    decision = refinement.refine(rows, current)
    version = None
    if decision.accepted:
        assert decision.weights is not None
        assert decision.levels is not None
        version = stored_weights.add(
            database,
            decision.weights,
            decision.levels,
            replaces=current,
            at=now,
            notes=f"{churn_weights.LEARNED} {decision.reason}",
        ).version
    attempt = {
        "run_id": run_id,
        "decided_at": now,
        "as_of": as_of,
        "old_version": current.version,
        "new_version": version,
        "old_weights": current.weights,
        "new_weights": decision.weights,
        "metric": refinement.METRIC,
        "metric_before": decision.metric_before,
        "metric_after": decision.metric_after,
        "gain_lower_bound": decision.gain_lower_bound,
        "rows": decision.rows,
        "churn_events": decision.churn_events,
        "decision": "accepted" if decision.accepted else "refused",
        "reason": decision.reason,
    }
    versions.add(database, "churn_weight_history", attempt)
    return Refined(current.weights, decision)
