"""What anybody's columns are: values however they are written, ids, numbers with holes, persons."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutor_pipeline.judgement.scores.crossval_columns import coded, is_missing, key, read, repeated

ROWS = 200
rng = np.random.default_rng(5)
NOISE = [f"{value:.6f}" for value in rng.normal(size=ROWS)]


def what(name, cells):
    """The column, or why it is not used."""
    found = read({name: cells}, {})
    return found.columns[0] if found.columns else found.dropped[name]


# Values


@given(st.text(st.characters(codec="utf-8", categories=["L", "Zs"]), min_size=1), st.data())
def test_a_word_is_the_same_in_any_case_and_with_any_spaces_around(word, data):
    around = data.draw(st.sampled_from(["", " ", "\t", "  "]))
    assert key(around + word + around) == key(word)
    if word.lower().casefold() == word.upper().casefold() == word.casefold():
        assert key(word.upper()) == key(word.lower()) == key(word)


@given(st.integers(-(10**30), 10**30), st.integers(0, 5))
def test_a_number_is_the_same_however_it_is_written(number, zeros):
    written = [f"{number}", f"{number}.{'0' * zeros}", f" {number}e0 ", f"{number * 10}e-1"]
    if number >= 0:
        written += [f"+{number}", f"{'0' * zeros}{number}"]
    assert {key(cell) for cell in written} == {Decimal(number)}


@given(st.integers(0, 10**30))
def test_long_numbers_that_differ_are_two(number):
    assert key(str(number)) != key(str(number + 1))


@pytest.mark.parametrize("cell", ["inf", "-Infinity", "sNaN1", "1e99999999999999999999", "1,5"])
def test_what_is_no_finite_number_is_a_word(cell):
    assert key(cell) == cell.casefold()


def test_values_are_named_as_they_are_mostly_written():
    found = coded(["Yes", "yes ", "YES", "yes", " no", "NA", "", "1.0", "1", "1.0"])
    assert found.names == ("1.0", "no", "yes")
    assert found.codes.tolist() == [2, 2, 2, 2, 1, -1, -1, 0, 0, 0]
    assert found.counts().tolist() == [3, 1, 4]


@given(st.lists(st.sampled_from(["a", "A ", "b", "1", "1.00", "NA", "", "?"]), min_size=1))
def test_codes_say_which_cells_are_the_same(cells):
    found = coded(cells)
    for cell, code in zip(cells, found.codes, strict=True):
        assert (code == -1) == is_missing(cell)
        assert code == -1 or key(found.names[code]) == key(cell)
    assert len({key(name) for name in found.names}) == len(found.names)


# Ids


@pytest.mark.parametrize(
    "name",
    "id ID Id student_id studentId StudentID STUDENT_ID student-id customerid user_uuid".split(),
)
def test_an_id_is_told_by_its_name(name):
    assert what(name, NOISE).startswith("looks like an id")


@pytest.mark.parametrize(
    "name",
    "paid PAID days_unpaid daysUnpaid humid Humid valid id_checks grid idle salary covid".split(),
)
@pytest.mark.parametrize(
    "cells",
    [NOISE, [str(n) for n in range(ROWS)], [str(20_000 + 10 * n) for n in range(ROWS)]],
    ids=["noise", "whole", "sorted"],
)
def test_a_number_is_no_id_because_of_its_values(name, cells):
    assert what(name, cells).numbers is not None


@pytest.mark.parametrize("name", ["EmployeeNumber", "order_key", "Unnamed: 0", "", "index"])
def test_numbers_of_the_rows_are_told_by_name_and_values(name):
    assert what(name, [str(n) for n in range(ROWS)]).startswith("looks like an id")
    assert what(name, [str(n % 7) for n in range(ROWS)]).numbers is not None


@pytest.mark.parametrize("rows", [10, ROWS])
def test_unique_text_is_an_id_however_few_rows_there_are(rows):
    found = what("email", [f"p{n}@example.org" for n in range(rows)])
    assert found.startswith("looks like an id or free text")
    assert "p0@example.org" in found


def test_a_few_words_are_categories_and_one_word_is_nothing():
    assert what("plan", ["free", "paid"] * 5).words.names == ("free", "paid")
    assert what("plan", ["Free", "free "] * 5) == "the same in every row"
    assert what("plan", ["", "NA"] * 5) == "empty"
    assert what("plan", ["1", "1.0"] * 5) == "the same in every row"


# Numbers


@pytest.mark.parametrize("cell", ["inf", "-inf", "1e400", "Infinity", "nan", "-nan", "1e308", "NA"])
def test_a_cell_that_is_no_finite_number_is_missing_and_spoils_no_other(cell):
    column = what("pay", [cell, *NOISE[1:]])
    assert np.isnan(column.numbers[0])
    assert column.numbers[1:].tolist() == [float(number) for number in NOISE[1:]]


def test_words_among_numbers_are_missing_and_named():
    found = read({"pay": ["-", "tbd", *NOISE[2:]]}, {})
    assert np.isnan(found.columns[0].numbers).tolist() == [True, True] + [False] * (ROWS - 2)
    assert found.remarks == (
        "column pay is one of numbers: 2 cells with other text, such as -, count as missing",
    )


def test_a_few_numbers_among_words_are_categories():
    assert what("children", ["0", "1", "2", "3 or more"] * 10).words is not None
    assert read({"children": ["0", "1", "2", "3 or more"] * 10}, {}).remarks == ()


def test_a_column_of_infinities_only_is_not_used():
    assert what("pay", ["inf", "-inf"] * 10) == "it holds no finite number"


# Persons


def persons(count, each, seed=1):
    """Rows of `count` persons: their codes, something of the person, something of the row, and an
    outcome of the row.
    """
    rng = np.random.default_rng(seed)
    who = rng.permutation(np.repeat(np.arange(count), each))
    age, pace = rng.normal(size=count)[who], rng.normal(size=count * each)
    return who, age, pace, rng.random(count * each) < 0.3


def asked(table, labels):
    columns = {name: [str(cell) for cell in cells] for name, cells in table.items()}
    return repeated(columns, read(columns, {}).columns, labels)


@pytest.mark.parametrize(
    "name", ["student_id", "StudentId", "id", "tutor", "employee_number", "email", "Student Name"]
)
def test_a_column_whose_rows_have_something_in_common_repeats_persons(name):
    who, age, pace, labels = persons(60, 4)
    assert asked({name: [f"P{n}" for n in who], "age": age, "pace": pace}, labels) == [(name, 60)]


def test_the_outcome_alone_may_tell_of_persons():
    who, _, pace, _ = persons(60, 4)
    labels = np.random.default_rng(2).random(60)[who] < 0.4
    assert asked({"student_id": who, "pace": pace}, labels) == [("student_id", 60)]
    assert asked({"who": [f"P{n}" for n in who], "pace": pace}, labels) == [("who", 60)]


@pytest.mark.parametrize(
    ("count", "each", "name"),
    [(200, 1, "student_id"), (60, 4, "city"), (4, 60, "student_id"), (60, 4, "paid")],
    ids=["a row each", "no person by name", "too few for persons", "no id"],
)
def test_what_does_not_repeat_persons(count, each, name):
    who, age, pace, labels = persons(count, each)
    assert asked({name: [f"P{n}" for n in who], "age": age, "pace": pace}, labels) == []


@pytest.mark.parametrize("seed", range(5))
def test_rows_that_have_nothing_in_common_are_not_one_persons(seed):
    who, _, pace, labels = persons(60, 4, seed)
    table = {"product_id": who, "store_id": who[::-1], "pace": pace, "more": pace[::-1]}
    assert asked(table, labels) == []


def test_the_likeliest_comes_first():
    who, age, pace, labels = persons(60, 4)
    class_id = who // 3
    table = {"class_id": class_id, "student_id": who, "age": age, "pace": pace}
    assert next(name for name, _ in asked(table, labels)) == "student_id"
