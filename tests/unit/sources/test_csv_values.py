"""What counts as a value of each type, and what is said of the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutor_pipeline.sources.csv.format import CsvColumn
from tutor_pipeline.sources.csv.values import NULL, POSTGRES_TYPES, ColumnReader


def read(text: str, **column: object) -> tuple[str, str | None]:
    reader = ColumnReader(CsvColumn(name="c", **column))  # type: ignore[arg-type]
    (value,), bad = reader.read([text])
    return value, bad.get(0)


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
        ("id", "T0001 ", "T0001 "),  # ids are stored as they come
        *((kind, text, NULL) for kind in POSTGRES_TYPES for text in ("", "  ")),
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
        ("number", "nan", "c_unparsable"),
        ("number", "inf", "c_unparsable"),
        ("number", "1e999", "c_out_of_range"),
        ("number", "0x10", "c_unparsable"),
        ("number", "4,5", "c_unparsable"),
        ("boolean", "yes", "c_unparsable"),
        ("timestamp", "2026-02-30 10:00:00", "c_unparsable"),
        ("timestamp", "03/02/2026", "c_unparsable"),
        ("timestamp", "0001-01-01 00:00:00", "c_out_of_range"),
        ("timestamp", "9999-12-31T23:59:59-14:00", "c_out_of_range"),
        ("json", "{'a': 1}", "c_unparsable"),
        ("json", "NaN", "c_unparsable"),
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
    assert read("good", type="text", accepted=("Good",))[1] == "c_unknown_value"
    assert read("abcd", type="text", max_length=3)[1] == "c_out_of_range"


@pytest.mark.parametrize("text", ["", "   "])
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
    assert (value == NULL) == (reason is not None or not text.strip())
