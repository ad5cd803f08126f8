"""A platform and a ledger, with ways to change the one and to look at the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import pytest

from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.core.warehouse.platform import ensure_session_students
from tutor_pipeline.sources.changes import ledger, versions

NOW = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)

CLEARED = (
    *(f"{{ops}}.{table}" for table in ("session_ledger", "session_changes", "session_excuses")),
    *(f"{{ops}}.{table}" for table in ("set_aside_tutors", "history_repairs")),
    *(f"{{ops}}.{table}" for table in ("refresh_runs", "reconcile_runs")),
    *(f"{{platform}}.{table}" for table in ("sessions", *versions.PARTS)),
)


@dataclass
class Desk:
    """One database. `now` is the moment of whatever is done next."""

    warehouse: Warehouse
    now: datetime = NOW
    runs: int = 0

    @cached_property
    def database(self) -> Database:
        """For looking and for changing the platform: each statement is a transaction."""
        return self.warehouse.connect(autocommit=True)

    def execute(self, statement: str, *parameters: Any) -> None:
        self.database.execute(statement, parameters or None)

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.database.execute(query, parameters).fetchall()

    def clear(self) -> None:
        self.now, self.runs = NOW, 0
        self.execute("; ".join(f"delete from {table}" for table in CLEARED))

    def add(self, session_id: str, tutor_id: str = "T1", days: float = 1) -> None:
        """A completed session that started so many days ago."""
        self.execute(
            "insert into {platform}.sessions (id, tutor_id, scheduled_start, status)"
            " values (%s, %s, %s, 'completed')",
            session_id,
            tutor_id,
            self.now - timedelta(days=days),
        )

    def note_refresh(self, run_id: str) -> None:
        """The header and the findings of a full refresh."""
        self.execute(
            "insert into {ops}.refresh_runs (run_id, as_of, is_full, started_at)"
            " values (%s, %s, true, %s)",
            *(run_id, self.now, self.now),
        )
        for kind in ("alert", "insight", "achievement"):
            self.note_findings(kind)

    def note_findings(self, kind: str) -> None:
        """That findings of the kind were made as of now."""
        self.execute(
            "insert into {ops}.reconcile_runs (kind, run_id, as_of, profile, tutors, evaluated,"
            " opened, confirmed, escalated, resolved, suppressed, skipped, applied_at)"
            " values (%s, %s, %s, 'p', 1, 1, 0, 0, 0, 0, 0, '{{}}', %s)",
            *(kind, str(self.now), self.now, self.now),
        )

    def compare(
        self, *, whole: bool = False, started: ledger.Started | None = None
    ) -> ledger.Queue:
        with self.warehouse.connect() as database:
            return ledger.compare(database, self.now, whole=whole, started=started)

    def take(self) -> ledger.Batch | None:
        """Compare, and take what waits."""
        self.runs += 1
        with self.warehouse.connect() as database:
            ledger.compare(database, self.now, whole=False)
            return ledger.take(database, f"run/{self.runs}", self.now)

    def take_all(self) -> ledger.Batch:
        self.runs += 1
        with self.warehouse.connect() as database:
            return ledger.take_all(database, f"run/{self.runs}", self.now)

    def settle(self, batch: ledger.Batch | None) -> ledger.Settled:
        assert batch is not None
        with self.warehouse.connect() as database:
            return ledger.settle(database, batch.run_id)

    def set_aside(self, tutor_id: str, run_id: str = "run") -> None:
        with self.warehouse.connect() as database:
            ledger.set_aside(database, tutor_id, "broken", run_id, self.now)

    def fill(self) -> ledger.Settled:
        """What a first full refresh does."""
        return self.settle(self.take_all())

    def process(self) -> list[str]:
        """Refresh until nothing waits; the tutors of each pass, with a blank between."""
        passes = []
        while (batch := self.take()) is not None:
            passes.append(" ".join(batch.tutors))
            self.settle(batch)
        return passes

    def platform(
        self, since: timedelta = ledger.WINDOW, *, whole: bool = True
    ) -> dict[tuple[str, str], tuple[Any, ...]]:
        """(tutor, session) → start, versions, of what started since."""
        columns = versions.read_columns(self.database)
        found = self.database.execute(
            versions.session_versions(self.warehouse, columns, whole=whole),
            {"since": self.now - since, "until": self.now, "recent": self.now - ledger.WINDOW},
        ).fetchall()
        assert len({row[:2] for row in found}) == len(found)
        return {(row[0], row[1]): tuple(row[-3:]) for row in found}

    def ledger(self) -> dict[tuple[str, str], tuple[Any, ...]]:
        """(tutor, session) → start, versions, of what was processed in the window."""
        return {
            (tutor, session): tuple(rest)
            for tutor, session, *rest in self.rows(
                "select tutor_id, session_id, scheduled_start, session_version, version"
                " from {ops}.session_ledger"
                " where version is not null and scheduled_start > %s and scheduled_start <= %s",
                self.now - ledger.WINDOW,
                self.now,
            )
        }

    def pending(self) -> set[tuple[str, str]]:
        return set(
            self.rows(
                "select tutor_id, session_id from {ops}.session_ledger"
                " where pending_since is not null"
            )
        )


@pytest.fixture(scope="module")
def make_desk() -> Iterator[Callable[[Warehouse], Desk]]:
    """For platforms of another shape."""
    made: list[Desk] = []

    def make(warehouse: Warehouse) -> Desk:
        made.append(Desk(warehouse))
        return made[-1]

    yield make
    for each in made:
        each.database.close()


@pytest.fixture(scope="module")
def module_desk(platform_warehouse: Warehouse, make_desk: Callable[[Warehouse], Desk]) -> Desk:
    with platform_warehouse.connect() as database:
        ensure_session_students(database)
    return make_desk(platform_warehouse)


@pytest.fixture
def desk(module_desk: Desk) -> Desk:
    """An empty platform of our own shape, and an empty ledger."""
    module_desk.clear()
    return module_desk
