"""`--part 2/3`: the second of three parts of the chosen tests, file by file.

Long suites run in rotation where one run has no time for all of them (`.ci/run`).
"""

from __future__ import annotations

import pytest

OPTION = "--part"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, metavar="K/N", help="run the K-th of N parts of the chosen tests")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption(OPTION):
        part_of(config.getoption(OPTION))


def part_of(value: str) -> tuple[int, int]:
    """Returns K and N. Raises UsageError if they are no part."""
    part, _, parts = value.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise pytest.UsageError(f"{OPTION} {value}: use K/N, as 2/3")
    return int(part), int(parts)


def files_of(part: int, parts: int, files: set[str]) -> set[str]:
    """Returns the files of a part. Each file is in one part."""
    return set(sorted(files)[part - 1 :: parts])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption(OPTION):
        return
    chosen = files_of(*part_of(config.getoption(OPTION)), {str(item.path) for item in items})
    left_out = [item for item in items if str(item.path) not in chosen]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if str(item.path) in chosen]
