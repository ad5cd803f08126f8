"""For how many tutors each rule was evaluated: a rule without findings may lack data."""

from __future__ import annotations

from tutor_pipeline.core.findings import Evaluation
from tutor_pipeline.core.warehouse.database import Database


def record(database: Database, run_id: str, evaluation: Evaluation) -> None:
    """Write one row per rule to `ops.rule_coverage`. `evaluation` must cover all tutors."""
    with database.transaction():
        database.execute_many(
            "insert into {ops}.rule_coverage (run_id, kind, rule_id, as_of, tutors, evaluated)"
            " values (%s, %s, %s, %s, %s, %s)"
            " on conflict (run_id, kind, rule_id) do update set as_of = excluded.as_of,"
            " tutors = excluded.tutors, evaluated = excluded.evaluated,"
            " evaluated_at = excluded.evaluated_at",
            [
                (
                    run_id,
                    str(evaluation.kind),
                    rule_id,
                    evaluation.as_of,
                    evaluation.tutors,
                    len(tutors),
                )
                for rule_id, tutors in sorted(evaluation.evaluated.items())
            ],
        )
