"""Reading records: what is well-formed, and that a broken one costs nobody else."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutor_pipeline.sources.csv.records import MAX_LINE, CsvRecords, UnusableFileError, fields_of


def records(content: bytes | str) -> list[tuple[int, Any, list[str]]]:
    """Line, fields (raw text where malformed) and reasons of each record."""
    data = content.encode() if isinstance(content, str) else content
    found = []
    for batch in CsvRecords(io.BytesIO(data)).batches():
        for at, (line, raw, fields) in enumerate(
            zip(batch.lines, batch.raws, batch.fields, strict=True)
        ):
            found.append((line, raw if fields is None else fields, batch.reasons.get(at, [])))
    return found


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_plain_records_and_blank_lines(end: str) -> None:
    text = end.join(["a,b", "1,2", "", "3,4", ""])
    assert records(text) == [(2, ["1", "2"], []), (4, ["3", "4"], [])]


def test_the_last_line_needs_no_end() -> None:
    assert records("a,b\n1,2\n3,4") == [(2, ["1", "2"], []), (3, ["3", "4"], [])]


def test_a_byte_order_mark_is_no_part_of_the_header() -> None:
    assert CsvRecords(io.BytesIO(b"\xef\xbb\xbfa, b \n")).header == ["a", "b"]


def test_quotes_hold_commas_quotes_and_line_ends() -> None:
    assert records('a,b\n"1,5","say ""hi""\nand go"\n7,8\n') == [
        (2, ["1,5", 'say "hi"\nand go'], []),
        (4, ["7", "8"], []),
    ]


def test_a_quote_never_closed_costs_its_own_line_only() -> None:
    assert records('a,b\n1,"2\n3,4\n5,6\n') == [
        (2, '1,"2\n', ["malformed_row"]),
        (3, ["3", "4"], []),
        (4, ["5", "6"], []),
    ]


def test_an_open_quote_that_meets_the_next_one_costs_its_own_line_only() -> None:
    assert records('a,b\n1,"2\n3,"4,5"\n6,7\n') == [
        (2, '1,"2\n', ["malformed_row"]),
        (3, ["3", "4,5"], []),
        (4, ["6", "7"], []),
    ]


def test_too_few_and_too_many_fields() -> None:
    assert records("a,b\n1\n1,2,3\n1,2\n") == [
        (2, "1\n", ["wrong_column_count"]),
        (3, "1,2,3\n", ["wrong_column_count"]),
        (4, ["1", "2"], []),
    ]


def test_bytes_that_are_no_utf8_and_nul_characters_are_shown_as_replacement() -> None:
    assert records(b"a,b\n1,caf\xe9\n2,x\x00y\n3,caf\xc3\xa9\n4,\xff\x00\n") == [
        (2, ["1", "caf\ufffd"], ["not_utf8"]),
        (3, ["2", "x\ufffdy"], ["nul_character"]),
        (4, ["3", "café"], []),
        (5, ["4", "\ufffd\ufffd"], ["nul_character", "not_utf8"]),
    ]


def test_a_huge_field_costs_its_own_line_only() -> None:
    found = records("a,b\n1," + "x" * 200_000 + "\n2,3\n")
    assert [(line, reasons) for line, _, reasons in found] == [(2, ["malformed_row"]), (3, [])]


def test_a_line_beyond_every_bound_is_taken_apart_and_kept() -> None:
    long_line = "1," + "x" * (2 * MAX_LINE)
    found = records(f"a,b\n{long_line}\n2,3\n")
    *pieces, good = found
    assert good == (3, ["2", "3"], [])
    assert "".join(piece for _, piece, _ in pieces) == long_line + "\n"
    assert {line for line, _, _ in pieces} == {2}


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"\xff\xfea\x00,\x00b\x00\n\x00", b'"a,b\n1,2\n']
)
def test_without_a_header_there_is_nothing_to_read(content: bytes) -> None:
    with pytest.raises(UnusableFileError):
        CsvRecords(io.BytesIO(content))


NO_VALUE = dict.fromkeys(map(ord, '\n\r ,"'))


def test_lines_of_separators_are_no_records_and_are_counted() -> None:
    found = CsvRecords(io.BytesIO(b'a,b\n,\n1,2\n\n  , \n,,,\n"",""\n'))
    assert [batch.fields for batch in found.batches()] == [[["1", "2"]]]
    assert found.blank == 4


def test_only_a_header_is_no_record() -> None:
    assert records("a,b\n") == []


@given(
    st.text(alphabet='a1,"\n \r', max_size=300).map(lambda text: "a,b\n" + text),
)
def test_nothing_is_lost_and_lines_are_counted(text: str) -> None:
    found = CsvRecords(io.BytesIO(text.encode()))
    lines = text.split("\n")
    raws = []
    for batch in found.batches():
        for line, raw in zip(batch.lines, batch.raws, strict=True):
            assert lines[line - 1] == raw.split("\n")[0]
            raws.append(raw)
    # Nothing but lines without a value is left out, and the order is kept.
    kept = "".join(raws).translate(NO_VALUE)
    assert kept == text.removeprefix("a,b\n").translate(NO_VALUE)


@given(st.lists(st.lists(st.text(max_size=10), min_size=2, max_size=2), min_size=1, max_size=20))
def test_what_a_csv_writer_writes_comes_back(rows: list[list[str]]) -> None:
    rows = [[field.replace("\0", "") for field in row] for row in rows]
    out = io.StringIO()
    import csv

    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *rows])
    data = out.getvalue().encode("utf-8", "ignore")
    expected = [[f.encode("utf-8", "ignore").decode() for f in row] for row in rows]
    expected = [row for row in expected if any(map(str.strip, row))]
    assert [fields for _, fields, _ in records(data)] == expected


def test_raw_text_is_read_again_only_when_it_is_one_record() -> None:
    assert fields_of('1,"2\n3"', 2) == ["1", "2\n3"]
    assert fields_of("1,2,3", 2) is None
    assert fields_of("1,2\n3,4", 2) is None
    assert fields_of('1,"2', 2) is None
