"""Changes of rows: case by case, and over long random histories."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutor_pipeline.core.findings import Resolution, Severity, Step, Subject, SubjectKind
from tutor_pipeline.judgement.lifecycle.reconcile import ClosedRow, OpenRow, reconcile, row_id

ACTIVE = {"T1", "T2"}
T1, T2 = Subject.tutor("T1"), Subject.tutor("T2")
PAIR = (T1, "no_show")


def held(severity="critical", rule_id="no_show", tutor_id="T1", events=1, profile="conservative"):
    return OpenRow(Subject.tutor(tutor_id), rule_id, "a1", 1, Severity(severity), events, profile)


def test_a_first_finding_opens(make):
    (change,) = reconcile(make.evaluation(make.finding()), [], {}, ACTIVE).changes
    assert (change.step, change.occurrence, change.event_no) == (Step.OPENED, 1, 1)
    assert change.row_id == row_id(T1, "no_show", make.day(0), 1)


@pytest.mark.parametrize(
    ("before", "now", "step", "event_no"),
    [
        ("warning", "warning", Step.CONFIRMED, None),
        ("warning", "critical", Step.ESCALATED, 3),
        ("critical", "warning", Step.EASED, 3),
    ],
)
def test_what_still_holds_goes_on(make, before, now, step, event_no):
    evaluation = make.evaluation(make.finding(severity=now))
    (change,) = reconcile(evaluation, [held(before, events=2)], {}, ACTIVE).changes
    assert (change.step, change.row_id, change.event_no) == (step, "a1", event_no)


@pytest.mark.parametrize(
    ("evaluated", "changes", "active", "resolution"),
    [
        ({"no_show": {"T1"}}, {}, ACTIVE, Resolution.AUTO),
        ({"no_show": {"T1"}}, {"auto_resolve": False}, ACTIVE, None),
        ({"no_show": {"T2"}}, {}, ACTIVE, None),
        ({"no_show": set()}, {"skipped": {"T1": "bad data"}}, ACTIVE, None),
        ({"late": {"T1"}}, {}, ACTIVE, Resolution.RULE_RETIRED),
        ({"late": {"T1"}}, {"auto_resolve": False}, ACTIVE, Resolution.RULE_RETIRED),
        (
            {"no_show": set()},
            {"disabled": frozenset({("T1", "no_show")})},
            ACTIVE,
            Resolution.RULE_DISABLED,
        ),
        ({"no_show": set()}, {"disabled": frozenset({("T2", "no_show")})}, ACTIVE, None),
        ({"no_show": set()}, {}, {"T2"}, Resolution.TUTOR_INACTIVE),
        ({"late": {"T1"}}, {}, {"T2"}, Resolution.TUTOR_INACTIVE),
    ],
)
def test_what_no_longer_holds(make, evaluated, changes, active, resolution):
    evaluation = make.evaluation(evaluated=evaluated, **changes)
    result = reconcile(evaluation, [held(events=4)], {}, active).changes
    assert [(each.step, each.resolution, each.event_no) for each in result] == (
        [(Step.RESOLVED, resolution, 5)] if resolution else []
    )


@pytest.mark.parametrize(
    ("changes", "resolution"),
    [({}, Resolution.EVIDENCE_GONE), ({"auto_resolve": False}, None)],
)
def test_what_no_longer_holds_without_its_evidence_says_so(make, changes, resolution):
    evaluation = make.evaluation(evaluated={"no_show": {"T1"}}, **changes)
    result = reconcile(evaluation, [held()], {}, ACTIVE, {PAIR}).changes
    assert [each.resolution for each in result] == ([resolution] if resolution else [])


def test_what_still_holds_stays_open_whatever_evidence_is_gone(make):
    (change,) = reconcile(make.evaluation(make.finding()), [held()], {}, ACTIVE, {PAIR}).changes
    assert change.step is Step.CONFIRMED


def test_an_alert_that_is_back_is_the_same_row(make):
    closed = ClosedRow(3, False, reopens="a7", newest_event=4, severity=Severity.WARNING)
    (change,) = reconcile(make.evaluation(make.finding()), [], {PAIR: closed}, ACTIVE).changes
    assert (change.step, change.row_id, change.occurrence) == (Step.REOPENED, "a7", 3)
    assert (change.event_no, change.was) == (5, Severity.WARNING)


@pytest.mark.parametrize(
    ("evaluated", "changes", "resolution"),
    [
        ({"no_show": {"T1"}}, {}, Resolution.PROFILE_SWITCHED),
        ({"no_show": {"T1"}}, {"auto_resolve": False}, Resolution.PROFILE_SWITCHED),
        ({"no_show": {"T2"}}, {}, None),
        ({"late": {"T1"}}, {}, Resolution.RULE_RETIRED),
        (
            {"no_show": set()},
            {"disabled": frozenset({("T1", "no_show")})},
            Resolution.RULE_DISABLED,
        ),
    ],
)
def test_a_switch_of_profile_closes_what_was_evaluated_and_is_false(
    make, evaluated, changes, resolution
):
    evaluation = make.evaluation(evaluated=evaluated, profile="adaptive", **changes)
    result = reconcile(evaluation, [held()], {}, ACTIVE).changes
    assert [each.resolution for each in result] == ([resolution] if resolution else [])


def test_what_another_profile_finds_as_well_goes_on_as_the_same_row(make):
    evaluation = make.evaluation(make.finding(), profile="adaptive")
    (change,) = reconcile(evaluation, [held()], {}, ACTIVE).changes
    assert (change.step, change.row_id) == (Step.CONFIRMED, "a1")


def test_an_inactive_tutor_opens_nothing_and_closes_all(make):
    evaluation = make.evaluation(make.finding(), make.finding(rule_id="late"))
    (change,) = reconcile(evaluation, [held()], {}, {"T2"}).changes
    assert change.resolution is Resolution.TUTOR_INACTIVE


@pytest.mark.parametrize(
    ("past", "evidence", "opens"),
    [
        (ClosedRow(1, by_hand=False), ("S1",), True),
        (ClosedRow(1, True, frozenset({"S1", "S2"})), ("S2", "S1"), False),
        (ClosedRow(1, True, frozenset({"S1", "S2"})), ("S1",), False),
        (ClosedRow(1, True, frozenset({"S1", "S2"})), (), False),
        (ClosedRow(1, True, frozenset({"S1", "S2"})), ("S3", "S2"), True),
        # A late arrival is older than the rest, and was still first processed afterwards.
        (ClosedRow(1, True, frozenset({"S1", "S2"})), ("S2", "S1", "S0"), True),
    ],
)
def test_what_was_resolved_by_hand_needs_new_evidence(make, past, evidence, opens):
    evaluation = make.evaluation(make.finding(evidence=evidence))
    result = reconcile(evaluation, [], {PAIR: past}, ACTIVE)
    assert result.suppressed == (0 if opens else 1)
    assert [(each.step, each.occurrence) for each in result.changes] == (
        [(Step.OPENED, 2)] if opens else []
    )


def test_a_row_for_ever_opens_again(make):
    past = {PAIR: ClosedRow(2, by_hand=False, reopens="a1")}
    (change,) = reconcile(make.evaluation(make.finding(), at=9), [], past, ACTIVE).changes
    assert (change.step, change.row_id, change.occurrence) == (Step.REOPENED, "a1", 3)
    assert change.event_no is None
    assert reconcile(make.evaluation(make.finding(), at=9), [], past, {"T2"}).changes == ()


def test_ids_differ_by_subject_rule_moment_and_occurrence(make):
    names = [
        (T1, "no_show", make.day(0), 1),
        (T2, "no_show", make.day(0), 1),
        (T1, "late", make.day(0), 1),
        (T1, "no_show", make.day(1), 1),
        (T1, "no_show", make.day(0), 2),
        (Subject("T1", SubjectKind.STUDENT, "T1"), "no_show", make.day(0), 1),
        (Subject("", SubjectKind.STUDENT, "T1"), "no_show", make.day(0), 1),
        (Subject("", SubjectKind.SUBJECT, "T1"), "no_show", make.day(0), 1),
    ]
    ids = {row_id(*each) for each in names}
    assert len(ids) == len(names)
    assert all(len(each) == 12 and int(each, 16) >= 0 for each in ids)


# Histories: a tutor, a student of two tutors (one with the tutor's id), two rules, random days.

SUBJECTS = (T1, Subject("T2", SubjectKind.STUDENT, "T1"), Subject("", SubjectKind.STUDENT, "T1"))
PAIRS = [(subject, rule) for subject in SUBJECTS for rule in ("no_show", "late")]
STATES = ["critical", "warning", "healthy", "unknown", "disabled", "retired"]
days = st.lists(
    st.fixed_dictionaries(
        {
            "states": st.tuples(*[st.sampled_from(STATES)] * len(PAIRS)),
            "active": st.sets(st.sampled_from(["T1", "T2"])),
            "by_hand": st.sets(st.sampled_from(PAIRS)),
            "new_session": st.booleans(),
        }
    ),
    max_size=12,
)


@dataclass
class Row:
    subject: Subject
    rule_id: str
    row_id: str
    occurrence: int
    severity: Severity
    triggered: object
    known: frozenset = frozenset()
    resolution: Resolution | None = None
    events: list = field(default_factory=list)


class Memory:
    """A store in memory, as simple as possible."""

    def __init__(self):
        self.rows = []

    def open(self, pair=None):
        rows = [row for row in self.rows if row.resolution is None]
        return [row for row in rows if pair in (None, (row.subject, row.rule_id))]

    def apply(self, evaluation, active, sessions):
        held = [
            OpenRow(r.subject, r.rule_id, r.row_id, r.occurrence, r.severity, len(r.events))
            for r in self.open()
        ]
        past = {
            (row.subject, row.rule_id): ClosedRow(
                row.occurrence, row.resolution is Resolution.COACHED, row.known
            )
            for row in sorted(self.rows, key=lambda row: row.occurrence)
        }
        result = reconcile(evaluation, held, past, active)
        for change in result.changes:
            pair = (change.subject, change.rule_id)
            if change.step is Step.OPENED:
                severity = change.finding.severity
                row = Row(*pair, change.row_id, change.occurrence, severity, evaluation.as_of)
                self.rows.append(row)
            (row,) = self.open(pair)
            row.severity = change.finding.severity if change.finding else row.severity
            row.resolution = change.resolution
            if change.event_no is not None:
                row.events.append((change.event_no, change.step))
        for row in self.open():
            row.known = sessions
        return result

    def resolve_by_hand(self, pair):
        for row in self.open(pair):
            row.resolution = Resolution.COACHED
            row.events.append((len(row.events) + 1, Step.RESOLVED))


def known_by(subject):
    """What stands in `evaluated`: a tutor by the id."""
    return subject.id if subject.kind is SubjectKind.TUTOR else subject


def today(make, number, states, evidence):
    """The evaluation of a day on which each pair is in one of STATES."""
    by_pair = dict(zip(PAIRS, states, strict=True))
    retired = {rule for (_, rule), state in by_pair.items() if state == "retired"}
    known = {pair: state for pair, state in by_pair.items() if pair[1] not in retired}
    return make.evaluation(
        *(
            make.finding(*pair, severity=state, evidence=evidence)
            for pair, state in known.items()
            if state in ("critical", "warning")
        ),
        at=number,
        evaluated={
            rule: {
                known_by(subject)
                for (subject, of), state in known.items()
                if of == rule and state in ("critical", "warning", "healthy")
            }
            for rule in {rule for _, rule in PAIRS} - retired
        },
        disabled=frozenset(
            (subject.id, rule)
            for (subject, rule), state in known.items()
            if state == "disabled" and subject.kind is SubjectKind.TUTOR
        ),
    )


@given(days)
@settings(max_examples=150)
def test_any_history_keeps_its_promises(make, history):
    memory = Memory()
    sessions = ["S0"]
    for number, event in enumerate(history):
        if event["new_session"]:
            sessions.append(f"S{number + 1}")
        evaluation = today(make, number, event["states"], tuple(sessions[:-6:-1]))
        before = [replace(row, events=list(row.events)) for row in memory.rows]
        memory.apply(evaluation, event["active"], frozenset(sessions))

        open_pairs = [(row.subject, row.rule_id) for row in memory.open()]
        assert len(open_pairs) == len(set(open_pairs)), "two open rows of a pair"
        for old, new in zip(before, memory.rows, strict=False):
            assert (old.row_id, old.triggered) == (new.row_id, new.triggered)
            assert new.events[: len(old.events)] == old.events, "history was rewritten"
            if old.resolution is not None:
                assert old == new, "a closed row changed"
        for row in memory.rows:
            numbers = [event_no for event_no, _ in row.events]
            steps = [step for _, step in row.events]
            assert numbers == list(range(1, len(numbers) + 1))
            assert steps[0] is Step.OPENED
            assert Step.RESOLVED not in steps[:-1]
            assert (steps[-1] is Step.RESOLVED) == (row.resolution is not None)
        found = {(each.subject, each.rule_id): each for each in evaluation.findings}
        was_open = {(row.subject, row.rule_id) for row in before if row.resolution is None}
        for pair in PAIRS:
            subject, rule = pair
            is_active = not subject.tutor_id or subject.tutor_id in event["active"]
            newest = max(
                (row for row in memory.rows if (row.subject, row.rule_id) == pair),
                key=lambda row: row.occurrence,
                default=None,
            )
            if not is_active or rule not in evaluation.evaluated:
                assert pair not in open_pairs
            elif pair in found and pair not in open_pairs:
                assert newest.resolution is Resolution.COACHED, "a finding left no row"
                assert newest.known.issuperset(found[pair].evidence)
            elif known_by(subject) in evaluation.evaluated[rule] and pair not in found:
                assert pair not in open_pairs
            elif pair not in found and (known_by(subject), rule) not in evaluation.disabled:
                assert (pair in open_pairs) == (pair in was_open), "touched without evaluation"
        assert len({row.row_id for row in memory.rows}) == len(memory.rows)

        again = memory.apply(evaluation, event["active"], frozenset(sessions))
        assert {change.step for change in again.changes} <= {Step.CONFIRMED}
        for pair in event["by_hand"]:
            memory.resolve_by_hand(pair)


@given(days)
@settings(max_examples=50)
def test_the_order_of_findings_and_rows_does_not_matter(make, history):
    forward, backward = Memory(), Memory()
    for number, event in enumerate(history):
        evaluation = today(make, number, event["states"], ("S1",))
        turned = replace(evaluation, findings=evaluation.findings[::-1])
        first = forward.apply(evaluation, event["active"], frozenset({"S1"}))
        backward.rows.reverse()
        assert backward.apply(turned, event["active"], frozenset({"S1"})) == first
