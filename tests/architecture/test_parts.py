"""Long tests in rotation: after a whole round every file has run once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.parts import files_of, part_of


@given(files=st.sets(st.text(min_size=1)), parts=st.integers(1, 5))
def test_each_file_is_in_one_part(files: set[str], parts: int) -> None:
    found = [file for part in range(1, parts + 1) for file in files_of(part, parts, files)]
    assert sorted(found) == sorted(files)


@pytest.mark.parametrize("value", ["0/3", "4/3", "3", "/3", "1/", "a/b", "1/0", "-1/3"])
def test_what_is_no_part_is_refused(value: str) -> None:
    with pytest.raises(pytest.UsageError, match="use K/N"):
        part_of(value)


def test_a_part_is_read() -> None:
    assert part_of("2/3") == (2, 3)
