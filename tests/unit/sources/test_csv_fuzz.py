"""Thousands of broken rows and files: nothing is lost, nothing crashes, good rows are in."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit.sources.conftest import NOW, Imports
from tests.unit.sources.fuzz import BrokenFile, write_export
from tutor_pipeline.sources.csv.importing import FileSummary, Wishes, import_folder
from tutor_pipeline.sources.csv.values import is_missing

ROWS = 400


@pytest.mark.parametrize("seed", range(4))
def test_broken_exports(imports: Imports, tmp_path: Path, seed: int) -> None:
    check_broken_export(imports, tmp_path, seed)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(100, 120))
def test_many_broken_exports(imports: Imports, tmp_path: Path, seed: int) -> None:
    check_broken_export(imports, tmp_path, seed)


def check_broken_export(imports: Imports, folder: Path, seed: int) -> None:
    rng = random.Random(seed)
    # Around the usual limit, far above it, and everything.
    bad, limit = rng.choice([(0.01, 0.02), (0.04, 0.02), (0.5, 1), (0.5, 0.3), (1, 1)])
    files = write_export(rng, folder / "export", ROWS, bad=bad, wild=seed % 2 == 1)
    summary = import_folder(imports.warehouse, folder / "export", Wishes(max_bad=limit), as_of=NOW)
    open_lines = dict(
        imports.query(
            "select source, array_agg(line::int order by line) from {ops}.quarantine"
            " where resolved_at is null group by source"
        )
    )
    # What refers to sessions is as good as they are.
    sessions_are_known = all(
        broken.exact and not found.refused
        for broken, found in zip(files, summary.files, strict=True)
        if broken.file.stem == "sessions"
    )
    for broken, found in zip(files, summary.files, strict=True):
        lines = open_lines.get(f"csv:{broken.file.name}", [])
        is_of_unknown = broken.file.stem == "session_students" and not sessions_are_known
        expected = replace(broken, usable=True, exact=False) if is_of_unknown else broken
        check_file(imports, expected, found, lines, limit)

    before = imports.platform(), imports.quarantine()
    again = import_folder(
        imports.warehouse, folder / "export", Wishes(max_bad=limit), as_of=NOW + timedelta(days=1)
    )
    assert [file.changed for file in again.files] == [0] * len(files)
    assert (imports.platform(), imports.quarantine()) == before


def check_file(
    imports: Imports, broken: BrokenFile, found: FileSummary, lines: list[int], limit: float
) -> None:
    """In = loaded + quarantined, by line; good rows are loaded unless the file is refused."""
    name = broken.file.name
    assert len(lines) == found.quarantined, name
    if broken.exact:
        assert found.rows == len(broken.lines), name
        assert lines == [line.number for line in broken.lines if line.good is None], name
        assert bool(found.refused) == (broken.surely_bad > limit * len(broken.lines)), name
    elif not broken.usable:
        assert found.refused, name
    if found.refused:
        assert found.loaded == 0, name
    else:
        assert found.rows == found.loaded + found.quarantined, name
    others = {"tutor_profiles": "tutors", "session_students": "session_students"}
    table = others.get(broken.file.stem, broken.file.targets[0].table)
    (kept,) = imports.query(f"select count(*) from {{platform}}.{table}")
    assert kept == (found.loaded,), name
    if broken.file.stem == "sessions" and broken.exact and not found.refused:
        texts = dict(imports.query("select id, subject from {platform}.sessions"))
        expected = {row["session_id"]: row["subject"] for row in broken.good}
        assert texts == {
            key: None if is_missing(text) else text for key, text in expected.items()
        }, "texts come in as they are"
