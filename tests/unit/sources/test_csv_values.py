"""What counts as a value of each type, and what is said of the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutor_pipeline.sources.csv.format import CsvColumn, csv_format
from tutor_pipeline.sources.csv.values import (
    NULL,
    NUMBERS,
    POSTGRES_TYPES,
    ColumnReader,
    is_missing,
)


def read(text: str, **column: object) -> tuple[str, str | None]:
    reader = ColumnReader(CsvColumn(name="c", **column))  # type: ignore[arg-type]
    (value,), bad = reader.read([text])
    return value, bad.get(0)


MISSING = ["", "  ", "NULL", "null", " N/A ", "NaN", "\\N", "-", "None", "\u00a0"]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("integer", "51", "51"),
        ("integer", " +51 ", "51"),
        ("integer", "51.0", "51"),  # pandas writes integers with gaps like this
        ("integer", "-2147483647", "-2147483647"),
        ("number", ".5", "0.5"),
        ("number", "1e2", "100.0"),
        ("number", "1e-999", "0.0"),
        ("boolean", "True", "t"),
        ("boolean", "1", "t"),
        ("boolean", "false", "f"),
        ("boolean", "0", "f"),
        ("timestamp", "2026-02-03 16:00:00.5", "2026-02-03 16:00:00.5"),
        ("timestamp", "2026-02-03T16:00:00", "2026-02-03 16:00:00"),
        ("timestamp", "2026-02-03", "2026-02-03 00:00:00"),
        ("timestamp", "2026-02-03T16:00:00+02:00", "2026-02-03 14:00:00+00:00"),
        ("timestamp", "2026-02-03T16:00:00Z", "2026-02-03 16:00:00+00:00"),
        ("json", '{"a": [1, "\\u00e4"]}', '{"a": [1, "ä"]}'),
        ("json", '"\\\\u0000"', '"\\\\\\\\u0000"'),  # a backslash, then u0000: no NUL
        ("text", "a\tb\\c\nd", "a\\tb\\\\c\\nd"),
        ("id", " T0001 \u00a0", "T0001"),
        ("id", "a b", "a b"),
        ("minutes", "58.5", "59"),
        ("minutes", "58.4", "58"),
        ("minutes", "1:05", "65"),
        ("minutes", "00:58:29", "58"),
        ("percent", "87.5", "0.875"),
        ("percent", "87.5 %", "0.875"),
        ("percent", "0.7", "0.007"),
        ("percent", "1e1", "0.1"),
        ("share", "0.7 %", "0.007"),
        ("share", "45%", "0.45"),
        ("share", "0.45", "0.45"),
        *(("boolean", text, "t") for text in "t YES y On 1.0 checked".split()),
        *(("boolean", text, "f") for text in "F no N off 0.0 Unchecked".split()),
        ("timestamp", "2026-02-03 16:00:00 UTC", "2026-02-03 16:00:00+00:00"),
        ("timestamp", "2026-02-03 16:00 +01:00", "2026-02-03 15:00:00+00:00"),
        ("timestamp", "2026-02-03 16:00:00.5+00", "2026-02-03 16:00:00.500000+00:00"),
        ("timestamp", "2026-07-03 16:00 Europe/Berlin", "2026-07-03 14:00:00+00:00"),
        ("timestamp", "2026-02-03 16:00:00 america/new_york", "2026-02-03 21:00:00+00:00"),
        ("timestamp", "20260203", "2026-02-03 00:00:00"),
        ("list", "Math, Art ,", '{"Math","Art"}'),
        ("list", "Math;Art;Math", '{"Math","Art"}'),
        ("list", '{Math,"Fine Art","a\\"b",NULL}', '{"Math","Fine Art","a\\\\"b"}'),
        ("list", '["Math", "a,b"]', '{"Math","a,b"}'),
        ("list", "{}", "{}"),
        *((kind, text, NULL) for kind in POSTGRES_TYPES for text in MISSING),
    ],
)
def test_good_values(kind: str, text: str, value: str) -> None:
    assert read(text, type=kind) == (value, None)


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        ("integer", "51.5", "c_unparsable"),
        ("integer", "1_000", "c_unparsable"),
        ("integer", "\u0663", "c_unparsable"),  # a digit to Python, not to PostgreSQL
        ("integer", "2147483648", "c_out_of_range"),
        ("integer", "9" * 5000, "c_out_of_range"),
        ("number", "inf", "c_unparsable"),
        ("number", "1e999", "c_out_of_range"),
        ("number", "0x10", "c_unparsable"),
        ("number", "50%", "c_unparsable"),  # of what?
        *(
            (kind, text, "c_two_readings")
            for kind in NUMBERS
            for text in ("4,5", "1,234", "1.234,5")
        ),
        ("minutes", "58:30", "c_two_readings"),
        ("minutes", "1:75", "c_unparsable"),
        ("boolean", "maybe", "c_unparsable"),
        ("boolean", "2", "c_unparsable"),
        ("timestamp", "2026-02-30 10:00:00", "c_unparsable"),
        ("timestamp", "03/02/2026", "c_two_readings"),
        ("timestamp", "3.2.26 16:00", "c_two_readings"),
        ("timestamp", "03/02/2026 16:00 UTC", "c_two_readings"),
        ("timestamp", "1770134400", "c_two_readings"),
        ("timestamp", "1912010100000", "c_two_readings"),  # Python takes it for 1912-01-01
        ("timestamp", "46056.5", "c_two_readings"),
        ("timestamp", "2026-10-25 02:30 Europe/Berlin", "c_two_readings"),
        ("timestamp", "2026-03-29 02:30 Europe/Berlin", "c_unparsable"),  # it never was
        ("timestamp", "2026-02-03 16:00 EST", "c_unparsable"),
        ("timestamp", "2026-02-03 16:00 Europe/Nowhere", "c_unparsable"),
        ("timestamp", "2026-02-03 16:00+01:00 Europe/Berlin", "c_unparsable"),
        ("list", "Math, pure; Art", "c_two_readings"),
        ("list", '["Math", 1]', "c_unparsable"),
        ("list", "{Math,{Art}}", "c_unparsable"),
        ("list", '["\\u0000"]', "c_unparsable"),
        ("list", '["\\ud800"]', "c_unparsable"),
        ("timestamp", "0001-01-01 00:00:00", "c_out_of_range"),
        ("timestamp", "9999-12-31T23:59:59-14:00", "c_out_of_range"),
        ("json", "{'a': 1}", "c_unparsable"),
        ("json", '{"a": NaN}', "c_unparsable"),
        ("json", "1e999", "c_unparsable"),
        ("json", '"\\u0000"', "c_unparsable"),
        ("json", '"\\ud800"', "c_unparsable"),
        ("json", "[" * 100_000, "c_unparsable"),
        ("id", "x" * 256, "c_out_of_range"),
    ],
)
def test_bad_values(kind: str, text: str, problem: str) -> None:
    assert read(text, type=kind) == (NULL, problem)


@pytest.mark.parametrize(
    ("text", "problem"),
    [("1", None), ("5", None), ("0.999", "c_out_of_range"), ("5.001", "c_out_of_range")],
)
def test_bounds_are_inclusive(text: str, problem: str | None) -> None:
    assert read(text, type="number", minimum=1, maximum=5)[1] == problem


def test_text_that_is_not_accepted_or_too_long_is_bad() -> None:
    assert read("Okay", type="text", accepted=("Good",))[1] == "c_unknown_value"
    assert read(" gOOd ", type="text", accepted=("Good",)) == ("Good", None)
    assert read("abcd", type="text", max_length=3)[1] == "c_out_of_range"


@pytest.mark.parametrize("text", MISSING)
@pytest.mark.parametrize("kind", list(POSTGRES_TYPES))
def test_a_required_value_must_be_there(kind: str, text: str) -> None:
    assert read(text, type=kind, required=True) == (NULL, "c_missing")


@pytest.mark.slow
def test_bad_values_are_found_again_after_much_else_was_read() -> None:
    reader = ColumnReader(CsvColumn(name="c", type="number", maximum=5))
    assert reader.read(["6"])[1] == {0: "c_out_of_range"}
    for start in range(0, 400_000, 10_000):  # more than a column remembers
        reader.read([f"0.{number:08}" for number in range(start, start + 10_000)])
    assert len(reader) < 300_000
    assert reader.read(["5", "6", "6"]) == (
        ["5.0", NULL, NULL],
        {1: "c_out_of_range"} | {2: "c_out_of_range"},
    )


@given(st.sampled_from(sorted(POSTGRES_TYPES)), st.text(max_size=40))
def test_any_text_gives_a_value_or_a_reason(kind: str, text: str) -> None:
    value, reason = read(text, type=kind)
    assert not {"\t", "\n", "\r"} & set(value)
    assert (value == NULL) == (reason is not None or is_missing(text))


def test_a_reading_says_which_of_two_is_meant() -> None:
    def day_first(text: str) -> str:
        day, month, year = text.split("/")
        return f"{year}-{month}-{day}"

    reader = ColumnReader(CsvColumn(name="c", type="timestamp"), day_first)
    assert reader.read(["03/04/2026", "NULL", "03/14/2026"]) == (
        ["2026-04-03 00:00:00", NULL, NULL],
        {2: "c_unparsable"},
    )


def test_what_is_accepted_is_said_of_every_type() -> None:
    accepted = csv_format().accepted
    assert accepted.types.keys() == POSTGRES_TYPES.keys()
    assert {*NUMBERS, "timestamp", "list"} == accepted.two_readings.keys()
