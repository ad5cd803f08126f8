"""Files about a person: those that we wrote are deleted, others are named."""

import os

import pytest

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.personal_data import Person, Role
from tutor_pipeline.people.reports.file_erasure import delete, files_about, others_about

ABOUT = "tutor T1 needs a call"
NOT_ABOUT = "tutor T10 needs a call"
FILES = {
    "reports/validation/validation.html": "<td>T1</td>",
    "reports/messages/a/1.txt": ABOUT,
    "reports/messages/2.txt": NOT_ABOUT,
    "reports/alerts.csv": "T9,session,S1\n",
    "dagster/storage/r/compute_logs/x.err": ABOUT,
    "dbt/logs/dbt.log": ABOUT,
    "dbt/target/manifest.json": ABOUT,
    "dagster/dagster.yaml": ABOUT,
    "exports/sessions.csv": ABOUT,
    "mine.csv": ABOUT,
}
PERSON = Person(Role.TUTOR, "T1", frozenset({"S1"}), ("Ann Lee",))


@pytest.fixture
def home(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "reports" / "linked").symlink_to(tmp_path / "exports")
    (tmp_path / "reports" / "logo.png").write_bytes(b"\x89PNG\xff\xfe")
    return tmp_path


def names(home, files):
    return {file.relative_to(home).as_posix() for file in files}


def test_what_we_wrote_about_the_person_goes(home):
    found = files_about(home, PERSON)
    assert names(home, found) == {
        "reports/validation/validation.html", "reports/messages/a/1.txt", "reports/alerts.csv",
        "dagster/storage/r/compute_logs/x.err", "dbt/logs/dbt.log",
    }  # fmt: skip
    delete(found)
    delete(found)
    assert files_about(home, PERSON) == []
    assert (home / "exports" / "sessions.csv").exists()


def test_what_is_not_ours_is_named(home):
    log = home / "server.log"
    log.write_text("DETAIL: Key (tutor_id)=(T1) exists")
    assert names(home, others_about(home, log, PERSON)) == {"mine.csv", "server.log"}
    assert others_about(home, home / "none", Person(Role.TUTOR, "T2")) == []


def test_without_any_files(tmp_path):
    assert files_about(tmp_path / "none", PERSON) == []


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_what_cannot_be_read_is_an_error(home):
    (home / "reports" / "alerts.csv").chmod(0)
    with pytest.raises(TutorPipelineError, match="cannot read"):
        files_about(home, PERSON)
