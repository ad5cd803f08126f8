"""Keeping the quarantine in step with what staging labelled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.sources.quarantine import QuarantineSummary, sync_live, sync_live_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
Row = tuple[str | None, str | None, list[str]]
OwnedRow = tuple[str, str, str | None, list[str]]


class Staging:
    """A staging.session_rows with the labels that a test wants."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse

    def sync(self, *rows: Row, at: datetime = NOW) -> QuarantineSummary:
        """Rows are (row key, session id, reasons)."""
        with self.warehouse.connect() as database:
            self._fill(database, rows)
            return sync_live(database, at)

    def _fill(self, database: Database, rows: tuple[Row, ...]) -> None:
        database.execute(
            "create table if not exists {staging}.session_rows (row_key text,"
            " session_id text, quarantine_reasons text[] not null, payload jsonb, tutor_id text);"
            " truncate {staging}.session_rows"
        )
        database.connection.cursor().executemany(
            self.warehouse.sql(
                "insert into {staging}.session_rows values"
                " (%s, %s, %s, jsonb_build_object('id', %s::text))"
            ),
            [(key, session, reasons, session) for key, session, reasons in rows],
        )

    def sync_of(self, tutors: Sequence[str], *rows: OwnedRow, at: datetime = NOW) -> None:
        """A refresh of some tutors. Rows are (row key, session id, tutor id, reasons)."""
        with self.warehouse.connect() as database:
            self._fill(database, ())
            database.execute_many(
                "insert into {staging}.session_rows"
                " (row_key, session_id, tutor_id, quarantine_reasons, payload) values"
                " (%s, %s, %s, %s, jsonb_strip_nulls(jsonb_build_object('tutor_id', %s::text)))",
                [(key, session, tutor, why, tutor) for key, session, tutor, why in rows],
            )
            sync_live_of(database, at, tutors)

    def entries(self) -> list[tuple[Any, ...]]:
        with self.warehouse.connect() as database:
            return database.execute(
                "select row_key, reasons, first_seen, last_seen, resolved_at"
                " from {ops}.quarantine where source = 'platform.sessions' order by row_key"
            ).fetchall()


@pytest.fixture
def staging(warehouse: Warehouse) -> Iterator[Staging]:
    yield Staging(warehouse)
    with warehouse.connect() as database:
        database.execute("truncate {ops}.quarantine")


GOOD = (None, "S1", list[str]())
BAD = ("k#1", "S2", ["status_unknown_value"])
WORSE = ("l#1", None, ["id_missing", "status_unknown_value"])


def test_rows_in_are_clean_or_quarantined(staging: Staging) -> None:
    summary = staging.sync(GOOD, BAD, WORSE, ("l#2", *WORSE[1:]))
    assert summary == QuarantineSummary(
        rows=4,
        clean=1,
        quarantined=3,
        by_reason={"status_unknown_value": 3, "id_missing": 2},
        resolved=0,
    )
    assert [key for key, *_ in staging.entries()] == ["k#1", "l#1", "l#2"]


def test_no_rows_at_all(staging: Staging) -> None:
    assert staging.sync() == QuarantineSummary(0, 0, 0, {}, 0)


def test_again_moves_last_seen_only(staging: Staging) -> None:
    staging.sync(BAD)
    assert staging.sync(BAD, at=LATER).resolved == 0
    assert staging.entries() == [("k#1", BAD[2], NOW, LATER, None)]


def test_an_earlier_moment_never_shortens_an_entry(staging: Staging) -> None:
    """A backfill runs as of a moment before the last run."""
    staging.sync(BAD, at=LATER)
    staging.sync(BAD, at=NOW)
    assert staging.entries() == [("k#1", BAD[2], NOW, LATER, None)]


def test_what_is_bad_no_longer_is_resolved_and_may_open_again(staging: Staging) -> None:
    staging.sync(BAD, WORSE)
    assert staging.sync((None, "S2", []), WORSE, at=LATER).resolved == 1
    assert staging.entries() == [
        ("k#1", BAD[2], NOW, NOW, LATER),
        ("l#1", WORSE[2], NOW, LATER, None),
    ]
    assert staging.sync(WORSE, at=LATER + timedelta(hours=1)).resolved == 0
    staging.sync(BAD, WORSE, at=LATER)
    assert staging.entries()[0] == ("k#1", BAD[2], NOW, LATER, None)


def test_the_reasons_are_those_of_now(staging: Staging) -> None:
    staging.sync(BAD)
    staging.sync(("k#1", "S2", ["unknown_tutor"]), at=LATER)
    assert staging.entries() == [("k#1", ["unknown_tutor"], NOW, LATER, None)]


def test_entries_of_imports_are_left_alone(staging: Staging, warehouse: Warehouse) -> None:
    with warehouse.connect() as database:
        database.execute(
            "insert into {ops}.quarantine (source, row_key, payload, reasons, first_seen,"
            " last_seen) values ('csv:sessions.csv', 'k#1', '{{}}', '{{x}}', now(), now())"
        )
    assert staging.sync().resolved == 0
    with warehouse.connect() as database:
        assert database.execute("select resolved_at from {ops}.quarantine").fetchall() == [(None,)]


def test_an_endless_id_is_kept_in_the_payload_and_cut_in_the_key(staging: Staging) -> None:
    assert staging.sync(("m#1", "x" * 10_000, ["unknown_tutor"])).quarantined == 1


def test_a_refresh_of_some_tutors_settles_their_rows_and_those_of_nobody(staging: Staging) -> None:
    def resolved() -> dict[str, datetime | None]:
        return {key: at for key, _, _, _, at in staging.entries()}

    staging.sync_of(
        ["T1", "T2"],
        ("a#1", "S1", "T1", BAD[2]),
        ("b#1", "S2", "T2", BAD[2]),
        ("c#1", "S3", None, ["tutor_id_missing"]),
        ("d#1", "S4", "T3", BAD[2]),
    )
    assert resolved() == {"a#1": None, "b#1": None, "c#1": None}
    staging.sync_of(["T1"], ("b#1", "S2", "T2", []), at=LATER)
    assert resolved() == {"a#1": LATER, "b#1": None, "c#1": LATER}
