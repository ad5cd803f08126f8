"""What a data engineer sees of the rows that were set aside."""

import csv

import pytest

TERMINAL = "\x1b[2J\x1b]0;owned\x07\u009b31m\u202e[bold]:smile:"
PROFILE = {"tutor_id": "T1", "subjects_taught": "Math"}
SESSION = {
    "session_id": "S1",
    "tutor_id": "T1",
    "session_datetime": "2026-02-03 16:00:00",
    "subject": "Math",
    "session_completed": "True",
    "student_rating": "5",
}


def write(folder, *sessions):
    folder.mkdir(exist_ok=True)
    for name, rows in (("tutor_profiles", [PROFILE]), ("sessions", sessions)):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


@pytest.fixture(scope="module")
def imported(project, tmp_path_factory):
    """Three bad rows, two of them equal, and one that is mended since."""
    folder = tmp_path_factory.mktemp("export")
    twice = {**SESSION, "session_id": "S2", "subject": TERMINAL, "student_rating": "6"}
    unknown = {**SESSION, "session_id": "S3", "tutor_id": "T9"}
    mended = {**SESSION, "session_id": "S4", "student_rating": "five"}
    write(folder, SESSION, twice, twice, unknown, mended)
    project.run("import", str(folder), "--max-bad", "100")
    write(folder, SESSION, twice, twice, unknown, {**mended, "student_rating": "5"})
    project.run("import", str(folder), "--max-bad", "100")
    return project


def test_the_list_says_where_each_row_stands_and_why(imported):
    rows = imported.json("quarantine", "list")
    assert [(row["source"], row["line"], row["business_key"], row["reasons"]) for row in rows] == [
        ("csv:sessions.csv", 3, "S2", ["student_rating_out_of_range"]),
        ("csv:sessions.csv", 4, "S2", ["student_rating_out_of_range"]),
        ("csv:sessions.csv", 5, "S3", ["unknown_tutor"]),
    ]
    assert [row["row_key"][-2:] for row in rows] == ["#1", "#2", "#1"]
    shown = imported.run("quarantine", "list", "--limit", "2").stdout
    assert f"{rows[0]['row_key'][:12]}#1" in shown
    assert "student_rating_out_of_range" in shown
    assert "1 more" in shown


def test_the_list_can_be_narrowed(imported):
    def lines(*options):
        return [row["line"] for row in imported.json("quarantine", "list", *options)]

    assert lines("--reason", "unknown_tutor") == [5]
    assert lines("--source", "csv:sessions.csv", "--reason", "student_rating_unparsable") == []
    assert lines("--reason", "student_rating_unparsable", "--all") == [6]
    text = imported.run("quarantine", "list", "--reason", "student_rating_unparsable").stdout
    assert "Nothing" in text
    for option, wrong, near in (
        ("--reason", "unknown_tutors", "unknown_tutor"),
        ("--source", "sessions.csv", "csv:sessions.csv"),
    ):
        said = imported.run("quarantine", "list", option, wrong, status=2).stderr
        assert f"{wrong!r}" in said
        assert f"Known: {near}" in said


def test_one_row_with_all_that_its_source_said(imported):
    first, second, _ = imported.json("quarantine", "list")
    row = imported.json("quarantine", "show", second["row_key"])
    assert row["line"] == 4
    assert row["payload"]["subject"] == TERMINAL
    assert row["raw"].startswith("S2,T1,")
    beginning = first["row_key"][:8]
    said = imported.run("quarantine", "show", beginning, status=2).stderr
    assert "more than one" in said
    assert "no quarantined row" in imported.run("quarantine", "show", "zz", status=2).stderr
    shown = imported.run("quarantine", "show", f"{beginning}#1").stdout
    assert "student_rating_out_of_range" in shown
    assert "sessions.csv" in shown


def test_what_a_text_would_do_to_a_terminal_is_shown_and_not_done(imported):
    (key, *_) = (row["row_key"] for row in imported.json("quarantine", "list"))
    for options in ([], ["--json"]):
        shown = imported.run("quarantine", "show", key, *options).stdout
        assert all(character.isprintable() or character == "\n" for character in shown)
        assert "[bold]:smile:" in shown
    assert "\\u001b[2J\\u001b]0;owned\\u0007\\u009b31m\\u202e" in imported.run(
        "quarantine", "show", key
    ).stdout.replace("\n", "")
