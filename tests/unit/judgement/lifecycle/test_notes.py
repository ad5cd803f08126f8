"""Notes of people: written as they were, removed by their authors alone."""

import pytest

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.findings import Subject, SubjectKind
from tutor_pipeline.judgement.lifecycle import notes

pytestmark = pytest.mark.usefixtures("empty")

ABOUT = [
    Subject.tutor("T1"),
    Subject("T1", SubjectKind.STUDENT, "St1"),
    Subject("", SubjectKind.SUBJECT, "Math"),
]


@pytest.fixture
def write(db, make):
    def write(about, text, by="ada"):
        with db.connect() as database:
            return notes.add(database, about, text, by=by, at=make.day(1))

    return write


@pytest.mark.parametrize("about", ABOUT)
def test_a_note_is_kept_as_it_was_written(about, write, query, make):
    number = write(about, "  called, she moves\nhouse  ")
    assert query("select * from {ops}.notes") == [
        {
            "tutor_id": about.tutor_id, "note_id": number, "subject_kind": about.kind,
            "subject_id": about.id, "alert_id": None, "at": make.day(1), "author": "ada",
            "text": "called, she moves\nhouse",
        }
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", " \n ", "x" * 4_001])
def test_an_empty_or_endless_note_is_refused(text, write, query):
    with pytest.raises(UsageError, match="the note"):
        write(ABOUT[0], text)
    assert query("select * from {ops}.notes") == []


def test_only_its_author_removes_a_note(db, write, query):
    number = write(ABOUT[0], "on leave")
    with db.connect() as database:
        assert not notes.remove(database, "T1", number, by="bob")
        assert not notes.remove(database, "T2", number, by="ada")
        assert notes.remove(database, "T1", number, by="ada")
        assert not notes.remove(database, "T1", number, by="ada")
    assert query("select * from {ops}.notes") == []
