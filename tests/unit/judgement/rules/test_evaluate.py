"""Evaluation: findings, rules that are not evaluated, tutors that are skipped."""

import math
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutor_pipeline.core.findings import Kind, Override, Severity
from tutor_pipeline.judgement.rules.evaluate import evaluate, fit


@pytest.fixture
def run(load, profile, as_of):
    def run_on(rows, overrides=(), text=profile):
        return evaluate(load(text), Kind.ALERT, rows, as_of, overrides)

    return run_on


@pytest.fixture
def loaded(load, profile):
    return load(profile)


def found(evaluation):
    return [(each.tutor_id, each.rule_id) for each in evaluation.findings]


def test_a_finding_carries_texts_evidence_and_readings(run, row, as_of):
    evaluation = run([row(no_shows=4, no_show_ids=["S4", "S3", "S2", "S1"])])
    (finding,) = evaluation.findings
    assert finding.severity is Severity.CRITICAL
    assert finding.texts["description"] == "4 no-shows of 20"
    assert finding.evidence == ("S4", "S3", "S2", "S1")
    (reading,) = finding.readings
    assert (reading.metric, reading.value, reading.threshold, reading.exposure) == (
        "no_shows", 4, 3, 20,
    )  # fmt: skip
    assert evaluation.evaluated == {"no_show": {"T1"}, "low_score": {"T1"}}
    assert (evaluation.tutors, evaluation.as_of, evaluation.profile) == (1, as_of, "own")


def test_at_most_five_sessions_are_evidence(run, row):
    evaluation = run([row(no_shows=7, no_show_ids=list("gfedcba"))])
    assert evaluation.findings[0].evidence == tuple("gfedc")


@pytest.mark.parametrize(
    "values",
    [
        {"score": None},
        {"score": math.nan},
        {"score": Decimal("NaN")},
        {"score": math.inf},
        {"score": -math.inf},
        {"score": 1.0, "scored": None},
        {"score": 1.0, "scored": 0},
        {"score": 1.0, "scored": 3},
    ],
)
def test_missing_data_is_not_evaluated(run, row, values):
    evaluation = run([row(**values)])
    assert found(evaluation) == []
    assert evaluation.evaluated == {"no_show": {"T1"}, "low_score": set()}
    assert evaluation.skipped == {}


def test_the_minimum_exposure_itself_is_enough(run, row):
    assert found(run([row(score=1.0, scored=4)])) == [("T1", "low_score")]


def test_no_session_at_all_says_nothing_about_a_count(run, row):
    assert run([row(no_shows=0, sessions=0)]).evaluated["no_show"] == set()


@pytest.mark.parametrize("value", [5, 5.0, Decimal("5.00"), 5.0 - 1e-12, 5.0 + 1e-12])
def test_noise_of_float_sums_decides_nothing(run, row, value):
    strict = run([row(score=value)])
    assert found(strict) == []
    assert strict.evaluated["low_score"] == {"T1"}
    assert found(run([row(score=4.99)])) == [("T1", "low_score")]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"no_shows": "3"}, "no_shows is not a number: '3'"),
        ({"no_shows": True}, "no_shows is not a number: True"),
        ({"no_shows": 2.5}, "no_shows is not a whole number: 2.5"),
        ({"score": "bad"}, "score is not a number: 'bad'"),
        ({"scored": "9"}, "scored is not a number: '9'"),
        ({"no_shows": 3, "no_show_ids": "S1"}, "no_show_ids is not a list of session ids: 'S1'"),
        ({"no_shows": 3, "no_show_ids": [1]}, "no_show_ids is not a list of session ids: [1]"),
    ],
)
def test_bad_data_of_one_tutor_skips_that_tutor_only(run, row, values, reason):
    evaluation = run([row("T1", **values), row("T2", no_shows=5)])
    assert evaluation.skipped == {"T1": reason}
    assert found(evaluation) == [("T2", "no_show")]
    assert evaluation.evaluated == {"no_show": {"T2"}, "low_score": {"T2"}}
    assert (evaluation.tutors, evaluation.skipped_share) == (2, 0.5)


def test_a_missing_column_and_a_missing_tutor_id_skip(run, row):
    lacking = row("T1")
    del lacking["scored"]
    evaluation = run([lacking, row(None), {}, row("T4")])
    assert evaluation.skipped == {
        "T1": "the row has no column scored",
        "row 2": "tutor_id is not text: None",
        "row 3": "tutor_id is not text: None",
    }
    assert evaluation.evaluated["no_show"] == {"T4"}


def test_a_second_row_of_a_tutor_is_reported_and_not_used(run, row):
    evaluation = run([row("T1", no_shows=3), row("T1", no_shows=9)])
    assert [each.readings[0].value for each in evaluation.findings] == [3]
    assert evaluation.skipped == {"T1": "there is more than one row; the first was used"}


def test_whole_numbers_come_as_any_number_type(run, row):
    for value in (3, 3.0, Decimal("3")):
        (finding,) = run([row(no_shows=value)]).findings
        assert finding.texts["description"] == "3 no-shows of 20"


def test_an_override_changes_the_threshold_of_one_tutor(run, row):
    rows = [row("T1", no_shows=4), row("T2", no_shows=4)]
    evaluation = run(rows, [Override("T1", "no_show", threshold=5.0)])
    assert found(evaluation) == [("T2", "no_show")]
    evaluation = run(rows, [Override("T1", "no_show", threshold=2.0)])
    assert [each.readings[0].threshold for each in evaluation.findings] == [2, 3]


def test_a_text_names_the_threshold_that_counted(run, row, profile):
    text = profile.replace("of {sessions}", "of {sessions}, {threshold.no_shows} or more")
    rows = [row("T1", no_shows=4), row("T2", no_shows=4)]
    evaluation = run(rows, [Override("T2", "no_show", threshold=2.0)], text)
    told = [finding.texts["description"] for finding in evaluation.findings]
    assert told == ["4 no-shows of 20, 3 or more", "4 no-shows of 20, 2 or more"]


def test_a_disabled_rule_is_neither_evaluated_nor_found(run, row):
    override = Override("T1", "no_show", disabled=True)
    evaluation = run([row("T1", no_shows=4), row("T2", no_shows=4)], [override])
    assert found(evaluation) == [("T2", "no_show")]
    assert evaluation.evaluated["no_show"] == {"T2"}
    assert evaluation.disabled == {("T1", "no_show")}


@pytest.mark.parametrize("threshold", [math.nan, math.inf])
def test_an_override_that_is_no_threshold_stops_that_rule_for_that_tutor(run, row, threshold):
    rows = [row("T1", no_shows=9, score=1.0), row("T2", no_shows=9)]
    evaluation = run(rows, [Override("T1", "no_show", threshold=threshold)])
    assert found(evaluation) == [("T1", "low_score"), ("T2", "no_show")]
    assert evaluation.evaluated == {"no_show": {"T2"}, "low_score": {"T1", "T2"}}
    assert list(evaluation.skipped) == ["T1"]
    assert evaluation.skipped["T1"].startswith(
        f"no_show was not evaluated: an override sets {threshold}"
    )


def test_an_override_of_a_rule_that_is_not_there_changes_nothing(run, row):
    overrides = [Override("T1", "gone", threshold=1.0), Override("T9", "no_show", threshold=1.0)]
    assert run([row(no_shows=2)], overrides) == run([row(no_shows=2)])


BOTH = """\
alerts:
  both:
    severity: warning
    title: Both
    when:
      - {metric: is_flagged, op: "=", value: true}
      - {metric: champion.level, op: "=", value: High}
    description: "{champion.level} with {rating}"
    recommended_action: Talk
    evidence: no_show_ids
"""


def test_all_conditions_must_hold_and_be_known(run):
    def judged(flag, level):
        row = {"tutor_id": "T1", "is_flagged": flag, "champion.level": level, "rating": None,
               "no_show_ids": None}  # fmt: skip
        evaluation = run([row], text=BOTH)
        return bool(evaluation.findings), bool(evaluation.evaluated["both"])

    assert judged(True, "High") == (True, True)
    assert judged(True, "Low") == (False, True)
    assert judged(False, "High") == (False, True)
    assert judged(None, "High") == (False, False)
    assert judged(False, None) == (False, False)


def test_a_null_in_a_sentence_is_unknown(run):
    row = {"tutor_id": "T1", "is_flagged": True, "champion.level": "High", "rating": None,
           "no_show_ids": None}  # fmt: skip
    (finding,) = run([row], text=BOTH).findings
    assert finding.texts["description"] == "High with unknown"
    assert finding.excess == 0


def test_an_override_of_a_rule_about_a_flag_stops_that_rule_alone(run, row, profile):
    text = profile + BOTH.removeprefix("alerts:\n")
    values = {"is_flagged": True, "champion.level": "High", "rating": None}
    rows = [row("T1", no_shows=9, **values), row("T2", **values)]
    evaluation = run(rows, [Override("T1", "both", threshold=0.5)], text)
    assert found(evaluation) == [("T1", "no_show"), ("T2", "both")]
    assert evaluation.skipped == {
        "T1": "both was not evaluated: an override sets a number as threshold of is_flagged, which"
        " is no number; to switch a rule off for a tutor, set disabled"
    }


OTHERS = """\
auto_resolve: false
insights:
  keen:
    insight_type: strength
    requires: {sessions: 10}
    when: [{metric: score, op: ">", value: 8}]
    display_text: "{score:.1f}"
    metric_value: no_shows
  flagged:
    insight_type: growth_area
    when: [{metric: is_flagged, op: "=", value: true}]
    display_text: Flagged
    coaching_tip: Ask why after {no_shows:time|times}
achievements:
  keen:
    title: Keen
    when: [{metric: score, op: ">", value: 9}]
    description: Keen
    icon: 🎯
"""


@pytest.fixture
def others(load, as_of):
    """Evaluate the insights or achievements of a profile that has them."""

    def run_on(kind, rows, overrides=()):
        return evaluate(load(OTHERS), kind, rows, as_of, overrides)

    return run_on


def test_an_insight_shows_a_number_and_a_growth_area_a_tip(others, row):
    keen, flagged = others(Kind.INSIGHT, [row(score=8.5, no_shows=1, is_flagged=True)]).findings
    assert keen.texts == {"insight_type": "strength", "display_text": "8.5"}
    assert (keen.severity, keen.metric_value) == (None, 1.0)
    assert flagged.texts["coaching_tip"] == "Ask why after 1 time"
    assert flagged.metric_value is None


@pytest.mark.parametrize(
    ("sessions", "is_evaluated"), [(9, False), (10, True), (None, False), (0, False)]
)
def test_under_a_required_count_a_rule_is_not_evaluated(others, row, sessions, is_evaluated):
    evaluation = others(Kind.INSIGHT, [row(score=8.5, sessions=sessions, is_flagged=False)])
    assert bool(evaluation.evaluated["keen"]) is is_evaluated
    assert bool(found(evaluation)) is is_evaluated
    assert evaluation.evaluated["flagged"] == ({"T1"} if sessions != 1 else set())


def test_an_override_changes_a_rule_of_any_kind(others, row):
    rows = [row("T1", score=9.5, is_flagged=False), row("T2", score=9.5, is_flagged=False)]
    for kind in (Kind.INSIGHT, Kind.ACHIEVEMENT):
        for override in (
            Override("T1", "keen", threshold=9.7),
            Override("T1", "keen", disabled=True),
        ):
            assert found(others(kind, rows, [override])) == [("T2", "keen")]
        evaluation = others(kind, rows, [Override("T1", "keen", threshold=9.7)])
        assert evaluation.evaluated["keen"] == {"T1", "T2"}


def test_a_profile_that_leaves_alerts_to_people_still_keeps_the_rest_true(load, profile, as_of):
    catalogue = load(OTHERS + profile)
    resolves = {kind: evaluate(catalogue, kind, [], as_of).auto_resolve for kind in Kind}
    assert resolves == {Kind.ALERT: False, Kind.INSIGHT: True, Kind.ACHIEVEMENT: True}


def test_excess_grows_with_distance_and_with_the_share_of_the_exposure(run, row):
    def excess(**values):
        return run([row(**values)]).findings[0].excess

    assert excess(no_shows=3, sessions=6) > excess(no_shows=3, sessions=60) > 0
    assert excess(no_shows=6, sessions=60) > excess(no_shows=3, sessions=60)
    assert excess(score=2.0, scored=40) > excess(score=2.0, scored=4)
    assert excess(score=1.0) > excess(score=2.0)


def test_the_columns_that_a_row_needs(load, profile):
    assert load(profile).columns(Kind.ALERT) == (
        "tutor_id", "no_show_ids", "no_shows", "score", "scored", "sessions",
    )  # fmt: skip


_ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 50), st.floats(), st.text(max_size=3),
    st.lists(st.text(max_size=2), max_size=7),
)  # fmt: skip
_ROWS = st.lists(
    st.fixed_dictionaries(
        {"no_shows": st.integers(0, 9) | _ANYTHING, "sessions": st.integers(0, 30) | _ANYTHING},
        optional={
            "score": st.floats(0, 10) | _ANYTHING,
            "scored": st.integers(0, 9) | _ANYTHING,
            "no_show_ids": st.lists(st.text(max_size=2), max_size=7) | _ANYTHING,
        },
    ),
    max_size=6,
)


@given(values=_ROWS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_what_is_said_of_a_tutor_never_depends_on_the_others(loaded, as_of, values):
    rows = [{"tutor_id": f"T{number}", **each} for number, each in enumerate(values)]
    together = evaluate(loaded, Kind.ALERT, rows, as_of)
    alone = [evaluate(loaded, Kind.ALERT, [row], as_of) for row in rows]
    assert together.findings == tuple(finding for each in alone for finding in each.findings)
    assert together.skipped == {who: why for each in alone for who, why in each.skipped.items()}
    for rule_id, tutors in together.evaluated.items():
        assert tutors == frozenset().union(*(each.evaluated[rule_id] for each in alone))
        assert not tutors & together.skipped.keys()
    assert {(f.rule_id, f.tutor_id) for f in together.findings} <= {
        (rule_id, tutor) for rule_id, tutors in together.evaluated.items() for tutor in tutors
    }


# What is unusual here ---------------------------------------------------------------------------

ASKING = """\
alerts:
  no_show:
    severity: critical
    title: No Shows Detected
    when:
      - {metric: no_shows, op: ">=", value: 3}
    unusual: {metric: no_shows, times: 1.5}
    description: "{no_shows} of {sessions}."
    recommended_action: Call
    evidence: no_show_ids
"""
OPEN = "open_alerts.no_show"


@pytest.fixture
def asking(load):
    return load(ASKING)


@pytest.fixture
def crowd(row):
    """Thirty tutors who miss 1 of 20, or 6 of 20 (`others`), and T1."""

    def build(no_shows, others=1, **values):
        return [
            *(row(tutor_id=f"O{n}", no_shows=others, **{OPEN: False}) for n in range(30)),
            row(**{"no_shows": no_shows, OPEN: False, **values}),
        ]

    return build


@pytest.fixture
def among(load, as_of):
    """What is found of T1 among others, as an alert and as an insight."""

    def found_of(rows, overrides=(), text=ASKING):
        asking = load(text)
        usual = fit(asking, rows)
        return [
            [
                finding
                for finding in evaluate(asking, kind, rows, as_of, overrides, usual).findings
                if finding.tutor_id == "T1"
            ]
            for kind in (Kind.ALERT, Kind.INSIGHT)
        ]

    return found_of


def test_what_is_unusual_here_is_an_alert_that_says_what_is_usual(among, crowd):
    (alert,), insights = among(crowd(8))
    assert alert.texts["description"] == "8 of 20. Others: 1 of 20."
    assert (alert.usual, alert.unusual) == (0.05, pytest.approx(1, abs=0.01))
    assert insights == []


def test_what_is_usual_here_is_no_alert_and_stays_visible(among, crowd):
    alerts, (insight,) = among(crowd(8, others=6))
    assert alerts == []
    assert insight.rule_id == "no_show_at_threshold"
    assert insight.texts == {
        "insight_type": "at_threshold",
        "display_text": "At the threshold of an alert. No Shows: 8 of 20; usual here is 1 of 3",
    }
    assert insight.metric_value == 8


def test_under_the_threshold_there_is_neither(among, crowd):
    assert among(crowd(2)) == [[], []]


@pytest.mark.parametrize(
    ("no_shows", "is_open", "is_found"),
    [(4, False, True), (3, False, False), (3, True, True), (2, True, False), (0, True, False)],
)
def test_an_open_alert_stays_while_its_figure_is_a_little_under_the_threshold(
    among, crowd, no_shows, is_open, is_found
):
    rows = crowd(no_shows, others=0, **{OPEN: is_open})
    alerts, insights = among(rows, text=ASKING.replace("value: 3", "value: 4"))
    assert bool(alerts) is is_found
    assert insights == []


def test_an_open_alert_closes_later_than_it_opens(among, crowd):
    def figures(is_open):
        return {
            no_shows
            for no_shows in range(3, 16)
            if among(crowd(no_shows, others=3, **{OPEN: is_open}))[0]
        }

    opens, stays = figures(False), figures(True)
    assert opens < stays
    assert min(opens) - min(stays) >= 1


def test_alone_and_among_all_a_tutor_is_found_the_same(asking, crowd, as_of):
    rows = crowd(8)
    usual = fit(asking, rows)
    (among_all,) = (
        each
        for each in evaluate(asking, Kind.ALERT, rows, as_of, (), usual).findings
        if each.tutor_id == "T1"
    )
    assert evaluate(asking, Kind.ALERT, rows[-1:], as_of, (), usual).findings == (among_all,)


def test_nothing_known_of_the_platform_is_not_evaluated(asking, crowd, as_of):
    evaluation = evaluate(asking, Kind.ALERT, crowd(8), as_of)
    assert (evaluation.findings, evaluation.evaluated["no_show"]) == ((), frozenset())


def test_an_exception_that_asks_for_less_needs_no_evidence(among, crowd):
    rows = crowd(2, others=6)
    sooner = Override("T1", "no_show", threshold=2)
    later = Override("T1", "no_show", threshold=9)
    assert len(among(rows, [sooner])[0]) == 1
    assert among(crowd(8, others=6), [later])[0] == []
    assert among(crowd(8), [later])[0] == []


def test_who_can_not_be_read_is_no_part_of_what_is_usual(asking, crowd):
    rows = crowd(8)
    assert fit(asking, [*rows, {"tutor_id": "T2"}]) == fit(asking, rows)


def test_a_count_can_be_asked_to_be_a_share(load, row, as_of):
    catalogue = load(
        ASKING.replace("value: 3}", "value: 3, minimum_share: 0.25}").replace(
            "    unusual: {metric: no_shows, times: 1.5}\n", ""
        )
    )
    rows = [row(tutor_id=f"T{n}", no_shows=n, sessions=20) for n in (2, 3, 4, 5)]
    evaluation = evaluate(catalogue, Kind.ALERT, rows, as_of)
    assert found(evaluation) == [("T5", "no_show")]
    assert evaluation.evaluated["no_show"] == {"T2", "T3", "T4", "T5"}


def two_bad(row, first, second):
    """Fifty tutors of whom two miss many sessions."""
    usual_ones = [row(tutor_id=f"O{n}", no_shows=n % 2, **{OPEN: False}) for n in range(48)]
    return [
        *usual_ones,
        row(tutor_id="A", no_shows=first, **{OPEN: False}),
        row(tutor_id="B", no_shows=second, **{OPEN: False}),
    ]


@pytest.mark.parametrize(
    ("overrides", "done", "listed"),
    [
        ([], [], ["A"]),
        ([Override("A", "no_show", disabled=True)], [], ["B"]),
        ([Override("A", "no_show", threshold=15)], [], ["B"]),
        ([], [("A", "no_show")], ["A", "B"]),
    ],
)
def test_who_is_no_finding_takes_no_place(asking, row, as_of, overrides, done, listed):
    """Of fifty tutors a rule lists one."""
    rows = two_bad(row, 9, 7)
    usual = fit(asking, rows, overrides, done)
    evaluation = evaluate(asking, Kind.ALERT, rows, as_of, overrides, usual)
    assert [each.tutor_id for each in evaluation.findings] == listed


@pytest.fixture
def from_four(load):
    return load(ASKING.replace("value: 3", "value: 4"))


def test_open_alerts_that_fall_short_are_counted_among_the_few(from_four, row, as_of):
    """A worse figure never closes an alert that a better figure keeps open."""

    def kept(no_shows):
        crowd = [row(tutor_id=f"O{n}", no_shows=0, **{OPEN: False}) for n in range(90)]
        held = [
            row(tutor_id=f"H{n}", no_shows=no_shows, sessions=8 + n, **{OPEN: True})
            for n in range(8)
        ]
        usual = fit(from_four, [*crowd, *held])
        evaluation = evaluate(from_four, Kind.ALERT, [*crowd, *held], as_of, (), usual)
        return len(evaluation.findings)

    assert kept(3) == kept(4) == 2


@pytest.mark.parametrize(("no_shows", "excess"), [(3, 0.0), (4, 0.2), (5, 0.5)])
def test_what_falls_short_is_no_excess(from_four, crowd, as_of, no_shows, excess):
    rows = crowd(no_shows, others=0, **{OPEN: True})
    found = evaluate(from_four, Kind.ALERT, rows, as_of, (), fit(from_four, rows)).findings
    assert [each.excess for each in found if each.tutor_id == "T1"] == [excess]
