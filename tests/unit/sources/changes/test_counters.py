"""PostgreSQL's counters of written rows: where they are, and what they count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import undone
from tests.integration.refreshes import until
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.sources.changes.counters import written
from tutor_pipeline.sources.mapping.reading import mapped

INSERT = (
    "insert into {platform}.session_feedback (session_id, student_satisfaction_rating)"
    " values (%s, 4)"
)


@pytest.fixture
def platform(platform_warehouse: Warehouse, server_url: str) -> Iterator[Warehouse]:
    with undone(server_url, platform_warehouse.url):
        yield platform_warehouse


def counted(warehouse: Warehouse) -> Any:
    with warehouse.connect() as database:
        return written(database)


def do(warehouse: Warehouse, statement: str, *parameters: Any) -> None:
    """A connection that ends says at once what it wrote."""
    with warehouse.connect() as database:
        database.execute(statement, parameters)


def grows(warehouse: Warehouse, statement: str, *parameters: Any) -> None:
    before = counted(warehouse)
    assert before is not None
    do(warehouse, statement, *parameters)
    until(lambda: counted(warehouse) > before, "it is counted")


def test_what_is_written_of_sessions_metrics_and_feedback_is_counted(platform: Warehouse) -> None:
    do(platform, "insert into {platform}.sessions (id) select 's1' where false")
    before = counted(platform)
    do(platform, "select count(*) from {platform}.session_feedback")
    assert counted(platform) == before
    do(platform, "alter table {platform}.session_feedback drop constraint if exists"
                 " session_feedback_session_id_fkey")  # fmt: skip
    grows(platform, INSERT, "s1")
    grows(platform, "update {platform}.session_feedback set student_satisfaction_rating = 3")
    grows(platform, "delete from {platform}.session_feedback")
    grows(
        platform,
        "insert into {platform}.sessions (id, tutor_id, scheduled_start, status)"
        " values ('s2', 't1', now(), 'completed')",
    )


def test_of_a_partitioned_table_the_leaves_are_counted(platform: Warehouse) -> None:
    do(platform, "drop table {platform}.session_feedback")
    do(platform, "create table {platform}.session_feedback (session_id text,"
                 " student_satisfaction_rating integer) partition by hash (session_id)"
    )  # fmt: skip
    for part in (0, 1):
        do(
            platform,
            f"create table {{platform}}.feedback_{part} partition of {{platform}}.session_feedback"
            f" for values with (modulus 2, remainder {part})",
        )
    for session in ("s1", "s2", "s3"):
        grows(platform, INSERT, session)


@pytest.mark.parametrize(
    "statement",
    [
        "alter table {platform}.session_feedback rename to kept; create view"
        " {platform}.session_feedback as select * from {platform}.kept",
        "set local track_counts = off",
        # The rows of an heir are read with it, and not counted.
        "create table {platform}.heir () inherits ({platform}.session_feedback)",
    ],
    ids=["a view", "nobody counts", "with heirs"],
)
def test_where_nothing_is_counted_nothing_is_said(platform: Warehouse, statement: str) -> None:
    with platform.connect() as database:
        database.execute(statement)
        assert written(database) is None


def test_a_table_that_is_missing_is_none(platform: Warehouse) -> None:
    do(platform, "drop table {platform}.session_video_metrics")
    assert counted(platform) is not None


def test_with_a_mapping_the_platforms_own_tables_are_counted(
    platform: Warehouse, tmp_path: Path
) -> None:
    do(platform, "create table {platform}.stars (lesson text, given integer)")
    path = tmp_path / "source.yml"
    path.write_text(
        "tables:\n  sessions: {}\n  session_feedback:\n    relation: stars\n"
        "    columns: {session_id: lesson, student_satisfaction_rating: given}\n",
        encoding="utf-8",
    )
    by_map = mapped(replace(platform), path)
    grows(by_map, "insert into {platform}.stars values ('l', 3)")
