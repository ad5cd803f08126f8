"""The watch: what each look compares, how everything is compared slice by slice, and how often."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.integration.refreshes import until
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.platform import ensure_platform
from tutor_pipeline.sources.changes import ledger
from tutor_pipeline.sources.changes.ledger import Started
from tutor_pipeline.sources.changes.watch import (
    POLL_SECONDS,
    QUIET_SECONDS,
    RECENT,
    Sweep,
    Watch,
)

from .conftest import NOW, Desk

HOUR = timedelta(hours=1)


@given(st.lists(st.floats(1e-4, 100), min_size=1, max_size=50))
def test_slices_are_the_window_without_gaps_whatever_each_takes(durations: list[float]) -> None:
    sweep, window = Sweep(), ledger.window(NOW)
    sweep.begin(window, 1)
    parts = []
    while sweep.is_on:
        part = sweep.take(is_divisible=True)
        assert part.since < part.until
        parts.append(part)
        sweep.made(part, durations[len(parts) % len(durations)], 0)
    assert (parts[0].until, parts[-1].since) == (window.until, window.since)
    assert [part.since for part in parts[:-1]] == [part.until for part in parts[1:]]


def test_slices_get_longer_or_shorter_by_what_the_last_one_took() -> None:
    sweep = Sweep()
    sweep.begin(ledger.window(NOW), 1)
    lengths = []
    for took in (0.05, 0.01, 0.8, 0.1):
        part = sweep.take(is_divisible=True)
        lengths.append((part.until - part.since) / HOUR)
        sweep.made(part, took, 0)
    assert lengths == [24, 48, 96, 12]


@pytest.mark.parametrize("fixed", [0.02, 0.5, 5.0])
def test_where_a_comparison_takes_its_time_whatever_it_compares_slices_are_few(
    fixed: float,
) -> None:
    """Round trips, a table without an index: a shorter slice takes as long."""
    sweep, slices = Sweep(), 0
    sweep.begin(ledger.window(NOW), 1)
    while sweep.is_on:
        part = sweep.take(is_divisible=True)
        took = fixed + 0.3 * ((part.until - part.since) / timedelta(days=1))
        sweep.made(part, took, 0, least=fixed)
        slices += 1
        assert took < 2.5 * fixed + 0.5
    assert slices <= 30


def test_rows_of_which_several_are_one_session_are_not_divided() -> None:
    sweep = Sweep()
    sweep.begin(ledger.window(NOW), 1)
    assert sweep.take(is_divisible=False) == ledger.window(NOW)
    sweep.made(ledger.window(NOW), 5, 100)
    assert not sweep.is_on


def swept(written: int | None, took: float = 0.5, at: float = 1000) -> Sweep:
    sweep = Sweep()
    sweep.begin(Started(NOW, NOW + HOUR), written)
    sweep.made(sweep.take(is_divisible=True), took, at)
    return sweep


@pytest.mark.parametrize(
    ("before", "after", "seconds", "is_due"),
    [
        (7, 7, 59.9, False),
        (7, 7, 60, True),
        (7, 8, 4.4, False),  # it took half a second: a tenth of the time
        (7, 8, 4.5, True),
        (7, None, 4.5, True),  # the table gave way to a view
        (None, None, 9.9, False),
        (None, None, 10, True),
        (None, 0, 4.5, True),
    ],
)
def test_everything_is_compared_when_rows_were_written_and_now_and_then(
    before: int | None, after: int | None, seconds: float, is_due: bool
) -> None:
    assert swept(before).is_due(after, 1000 + seconds) is is_due


def test_the_first_look_is_followed_by_all() -> None:
    assert Sweep().is_due(None, 0)
    assert Sweep().is_due(5, 0)


def test_a_long_comparison_is_not_repeated_at_once() -> None:
    assert not swept(7, took=30).is_due(8, 1000 + 269)
    assert not swept(None, took=30).is_due(None, 1000 + 269)
    assert swept(None, took=30).is_due(None, 1000 + 270)


def further(watch: Watch, desk: Desk) -> int:
    """Everything, to the last slice; how many changes wait then."""
    assert watch.look_further(desk.now)
    while watch.sweep.is_on:
        assert watch.look_further(desk.now)
    return ledger.waiting(desk.database, desk.now).changes


@pytest.fixture
def watched(desk: Desk) -> Watch:
    """Sessions of two weeks that are known, and a watch that has seen all once."""
    for day in range(14):
        desk.add(f"S{day}", f"T{day}", days=day + 0.01)
    desk.fill()
    watch = Watch(desk.database)
    assert watch.look(desk.now).changes == 0
    assert further(watch, desk) == 0
    assert not watch.look_further(desk.now)
    return watch


def test_a_look_sees_the_sessions_of_the_last_hours_and_what_moved_into_them(
    desk: Desk, watched: Watch
) -> None:
    desk.add("new", "T1", days=0.1)
    desk.add("edge", "T1", days=RECENT / timedelta(days=1))
    desk.add("old", "T1", days=5)
    desk.execute(
        "update {platform}.sessions set scheduled_start = %s where id = 'S9'", desk.now - HOUR
    )
    desk.execute(
        "update {platform}.sessions set scheduled_start = %s where id = 'S0'",
        desk.now - timedelta(days=3),
    )
    watched.look(desk.now)
    assert desk.pending() == {("T1", "new"), ("T9", "S9"), ("T0", "S0")}
    desk.process()
    watched.look(desk.now)
    assert desk.pending() == set()


def test_a_look_sees_late_feedback_of_the_last_hours_when_somebody_wrote(
    desk: Desk, watched: Watch
) -> None:
    desk.execute("insert into {platform}.session_feedback (session_id) values ('S0')")
    desk.execute("insert into {platform}.session_feedback (session_id) values ('S5')")
    watched.not_before = float("inf")  # the last such look took long
    watched.look(desk.now)
    assert desk.pending() == set()
    watched.not_before = 0

    def is_seen() -> bool:
        watched.look(desk.now)
        return desk.pending() == {("T0", "S0")}

    until(is_seen, "what was written is counted")
    assert watched.seen == watched.written
    assert watched.not_before > 0


def test_what_a_look_leaves_out_is_found_when_somebody_wrote(desk: Desk, watched: Watch) -> None:
    desk.add("old", "T1", days=5)
    desk.execute("insert into {platform}.session_feedback (session_id) values ('S7')")
    desk.execute("delete from {platform}.sessions where id = 'S12'")
    watched.sweep.not_before = 0

    def is_counted() -> bool:
        assert watched.look(desk.now).changes == 0
        return watched.sweep.is_due(watched.written, 1)

    until(is_counted, "what was written is counted")
    further(watched, desk)
    assert desk.pending() == {("T1", "old"), ("T7", "S7"), ("T12", "S12")}


def test_what_was_not_compared_because_somebody_else_does_is_compared_later(
    desk: Desk, watched: Watch
) -> None:
    desk.add("old", "T1", days=5)
    watched.sweep.due = 0
    with desk.warehouse.connect() as other:
        assert ledger._lock(other, "compare")
        watched.seen = -1  # somebody wrote
        assert watched.look(desk.now).is_compared is False
        assert not watched.look_further(desk.now)
        assert watched.seen == -1
        assert watched.sweep.rest == ledger.window(desk.now)
    further(watched, desk)
    assert desk.pending() == {("T1", "old")}


def test_slices_mark_what_one_comparison_marks(desk: Desk, watched: Watch) -> None:
    rng = random.Random(7)
    for number in rng.sample(range(14), 6):
        desk.execute(
            "update {platform}.sessions set scheduled_start = %s where id = %s",
            *(desk.now - timedelta(days=rng.uniform(-0.5, 15)), f"S{number}"),
        )
    desk.execute("update {platform}.sessions set status = 'cancelled' where id = 'S3'")
    watched.sweep.due = 0
    watched.sweep.length = HOUR / 4
    further(watched, desk)
    in_slices = desk.pending()
    assert desk.compare(whole=True).changes == len(in_slices)
    assert desk.pending() == in_slices != set()


def test_rows_that_are_one_session_together_are_seen_together(make_desk, databases) -> None:
    """One of them is recent and one is not: a look at one of them alone would always differ."""
    warehouse = Warehouse(databases.create())
    with warehouse.connect() as database:
        ensure_platform(database)
    desk = make_desk(warehouse)
    desk.execute("alter table {platform}.sessions drop constraint sessions_pkey cascade")
    desk.add("S1", days=0.1)
    desk.add("S1", days=2)
    desk.fill()
    watch = Watch(desk.database)
    assert watch.look(desk.now).changes == 0
    assert further(watch, desk) == 0
    desk.add("S2", days=3)
    assert watch.look(desk.now).changes == 1


@pytest.mark.parametrize(
    ("days", "seconds"),
    [(0.1, POLL_SECONDS), (-0.005, POLL_SECONDS), (0.2, QUIET_SECONDS), (-0.02, QUIET_SECONDS)],
)
def test_looks_are_rare_when_nothing_changes_and_no_session_may_end(
    desk: Desk, days: float, seconds: float
) -> None:
    desk.add("S1", days=days)
    watch = Watch(desk.database, changed=float("-inf"))
    assert watch.pause(desk.now, took=0.01) == seconds
    assert watch.pause(desk.now, took=1) == 4
    assert watch.pause(desk.now, took=30) == 10, "somebody may switch it off meanwhile"


def test_looks_are_frequent_after_a_change(desk: Desk) -> None:
    desk.add("S0", days=9)
    desk.fill()
    watch = Watch(desk.database, changed=float("-inf"))
    assert watch.pause(desk.now, took=0) == QUIET_SECONDS
    desk.add("S1", days=0.1)
    assert watch.look(desk.now).changes == 1
    watch.may_end = False
    assert watch.pause(desk.now, took=0) == POLL_SECONDS
