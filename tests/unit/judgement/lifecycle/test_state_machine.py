"""Anything that can happen to alerts and badges, in any order, with crashes, on the real database.

The model is told what the rules find, which sessions there are and what people do, and says which
rows must be open. What it does not decide is compared with a copy: history is only added to.
"""

from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import psycopg
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

from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.core.findings import BY_HAND, Kind, Override, Resolution
from tutor_pipeline.judgement.lifecycle import alert_actions, store
from tutor_pipeline.judgement.lifecycle import overrides as exceptions

pytestmark = pytest.mark.usefixtures("empty")

TUTORS, RULES = ("T1", "T2"), ("no_show", "late")
PAIRS = tuple((tutor, rule_id) for tutor in TUTORS for rule_id in RULES)
BADGES = tuple((tutor, "rising_star") for tutor in TUTORS)


def mostly(usual, *others):
    """Draw the usual case three times in four: otherwise rare cases crowd out the common ones."""
    return st.sampled_from([usual] * 3 * len(others) + list(others))


states = st.sampled_from(["critical", "critical", "warning", "healthy", "unknown"])
hours = st.integers(0, 60)
arrivals = st.tuples(st.sampled_from(TUTORS), st.integers(-24, 240), mostly(False, True))
crashes = st.integers(-30, 16).map(lambda at: at if at > 0 else None)


class Machine(RuleBasedStateMachine):
    """One database through one random life. `tools` are the fixtures that it needs."""

    tools = None

    def __init__(self):
        super().__init__()
        self.tools.empty()
        self.reader = self.tools.reader
        self.now = self.tools.make.day(0)
        self.runs = self.sessions_made = 0
        self.last_as_of = None
        self.sessions = {}  # id -> (tutor, start, whether it took place)
        self.known = {}  # alert -> the sessions processed when a person resolved it
        self.disabled, self.active = set(), set(TUTORS)
        self.auto_resolve = True
        self.badges = {}  # tutor -> whether the badge is active
        self.rows, self.events, self.earned = {}, defaultdict(list), {}

    # -- what happens -----------------------------------------------------------------------

    @rule(
        found=st.tuples(*[states] * len(PAIRS)),
        deserved=st.tuples(*[states] * len(BADGES)),
        picks=st.sampled_from([2**10 - 1, 1, 6, 0]),
        hours=hours,
        arriving=st.lists(arrivals, max_size=3),
        toggled=mostly(None, *PAIRS),
        crash_at=crashes,
        scope=mostly(None, {"T1"}, {"T2"}),
        active=mostly(set(TUTORS), {"T1"}, {"T2"}, set()),
        retired=mostly(set(), {"no_show"}, {"late"}),
        auto_resolve=mostly(True, False),
    )
    def run(
        self, found, deserved, picks, hours, arriving, toggled, crash_at, scope, active, retired,
        auto_resolve,
    ):  # fmt: skip
        self.now += timedelta(hours=hours)
        self.active, self.auto_resolve = active, auto_resolve
        for arrival in arriving:
            self._arrive(*arrival)
        if toggled is not None:
            self._switch(toggled)
        by_pair = dict(zip(PAIRS, found, strict=True))
        covered = set(TUTORS) if scope is None else scope
        in_force = {
            pair: state
            for pair, state in by_pair.items()
            if pair[0] in covered and pair[1] not in retired and pair not in self.disabled
        }
        overrides = exceptions.read(self.reader, Kind.ALERT, self.now)
        assert {(each.tutor_id, each.rule_id) for each in overrides} == self.disabled
        findings = [
            self.tools.make.finding(
                *pair, severity=state, evidence=self._evidence(pair[0], picks),
                excess=float(picks), rule_version=f"v{self.runs}",
            )
            for pair, state in in_force.items()
            if state in ("critical", "warning")
        ]  # fmt: skip
        known_rules = set(RULES) - retired
        evaluation = self._evaluation(
            Kind.ALERT,
            findings,
            {
                rule_id: {
                    tutor
                    for (tutor, of), state in in_force.items()
                    if of == rule_id and state != "unknown"
                }
                for rule_id in known_rules
            },
            disabled=frozenset(self.disabled),
            profile="rules",
        )
        expected = self._expected(in_force, findings, covered, retired)
        if self._run(evaluation, crash_at, scope):
            assert {pair: row["severity"] for pair, row in self._open().items()} == expected
        self._run_badges(deserved, crash_at)

    @precondition(lambda self: self.rows)
    @rule(
        verb=st.sampled_from(
            [
                alert_actions.acknowledge,
                alert_actions.snooze,
                alert_actions.assign,
                alert_actions.wake,
                alert_actions.resolve,
                alert_actions.resolve,
                alert_actions.reopen,
            ]
        ),
        chosen=st.sets(st.integers(0, 30), min_size=1, max_size=3),
        hours=hours,
        crash_at=crashes,
    )
    def an_administrator_acts(self, verb, chosen, hours, crash_at):
        self.now += timedelta(hours=hours)
        ids = sorted({sorted(self.rows)[number % len(self.rows)] for number in chosen})
        arguments = {
            alert_actions.snooze: {"until": self.now + timedelta(days=1)},
            alert_actions.resolve: {"reason": Resolution.COACHED, "action_taken": "a talk"},
            alert_actions.assign: {"owner": "bob" if hours % 2 else None},
            alert_actions.wake: {},
        }.get(verb, {"note": "a note"})
        newest = {}
        for row in self.rows.values():
            pair = row["tutor_id"], row["alert_type"]
            newest[pair] = max(newest.get(pair, (0, "")), (row["occurrence"], row["alert_id"]))

        def may(row):
            if verb is alert_actions.reopen:
                pair = row["tutor_id"], row["alert_type"]
                return row["resolved"] and newest[pair][1] == row["alert_id"]
            if verb is alert_actions.acknowledge and row["acknowledged"]:
                return False
            if verb is alert_actions.snooze and row["snoozed_until"] == arguments["until"]:
                return False
            if verb is alert_actions.assign and row["owner"] == arguments["owner"]:
                return False
            if verb is alert_actions.wake and not (
                row["snoozed_until"] and row["snoozed_until"] > self.now
            ):
                return False
            return not row["resolved"]

        def work(database):
            return verb(
                database, ids, by="ada", at=self.now, **arguments
            )  # fmt: skip

        done = self._attempt(work, crash_at)
        assert set(done.changed) == {each for each in ids if may(self.rows[each])}
        assert set(done.changed) | set(done.unchanged) == set(ids)
        for alert_id in done.changed:
            if verb is alert_actions.resolve:
                self.known[alert_id] = self._processed(self.rows[alert_id]["tutor_id"])
        before = self.tools.everything()
        assert work(self.reader).changed == (), "the same act again does nothing"
        assert self.tools.everything() == before

    # -- what must hold ---------------------------------------------------------------------

    @invariant()
    def history_is_only_added_to(self):
        events = defaultdict(list)
        for event in self._sql(
            "select * from {ops}.alert_events order by tutor_id, alert_id, event_no"
        ):
            events[event["alert_id"]].append(event)
        rows = {row["alert_id"]: row for row in self._sql("select * from {ops}.alerts")}
        assert rows.keys() == events.keys()
        for alert_id, row in rows.items():
            told = events[alert_id]
            assert [event["event_no"] for event in told] == list(range(1, len(told) + 1))
            assert (told[0]["event"], told[0]["at"]) == ("opened", row["triggered_date"])
            assert told[: len(self.events[alert_id])] == self.events[alert_id], "rewritten"
            assert as_told(told) == {name: row[name] for name in as_told(told)}
            if old := self.rows.get(alert_id):
                for name in ("tutor_id", "alert_type", "occurrence", "triggered_date"):
                    assert row[name] == old[name]
                if old["resolved"] and len(told) == len(self.events[alert_id]):
                    assert row == old, "a closed row changed"
        assert self.rows.keys() <= rows.keys(), "a row was lost"
        self.rows, self.events = rows, defaultdict(list, events)

    @invariant()
    def a_badge_is_one_row_for_ever(self):
        rows = self._sql("select * from {ops}.achievements")
        assert {row["tutor_id"]: row["is_active"] for row in rows} == self.badges
        assert len(rows) == len(self.badges)
        earned = {row["tutor_id"]: row["earned_date"] for row in rows}
        assert {**earned, **self.earned} == earned, "earned_date changed"
        assert all(row["last_earned_date"] >= row["earned_date"] for row in rows)
        self.earned = earned

    # -- how --------------------------------------------------------------------------------

    def _run_badges(self, found, crash_at):
        by_tutor = dict(zip(TUTORS, found, strict=True))
        holders = {tutor for tutor, state in by_tutor.items() if state in ("critical", "warning")}
        evaluation = self._evaluation(
            Kind.ACHIEVEMENT,
            [self.tools.make.badge(tutor) for tutor in sorted(holders)],
            {"rising_star": {tutor for tutor, state in by_tutor.items() if state != "unknown"}},
        )
        if not self._run(evaluation, crash_at, None):
            return
        for tutor, state in by_tutor.items():
            if tutor in holders & self.active:
                self.badges[tutor] = True
            elif tutor in self.badges and (
                tutor not in self.active or (state == "healthy" and self.auto_resolve)
            ):
                self.badges[tutor] = False

    def _arrive(self, tutor, hours_ago, planned):
        """A session appears: on time, late, or planned; what was planned by now takes place."""
        for name, (of, start, took_place) in self.sessions.items():
            if not took_place and start <= self.now and of == tutor:
                self.sessions[name] = (of, start, True)
                self._sql(
                    "update {marts}.fct_sessions set status = 'completed' where session_id = %s",
                    name,
                )
        self.sessions_made += 1
        session_id = f"S{self.sessions_made}"
        start = self.now - timedelta(hours=hours_ago)
        self.sessions[session_id] = (tutor, start, not planned)
        self._sql(
            "insert into {marts}.fct_sessions values (%s, %s, %s, %s, %s)",
            tutor, session_id, start.date(), start, "scheduled" if planned else "completed",
        )  # fmt: skip

    def _switch(self, pair):
        """Switch a rule off for a tutor, or on again."""
        if pair in self.disabled:
            self.disabled.remove(pair)
            assert exceptions.remove(self.reader, Kind.ALERT, *pair, self.now)
        else:
            self.disabled.add(pair)
            exceptions.put(
                self.reader, Kind.ALERT, Override(*pair, disabled=True),
                reason="why", by="ada", at=self.now,
            )  # fmt: skip

    def _expected(self, in_force, findings, covered, retired):
        """Which pairs must be open after a run, and how bad they are."""
        now = {pair: row["severity"] for pair, row in self._open().items()}
        found = {(each.tutor_id, each.rule_id): each for each in findings}
        newest = {}
        for row in sorted(self.rows.values(), key=lambda row: row["occurrence"]):
            newest[row["tutor_id"], row["alert_type"]] = row
        for pair in PAIRS:
            tutor, rule_id = pair
            if tutor not in covered:
                continue
            if tutor not in self.active or rule_id in retired or pair in self.disabled:
                now.pop(pair, None)
            elif pair in found:
                row = newest.get(pair)
                by_hand = pair not in now and row and row["resolution"] in BY_HAND
                if not (by_hand and self.known[row["alert_id"]] >= set(found[pair].evidence)):
                    now[pair] = in_force[pair]
            elif in_force[pair] == "healthy" and self.auto_resolve:
                now.pop(pair, None)
        return now

    def _run(self, evaluation, crash_at, scope):
        """Apply the evaluation twice. Returns False if it is refused because nobody is active."""
        self.runs += 1
        run_id = f"run-{self.runs}"
        open_rows = store.preview  # the same checks, without writing
        try:
            told = open_rows(self.reader, evaluation, active_tutors=self.active, scope=scope)
        except RefusedError as refused:
            assert not self.active and "no tutor is active" in str(refused)
            return False
        applied = self._attempt(
            lambda database: self._apply(database, evaluation, scope, run_id), crash_at
        )
        assert applied.suppressed == told.suppressed
        once = self.tools.everything()
        self._apply(self.reader, evaluation, scope, run_id)
        assert self.tools.everything() == once, "the same run again changed something"
        if evaluation.evaluated_pairs and evaluation.kind is Kind.ALERT:
            self.last_as_of = self.now
        return True

    def _apply(self, database, evaluation, scope, run_id="again"):
        return store.apply(
            database, evaluation,
            run_id=run_id, active_tutors=self.active, scope=scope,
        )  # fmt: skip

    def _attempt(self, work, crash_at):
        """Do the work; with `crash_at`, first crash before that statement and check for traces."""
        if crash_at is not None:
            before = self.tools.everything()
            try:
                with self.tools.db.connect() as database:
                    database.connection.cursor_factory = self.tools.killing(crash_at)
                    return work(database)
            except psycopg.OperationalError:
                assert self.tools.everything() == before, "a crash left something behind"
        with self.tools.db.connect() as database:
            return work(database)

    def _evaluation(self, kind, findings, evaluated, at=None, **changes):
        evaluation = self.tools.make.evaluation(
            *findings, kind=kind, evaluated=evaluated, auto_resolve=self.auto_resolve, **changes,
        )  # fmt: skip
        return replace(evaluation, as_of=at or self.now)

    def _evidence(self, tutor, picks):
        """Some of the tutor's sessions that took place by now, newest first."""
        seen = sorted(
            (start, name)
            for name, (of, start, took_place) in self.sessions.items()
            if of == tutor and took_place and start <= self.now
        )
        chosen = [name for number, (_, name) in enumerate(seen) if picks >> (number % 10) & 1]
        return tuple(chosen[:-6:-1])

    def _processed(self, tutor):
        """The sessions that the runs had looked at by now."""
        return {
            name
            for name, (of, start, took_place) in self.sessions.items()
            if of == tutor and took_place and start <= self.last_as_of
        }

    def _open(self):
        rows = self._sql("select * from {ops}.alerts where resolved_at is null")
        found = {(row["tutor_id"], row["alert_type"]): row for row in rows}
        assert len(found) == len(rows), "two open rows of a pair"
        return found

    def _sql(self, text, *parameters):
        if text.startswith("select"):
            return self.reader.rows(text, parameters)
        return self.reader.execute(text, parameters)


def as_told(events):
    """Return the values that a row must have according to its events."""
    row = {"acknowledged_by": None, "snoozed_by": None, "resolution": None, "owner": None}
    for event in events:
        details, at, actor = event["details"], event["at"], event["actor"]
        if "severity" in details:
            row["severity"] = details["severity"]
        if event["event"] == "acknowledged":
            row |= {"acknowledged_at": at, "acknowledged_by": actor}
            row["acknowledged_note"] = details.get("note")
        elif event["event"] == "snoozed":
            row["snoozed_by"] = actor
        elif event["event"] == "assigned":
            row["owner"] = details.get("owner")
        elif event["event"] == "woken":
            row["snoozed_by"] = None
        if event["event"] == "resolved":
            row |= {"resolution": details["resolution"], "resolved_at": at, "resolved_by": actor}
            row["action_taken"] = details.get("action_taken")
        elif event["event"] in ("opened", "reopened"):
            cleared = ("resolution", "resolved_at", "resolved_by", "action_taken", "snoozed_by")
            row |= dict.fromkeys(cleared)
    return row


@pytest.mark.parametrize(
    ("examples", "steps"),
    [(5, 20), pytest.param(30, 40, marks=pytest.mark.long)],
    ids=["few", "many"],
)
def test_any_life(db, make, reader, empty, everything, killing, examples, steps):
    class Here(Machine):
        tools = SimpleNamespace(
            db=db, make=make, reader=reader, empty=empty, everything=everything, killing=killing
        )

    run_state_machine_as_test(
        Here, settings=settings(max_examples=examples, stateful_step_count=steps)
    )
