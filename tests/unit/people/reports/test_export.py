"""Results as CSV files: every row counted, and nothing in them that a spreadsheet would run."""

from __future__ import annotations

import csv

import pytest

from tutor_pipeline.people.reports import export

CELLS = {
    "=1+1": "'=1+1",
    "+1+1": "'+1+1",
    "-2+3": "'-2+3",
    "@SUM(A1)": "'@SUM(A1)",
    "\t=1": "'\t=1",
    "\r=1": "'\r=1",
    "-3.5": "-3.5",
    "+12": "+12",
    "a=1": "a=1",
    'say "hi",\nand go': 'say "hi",\nand go',
    '"\n\n"': '"\n\n"',
}


@pytest.fixture
def file(ops, monkeypatch, tmp_path):
    """What is exported of a query, as rows and the number that the export says."""
    # The export commits, so nothing of it is undone by itself.
    ops.database.execute("create table {marts}.tutor_aggregates (as_of timestamptz)")

    def write(query: str) -> tuple[list[dict[str, str]], int]:
        monkeypatch.setattr(export, "FILES", {"it.csv": query})
        written = export.export(ops.database, tmp_path)
        with (tmp_path / "it.csv").open(encoding="utf-8", newline="") as lines:
            return list(csv.DictReader(lines)), written["it.csv"]

    yield write
    ops.database.rollback()
    ops.database.execute("drop table if exists {marts}.tutor_aggregates")
    ops.database.execute("drop table if exists {ops}.cells")
    ops.database.commit()


def test_what_a_spreadsheet_would_run_is_text_and_every_row_counts(ops, file) -> None:
    ops.database.execute("create table {ops}.cells (place int, cell text, number float8)")
    ops.database.execute_many(
        "insert into {ops}.cells values (%s, %s, -3.5)", list(enumerate(CELLS))
    )
    rows, said = file("select * from {ops}.cells order by place")
    assert [row["cell"] for row in rows] == list(CELLS.values())
    assert {row["number"] for row in rows} == {"-3.5"}
    assert said == len(CELLS)


def test_no_row_is_none(file) -> None:
    assert file("select 'a' as a where false") == ([], 0)


@pytest.mark.parametrize("name", sorted(export.FILES))
def test_every_file_says_how_many_rows_it_has(ops, file, name: str) -> None:
    if name != "tutor_aggregates.csv":
        rows, said = file(export.FILES[name])
        assert said == len(rows)


def test_signals_detected_are_the_points_behind_the_score() -> None:
    """Poor first sessions give two points, so a count of reasons would say one less."""
    from tutor_pipeline.judgement.scores.signals import POINT, POINTS

    for points in range(sum(POINTS.values()) + 1):
        assert round(round(POINT * points, 6) / POINT) == points
