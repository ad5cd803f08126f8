"""Exports as people have them: names, packed files, missing columns, totals, refusals."""

from __future__ import annotations

import gzip
import zipfile
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.sources.conftest import NOW, SESSION, TUTOR, Export, Imports, line_of
from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.core.warehouse.platform import ensure_platform
from tutor_pipeline.sources.csv.empty_files import rows_without_successor
from tutor_pipeline.sources.csv.format import csv_format
from tutor_pipeline.sources.csv.headers import columns_of, folded
from tutor_pipeline.sources.csv.importing import Wishes, import_folder

LATER = NOW + timedelta(days=1)
REQUIRED = {"session_id", "tutor_id", "session_datetime", "session_completed"}
DOCUMENT = Path(__file__).parents[3] / "docs/csv-format.md"


def csv_text(*rows: dict[str, str], separator: str = ",") -> str:
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    if separator == ",":
        return "".join(map(line_of, lines))
    return "".join(separator.join(line) + "\n" for line in lines)


# Headers


@pytest.mark.parametrize(
    "name",
    ["Session ID", "SESSION_ID", "sessionId", "session-id", "\ufeffsession\u00a0id ", "Session‑Id"],
)
def test_a_header_counts_however_it_is_spelled(name: str) -> None:
    (file,) = (each for each in csv_format().files if each.name == "sessions.csv")
    assert columns_of(file, [name, "Mood "], {}) == ["session_id", "Mood"]


def test_no_two_columns_of_a_file_have_one_folded_name() -> None:
    for file in csv_format().files:
        names = [folded(column.name) for column in file.columns]
        assert len(set(names)) == len(names)


# Columns that a file lacks


def without(row: dict[str, str], *columns: str) -> dict[str, str]:
    return {name: value for name, value in row.items() if name not in columns}


def test_a_missing_column_erases_nothing_and_is_named(export: Export, imports: Imports) -> None:
    imports.run(export)
    before = imports.platform()
    export.rows("sessions.csv", [{name: SESSION[name] for name in sorted(REQUIRED)}])
    export.rows("tutor_profiles.csv", [{"tutor_id": "T1"}])
    summary = imports.run(export, at=LATER)
    assert [file.changed for file in summary.files] == [0, 0]
    assert imports.platform() == before
    tutors, sessions = summary.files
    assert set(tutors.kept_columns) == TUTOR.keys() - {"tutor_id"}
    assert set(sessions.kept_columns) == SESSION.keys() - REQUIRED
    (note,) = (note for note in summary.notes if note.startswith("tutor_profiles.csv"))
    assert "left as they are" in note
    assert "subjects_taught" in note


def test_half_of_a_record_is_kept_beside_what_is_new(export: Export, imports: Imports) -> None:
    imports.run(export)
    row = without(SESSION, "tutor_speak_ratio", "student_attention_pct", "would_recommend")
    new = {"engagement_score": "3", "tutor_camera_on_pct": "", "student_rating": ""}
    export.rows("sessions.csv", [{**row, **new, "student_satisfaction": "NULL"}])
    imports.run(export)
    assert imports.query(
        "select tutor_talk_ratio, student_engagement_score, student_on_screen_attention_pct,"
        " tutor_camera_on_pct, student_satisfaction_rating, would_recommend"
        " from {platform}.session_audio_metrics join {platform}.session_video_metrics"
        " using (session_id) join {platform}.session_feedback using (session_id)"
    ) == [(0.45, 3, 0.875, None, None, True)]


def test_replace_missing_erases(export: Export, imports: Imports) -> None:
    imports.run(export)
    export.rows("sessions.csv", [{name: SESSION[name] for name in sorted(REQUIRED)}])
    export.rows("tutor_profiles.csv", [without(TUTOR, "subjects_taught", "primary_subject")])
    summary = imports.run(export, replace_missing=True)
    assert summary.files[0].kept_columns == ()
    assert imports.query("select subject, tutor_showed_up from {platform}.sessions") == [
        (None, None)
    ]
    assert imports.query("select * from {platform}.session_feedback") == []
    assert imports.query("select * from {platform}.tutor_subjects") == []
    assert imports.query("select primary_subject from {platform}.tutors") == [(None,)]


def test_rows_that_are_new_have_nothing_in_a_missing_column(
    export: Export, imports: Imports
) -> None:
    imports.run(export)
    export.rows(
        "sessions.csv",
        [without({**SESSION, "session_id": key}, "subject") for key in ("S1", "S2")],
    )
    imports.run(export)
    assert imports.query("select id, subject from {platform}.sessions order by 1") == [
        ("S1", "Math"),
        ("S2", None),
    ]


def test_without_tutor_showed_a_known_absence_stays_what_it_was(
    export: Export, imports: Imports
) -> None:
    absent = {"session_completed": "False", "student_rating": "", "student_satisfaction": ""}
    export.sessions(
        {"session_id": "S1", **absent, "tutor_showed": "False"},
        {"session_id": "S2", **absent, "student_showed": "False"},
        {"session_id": "S3", **absent},
    )
    imports.run(export)
    export.rows(
        "sessions.csv",
        [
            without({**SESSION, **absent, "session_id": f"S{n}"}, "tutor_showed", "student_showed")
            for n in range(1, 5)
        ],
    )
    imports.run(export)
    assert imports.query("select id, status from {platform}.sessions order by 1") == [
        ("S1", "no_show_tutor"),
        ("S2", "no_show_student"),
        ("S3", "cancelled"),
        ("S4", "not_held"),
    ]


def test_what_contradicts_a_value_that_the_file_lacks_is_a_bad_row(
    export: Export, imports: Imports
) -> None:
    """Loaded, it would be bad in the platform, and the absence forgotten."""
    export.sessions(
        {
            "session_completed": "False",
            "tutor_showed": "False",
            "student_rating": "",
            "student_satisfaction": "",
        }
    )
    imports.run(export)
    before = imports.platform()
    export.rows("sessions.csv", [without(SESSION, "tutor_showed")])
    imports.run(export)
    assert imports.quarantine() == [(2, ["completed_without_tutor"], "S1")]
    assert imports.platform() == before


COLUMNS = st.sets(st.sampled_from(sorted(SESSION.keys() - REQUIRED)))
NEW = {
    **SESSION,
    **dict.fromkeys(("scheduled_duration_min", "actual_duration_min"), "30"),
    **dict.fromkeys(("subject", "grade_level"), "New"),
    **dict.fromkeys(("student_attention_pct", "tutor_camera_on_pct", "screen_share_pct"), "50"),
    **dict.fromkeys(("tutor_speak_ratio", "overall_sentiment", "student_sentiment"), "0.25"),
    **dict.fromkeys(("tutor_sentiment",), "0.25"),
    **dict.fromkeys(("empathy_score", "clarity_score", "engagement_score"), "2"),
    **dict.fromkeys(("student_rating", "student_satisfaction"), "2"),
    **dict.fromkeys(("is_first_session", "had_technical_issues"), "True"),
    "would_recommend": "False",
    "connection_quality": "Poor",
}


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(missing=COLUMNS, is_empty=st.booleans())
def test_no_file_makes_the_values_of_a_missing_column_disappear(
    export: Export, imports: Imports, missing: set[str], is_empty: bool
) -> None:
    """Whichever columns a file has: their values are the new ones (or none), the others stay."""
    export.sessions()
    imports.run(export, clear=True)
    row = {name: NEW[name] for name in SESSION if name not in missing}
    if is_empty:
        row = {name: value if name in REQUIRED else "" for name, value in row.items()}
    export.rows("sessions.csv", [row])
    imports.run(export)
    found = platform_values(imports)
    export.sessions({**SESSION, **row})
    imports.run(export, clear=True)
    assert found == platform_values(imports)


def platform_values(imports: Imports) -> dict[str, list[tuple[object, ...]]]:
    return {name: rows for name, rows in imports.platform().items() if rows}


# Rows that are none


def test_totals_and_empty_rows_at_the_end_are_no_rows(export: Export, imports: Imports) -> None:
    row = line_of(list(SESSION.values()))
    blank = "," * (len(SESSION) - 1) + "\n"
    total = dict.fromkeys(SESSION, "") | {"session_id": "Grand Total:", "actual_duration_min": "58"}
    export.text(
        "sessions.csv",
        line_of(list(SESSION)) + row + blank + line_of(list(total.values())) + "Sum,,,60\n" + blank,
    )
    export.tutors({}, dict.fromkeys(TUTOR, "") | {"tutor_id": "total", "no_show_count": "3"})
    summary = imports.run(export, max_bad=0)
    assert not summary.refused
    assert [file.rows for file in summary.files] == [1, 1]
    assert summary.files[1].skipped == ("2 empty rows", "2 rows of totals")
    assert imports.query("select user_id from {platform}.tutors") == [("T1",)]
    assert any("1 row of totals not counted" in note for note in summary.notes)


@pytest.mark.parametrize(
    "changed",
    [
        {"tutor_id": "T1"},  # another required cell is filled
        {"subject": "Math"},  # a text, where totals have none
        {"session_id": "Totality"},
        {"session_id": "S9"},
    ],
)
def test_what_only_resembles_a_total_is_a_row(
    export: Export, imports: Imports, changed: dict[str, str]
) -> None:
    export.sessions({}, {**dict.fromkeys(SESSION, ""), "session_id": "Total", **changed})
    assert imports.run(export).files[1].quarantined == 1


def test_a_total_in_the_middle_is_a_bad_row(export: Export, imports: Imports) -> None:
    total = dict.fromkeys(SESSION, "") | {"session_id": "Total"}
    export.sessions({}, total, {"session_id": "S2"}, total)
    summary = imports.run(export)
    assert (summary.files[1].rows, summary.files[1].loaded) == (3, 2)
    ((line, reasons, _),) = imports.quarantine()
    assert (line, set(reasons)) == (3, {f"{name}_missing" for name in REQUIRED - {"session_id"}})


def test_a_tutor_may_be_called_total_among_others(export: Export, imports: Imports) -> None:
    export.tutors({"tutor_id": "Total"}, {"tutor_id": "T1"})
    assert imports.run(export).files[0].loaded == 2


# Names and archives


def test_names_count_in_any_case_and_packed(export: Export, imports: Imports) -> None:
    sessions, tutors = export.path / "sessions.csv", export.path / "tutor_profiles.csv"
    (export.path / "SESSIONS.CSV.GZ").write_bytes(gzip.compress(sessions.read_bytes()))
    sessions.unlink()
    with zipfile.ZipFile(export.path / "Tutor_Profiles.zip", "w") as archive:
        archive.write(tutors, "whatever.csv")
    tutors.unlink()
    (export.path / "sessions (1).csv").write_text("old")
    summary = imports.run(export)
    assert [(file.source, file.loaded) for file in summary.files] == [
        ("Tutor_Profiles.zip/whatever.csv", 1),
        ("SESSIONS.CSV.GZ", 1),
    ]
    assert summary.notes == (
        "sessions (1).csv is not read: it is no file of this format",
        "tutor_profiles.csv: read as commas, UTF-8, from Tutor_Profiles.zip/whatever.csv (zip)",
        "sessions.csv: read as commas, UTF-8, from SESSIONS.CSV.GZ (gzip)",
    )


def test_a_folder_may_be_an_archive(export: Export, imports: Imports) -> None:
    export.sessions({}, {"session_id": "S2", "student_rating": "7"})
    whole = export.path / "march.zip"
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("sessions.csv", "tutor_profiles.csv"):
            archive.write(export.path / name, f"march/{name}")
            archive.writestr(f"__MACOSX/march/._{name}", "\0")
            (export.path / name).unlink()
    for path in (whole, export.path):
        summary = import_folder(imports.warehouse, path, Wishes(max_bad=1), as_of=NOW)
        assert [file.loaded for file in summary.files] == [1, 1]
    assert imports.query("select file from {ops}.quarantine") == [
        (f"{whole.resolve()}/march/sessions.csv",)
    ]


def test_a_name_that_may_be_meant_is_named(export: Export, imports: Imports) -> None:
    (export.path / "sessions.csv").rename(export.path / "sessions (1).csv")
    with pytest.raises(RefusedError, match=r"no sessions\.csv; if it is sessions \(1\)\.csv"):
        imports.run(export)


def test_of_two_files_with_one_name_neither_is_guessed(export: Export, imports: Imports) -> None:
    (export.path / "Sessions.csv.gz").write_bytes(gzip.compress(b"old"))
    (export.path / "tutor_profiles.csv").unlink()
    with pytest.raises(RefusedError) as refused:
        imports.run(export)
    assert "sessions.csv more than once: Sessions.csv.gz and sessions.csv" in str(refused.value)
    assert "no tutor_profiles.csv" in str(refused.value)


def test_a_damaged_archive_refuses_its_file_alone(export: Export, imports: Imports) -> None:
    export.sessions(*({"session_id": f"S{n}"} for n in range(3_000)))
    packed = gzip.compress((export.path / "sessions.csv").read_bytes())
    export.bytes("sessions.csv", packed[: len(packed) // 2])
    summary = imports.run(export)
    (refused,) = summary.refused
    assert "is damaged and cannot be unpacked" in (refused.refused or "")
    assert (refused.rows, refused.loaded) == (0, 0)
    assert imports.query("select count(*) from {platform}.sessions") == [(0,)]
    assert imports.query("select count(*) from {platform}.tutors") == [(1,)]


def test_text_of_utf16_that_is_none_costs_its_own_row(export: Export, imports: Imports) -> None:
    text = csv_text(SESSION, {**SESSION, "session_id": "S2", "subject": "MARK"}).encode("utf-16-le")
    broken = text.replace("MARK".encode("utf-16-le"), b"\x00\xd8A\x00B\x00C\x00")
    export.bytes("sessions.csv", b"\xff\xfe" + broken)
    assert imports.run(export).files[1].loaded == 1
    assert imports.quarantine() == [(3, ["not_utf8"], "S2")]


def test_lines_are_counted_in_every_form(export: Export, imports: Imports) -> None:
    bad = {**SESSION, "session_id": "S2", "student_rating": "7"}
    export.text("sessions.csv", "sep=;\n" + csv_text(SESSION, bad, separator=";"))
    imports.run(export)
    assert imports.quarantine() == [(4, ["student_rating_out_of_range"], "S2")]
    export.text("sessions.csv", csv_text(SESSION, bad).replace("\n", "\r"))
    imports.run(export)
    assert imports.quarantine() == [(3, ["student_rating_out_of_range"], "S2")]


# Refusals


def test_a_refusal_shows_a_row_for_each_reason_of_all_files(
    export: Export, imports: Imports
) -> None:
    export.tutors({}, {"tutor_id": "T2", "avg_historical_rating": "7"})
    export.sessions(
        {"session_datetime": "03/04/2026 10:00"},
        {"session_id": "S2", "student_rating": "4,5", "had_technical_issues": "maybe"},
        {"session_id": "S3", "connection_quality": "Great", "student_rating": "3,5"},
        {"session_id": "S4", "tutor_id": "T9"},
        {"session_id": "", "tutor_showed": "No"},
    )
    with (export.path / "sessions.csv").open("a") as file:
        file.write("S9,T1\n")
    summary = imports.run(export, max_bad=0.1)
    tutors, sessions = (
        {each.reason: each.sentence for each in file.examples} for file in summary.refused
    )
    assert tutors == {
        "avg_historical_rating_out_of_range": 'line 3: avg_historical_rating is "7"'
        " (avg_historical_rating_out_of_range); accepted: a number such as 4.5, with a decimal"
        " point, from 1 to 5 (docs/csv-format.md#files)"
    }
    assert sessions.keys() == {
        *("session_datetime_two_readings", "student_rating_two_readings", "unknown_tutor"),
        *("had_technical_issues_unparsable", "connection_quality_unknown_value"),
        *("session_id_missing", "completed_without_tutor", "wrong_column_count"),
    }
    assert 'line 3: student_rating is "4,5"' in sessions["student_rating_two_readings"]
    assert (
        "write 4.5, or say which in a mapping (docs/csv-format.md#values), and 1 more row"
        in (sessions["student_rating_two_readings"])
    )
    assert "Excellent, Good, Fair or Poor" in sessions["connection_quality_unknown_value"]
    assert 'line 5: tutor_id is "T9"' in sessions["unknown_tutor"]
    assert (
        "line 7: wrong column count; accepted: as many fields as the header has"
        in (sessions["wrong_column_count"])
    )
    assert imports.query("select count(*) from {platform}.sessions") == [(0,)]


def test_the_parts_of_the_document_that_refusals_name_are_there() -> None:
    headings = {
        line.lstrip("# ").lower().replace(" ", "-")
        for line in DOCUMENT.read_text().splitlines()
        if line.startswith("#")
    }
    assert {"values", "files", "what-becomes-of-a-row"} <= headings
    text = DOCUMENT.read_text()
    for reason in csv_format().accepted.reasons:
        assert f"`{reason}`" in text
    for word in csv_format().words.missing - {""}:
        assert f"`{word}`".lower() in text.lower()


def test_a_file_that_refers_to_an_unusable_one_is_looked_at_all_the_same(
    export: Export, imports: Imports
) -> None:
    export.text("tutor_profiles.csv", "tutor;name\n")
    export.sessions({"student_rating": "9"}, {"session_id": "S2"})
    summary = imports.run(export, max_bad=0.1)
    assert [file.name for file in summary.refused] == ["tutor_profiles.csv", "sessions.csv"]
    # Of tutors that could not be read, no row is called unknown.
    assert imports.quarantine() == [(2, ["student_rating_out_of_range"], "S1")]
    assert imports.query("select count(*) from {platform}.sessions") == [(0,)]


# The quarantine


def test_another_file_of_the_same_path_mends_nothing(export: Export, imports: Imports) -> None:
    export.sessions({}, {"session_id": "S2", "student_rating": "7"}, {"session_id": ""})
    imports.run(export)
    export.sessions({"session_id": "X1"}, {"session_id": "X2"})
    imports.run(export, at=LATER)
    assert [line for line, _, _ in imports.quarantine()] == [3, 4]
    # The same row in another folder, however its header is spelled, is the same entry.
    export.text(
        "sessions.csv",
        line_of([name.upper() for name in SESSION])
        + line_of(list({**SESSION, "session_id": "S2", "student_rating": "7"}.values())),
    )
    imports.run(export, at=LATER)
    assert [line for line, _, _ in imports.quarantine()] == [2, 4]
    export.sessions({"session_id": "S2"})
    imports.run(export, at=LATER)
    assert [line for line, _, _ in imports.quarantine()] == [4]


def test_a_row_without_a_readable_key_is_known_by_its_line(
    export: Export, imports: Imports
) -> None:
    header, line = ";".join(sorted(REQUIRED)), "1;2026-02-03 16:00:00;S1;T1\n"
    export.text("sessions.csv", header.replace(";", ",") + "\n" + line)
    imports.run(export)
    assert [reasons for _, reasons, _ in imports.quarantine()] == [["wrong_column_count"]]
    export.text("sessions.csv", header + "\n" + line)
    imports.run(export)
    assert imports.quarantine() == []


# Emptied by mistake, and two at once


def test_files_without_rows_are_known_before_anything_is_removed(
    export: Export, imports: Imports
) -> None:
    imports.run(export)
    export.text("sessions.csv", line_of(list(SESSION)) + "," * (len(SESSION) - 1) + "\n\n")
    with imports.warehouse.connect() as database:
        assert rows_without_successor(database, export.path, {}) == {"sessions.csv": 1}
    imports.run(export, clear=True)
    with imports.warehouse.connect() as database:
        assert rows_without_successor(database, export.path, {}) == {}


def test_who_waits_is_told_at_once_for_whom(export: Export, imports: Imports) -> None:
    said: list[str] = []
    with imports.warehouse.connect(application_name="tutor-pipeline import") as other:
        ensure_platform(other)
        thread = Thread(
            target=import_folder,
            args=(imports.warehouse, export.path),
            kwargs={"as_of": NOW, "on_wait": said.append},
        )
        thread.start()
        while not said and thread.is_alive():
            thread.join(0.01)
        assert thread.is_alive()
        assert imports.query("select count(*) from {platform}.sessions") == [(0,)]
    thread.join()
    assert imports.query("select count(*) from {platform}.sessions") == [(1,)]
    (sentence,) = said
    assert sentence.startswith("tutor-pipeline import from 127.0.0.1 has been writing")
    assert sentence.endswith("waiting for it to finish")


def test_what_belongs_to_the_transaction_fails_with_it(export: Export, imports: Imports) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_folder(imports.warehouse, export.path, as_of=NOW, before_commit=fail)
    assert imports.query("select count(*) from {platform}.sessions") == [(0,)]
