"""Folders of CSV files, and a platform that is empty before every test."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.sources.csv.importing import ImportSummary, Wishes, import_folder

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TUTOR = {
    "tutor_id": "T1",
    "months_experience": "12",
    "total_sessions_completed": "100",
    "avg_historical_rating": "4.5",
    "subjects_taught": "Math,Science",
    "primary_subject": "Math",
    "reschedule_rate": "0.1",
    "no_show_count": "0",
    "reliability_score": "0.9",
    "certification_level": "Basic",
    "active_status": "True",
    "last_login": "2026-02-01 10:00:00",
}
SESSION = {
    "session_id": "S1",
    "tutor_id": "T1",
    "session_datetime": "2026-02-03 16:00:00.123456",
    "scheduled_duration_min": "60",
    "actual_duration_min": "58",
    "subject": "Math",
    "grade_level": "College",
    "is_first_session": "False",
    "session_completed": "True",
    "student_showed": "True",
    "tutor_showed": "True",
    "connection_quality": "Good",
    "had_technical_issues": "False",
    "student_attention_pct": "87.5",
    "tutor_camera_on_pct": "95",
    "tutor_speak_ratio": "0.45",
    "screen_share_pct": "20",
    "overall_sentiment": "0.5",
    "student_sentiment": "0.6",
    "tutor_sentiment": "-0.1",
    "empathy_score": "7.5",
    "clarity_score": "8",
    "engagement_score": "6.5",
    "student_rating": "4.5",
    "student_satisfaction": "9",
    "would_recommend": "True",
}


class Export:
    """A folder of a CSV export, by default one tutor and one good session."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(exist_ok=True)
        self.tutors()
        self.sessions()

    def tutors(self, *rows: dict[str, str]) -> None:
        self.rows("tutor_profiles.csv", [{**TUTOR, **row} for row in rows or ({},)])

    def sessions(self, *rows: dict[str, str]) -> None:
        self.rows("sessions.csv", [{**SESSION, **row} for row in rows or ({},)])

    def rows(self, name: str, rows: list[dict[str, str]]) -> None:
        lines = [list(rows[0]), *(list(row.values()) for row in rows)]
        self.text(name, "".join(map(line_of, lines)))

    def text(self, name: str, text: str) -> None:
        self.bytes(name, text.encode())

    def bytes(self, name: str, content: bytes) -> None:
        (self.path / name).write_bytes(content)


def line_of(fields: list[str]) -> str:
    """One CSV record as its writer makes it, ending in a newline."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(fields)
    return out.getvalue()


class Imports:
    """Imports into the module's database and looks at what came of it."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse

    def run(
        self, export: Export, *, at: datetime = NOW, max_bad: float = 1, **wishes: Any
    ) -> ImportSummary:
        """All bad rows are tolerated unless the test says otherwise."""
        return import_folder(
            self.warehouse, export.path, Wishes(max_bad=max_bad, **wishes), as_of=at
        )

    def query(self, text: str) -> list[tuple[Any, ...]]:
        with self.warehouse.connect() as database:
            return database.execute(text).fetchall()

    def quarantine(self) -> list[tuple[int, list[str], str | None]]:
        """Line, reasons and business key of the open entries."""
        return self.query(
            "select line, reasons, business_key from {ops}.quarantine where resolved_at is null"
            " order by source, line"
        )

    def platform(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every platform table."""
        tables = self.query(
            "select tablename from pg_tables where schemaname = '"
            + self.warehouse.schemas.platform
            + "' order by 1"
        )
        return {
            name: self.query(f"select t::text from {{platform}}.{name} as t order by 1")
            for (name,) in tables
        }


@pytest.fixture
def export(tmp_path: Path) -> Export:
    return Export(tmp_path / "export")


@pytest.fixture
def imports(platform_warehouse: Warehouse) -> Iterator[Imports]:
    yield Imports(platform_warehouse)
    with platform_warehouse.connect() as database:
        tables = database.execute(
            "select format('%%I.%%I', schemaname, tablename) from pg_tables where schemaname = %s",
            (platform_warehouse.schemas.platform,),
        ).fetchall()
        database.execute(f"truncate {', '.join(name for (name,) in tables)}".encode())
        database.execute("truncate {ops}.quarantine")
