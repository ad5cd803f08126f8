"""signs.yml: signs, weights and words belong together."""

from __future__ import annotations

import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.judgement.scores.departure.frames import CODES, GROUPS, SIGNS, people
from tutor_pipeline.judgement.scores.departure.tutors import TUTORS

NUMBERS = {"now": 3.5, "usual": 7.25, "n": 12.0, "n_usual": 30.0, "k": 4.0, "k_usual": 9.0}


def test_every_sign_of_the_file_is_measured_and_no_other():
    columns = people(20)
    assert set(TUTORS.measure(columns, TUTORS.usual_of(columns))) == set(CODES)


def test_on_a_platform_that_records_everything_every_sign_is_known():
    columns = people(50)
    found = TUTORS.measure(columns, TUTORS.usual_of(columns))
    unknown = [code for code in CODES if not np.isfinite(found[code].value).all()]
    assert not unknown


@pytest.mark.parametrize("code", CODES)
def test_a_reason_says_its_numbers_in_words(code):
    sign = SIGNS[code]
    names = {name for _, name, _, _ in string.Formatter().parse(sign.says) if name}
    assert names & {"now", "k"}
    assert names & {"usual", "k_usual"}
    assert names <= NUMBERS.keys()
    words = sign.words(**NUMBERS)
    assert "{" not in words
    assert any(digit.isdigit() for digit in words)
    # What it says, it says with numbers that there are.
    columns = people(50, 3)
    found = TUTORS.measure(columns, TUTORS.usual_of(columns))[code]
    told = {"now": found.now, "n": found.n, "n_usual": found.n_usual}
    for name in names & told.keys():
        assert np.isfinite(told[name]).all(), name


def test_every_sign_has_a_group_and_a_name():
    assert {sign.group for sign in SIGNS.values()} == GROUPS.keys()
    assert all(sign.weight > 0 and sign.natural > 0 for sign in SIGNS.values())
    names = [sign.short for sign in SIGNS.values()]
    assert len(set(names)) == len(names)
    assert 0 < TUTORS.signs.little_known_under < 1


@given(st.frozensets(st.sampled_from(CODES)))
def test_known_signs_share_the_weight_of_their_group(known):
    weights = TUTORS.signs.default_weights(known)
    assert weights.keys() == SIGNS.keys()
    assert all((weight > 0) == (code in known) for code, weight in weights.items())
    for name, group in GROUPS.items():
        members = [code for code in known if SIGNS[code].group == name]
        total = sum(weights[code] for code in members)
        assert total == pytest.approx(group.weight if members else 0)
        for code in members:
            ratio = weights[code] / weights[members[0]]
            assert ratio == pytest.approx(SIGNS[code].weight / SIGNS[members[0]].weight)


def test_by_default_all_signs_are_known():
    assert TUTORS.signs.default_weights() == TUTORS.signs.default_weights(frozenset(CODES))
