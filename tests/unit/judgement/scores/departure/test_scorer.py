"""What is said of each tutor: how likely, how sure, why, and what is not known."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.judgement.scores.departure.conftest import YEARLY, world_of
from tests.unit.judgement.scores.departure.frames import (
    AVAILABILITY,
    CODES,
    GROUPS,
    NULLABLE,
    READS,
    RECENT,
    REPLY,
    SIGNS,
    names_of,
    only,
    outcomes,
    people,
    rank_correlation,
    rows_of,
    unknown,
)
from tutor_pipeline.judgement.scores.departure import learning, reference, scorer
from tutor_pipeline.judgement.scores.departure.scorer import KEEPS, level_of
from tutor_pipeline.judgement.scores.departure.signs import Kind
from tutor_pipeline.judgement.scores.departure.tutors import TUTORS
from tutor_pipeline.judgement.scores.score import Level, Status, Target

LOW, MEDIUM, HIGH = Level.LOW, Level.MEDIUM, Level.HIGH


def levels(scores):
    return Counter(score.level for score in scores)


def high(scores):
    return {score.subject_id for score in scores if score.level is HIGH}


# Alone and among all ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gappy():
    """Tutors of whom this and that is not known, and a learned version."""
    columns = people(120, 5, fall=np.where(np.arange(120) < 15, 0.6, 0.0))
    rng = np.random.default_rng(5)
    for name in NULLABLE:
        columns[name][rng.random(120) < 0.15] = np.nan
    for name in READS:
        columns[name][7] = np.nan
    world = world_of(columns)
    known = outcomes(world.z, np.arange(120) < 25)
    return replace(
        world, version=learning.learn(TUTORS, world.z, world.reference.known, known, YEARLY)
    )


def test_scored_alone_and_among_all_a_tutor_gets_the_same_bytes(gappy):
    rows = rows_of(gappy.columns)
    held = {"T00001": HIGH, "T00002": MEDIUM, "T00003": LOW}
    together = scorer.score(rows, gappy.reference, gappy.version, "3.4", held)
    for row, expected in zip(rows, together, strict=True):
        (alone,) = scorer.score([row], gappy.reference, gappy.version, "3.4", held)
        assert repr(alone) == repr(expected)


@pytest.mark.slow
@settings(max_examples=30)
@given(st.lists(st.integers(0, 119), min_size=1, max_size=40))
def test_whoever_else_is_scored_a_tutor_gets_the_same_bytes(gappy, places):
    all_scores = {score.subject_id: repr(score) for score in gappy.scores()}
    tutors = [names_of(gappy.columns)[place] for place in places]
    rows = rows_of(only(gappy.columns, places), tutors)
    some = scorer.score(rows, gappy.reference, gappy.version, "1.1")
    assert [repr(score) for score in some] == [all_scores[tutor] for tutor in tutors]


def test_nobody_gets_no_score(ordinary):
    assert scorer.score([], ordinary.reference, ordinary.version, "1.1") == []


def test_the_hash_is_of_all_that_a_score_is_made_from(ordinary):
    row = rows_of(ordinary.columns)[0]

    def made_from(named="1.1", held=None, **changed):
        (score,) = scorer.score([row | changed], ordinary.reference, ordinary.version, named, held)
        return score.input_hash

    hashes = [
        made_from(),
        made_from(named="1.2"),
        *(made_from(**{name: (row[name] or 0) + 1}) for name in READS),
        made_from(hours_this_week=None),
    ]
    assert len(set(hashes)) == len(hashes)
    assert made_from(tutor_id="another") == made_from(held={"another": HIGH}) == made_from()
    assert made_from(hours_this_week=row["hours_this_week"] + 1e-13) == made_from()


def test_a_held_level_is_an_input_where_it_decides(ordinary):
    version = ordinary.version
    free = ordinary.scores()
    for level in Level:
        held = dict.fromkeys((score.subject_id for score in free), level)
        changed = 0
        for score, kept in zip(free, ordinary.scores(held=held), strict=True):
            assert (score.input_hash == kept.input_hash) is (score.level is kept.level)
            changed += score.level is not kept.level
            # Who has it already keeps the bytes: nothing is rewritten because a run came before.
            if score.level is level:
                assert repr(kept) == repr(score)
        assert (changed > 0) is (level is not LOW), version


# The shape of a score ---------------------------------------------------------------------------


@settings(max_examples=30)
@given(
    tutors=st.integers(1, 60),
    seed=st.integers(0, 999),
    share=st.floats(0, 1),
    fall=st.floats(0, 1),
    weekly=st.sampled_from([0.05, 0.5, 4, 20]),
    departures=st.sampled_from([0, 1, 10, 40]),
    held=st.dictionaries(st.integers(0, 59), st.sampled_from(Level)),
)
def test_a_score_is_whole(tutors, seed, share, fall, weekly, departures, held):
    rng = np.random.default_rng(seed)
    fall = np.where(rng.random(tutors) < 0.2, fall, 0.0)
    columns = people(tutors, seed, fall=fall, weekly=weekly)
    for name in NULLABLE:
        columns[name][rng.random(tutors) < share] = np.nan
    world = world_of(columns)
    known = outcomes(world.z, np.arange(tutors) < departures)
    version = learning.learn(TUTORS, world.z, world.reference.known, known, YEARLY)
    named = {f"T{place:05d}": level for place, level in held.items()}
    for score in world.scores(version, held=named):
        check_whole(score, version)


def check_whole(score, version):
    assert (score.target, score.horizon_days) == (Target.TUTOR_DEPARTURE, 30)
    if score.status is Status.INSUFFICIENT_DATA:
        assert score.score is score.level is score.lower is score.upper is None
        assert score.reasons == () and score.known_share == 0 and score.not_known
        return
    assert 0 <= score.lower <= score.score <= score.upper <= 1
    assert score.is_probability is version.is_probability
    assert (score.status is Status.LITTLE_KNOWN) is (score.known_share < 0.4)
    assert score.level is not LOW or score.status is Status.OK
    assert score.level is not None or score.status is Status.LITTLE_KNOWN
    assert (score.known_share == 1) is (not score.not_known)
    if score.level in (MEDIUM, HIGH):
        assert score.reasons
    check_reasons(score.reasons)


def check_reasons(reasons):
    assert len(reasons) <= 3
    kinds = [SIGNS[reason.code].kind for reason in reasons]
    assert kinds == sorted(kinds), "changes before levels"
    for kind in Kind:
        added = [reason.contribution for reason in reasons if SIGNS[reason.code].kind is kind]
        assert added == sorted(added, reverse=True)
    assert max(Counter(SIGNS[reason.code].group for reason in reasons).values(), default=0) <= 2
    assert max(Counter(SIGNS[reason.code].family for reason in reasons).values(), default=0) <= 1
    for reason in reasons:
        assert reason.contribution >= 0
        assert reason.label and "nan" not in reason.label
        assert np.isfinite([reason.value, reason.reference]).all()


# Where there is nothing to say ------------------------------------------------------------------


def test_of_whom_nothing_is_known_there_is_no_score(ordinary):
    nothing = unknown(people(1))
    (score,) = scorer.score(rows_of(nothing), ordinary.reference, ordinary.version, "1.1")
    assert score.status is Status.INSUFFICIENT_DATA
    assert (score.score, score.level, score.known_share) == (None, None, 0.0)
    assert score.not_known == tuple(group.name for group in GROUPS.values())


def test_with_little_known_nobody_is_low(ordinary):
    teaching = [name for name in READS if name.startswith(("completed", "earned", "booked"))]
    kept = [*teaching, "days_seen", "days_since_completed"]
    columns = unknown(ordinary.columns, set(READS) - set(kept))
    scores = scorer.score(rows_of(columns), ordinary.reference, ordinary.version, "1.1")
    assert {score.status for score in scores} == {Status.LITTLE_KNOWN}
    assert levels(scores)[LOW] == 0
    assert levels(scores)[None] > 100
    assert {score.known_share for score in scores} == {round(1.5 / 7, 4)}
    unlisted = {"hours offered", "time to reply", "logins", "kept appointments"}
    assert all(unlisted <= set(score.not_known) for score in scores)


def test_little_known_and_plainly_at_risk_has_a_level(ordinary):
    row = dict.fromkeys(READS) | {"tutor_id": "T", "days_seen": 300.0}
    row |= {"hours_this_week": 0.0, "hours_next_week": 0.0, "usual_hours": 20.0}
    row |= {"usual_hours_weeks": 8.0}
    (score,) = scorer.score([row], ordinary.reference, ordinary.version, "1.1")
    assert score.status is Status.LITTLE_KNOWN
    assert score.level in (MEDIUM, HIGH)
    said = score.reasons[0]
    assert (said.code, said.value, said.reference) == ("hours", 0, 20)
    assert "0.0 hours" in said.label and "20.0" in said.label


def test_what_is_not_known_is_listed_by_sign_or_by_group(ordinary):
    columns = unknown(ordinary.columns, [*AVAILABILITY, "score_before"])
    score = scorer.score(rows_of(columns), ordinary.reference, ordinary.version, "1.1")[50]
    assert score.not_known == ("hours offered", "change of the session score")
    assert score.known_share == pytest.approx((7 - 1.5 - 1.2 * 2 / 6) / 7, abs=1e-4)


@pytest.mark.parametrize("names", [AVAILABILITY, REPLY, ("login_days_14d",), READS[10:40]])
def test_a_missing_table_leaves_the_others_working(names):
    fall = np.where(np.arange(200) < 20, 0.7, 0.0)
    columns = unknown(people(200, 3, fall=fall), names)
    for name in ("login_days_14d", "login_days_before"):
        if name in names:
            columns[name] = np.zeros(200)
    world = world_of(columns)
    scores = world.scores()
    assert all(score.score is not None for score in scores)
    top = sorted(scores, key=lambda score: -score.score)[:20]
    assert sum(score.subject_id < "T00020" for score in top) >= 12


# Where everybody is alike, or does less ---------------------------------------------------------


def test_where_all_are_alike_nobody_is_high(alike):
    found = levels(alike.scores())
    assert found[HIGH] == 0
    assert found[MEDIUM] <= 30


def test_identical_tutors_get_the_same_forecast(make_world):
    columns = {name: np.repeat(column, 40) for name, column in people(1, 8).items()}
    scores = make_world(columns).scores()
    assert len({score.score for score in scores}) == 1
    assert levels(scores) == {LOW: 40}


@pytest.fixture(scope="module")
def busy():
    fall = np.where(np.arange(300) < 30, 0.6, 0.0)
    return world_of(people(300, 11, fall=fall, weekly=8))


@pytest.fixture(scope="module")
def holidays(busy):
    """Everybody does half in the recent days; the version is that of before."""
    columns = busy.columns | {name: busy.columns[name] / 2 for name in RECENT}
    usual = reference.fit(TUTORS, columns)
    z = reference.standardise(columns, usual).z
    return replace(busy, columns=columns, reference=usual, z=z)


def test_when_everybody_does_less_the_ranking_stays_and_nobody_is_newly_high(busy, holidays):
    before, after = busy.scores(), holidays.scores()
    assert rank_correlation(*([each.score for each in said] for said in (before, after))) > 0.98
    assert high(before)
    assert high(after) <= high(before)
    assert abs(levels(after)[MEDIUM] - levels(before)[MEDIUM]) <= 10
    # By the yardstick of before, most would be.
    blamed = replace(holidays, reference=busy.reference).scores()
    assert levels(blamed)[MEDIUM] + levels(blamed)[HIGH] > 100


def test_when_everybody_does_less_reasons_blame_nobody_who_fell_as_all_did(busy, holidays):
    before, after = (
        {score.subject_id: {reason.code for reason in score.reasons} for score in world.scores()}
        for world in (busy, holidays)
    )
    said = {
        code: [sum(code in codes for codes in found.values()) for found in (before, after)]
        for code in ("hours", "pace_14d", "logins", "booked_ahead", "earnings")
    }
    for code, (then, now) in said.items():
        assert now <= 1.25 * then + 15, code
    # Whoever stayed where everybody fell has no such reason.
    columns = {name: column.copy() for name, column in holidays.columns.items()}
    place = 200
    for name in RECENT:
        columns[name][place] = 1.2 * busy.columns[name][place] + 1
    (score,) = scorer.score(
        rows_of(only(columns, [place])), holidays.reference, holidays.version, "1.1"
    )
    assert not {reason.code for reason in score.reasons} & said.keys()


# Levels -----------------------------------------------------------------------------------------


def test_levels_are_kept_until_clearly_under_their_cut_off(ordinary):
    version = replace(ordinary.version, medium_above=0.1, high_above=0.3)

    def of(forecast, held=None):
        return level_of(forecast, version, held)

    assert [of(forecast) for forecast in (0.1, 0.1001, 0.3, 0.3001)] == [LOW, MEDIUM, MEDIUM, HIGH]
    for held in (LOW, None):
        assert of(0.29, held) is MEDIUM and of(0.099, held) is LOW
    assert of(KEEPS * 0.3, HIGH) is HIGH
    assert of(KEEPS * 0.3 - 1e-6, HIGH) is MEDIUM
    assert of(KEEPS * 0.3, MEDIUM) is MEDIUM
    for held in (HIGH, MEDIUM):
        assert of(KEEPS * 0.1, held) is MEDIUM
        assert of(KEEPS * 0.1 - 1e-6, held) is LOW
    assert of(0.31, MEDIUM) is of(0.31, LOW) is HIGH


@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from([*Level, None]))
def test_a_higher_forecast_never_has_a_lower_level(one, other, held):
    world = replace(_ANY, medium_above=0.1, high_above=0.3)
    order = [LOW, MEDIUM, HIGH]
    low, high_ = sorted((one, other))
    below, above = (order.index(level_of(each, world, held)) for each in (low, high_))
    assert below <= above
    assert order.index(level_of(one, world, held)) >= order.index(level_of(one, world, None))
    held_again = level_of(one, world, level_of(one, world, held))
    assert held_again is level_of(one, world, held)


_ANY = learning.learn(
    TUTORS, np.zeros((0, len(CODES))), frozenset(CODES), learning.nothing(TUTORS), YEARLY
)


def test_held_levels_are_read(ordinary):
    version = ordinary.version
    free = ordinary.scores()
    near = [
        score for score in free if KEEPS * version.high_above <= score.score <= version.high_above
    ]
    assert near
    held = dict.fromkeys((score.subject_id for score in near), HIGH)
    kept = {score.subject_id: score.level for score in ordinary.scores(held=held)}
    assert all(kept[tutor] is HIGH for tutor in held)
    others = [score for score in free if score.subject_id not in held]
    assert all(kept[score.subject_id] is score.level for score in others)


def test_high_and_medium_are_few_of_the_tutors_they_were_fixed_on(ordinary):
    found = levels(ordinary.scores())
    assert 0 < found[HIGH] <= 6
    assert found[MEDIUM] + found[HIGH] <= 30
    # 30 of them fall.
    raised = [each.subject_id for each in ordinary.scores() if each.level is not LOW]
    assert sum(tutor < "T00030" for tutor in raised) > 0.7 * len(raised)


# Reasons ----------------------------------------------------------------------------------------


def test_reasons_name_their_numbers(ordinary):
    columns = {name: column.copy() for name, column in ordinary.columns.items()}
    for name, value in {
        "hours_this_week": 4, "hours_next_week": 4, "usual_hours": 14,
        "login_days_14d": 0, "login_days_before": 28,
        "completed_7d": 0, "completed_14d": 1, "completed_28d": 6, "completed_before_14d": 32,
    }.items():  # fmt: skip
        columns[name][40] = value
    score = scorer.score(rows_of(columns), ordinary.reference, ordinary.version, "1.1")[40]
    labels = {reason.code: reason for reason in score.reasons}
    hours = labels["hours"]
    assert hours.label == SIGNS["hours"].words(now=4, usual=14)
    assert "4.0 hours" in hours.label and "14.0" in hours.label
    assert (hours.value, hours.reference, hours.n) == (4, 14, None)
    assert labels["logins"].label == "logged in on 0 of the last 14 days; 7.0 would be usual"
    assert score.level in (MEDIUM, HIGH)


def test_every_reason_has_its_numbers_in_its_words(ordinary):
    told = [reason for score in ordinary.scores() for reason in score.reasons]
    assert len({reason.code for reason in told}) > 15
    for reason in told:
        numbers = re.findall(r"[\d,]+\.?\d*", reason.label)
        assert len(numbers) >= 2, reason.label


def test_a_level_is_a_reason_only_where_it_is_plainly_bad(ordinary):
    place = {code: n for n, code in enumerate(CODES)}
    least = {Kind.CHANGE: 0.3, Kind.LEVEL: 1.0}
    for row, score in enumerate(ordinary.scores()):
        if len(score.reasons) > 1:
            for reason in score.reasons:
                z = ordinary.z[row, place[reason.code]]
                assert z >= least[SIGNS[reason.code].kind], reason


def test_who_has_nothing_that_raises_the_forecast_has_no_reason(ordinary):
    calmest = min(ordinary.scores(), key=lambda score: score.score)
    assert calmest.level is LOW
    assert all(reason.contribution > 0 for reason in calmest.reasons)
    nobody = replace(ordinary.version, weights=(0.0,) * len(ordinary.version.weights))
    assert all(score.reasons == () for score in ordinary.scores(nobody))
