"""Anything that can happen to a platform while refreshes come, die and finish, in any order.

The laws: what differs waits, and is taken; what was settled and did not change since is not taken
again; when nothing waits any more, the ledger is the platform.
"""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tutor_pipeline.sources.changes import ledger

TUTORS = ("T1", "T2", "T3")
sessions = st.sampled_from([f"S{number}" for number in range(6)])
tutors = st.sampled_from(TUTORS)
# Crowded around the start of the window, the moment itself, and what a full refresh sees.
days = st.sampled_from([-1, -0.01, 0, 0.01, 1, 7, 13.9, 14, 14.1, 40, 91])
numbers = st.integers(1, 4)


class Machine(RuleBasedStateMachine):
    """One platform through one random life. `tools` are the fixtures that it needs."""

    tools = None

    def __init__(self):
        super().__init__()
        self.desk = self.tools.desk
        self.desk.clear()
        self.desk.add("S0", "T1", 1)
        self.desk.fill()
        self.desk.note_refresh("the first")  # its sessions may all go
        self.batch = None
        self.early = self.early_session = None
        self.dirty = set()  # sessions written to since they were taken by a batch that was settled
        self.taken = {}  # (tutor, session) -> version, of the batch

    # -- the platform -------------------------------------------------------------------------

    @precondition(lambda self: self.early is None)
    @rule(session=sessions, tutor=tutors, days=days, number=numbers)
    def save(self, session, tutor, days, number):
        self.dirty.add(session)
        self.desk.execute(
            "insert into {platform}.sessions (id, tutor_id, scheduled_start, status,"
            " session_number) values (%s, %s, %s, 'completed', %s) on conflict (id) do update set"
            " tutor_id = excluded.tutor_id, scheduled_start = excluded.scheduled_start,"
            " session_number = excluded.session_number",
            *(session, tutor, self.desk.now - timedelta(days=days), number),
        )

    @precondition(lambda self: self.early is None)
    @rule(session=sessions, number=numbers)
    def correct(self, session, number):
        self.dirty.add(session)
        self.desk.execute(
            "update {platform}.sessions set session_number = %s where id = %s", number, session
        )

    @precondition(lambda self: self.early is None)
    @rule(session=sessions, tutor=tutors)
    def move(self, session, tutor):
        self.dirty.add(session)
        self.desk.execute(
            "update {platform}.sessions set tutor_id = %s where id = %s", tutor, session
        )

    @precondition(lambda self: self.early is None)
    @rule(session=sessions)
    def delete(self, session):
        self.dirty.add(session)
        self.desk.execute("delete from {platform}.sessions where id = %s", session)

    @rule(session=sessions, score=numbers)
    def feed_back(self, session, score):
        self.dirty.add(session)
        self.desk.execute(
            "insert into {platform}.session_feedback (session_id, satisfaction_score)"
            " values (%s, %s) on conflict (session_id) do update"
            " set satisfaction_score = excluded.satisfaction_score",
            *(session, score),
        )

    @rule(session=sessions)
    def take_feedback_back(self, session):
        self.dirty.add(session)
        self.desk.execute("delete from {platform}.session_feedback where session_id = %s", session)

    @precondition(lambda self: self.early is None)
    @rule(session=sessions, tutor=tutors, number=numbers)
    def begin_early(self, session, tutor, number):
        self.early, self.early_session = self.desk.warehouse.connect(), session
        self.early.execute(
            self.desk.warehouse.sql(
                "insert into {platform}.sessions (id, tutor_id, scheduled_start, status,"
                " session_number) values (%s, %s, %s, 'completed', %s) on conflict (id)"
                " do update set session_number = excluded.session_number"
            ),
            (session, tutor, self.desk.now - timedelta(hours=1), number),
        )

    @precondition(lambda self: self.early is not None)
    @rule()
    def commit_early(self):
        self.early.commit()
        self.dirty.add(self.early_session)
        self.early.close()
        self.early = None

    @rule(hours=st.sampled_from([0.01, 1, 30, 24 * 14]))
    def wait(self, hours):
        self.desk.now += timedelta(hours=hours)

    # -- the pipeline -------------------------------------------------------------------------

    @rule(whole=st.booleans())
    def compare(self, whole):
        queue = self.desk.compare(whole=whole)
        pending = self.desk.pending()
        known = self.desk.ledger()
        found = self.desk.platform()
        compared = slice(0, 3) if whole else slice(0, 2)
        differing = {
            key
            for key in known.keys() | found.keys()
            if known.get(key, ())[compared] != found.get(key, ())[compared]
        }
        assert differing <= pending
        assert queue.changes + self.waiting_aside() == len(pending)
        if whole:
            assert not {key for key in pending if key in known and known[key] == found.get(key)}

    @rule(whole=st.booleans(), since=days, length=st.sampled_from([0.02, 1, 7]))
    def compare_a_part(self, whole, since, length):
        """Only what started then; a session that left it or came into it counts, too."""
        since = self.desk.now - timedelta(days=min(since, 14))
        part = ledger.Started(since, min(since + timedelta(days=length), self.desk.now))
        self.desk.compare(whole=whole, started=part)
        known, found = (
            {key: row for key, row in rows.items() if part.since < row[0] <= part.until}
            for rows in (self.desk.ledger(), self.desk.platform())
        )
        compared = slice(0, 3) if whole else slice(0, 2)
        differing = {
            key
            for key in known.keys() | found.keys()
            if known.get(key, ())[compared] != found.get(key, ())[compared]
        }
        assert differing <= self.desk.pending()

    def waiting_aside(self):
        ((count,),) = self.desk.rows(
            "select count(*) from {ops}.session_ledger where pending_since is not null"
            " and tutor_id in (select tutor_id from {ops}.set_aside_tutors where retry_at > %s)",
            self.desk.now,
        )
        return count

    @rule(everything=st.booleans())
    def take(self, everything):
        """Of a batch that was taken before and not settled nothing is left: its process died."""
        self.dirty |= {session for _, session in self.taken}
        self.batch = self.desk.take_all() if everything else self.desk.take()
        self.taken = {}
        if self.batch is None:
            return
        self.taken = {
            (tutor, session): version
            for tutor, session, version in self.desk.rows(
                "select tutor_id, session_id, version from {ops}.session_changes where run_id = %s",
                self.batch.run_id,
            )
        }
        assert len(self.taken) == self.batch.changes
        assert tuple(sorted({tutor for tutor, _ in self.taken})) == self.batch.tutors
        there = {session for (_, session), version in self.taken.items() if version is not None}
        assert {session for _, session in self.taken} <= self.dirty, "settled, and the same since"
        # One that is gone may come back by itself, at its start; another tutor's may be set aside.
        self.dirty -= there - {session for _, session in self.desk.pending() - self.taken.keys()}

    @precondition(lambda self: self.batch is not None)
    @rule(crashes=st.booleans())
    def settle(self, crashes):
        with self.desk.warehouse.connect() as database:
            settled = ledger.settle(database, self.batch.run_id)
            assert settled.changes == len(self.taken)
            if crashes:
                database.rollback()
        if not crashes:
            self.batch, self.taken = None, {}

    @precondition(lambda self: self.taken)
    @rule()
    def set_aside(self):
        tutor = min(tutor for tutor, _ in self.taken)
        self.desk.set_aside(tutor, self.batch.run_id)
        self.dirty |= {session for of, session in self.taken if of == tutor}
        self.taken = {key: version for key, version in self.taken.items() if key[0] != tutor}

    @invariant()
    def nothing_waits_that_was_never_seen(self):
        assert (
            self.desk.rows(
                "select * from {ops}.session_ledger where version is null and pending_since is null"
                " or attempts > 0 and pending_since is null"
            )
            == []
        )

    def teardown(self):
        if self.early is not None:
            self.commit_early()
        self.desk.compare(whole=True)
        for _ in range(30):
            if (batch := self.desk.take()) is not None:
                self.desk.settle(batch)
            elif self.desk.rows("select * from {ops}.set_aside_tutors"):
                self.desk.now += timedelta(hours=1)
                self.desk.compare(whole=True)
            else:
                break
        assert self.desk.compare(whole=True) == ledger.Queue(0, 0, None, 0)
        assert self.desk.pending() == set()
        assert self.desk.ledger() == self.desk.platform()
        assert self.desk.take() is None


def run(desk, examples, steps):
    machine = type("Bound", (Machine,), {"tools": SimpleNamespace(desk=desk)})
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=examples, stateful_step_count=steps),
    )


def test_nothing_is_lost_and_nothing_is_taken_twice(desk):
    run(desk, examples=5, steps=20)


@pytest.mark.long
def test_nothing_is_lost_and_nothing_is_taken_twice_in_long_lives(desk):
    run(desk, examples=50, steps=50)
