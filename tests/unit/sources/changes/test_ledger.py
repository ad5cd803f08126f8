"""What is found to differ, taken and settled; and by whom while others do the same."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from math import log2

import psycopg
import pytest

from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.sources.changes import ledger

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def test_before_the_first_full_refresh_nothing_is_compared(desk):
    desk.add("S1")
    assert desk.compare() == desk.compare(whole=True) == ledger.Queue(0, 0, None, 0)
    assert desk.take() is None
    with desk.warehouse.connect() as database:
        assert not ledger.is_filled(database)
    assert desk.fill().changes == 1
    with desk.warehouse.connect() as database:
        assert ledger.is_filled(database)
    assert desk.ledger() == desk.platform()


def test_what_a_full_refresh_took_is_settled_with_its_moment_and_run(desk):
    for number, days in enumerate([0, 13, 15, 89]):
        desk.add(f"S{number}", f"T{number % 2}", days)
    desk.add("old", "T9", 91)
    desk.add("tomorrow", "T9", -1)
    batch = desk.take_all()
    assert (batch.tutors, batch.changes, batch.is_alone) == (("T0", "T1"), 4, False)
    settled = desk.settle(batch)
    assert settled.changes == 4
    assert desk.rows("select distinct processed_at, run_id from {ops}.session_ledger") == [
        (settled.at, batch.run_id)
    ]
    assert desk.take_all().changes == 0
    assert desk.settle(batch).changes == 0


@pytest.mark.parametrize(
    "change, whole",
    [
        ("update {platform}.sessions set status = 'cancelled' where id = 'S1'", False),
        ("delete from {platform}.sessions where id = 'S1'", False),
        ("update {platform}.sessions set scheduled_start = scheduled_start - interval '1 day'"
         " where id = 'S1'", False),
        ("update {platform}.sessions set scheduled_start = scheduled_start - interval '30 days'"
         " where id = 'S1'", False),
        ("update {platform}.sessions set scheduled_start = scheduled_start + interval '30 days'"
         " where id = 'S1'", False),
        ("insert into {platform}.session_feedback (session_id, satisfaction_score)"
         " values ('S1', 7)", True),
        ("update {platform}.session_audio_metrics set student_talk_ratio = 0.7", True),
        ("delete from {platform}.session_audio_metrics", True),
    ],
)  # fmt: skip
def test_a_change_waits_is_taken_and_settled_once(desk, change, whole):
    desk.add("S1", "T1", 2)
    desk.add("S2", "T2", 2)
    desk.execute(
        "insert into {platform}.session_audio_metrics (session_id, student_talk_ratio)"
        " values ('S1', 0.4)"
    )
    desk.fill()
    desk.now += MINUTE
    seen = desk.now
    desk.execute(change)
    if whole:
        assert desk.compare().changes == 0, "the peek looks at the sessions' own columns"
    assert desk.compare(whole=whole) == ledger.Queue(1, 1, seen, 0)
    desk.now += MINUTE
    assert desk.compare(whole=True) == ledger.Queue(1, 1, seen, 0)
    batch = desk.take()
    assert batch == ledger.Batch(batch.run_id, desk.now, ("T1",), 1, seen, False)
    assert desk.settle(batch).changes == 1
    assert desk.compare(whole=True) == ledger.Queue(0, 0, None, 0)
    assert desk.take() is None
    assert desk.ledger() == desk.platform()


def test_a_moved_session_concerns_both_tutors(desk):
    desk.add("S1", "T1")
    desk.fill()
    desk.execute("update {platform}.sessions set tutor_id = 'T2'")
    batch = desk.take()
    assert (batch.tutors, batch.changes) == (("T1", "T2"), 2)
    desk.settle(batch)
    assert set(desk.ledger()) == {("T2", "S1")}


def test_a_session_counts_from_its_start_to_fourteen_days_after(desk):
    desk.add("S0")
    desk.fill()
    desk.add("soon", "T2", -1 / 24)
    desk.add("old", "T3", 20)
    assert desk.compare(whole=True).changes == 0
    desk.now += HOUR
    assert desk.process() == ["T2"]
    desk.now += 14 * DAY
    desk.execute("delete from {platform}.sessions")
    assert desk.compare(whole=True).changes == 0, "older ones are found by the full refresh"
    assert desk.take_all().tutors == ("T1", "T2")


def test_one_that_comes_back_into_the_window_is_a_change(desk):
    desk.add("S0", "T0")
    desk.add("S1", "T1", 40)
    desk.fill()
    desk.execute(
        "update {platform}.sessions set scheduled_start = %s where id = 'S1'", desk.now - DAY
    )
    assert desk.process() == ["T1"]
    assert desk.ledger() == desk.platform()


def test_what_was_undone_waits_no_more(desk):
    desk.add("S1")
    desk.fill()
    desk.execute("update {platform}.sessions set status = 'cancelled'")
    assert desk.compare().changes == 1
    desk.set_aside("T1")
    desk.execute("update {platform}.sessions set status = 'completed'")
    assert desk.compare(whole=True) == ledger.Queue(0, 0, None, 0)
    assert desk.rows("select * from {ops}.set_aside_tutors") == []


def test_a_session_that_was_never_processed_and_is_gone_leaves_nothing(desk):
    desk.add("S0", "T0")
    desk.fill()
    desk.add("S1")
    assert desk.compare().changes == 1
    desk.execute("delete from {platform}.sessions where id = 'S1'")
    assert desk.process() == ["T1"]
    assert desk.rows("select tutor_id from {ops}.session_ledger") == [("T0",)]


def test_the_peek_writes_nothing_while_nothing_is_new(desk):
    desk.add("S1", "T1")
    desk.add("S2", "T2")
    desk.fill()
    desk.execute("update {platform}.sessions set status = 'cancelled' where id = 'S1'")
    desk.add("S3", "T1")
    desk.compare(whole=True)
    desk.set_aside("T1")
    with desk.warehouse.connect(options="-c default_transaction_read_only=on") as database:
        for whole in (False, True):
            queue = ledger.compare(database, desk.now, whole=whole)
            assert queue == ledger.Queue(0, 0, None, 1)


def test_an_early_transaction_that_commits_last_is_not_lost(desk):
    desk.add("S0", "T0")
    desk.fill()
    with desk.warehouse.connect() as early:
        early.execute(
            desk.warehouse.sql(
                "insert into {platform}.sessions (id, tutor_id, scheduled_start, status,"
                " updated_at) values ('early', 'T1', %s, 'completed', %s)"
            ),
            (desk.now - HOUR, desk.now - HOUR),
        )
        desk.add("late", "T2", 0.01)
        assert desk.process() == ["T2"]
    assert desk.process() == ["T1"]
    assert desk.ledger() == desk.platform()


def test_what_changes_while_a_refresh_reads_is_taken_again(desk):
    desk.add("S1")
    desk.fill()
    desk.execute("update {platform}.sessions set status = 'cancelled'")
    batch = desk.take()
    desk.execute("update {platform}.sessions set status = 'rescheduled'")
    desk.compare(whole=True)
    desk.settle(batch)
    assert desk.process() == ["T1"]
    assert desk.process() == []


def test_an_excuse_while_a_refresh_works_waits_for_the_next(desk):
    desk.add("S1")
    desk.fill()
    desk.execute("update {platform}.sessions set status = 'cancelled'")
    batch = desk.take()
    # Whoever excuses may have another clock, and be behind.
    at = desk.now - HOUR
    desk.execute(
        "insert into {ops}.session_excuses"
        " (tutor_id, session_id, kind, reason, excused_by, excused_at)"
        " values ('T1', 'S1', 'all', 'ill', 'ada', %s)",
        at,
    )
    with desk.warehouse.connect() as database:
        assert ledger.mark(database, "T1", "S1", at)
    desk.settle(batch)
    assert desk.process() == ["T1"]
    assert desk.process() == []


def test_what_is_said_of_a_tutor_waits_though_a_refresh_has_judged(desk):
    desk.add("S1", days=1)
    desk.add("S2", days=2)
    desk.fill()
    desk.execute("update {platform}.sessions set status = 'cancelled' where id = 'S1'")
    batch = desk.take()
    with desk.warehouse.connect() as database:
        assert ledger.mark_tutor(database, "T1", desk.now)
        assert not ledger.mark_tutor(database, "T2", desk.now)
    desk.settle(batch)
    assert desk.pending() == {("T1", "S2")}
    assert desk.process() == ["T1"], "a session without a change stays marked"
    assert desk.process() == []


def test_what_was_not_settled_is_taken_again_by_the_next(desk):
    desk.add("S1", "T1")
    desk.fill()
    desk.add("S2", "T2")
    first = desk.take()
    second = desk.take()
    assert (first.tutors, second.tutors) == (("T2",), ("T2",))
    assert desk.settle(first).changes == 0, "it was taken back"
    assert desk.settle(second).changes == 1


def test_an_attempt_is_committed_whatever_becomes_of_the_connection(desk):
    desk.add("S1", "T1")
    desk.fill()
    desk.add("S2", "T2")
    desk.compare()
    with pytest.raises(ZeroDivisionError), desk.warehouse.connect() as database:
        ledger.take(database, "run", desk.now)
        raise ZeroDivisionError
    assert desk.rows("select attempts from {ops}.session_ledger order by attempts") == [(0,), (1,)]
    with desk.warehouse.connect() as database:
        database.execute("select 1")
        with pytest.raises(AssertionError, match="commits"):
            ledger.take(database, "run", desk.now)


def test_findings_that_are_rolled_back_settle_nothing(desk):
    desk.add("S1")
    batch = desk.take_all()
    with desk.warehouse.connect() as database:
        ledger.settle(database, batch.run_id)
        database.rollback()
    assert desk.ledger() == {}
    assert desk.settle(batch).changes == 1


def test_whoever_is_set_aside_waits_longer_each_time(desk):
    desk.add("S1", "T1")
    desk.add("S2", "T2")
    desk.fill()
    desk.execute("update {platform}.sessions set status = 'cancelled'")
    assert desk.compare() == ledger.Queue(2, 2, desk.now, 0)
    waits = []
    for _ in range(10):
        desk.set_aside("T1")
        ((retry_at,),) = desk.rows("select retry_at from {ops}.set_aside_tutors")
        waits.append(retry_at - desk.now)
    assert waits[:3] == [10 * MINUTE, 20 * MINUTE, 40 * MINUTE]
    assert waits[-2:] == [DAY, DAY]
    assert desk.process() == ["T2"]
    assert desk.compare() == ledger.Queue(0, 0, None, 1)
    desk.now += DAY
    assert desk.compare() == ledger.Queue(1, 1, desk.now, 0), "it waits since it may be tried"
    batch = desk.take()
    assert (batch.tutors, batch.is_alone) == (("T1",), True)
    desk.settle(batch)
    assert desk.rows("select * from {ops}.set_aside_tutors") == []


def test_what_was_mended_for_one_is_tried_for_all(desk):
    desk.now = datetime.now(UTC)
    desk.add("S0", "T0")
    desk.fill()
    for number in (1, 2, 3):
        desk.add(f"S{number}", f"T{number}")
        desk.compare()
        for _ in range(number):
            desk.set_aside(f"T{number}")
    desk.now += 11 * MINUTE
    settled = desk.settle(desk.take())
    assert desk.rows("select tutor_id, retry_at from {ops}.set_aside_tutors order by 1") == [
        ("T2", settled.at),
        ("T3", settled.at),
    ]


def test_a_tutor_set_aside_in_mid_run_is_not_settled_with_the_others(desk):
    desk.add("S0", "T0")
    desk.fill()
    desk.add("S1", "T1")
    desk.add("S2", "T2")
    batch = desk.take()
    desk.set_aside("T1", batch.run_id)
    assert desk.settle(batch).changes == 1
    assert desk.pending() == {("T1", "S1")}
    assert desk.compare() == ledger.Queue(0, 0, None, 1)
    assert desk.take() is None


def test_the_search_for_who_breaks_a_refresh_survives_that_every_failure_is_a_crash(desk):
    desk.add("S0", "T0")
    desk.fill()
    for number in range(1, 25):
        desk.add(f"S{number}", f"T{number}")
    poisonous, batches = {"T5", "T17"}, []
    while (batch := desk.take()) is not None:
        batches.append(batch.tutors)
        if not poisonous & set(batch.tutors):
            desk.settle(batch)
        if len(batches) == 6:
            desk.add("fresh", "T99")
            fresh = desk.take()
            assert fresh.tutors == ("T99",), "the others go on, and first"
            desk.settle(fresh)
    assert len(batches) <= 3 + 2 * 2 * (log2(24) + 5)
    assert dict(desk.rows("select tutor_id, reason from {ops}.set_aside_tutors")) == dict.fromkeys(
        poisonous, "the process that refreshed this tutor alone did not come back"
    )
    assert desk.pending() == {("T5", "S5"), ("T17", "S17")}


def test_past_days_are_noted_for_history(make_desk, module_desk):
    desk = make_desk(Warehouse(module_desk.warehouse.url, timezone="America/New_York"))
    desk.clear()

    def noted():
        return [
            (tutor, day.isoformat())
            for tutor, day in desk.rows(
                "delete from {ops}.history_repairs returning tutor_id, changed_on"
            )
        ]

    desk.now = datetime(2026, 3, 18, 3, 30, tzinfo=UTC)  # 23:30 of the day before in New York
    desk.add("S1", "T1", 0)
    desk.fill()
    assert noted() == [], "there was no history that could be wrong"
    desk.execute("update {platform}.sessions set scheduled_start = scheduled_start - interval '1d'")
    desk.settle(desk.take())
    assert sorted(noted()) == [("T1", "2026-03-16"), ("T1", "2026-03-17")]
    desk.add("S2", "T2", 30)
    desk.settle(desk.take_all())
    assert noted() == [("T2", "2026-02-15")]
    desk.execute("update {platform}.sessions set status = 'cancelled' where id = 'S1'")
    desk.settle(desk.take())
    assert noted() == [("T1", "2026-03-16")]
    desk.execute("delete from {platform}.sessions where id = 'S1'")
    desk.settle(desk.take())
    assert noted() == [("T1", "2026-03-16")]
    desk.now = datetime.now(UTC)
    desk.add("S3", "T3", 0)
    desk.settle(desk.take())
    assert noted() == [], "today has no history yet"


def test_a_finished_refresh_is_one_with_all_its_findings(desk):
    def finished():
        with desk.warehouse.connect() as database:
            return ledger.finished_refresh(database)

    assert finished() is None
    desk.execute(
        "insert into {ops}.refresh_runs (run_id, as_of, is_full, started_at) values"
        " ('all', %s, true, %s), ('some', %s, false, %s)",
        *(desk.now, desk.now, desk.now + DAY, desk.now + DAY),
    )
    for kind in ("alert", "insight", "achievement"):
        assert finished() is None
        desk.note_findings(kind)
    assert finished() == "all"


def test_an_empty_ledger_is_filled_when_there_was_nothing_to_fill_it_with(desk):
    def is_filled():
        with desk.warehouse.connect() as database:
            return ledger.is_filled(database)

    desk.add("S1")
    batch = desk.take_all()
    desk.note_refresh(batch.run_id)
    assert not is_filled(), "what it took is not settled yet"
    desk.settle(batch)
    assert is_filled()
    desk.execute("delete from {platform}.sessions")
    desk.process()
    assert desk.rows("select * from {ops}.session_ledger") == []
    assert is_filled()
    desk.add("S2", "T2")
    assert desk.process() == ["T2"]


# -- several at once --------------------------------------------------------------------------


def impatient(desk):
    """A connection on which nothing may wait for a lock."""
    return desk.warehouse.connect(options="-c lock_timeout=1")


def test_a_second_peek_does_not_wait_for_the_first(desk):
    desk.add("S1")
    desk.fill()
    desk.add("S2")
    with desk.warehouse.connect() as first, impatient(desk) as second:
        assert ledger._lock(first, "compare")
        assert ledger.compare(second, desk.now, whole=False).changes == 0
    assert desk.compare().changes == 1


def test_a_peek_with_nothing_to_say_does_not_wait_for_a_refresh_that_settles(desk):
    desk.add("S1")
    desk.fill()
    desk.add("S2")
    batch = desk.take()
    with desk.warehouse.connect() as refresh, impatient(desk) as peek:
        ledger.settle(refresh, batch.run_id)
        assert ledger.compare(peek, desk.now, whole=True).changes == 1
    assert desk.compare(whole=True).changes == 0


def test_a_peek_never_marks_what_was_settled_while_it_looked(desk):
    """Of a full refresh, which marks nothing as pending: the peek sees it differ, and waits."""
    for number in range(3):
        desk.add(f"S{number}", f"T{number}")
    desk.fill()
    desk.execute("update {platform}.sessions set status = 'cancelled' where id = 'S1'")
    desk.execute("delete from {platform}.sessions where id = 'S2'")
    desk.add("S3", "T3")
    batch = desk.take_all()
    with desk.warehouse.connect() as refresh, ThreadPoolExecutor() as pool:
        ledger.settle(refresh, batch.run_id)
        peek = pool.submit(desk.compare, whole=True)
        while not desk.rows(
            "select 1 from pg_locks where locktype = 'advisory' and not granted"
            " and database = (select oid from pg_database where datname = current_database())"
        ):
            assert not peek.done()
        refresh.commit()
        assert peek.result() == ledger.Queue(0, 0, None, 0)
    assert desk.pending() == set()
    assert desk.ledger() == desk.platform()


def test_whatever_the_time_zone_a_settled_session_stays_so_as_long_as_it_is_in_the_window(desk):
    """Days of the window by Berlin's clocks would be an hour short here."""
    now, instant = datetime(2026, 4, 5, 12, tzinfo=UTC), timedelta(microseconds=1)
    starts = {
        "just out": now - ledger.WINDOW,
        "just in": now - ledger.WINDOW + instant,
        "now": now,
        "ahead": now + instant,
        "nowhere": None,
    }
    with desk.warehouse.connect() as database:
        database.execute("set time zone 'Europe/Berlin'")
        for name, start in starts.items():
            database.execute(
                "insert into {ops}.session_ledger"
                " (tutor_id, session_id, scheduled_start, version, session_version,"
                " processed_at, run_id) values ('T1', %s, %s, 1, 1, %s, 'r')",
                (name, start, now),
            )
        found = [{"tutor_id": "T1", "session_id": name} for name in starts]
        ledger._mark_new(database, now, ledger.window(now), found)
        marked = database.execute(
            "select session_id from {ops}.session_ledger where pending_since is not null"
        ).fetchall()
    assert {name for (name,) in marked} == {"just out", "ahead", "nowhere"}


def test_many_at_once_end_without_a_deadlock(desk):
    for number in range(40):
        desk.add(f"S{number}", f"T{number % 8}")
    desk.fill()

    def peek(turn):
        return desk.compare(whole=turn % 2 == 0)

    def change(turn):
        desk.execute(
            "update {platform}.sessions set session_number = coalesce(session_number, 0) + 1"
            " where id in (select id from {platform}.sessions order by md5(id || %s) limit 10)",
            str(turn),
        )

    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(each, turn) for turn in range(15) for each in (peek, change, peek)]
        passes = 0
        while not all(each.done() for each in work):
            if (batch := desk.take()) is not None:
                desk.settle(batch)
                passes += 1
        for each in work:
            each.result()
    desk.compare(whole=True)
    desk.process()
    assert desk.ledger() == desk.platform()
    assert desk.pending() == set()


def test_another_column_makes_no_change_of_any_session(desk):
    def refresh_all():
        desk.execute(
            "insert into {ops}.refresh_runs (run_id, as_of, is_full) values (%s, %s, true)",
            *(f"run/{desk.runs + 1}", desk.now),
        )
        desk.fill()

    desk.add("S1", "T1")
    desk.add("S2", "T2")
    refresh_all()
    assert desk.compare(whole=True).is_reshaped is False
    desk.execute("alter table {platform}.sessions drop column technical_issues")
    queue = desk.compare(whole=True)
    assert (queue.changes, queue.is_reshaped) == (0, True)
    assert desk.take() is None
    refresh_all()
    queue = desk.compare(whole=True)
    assert (queue.changes, queue.is_reshaped) == (0, False)
    desk.execute("alter table {platform}.sessions add technical_issues boolean default false")
    assert desk.compare(whole=False).is_reshaped
    refresh_all()
    desk.add("S3", "T1")
    queue = desk.compare(whole=False)
    assert (queue.changes, queue.is_reshaped) == (1, False)


def test_a_platform_without_sessions_is_said(databases, make_desk):
    desk = make_desk(Warehouse(databases.create()))
    with pytest.raises(Exception, match=r"there is no schema|there is no table"):
        desk.take_all()


def test_leftovers_of_a_dead_connection_do_not_bar_the_way(desk):
    desk.add("S1")
    desk.fill()
    desk.add("S2", "T2")
    batch = desk.take()
    dying = desk.warehouse.connect()
    ledger.settle(dying, batch.run_id)
    desk.execute("select pg_terminate_backend(%s)", dying.info.backend_pid)
    with pytest.raises(psycopg.OperationalError):
        dying.execute("select 1")
    assert desk.process() == ["T2"]
