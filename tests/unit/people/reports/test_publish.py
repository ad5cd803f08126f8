"""The files of the report: one per run, the newest under a name of its own, not too many."""

import pytest

from tests.unit.people.reports.conftest import HOUR, NOW
from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.people.reports import publish
from tutor_pipeline.people.reports.publish import KEPT, NEWEST, write_report
from tutor_pipeline.people.reports.validation import Level

RUN = "7722bbe8-91cf-4922-9a06-be40c9f77e7d"


def rows(ops):
    return ops.database.execute(
        "select run_id, made_at, as_of, verdict, file from {ops}.validation_reports"
    ).fetchall()


def write(ops, folder, run_id=RUN, now=NOW):
    return write_report(ops.database, folder, run_id, now)


def test_a_file_per_run_and_the_newest(ops, tmp_path):
    folder = tmp_path / "reports" / "validation"
    ops.refresh("today", NOW - HOUR)
    written = write(ops, folder)
    assert written.file == folder / "validation-20260310T185000Z-7722bbe8.html"
    assert written.validation.verdict.level is Level.BLOCKED
    assert (folder / NEWEST).read_bytes() == written.file.read_bytes()
    assert rows(ops) == [(RUN, NOW, NOW - HOUR, "blocked", written.file.name)]
    write(ops, folder, "another", NOW + HOUR)
    assert len(list(folder.iterdir())) == 3
    assert "2026-03-10 19:50" in (folder / NEWEST).read_text(encoding="utf-8")


def test_a_run_that_is_tried_again_replaces_its_report(ops, tmp_path):
    first = write(ops, tmp_path)
    again = write(ops, tmp_path, now=NOW + HOUR)
    assert {each.name for each in tmp_path.iterdir()} == {again.file.name, NEWEST}
    assert [row[4] for row in rows(ops)] == [again.file.name]
    assert first.validation.changes == again.validation.changes
    assert write(ops, tmp_path, now=NOW + HOUR).file == again.file
    assert again.file.exists()


def test_only_the_newest_stay(ops, tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "KEPT", 3)
    assert KEPT == 60
    (tmp_path / "mine.html").write_text("mine")
    written = [write(ops, tmp_path, f"run{n}", NOW + n * HOUR).file.name for n in range(5)]
    left = {each.name for each in tmp_path.iterdir()}
    assert left == {*written[-3:], NEWEST, "mine.html"}


def test_a_run_id_is_no_path(ops, tmp_path):
    written = write(ops, tmp_path / "reports", "../../../etc/passwd")
    assert written.file.parent == tmp_path / "reports"
    assert written.file.name == "validation-20260310T185000Z-etcpassw.html"


def test_a_folder_that_cannot_be_written_to_is_named(ops, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TutorPipelineError, match=r"cannot write the report to .*file"):
        write(ops, tmp_path / "file")
    assert rows(ops) == []
