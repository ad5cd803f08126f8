"""The forecast of students: its own signs, by the same code as that of tutors."""

from __future__ import annotations

import json
import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.judgement.scores.departure.frames import only, rank_correlation
from tests.unit.judgement.scores.departure.student_frames import people
from tutor_pipeline.judgement.scores.departure import learning, reference, scorer
from tutor_pipeline.judgement.scores.departure.forecast import ASKED_SILENCE_DAYS
from tutor_pipeline.judgement.scores.departure.learning import Outcomes, learn, nothing
from tutor_pipeline.judgement.scores.departure.reference import Reference, standardise
from tutor_pipeline.judgement.scores.departure.students import STUDENTS
from tutor_pipeline.judgement.scores.departure.students.evidence import EVENTS
from tutor_pipeline.judgement.scores.departure.tutors import TUTORS
from tutor_pipeline.judgement.scores.departure.version import Version, log_odds, probability
from tutor_pipeline.judgement.scores.score import Level, Target

YEARLY = 0.5
ALL = frozenset(STUDENTS.codes)
FALLING = np.where(np.arange(400) < 40, 0.8, 0.0)
NUMBERS = {"now": 3.5, "usual": 7.25, "n": 12.0, "n_usual": 30.0, "k": 4.0, "k_usual": 9.0}


def rows_of(columns):
    values = zip(*(columns[name].tolist() for name in columns), strict=True)
    return [
        {
            "student_id": f"P{place:05d}",
            **{
                name: None if np.isnan(value) else value
                for name, value in zip(columns, row, strict=True)
            },
        }
        for place, row in enumerate(values)
    ]


def outcomes(z, left, whose=None):
    who = np.arange(len(z)) if whose is None else whose
    return Outcomes(z, np.asarray(left, bool), who, "2026-01-04", "2026-03-01", "2026-04-01")


@pytest.fixture(scope="module")
def ordinary():
    """400 students, of whom the first 40 come much less than before."""
    columns = people(400, 1, fall=FALLING)
    usual = reference.fit(STUDENTS, columns)
    return columns, usual, standardise(columns, usual).z


@pytest.fixture(scope="module")
def prior(ordinary):
    _, usual, z = ordinary
    return learn(STUDENTS, z, usual.known, nothing(STUDENTS), YEARLY)


def test_it_is_another_forecast_than_that_of_tutors():
    assert (STUDENTS.scorer, STUDENTS.target) == (
        "student_departure_v1",
        Target.STUDENT_DEPARTURE,
    )
    assert (STUDENTS.key, STUDENTS.history) == ("student_id", "student_evidence_history")
    assert STUDENTS.scorer != TUTORS.scorer
    assert STUDENTS.target != TUTORS.target


def test_every_sign_of_the_file_is_measured_and_known_of_a_whole_platform():
    columns = people(60)
    found = STUDENTS.measure(columns, STUDENTS.usual_of(columns))
    assert found.keys() == ALL
    assert not [code for code in ALL if not np.isfinite(found[code].value).any()]
    groups = {signal.group for signal in STUDENTS.signs.by_code.values()}
    assert groups == STUDENTS.signs.groups.keys()


@pytest.mark.parametrize("code", STUDENTS.codes)
def test_a_reason_says_its_numbers_in_words(code):
    signal = STUDENTS.signs.by_code[code]
    names = {name for _, name, _, _ in string.Formatter().parse(signal.says) if name}
    assert names & {"now", "k"}
    assert names & {"usual", "k_usual"}
    assert names <= NUMBERS.keys()
    assert "{" not in signal.words(**NUMBERS)
    columns = people(60, 3)
    found = STUDENTS.measure(columns, STUDENTS.usual_of(columns))[code]
    told = {"now": found.now, "n": found.n, "n_usual": found.n_usual}
    for name in names & told.keys():
        assert np.isfinite(told[name]).any(), name


WORSE = [
    ({"days_since_completed": 44.0}, "gap"),
    ({"days_since_completed": 44.0}, "gap_level"),
    ({"days_since_completed": 44.0}, "absence"),
    ({"completed_14d": 0.0}, "pace_14d"),
    ({"completed_28d": 0.0}, "pace_28d"),
    ({"completed_28d": 0.0}, "pace_level"),
    ({"booked_ahead": 0.0}, "booked_ahead"),
    ({"completed_all": 1.0}, "tenure"),
    ({"first_satisfaction": 1.0}, "first_session"),
    *(({f"{event}_28d": 9.0, "sessions_28d": 9.0}, event) for event in EVENTS),
    *(({f"{event}_28d": 9.0, "sessions_28d": 9.0}, f"{event}_level") for event in EVENTS),
    ({"score_28d": 1.0, "score_28d_n": 5.0}, "score"),
    ({"satisfaction_28d": 1.0, "satisfaction_28d_n": 5.0}, "satisfaction_level"),
    ({"engagement_28d": 1.0, "engagement_28d_n": 5.0}, "engagement"),
    (
        {"discounted_28d": 0.0, "billed_28d": 6.0, "discounted_before": 9.0, "billed_before": 9.0},
        "discount_ended",
    ),
    ({"discounted_28d": 9.0, "billed_28d": 9.0}, "discount_level"),
    ({"price_28d": 80.0}, "price"),
]


@pytest.mark.parametrize(("changes", "code"), WORSE, ids=[code for _, code in WORSE])
def test_a_sign_is_higher_where_the_risk_is(ordinary, changes, code):
    columns, usual, _ = ordinary
    chosen = {name: np.array([float(np.nanmedian(column))]) for name, column in columns.items()}
    place = STUDENTS.codes.index(code)
    before = standardise(chosen, usual).z[0, place]
    worse = {**chosen, **{name: np.array([value]) for name, value in changes.items()}}
    assert standardise(worse, usual).z[0, place] > max(before, 0)


def test_a_poor_first_session_fades_as_the_student_stays(ordinary):
    columns, usual, _ = ordinary
    one = {name: np.full(3, float(np.nanmedian(column))) for name, column in columns.items()}
    one |= {"first_satisfaction": np.full(3, 2.0), "completed_all": np.array([1.0, 5.0, 50.0])}
    found = STUDENTS.measure(one, usual.usual)["first_session"].value
    assert found[0] > found[1] > found[2] > 0


def test_who_had_no_session_before_has_not_changed():
    columns = people(60, 4)
    for name in ("sessions_before", "billed_before", "discounted_before"):
        columns[name][:5] = 0
    for event in EVENTS:
        columns[f"{event}_before"][:5] = 0
    found = STUDENTS.measure(columns, STUDENTS.usual_of(columns))
    for code in (*EVENTS, "discount_ended"):
        assert np.isnan(found[code].value[:5]).all()
        assert np.isfinite(found[code].value[5:]).any()
        level = "discount_level" if code == "discount_ended" else f"{code}_level"
        assert np.isfinite(found[level].value[:5]).any()


def test_who_is_asked_about_has_not_left():
    """Of students the day of leaving is known: all who are asked about are learned from."""
    columns = people(50) | {"days_since_completed": np.linspace(0, ASKED_SILENCE_DAYS, 50)}
    assert (STUDENTS.silence(columns) <= 1).all()


def test_who_comes_less_is_at_the_head_and_the_reasons_say_so(ordinary, prior):
    columns, usual, _ = ordinary
    scores = scorer.score(rows_of(columns), usual, prior, "1.1")
    first = sorted(scores, key=lambda score: -score.score)[:20]
    assert sum(score.subject_id < "P00040" for score in first) >= 15
    assert all(score.reasons for score in first)
    assert {(score.scorer, score.target) for score in scores} == {
        (STUDENTS.scorer, Target.STUDENT_DEPARTURE)
    }
    # Without departures there is no percentage.
    assert not any(score.is_probability for score in scores)


@pytest.mark.slow
@settings(max_examples=15)
@given(st.integers(0, 399), st.booleans())
def test_a_student_alone_and_among_all_has_the_same_bytes(place, learned):
    columns = people(400, 1, fall=FALLING)
    columns["first_satisfaction"][::7] = np.nan
    usual = reference.fit(STUDENTS, columns)
    z = standardise(columns, usual).z
    known = outcomes(z, np.arange(400) < 30) if learned else nothing(STUDENTS)
    version = learn(STUDENTS, z, usual.known, known, YEARLY)
    stored = Reference.from_json(STUDENTS, json.loads(json.dumps(usual.to_json())))
    again = Version.from_json(STUDENTS, json.loads(version.to_json()))
    assert (stored, again) == (usual, version)
    rows = rows_of(columns)
    among = scorer.score(rows, usual, version, "1.1")[place]
    (alone,) = scorer.score([rows[place]], stored, again, "1.1")
    assert repr(alone) == repr(among)


@settings(max_examples=20)
@given(st.integers(1, 60), st.integers(0, 99))
def test_the_order_of_students_decides_nothing(students, seed):
    columns = people(students, seed)
    order = np.random.default_rng(seed).permutation(students)
    assert reference.fit(STUDENTS, only(columns, order)) == reference.fit(STUDENTS, columns)


def test_without_departures_nothing_is_learned_the_intercept_least_of_all(ordinary, prior):
    _, usual, z = ordinary
    silent = learn(STUDENTS, z, usual.known, outcomes(z, np.zeros(400, bool)), YEARLY)
    assert silent == prior
    assert silent.base_rate == pytest.approx(learning.monthly(YEARLY), rel=1e-3)


def test_departures_move_the_forecast(ordinary, prior):
    """On a platform where whoever discounts leaves, that is learned."""
    _, usual, z = ordinary
    place = STUDENTS.codes.index("discount_level")
    left = z[:, place] > np.quantile(z[:, place], 0.85)
    version = learn(STUDENTS, z, usual.known, outcomes(z, left), YEARLY)
    assert version.coefficients[place] > prior.coefficients[place] + 0.2
    assert version.is_probability


def test_departures_by_chance_leave_the_order_and_raise_nobody(ordinary, prior):
    _, usual, z = ordinary
    left = np.random.default_rng(4).permutation(400) < 60
    version = learn(STUDENTS, z, usual.known, outcomes(z, left), YEARLY)
    chances = probability(log_odds(version, z))
    assert rank_correlation(chances, log_odds(prior, z)) > 0.7
    assert (chances > version.high_above).sum() <= 400 * STUDENTS.high_share / 4


def test_of_a_platform_without_bills_price_is_listed_as_not_known(prior):
    columns = people(100, 5)
    for name in ("price_28d", "price_before"):
        columns[name][:] = np.nan
    for name in ("billed_28d", "billed_before", "discounted_28d", "discounted_before"):
        columns[name][:] = 0
    usual = reference.fit(STUDENTS, columns)
    assert not usual.known & {"price", "discount_level", "discount_ended"}
    for score in scorer.score(rows_of(columns), usual, prior, "1.1"):
        assert "price" in score.not_known
        assert score.level in (Level.LOW, Level.MEDIUM, Level.HIGH)
