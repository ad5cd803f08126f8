"""Rows as the pipeline leaves them, for the report to read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.people.reports.validation import Validation
from tutor_pipeline.people.reports.validation_reader import gather

NOW = datetime(2026, 3, 10, 18, 50, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class Ops:
    """Writes rows of `ops` on one connection."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.warehouse = database.warehouse

    def insert(self, table: str, **values: Any) -> None:
        self.database.execute(
            f"insert into {{ops}}.{table} ({', '.join(values)})"
            f" values ({', '.join(['%s'] * len(values))})",
            list(values.values()),
        )

    def refresh(self, run_id: str, at: datetime, **values: Any) -> None:
        row = {"as_of": at, "is_full": True, "started_at": at, **values}
        self.insert("refresh_runs", run_id=run_id, **row)

    def check(self, name: str, at: datetime, **values: Any) -> None:
        row = {
            "run_id": f"run at {at}",
            "asset": "marts/fct_sessions",
            "owner": "suite",
            "says": f"{name} holds.",
            "severity": "error",
            "blocking": True,
            "status": "passed",
            "as_of": at,
            **values,
        }
        row["sample"] = Jsonb(row.get("sample", []))
        self.insert("dq_results", check_name=name, evaluated_at=at, **row)

    def applied(self, at: datetime, *, evaluated: int = 0, kind: str = "alert") -> None:
        numbers = ("tutors", "opened", "confirmed", "escalated", "resolved", "suppressed")
        self.insert(
            "reconcile_runs",
            kind=kind,
            run_id=f"run at {at}",
            as_of=at,
            profile="conservative",
            skipped=Jsonb({}),
            applied_at=at,
            evaluated=evaluated,
            **dict.fromkeys(numbers, 0),
        )

    def quarantined(self, key: str, at: datetime, **values: Any) -> None:
        row = {"source": "platform.sessions", "reasons": ["unknown_status"], **values}
        row |= {"payload": Jsonb({}), "first_seen": at, "last_seen": at}
        self.insert("quarantine", row_key=key, **row)

    def alert(self, tutor: str, **values: Any) -> None:
        row = {
            "alert_type": "late",
            "occurrence": 1,
            "severity": "warning",
            "title": "Late",
            "triggered_date": NOW,
            **values,
        }
        self.insert(
            "alerts",
            tutor_id=tutor,
            subject_id=row.pop("subject_id", tutor),
            alert_id=row.pop("alert_id", f"{tutor} {row['alert_type']}"),
            description="",
            recommended_action="",
            evidence_session_ids=[],
            metrics=Jsonb({}),
            excess=0,
            rule_profile="conservative",
            rule_version="1",
            last_confirmed_at=NOW,
            **row,
        )

    def insight(self, tutor: str, category: str, insight_type: str) -> None:
        self.insert(
            "tutor_insights",
            tutor_id=tutor,
            insight_id=f"{tutor} {category}",
            category=category,
            insight_type=insight_type,
            occurrence=1,
            display_text="",
            sample_sessions=[],
            metrics=Jsonb({}),
            rule_profile="conservative",
            rule_version="1",
            detected_at=NOW,
            last_confirmed_at=NOW,
        )

    def achievement(self, tutor: str, **values: Any) -> None:
        row = {"achievement_type": "guru", "title": "Guru", "icon": "💡", **values}
        self.insert(
            "achievements",
            tutor_id=tutor,
            achievement_id=f"{tutor} {row['achievement_type']}",
            occurrence=1,
            description="",
            metrics=Jsonb({}),
            rule_profile="conservative",
            rule_version="1",
            earned_date=NOW,
            last_earned_date=NOW,
            last_confirmed_at=NOW,
            **row,
        )

    def coverage(self, rule_id: str, evaluated: int, at: datetime, kind: str = "alert") -> None:
        self.insert(
            "rule_coverage",
            run_id=f"run at {at}",
            kind=kind,
            rule_id=rule_id,
            as_of=at,
            tutors=10,
            evaluated=evaluated,
            evaluated_at=at,
        )

    def sessions(self, *starts: datetime, status: str = "completed") -> None:
        """The two columns of dbt's table that the report reads."""
        self.database.execute(
            "create table {marts}.fct_sessions (status text, scheduled_start timestamptz)"
        )
        for start in starts:
            self.database.execute(
                "insert into {marts}.fct_sessions values (%s, %s)",
                (status, start),
            )

    def reported(self, validation: Validation, at: datetime) -> None:
        self.insert(
            "validation_reports",
            run_id=f"run at {at}",
            made_at=at,
            as_of=at,
            verdict=validation.verdict.level,
            file="validation.html",
            summary=Jsonb(validation.summary()),
        )

    def gather(self, now: datetime = NOW, run_id: str | None = None) -> Validation:
        return gather(self.database, now, run_id)


@pytest.fixture
def ops(warehouse: Warehouse) -> Iterator[Ops]:
    """What it writes is rolled back."""
    with warehouse.connect() as database:
        yield Ops(database)
        database.connection.rollback()
