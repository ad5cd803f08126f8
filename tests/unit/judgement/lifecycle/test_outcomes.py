"""What became of critical alerts equals an independent count: a quarter of three administrators."""

import random
from datetime import timedelta

import pytest

from tutor_pipeline.core.findings import BY_HAND, Resolution, Subject
from tutor_pipeline.judgement.lifecycle import alert_actions, excuses, notes, outcomes
from tutor_pipeline.judgement.lifecycle.excuses import ExcuseKind
from tutor_pipeline.judgement.lifecycle.outcomes import Outcomes

pytestmark = pytest.mark.usefixtures("empty")

TUTORS = [f"T{number}" for number in range(1, 13)]
DILIGENCE = {"ada": 0.9, "bob": 0.5, "cy": 0.1}
"""How likely somebody acts on an alert on a day."""


@pytest.fixture
def read(db, make):
    def at(day):
        with db.connect() as database:
            return outcomes.read(database, make.day(day))

    return at


class Quarter:
    """Ninety days of findings and acts, and what an independent observer notes down."""

    def __init__(self, db, make, run, query, seed):
        self.db, self.make, self.run, self.query = db, make, run, query
        self.rng = random.Random(seed)
        self.seen = {}  # alert id -> what the observer knows of it
        self.holds = {}  # (tutor, rule) -> severity
        self.number = 0

    def live(self, day):
        for tutor in TUTORS:
            for rule in ("no_show", "late"):
                held = self.holds.get((tutor, rule))
                if held is None and self.rng.random() < 0.03:
                    self.holds[tutor, rule] = self.rng.choice(["critical", "critical", "warning"])
                elif held and self.rng.random() < 0.12:
                    del self.holds[tutor, rule]
        self.judge(day)
        for name, diligence in DILIGENCE.items():
            for row in self.query("select * from {ops}.alerts where resolved_at is null"):
                if self.rng.random() < 0.3 * diligence:
                    self.act(name, row, day + self.rng.uniform(0.1, 0.8))

    def judge(self, day):
        self.number += 1
        findings = [
            self.make.finding(tutor, rule, severity=severity, evidence=(f"{tutor}-{self.number}",))
            for (tutor, rule), severity in self.holds.items()
        ]
        for tutor in TUTORS:
            self.db_execute(
                "insert into {marts}.fct_sessions values (%s, %s, %s, %s, 'no_show_tutor')",
                tutor, f"{tutor}-{self.number}", self.make.day(day).date(),
                self.make.day(day) - timedelta(minutes=5),
            )  # fmt: skip
        evaluated = {rule: set(TUTORS) for rule in ("no_show", "late")}
        self.run(
            self.make.evaluation(*findings, at=day, evaluated=evaluated),
            run_id=f"r{self.number}", active=frozenset(TUTORS),
        )  # fmt: skip

    def db_execute(self, text, *values):
        with self.db.connect() as database:
            return database.execute(text, values)

    def act(self, name, row, day):
        at = self.make.day(day)
        known = self.seen.setdefault(row["alert_id"], {"acted": False, "acknowledged": None})
        verb = self.rng.choice(
            ["ack", "ack with note", "take", "note", "excuse", "resolve", "snooze"]
        )
        shared = {"by": name, "at": at}
        ids = [row["alert_id"]]
        with self.db.connect() as database:
            if verb.startswith("ack"):
                note = "I call" if verb != "ack" else None
                done = alert_actions.acknowledge(database, ids, note=note, **shared)
                if done.changed:
                    known["acknowledged"] = at
                    known["acted"] |= note is not None
            elif verb == "take":
                known["acted"] |= bool(
                    alert_actions.assign(database, ids, owner=name, **shared).changed
                )
            elif verb == "note":
                notes.add(
                    database, Subject.tutor(row["tutor_id"]), "seen", alert_id=row["alert_id"],
                    **shared,
                )  # fmt: skip
                known["acted"] = True
            elif verb == "excuse":
                session = row["evidence_session_ids"][0]
                if not excuses.of_sessions(database, [(row["tutor_id"], session)]):
                    excuses.excuse(
                        database, row["tutor_id"], session, ExcuseKind.ABSENCE, reason="outage",
                        **shared,
                    )  # fmt: skip
                    for other in self.query(
                        "select alert_id from {ops}.alerts where tutor_id = %s"
                        " and resolved_at is null and %s = any(evidence_session_ids)",
                        row["tutor_id"], session,
                    ):  # fmt: skip
                        both = {"acted": False, "acknowledged": None}
                        self.seen.setdefault(other["alert_id"], both)["acted"] = True
            elif verb == "resolve":
                reason = self.rng.choice(sorted(BY_HAND))
                done = alert_actions.resolve(database, ids, reason=Resolution(reason), **shared)
                known["acted"] |= bool(done.changed)
            else:
                until = at + timedelta(days=3)
                alert_actions.snooze(database, ids, until=until, **shared)

    def expected(self, day, alert_type=None):
        until = self.make.day(day)
        ended = [
            row
            for row in self.query("select * from {ops}.alerts where severity = 'critical'")
            if row["resolved_at"] and until - timedelta(days=30) < row["resolved_at"] <= until
            and alert_type in (None, row["alert_type"])
        ]  # fmt: skip
        known = [self.seen.get(row["alert_id"], {"acted": False, "acknowledged": None})
                 for row in ended]  # fmt: skip
        hours = [
            (each["acknowledged"] - row["triggered_date"]).total_seconds() / 3600
            for row, each in zip(ended, known, strict=True)
            if each["acknowledged"] is not None
        ]
        return Outcomes(
            alert_type, len(ended), sum(each["acted"] for each in known),
            sum(row["resolution"] == "not_actionable" for row in ended), len(hours),
            pytest.approx(sum(hours) / len(hours)) if hours else None,
        )  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2])
def test_a_quarter_of_three_administrators(db, make, run, query, read, seed):
    quarter = Quarter(db, make, run, query, seed)
    for day in range(90):
        quarter.live(day)
        if day % 15 == 14:
            everything, by_type = read(day + 0.9)
            assert everything == quarter.expected(day + 0.9), day
            assert {each.alert_type: each for each in by_type} == {
                rule: found
                for rule in ("no_show", "late")
                if (found := quarter.expected(day + 0.9, rule)).ended
            }
    everything, _ = read(90)
    assert everything.ended > 10
    assert 0 < everything.acted_on < everything.ended


def test_without_an_end_there_is_nothing_to_say(read, run, make):
    run(make.evaluation(make.finding()))
    everything, by_type = read(1)
    assert (everything.ended, by_type, everything.sentences) == (0, [], [])
    assert everything.acted_on_share is None
    assert everything.not_actionable_share is None


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            Outcomes(None, 10, 7, 1, 5, 23.94),
            ["✓ 7 of 10 acted on (70 %; goal: 70 % or more)",
             "✓ acknowledged after 23.9 hours on average, of 5 (goal: under 24)",
             "✓ 1 not actionable (10 %; goal: under 15 %)"],
        ),
        (
            Outcomes("late", 20, 13, 3, 0, None),
            ["! 13 of 20 acted on (65 %; goal: 70 % or more)", "  none acknowledged",
             "! 3 not actionable (15 %; goal: under 15 %)"],
        ),
    ],
)  # fmt: skip
def test_the_words_beside_the_goals(found, words):
    marks = {True: "✓", False: "!", None: " "}
    assert [f"{marks[is_met]} {said}" for said, is_met in found.sentences] == words


def test_what_people_do_while_a_run_works_counts(run, make, read, act, open_ids):
    run(make.evaluation(make.finding(), at=0))
    (alert_id,) = open_ids().values()
    act(alert_actions.acknowledge, [alert_id], make.day(2.1), note="calling")
    # It judges later than that, as of its beginning.
    run(make.evaluation(at=2, evaluated={"no_show": {"T1"}}))
    assert read(3)[0] == Outcomes(None, 1, 1, 0, 1, pytest.approx(2.1 * 24))


def test_the_end_alone_is_no_act(run, make, read, act, open_ids):
    run(make.evaluation(make.finding(), make.finding("T2"), at=0))
    first, second = open_ids().values()
    act(alert_actions.acknowledge, [first], make.day(0.5))
    act(alert_actions.snooze, [second], make.day(0.5), until=make.day(9))
    run(make.evaluation(at=2, evaluated={"no_show": {"T1", "T2"}}))
    everything, _ = read(3)
    assert everything == Outcomes(None, 2, 0, 0, 1, 12.0)
    # What ended 30 days ago and more counts no longer.
    assert read(31.9)[0].ended == 2
    assert read(32)[0].ended == 0
