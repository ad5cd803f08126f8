"""The CSV import against PostgreSQL: what is loaded, what is not, and what a second run does."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from tests.unit.sources.conftest import NOW, SESSION, TUTOR, Export, Imports, line_of
from tutor_pipeline.core.errors import RefusedError, UsageError
from tutor_pipeline.core.warehouse.database import Schemas, Warehouse
from tutor_pipeline.sources.csv.format import csv_format
from tutor_pipeline.sources.csv.importing import import_folder

LATER = NOW + timedelta(days=1)


def test_a_session_is_spread_over_the_platforms_tables(export: Export, imports: Imports) -> None:
    summary = imports.run(export)
    assert not summary.refused
    assert [(f.name, f.rows, f.loaded, f.quarantined) for f in summary.files] == [
        ("tutor_profiles.csv", 1, 1, 0),
        ("sessions.csv", 1, 1, 0),
    ]
    platform = {name: rows for name, rows in imports.platform().items() if rows}
    assert platform.keys() == {
        "users",
        "tutors",
        "subjects",
        "tutor_subjects",
        "sessions",
        "session_audio_metrics",
        "session_video_metrics",
        "session_screen_metrics",
        "session_transcript_metrics",
        "session_feedback",
    }
    assert imports.query(
        "select id, tutor_id, student_id, scheduled_start, actual_start, scheduled_duration,"
        " actual_duration, status, subject, session_number, is_first_session, tutor_showed_up,"
        " student_showed_up, rescheduled_by, technical_issues, connection_quality, grade_level"
        " from {platform}.sessions"
    ) == [
        (
            *("S1", "T1", None, datetime(2026, 2, 3, 16, 0, 0, 123456, UTC), None, 60, 58),
            *("completed", "Math", None, False, True, True, None, False, "Good", "College"),
        )
    ]
    assert imports.query(
        "select tutor_talk_ratio, student_talk_ratio, student_engagement_score"
        " from {platform}.session_audio_metrics"
    ) == [(0.45, None, 6.5)]
    assert imports.query(
        "select student_on_screen_attention_pct, tutor_camera_on_pct, screen_share_pct"
        " from {platform}.session_video_metrics join {platform}.session_screen_metrics"
        " using (session_id)"
    ) == [(0.875, 0.95, 0.2)]
    assert imports.query("select subject_id from {platform}.tutor_subjects order by 1") == [
        ("Math",),
        ("Science",),
    ]


@pytest.mark.parametrize(
    ("completed", "tutor", "student", "status"),
    [
        ("True", "True", "True", "completed"),
        ("True", "", "", "completed"),
        ("False", "False", "True", "no_show_tutor"),
        ("False", "False", "False", "no_show_tutor"),
        ("False", "True", "False", "no_show_student"),
        ("False", "True", "True", "cancelled"),
        ("False", "True", "", "cancelled"),
        ("False", "", "", "not_held"),
        ("False", "", "False", "not_held"),
    ],
)
def test_status(
    export: Export, imports: Imports, completed: str, tutor: str, student: str, status: str
) -> None:
    export.sessions(
        {
            "session_completed": completed,
            "tutor_showed": tutor,
            "student_showed": student,
            "student_rating": "",
            "student_satisfaction": "",
        }
    )
    imports.run(export)
    assert imports.query("select status from {platform}.sessions") == [(status,)]


def test_timestamps_without_zone_are_in_the_platforms_zone(
    export: Export, imports: Imports
) -> None:
    export.sessions(
        {"session_datetime": "2026-02-03 16:00:00"},
        {"session_id": "S2", "session_datetime": "2026-07-03 16:00:00"},
        {"session_id": "S3", "session_datetime": "2026-07-03T16:00:00+00:00"},
    )
    here = imports.warehouse
    import_folder(
        Warehouse(here.url, here.schemas, platform_timezone="Europe/Berlin"),
        export.path,
        as_of=NOW,
    )
    assert imports.query("select scheduled_start from {platform}.sessions order by id") == [
        (datetime(2026, 2, 3, 15, tzinfo=UTC),),
        (datetime(2026, 7, 3, 14, tzinfo=UTC),),
        (datetime(2026, 7, 3, 16, tzinfo=UTC),),
    ]


def test_empty_metrics_make_no_rows(export: Export, imports: Imports) -> None:
    given_ids = {"session_id", "tutor_id", "session_datetime", "session_completed"}
    export.sessions({name: "" for name in SESSION if name not in given_ids})
    summary = imports.run(export)
    assert summary.files[1].loaded == 1
    for table in ("audio_metrics", "video_metrics", "screen_metrics", "transcript_metrics"):
        assert imports.query(f"select * from {{platform}}.session_{table}") == []
    assert imports.query("select * from {platform}.session_feedback") == []


def test_bad_rows_go_to_quarantine_with_line_text_and_reasons(
    export: Export, imports: Imports
) -> None:
    export.sessions(
        {},
        {"session_id": "", "student_rating": "6"},
        {"session_id": "S3", "tutor_id": "T9", "empathy_score": "high"},
        {"session_id": "S4", "connection_quality": "Great"},
        {"session_id": "S5", "tutor_showed": "False"},
        {"session_id": "S6", "session_completed": "False"},
        {"session_id": "S7", "session_datetime": "yesterday"},
        {"session_id": "S1", "subject": "History"},
        {"session_id": "S9"},
    )
    summary = imports.run(export)
    assert (summary.files[1].rows, summary.files[1].loaded) == (9, 2)
    assert summary.files[1].reasons["unknown_tutor"] == 1
    assert imports.quarantine() == [
        (3, ["session_id_missing", "student_rating_out_of_range"], None),
        (4, ["empathy_score_unparsable", "unknown_tutor"], "S3"),
        (5, ["connection_quality_unknown_value"], "S4"),
        (6, ["completed_without_tutor"], "S5"),
        (7, ["rating_without_completion"], "S6"),
        (8, ["session_datetime_unparsable"], "S7"),
        (9, ["duplicate_id"], "S1"),
    ]
    assert imports.query("select id, subject from {platform}.sessions order by 1") == [
        ("S1", "Math"),
        ("S9", "Math"),
    ]
    source, file, payload, raw, key = imports.query(
        "select source, file, payload, raw, row_key from {ops}.quarantine where line = 5"
    )[0]
    assert source == "csv:sessions.csv"
    assert file == str((export.path / "sessions.csv").resolve())
    assert payload == {**SESSION, "session_id": "S4", "connection_quality": "Great"}
    assert raw == line_of([payload[name] for name in SESSION]).rstrip("\n")
    assert key.endswith("#1")


def test_of_equal_rows_the_first_good_one_counts(export: Export, imports: Imports) -> None:
    export.sessions({"student_rating": "9"}, {"subject": "History"}, {"subject": "History"}, {})
    imports.run(export)
    assert imports.query("select subject from {platform}.sessions") == [("History",)]
    assert imports.quarantine() == [
        (2, ["student_rating_out_of_range"], "S1"),
        (4, ["duplicate_id"], "S1"),
        (5, ["duplicate_id"], "S1"),
    ]
    # The same bad row twice is two entries.
    export.sessions(*({"student_rating": "9"},) * 3)
    imports.run(export)
    assert imports.query(
        "select right(row_key, 2) from {ops}.quarantine"
        " where payload ->> 'student_rating' = '9' order by line"
    ) == [("#1",), ("#2",), ("#3",)]


def test_the_same_folder_twice_changes_nothing(export: Export, imports: Imports) -> None:
    export.sessions({}, {"session_id": "S2", "student_rating": "7"}, {"session_id": "S3"})
    imports.run(export)
    before = imports.platform()
    again = imports.run(export, at=LATER)
    assert [file.changed for file in again.files] == [0, 0]
    assert imports.platform() == before
    assert imports.query("select first_seen, last_seen, resolved_at from {ops}.quarantine") == [
        (NOW, LATER, None)
    ]


def test_a_corrected_row_updates_its_row_and_what_hangs_on_it(
    export: Export, imports: Imports
) -> None:
    export.tutors({}, {"tutor_id": "T2"})
    imports.run(export)
    export.tutors({"subjects_taught": "Science, Art ,"}, {"tutor_id": "T2"})
    export.sessions({"tutor_id": "T2", "student_attention_pct": "", "tutor_camera_on_pct": ""})
    summary = imports.run(export)
    assert [file.changed for file in summary.files] == [3, 2]
    assert imports.query("select tutor_id from {platform}.sessions") == [("T2",)]
    assert imports.query("select * from {platform}.session_video_metrics") == []
    assert imports.query(
        "select subject_id from {platform}.tutor_subjects where tutor_id = 'T1' order by 1"
    ) == [("Art",), ("Science",)]


def test_a_row_that_became_bad_takes_nothing_away_of_what_it_gave_before(
    export: Export, imports: Imports
) -> None:
    imports.run(export)
    before = imports.platform()
    for table in ("session_feedback", "session_audio_metrics", "tutor_subjects"):
        assert before[table]
    export.tutors({"reliability_score": "1.5"})
    export.sessions({"student_rating": "9"})
    again = imports.run(export, at=LATER)
    assert [(file.quarantined, file.changed) for file in again.files] == [(1, 0), (1, 0)]
    assert imports.platform() == before


def test_a_corrected_file_resolves_its_entries(export: Export, imports: Imports) -> None:
    broken = line_of(list(SESSION.values())).replace("Math", '"Math')
    export.sessions({}, {"session_id": "S2", "student_rating": "7"})
    with (export.path / "sessions.csv").open("a") as file:
        file.write(broken)
    imports.run(export)
    assert len(imports.quarantine()) == 2
    export.sessions({}, {"session_id": "S2"})
    imports.run(export, at=LATER)
    assert imports.quarantine() == []
    assert imports.query("select distinct resolved_at from {ops}.quarantine") == [(LATER,)]
    # Broken again: the entry opens again, with its history.
    export.sessions({}, {"session_id": "S2", "student_rating": "7"})
    imports.run(export, at=LATER)
    assert imports.query(
        "select first_seen, last_seen from {ops}.quarantine where resolved_at is null"
    ) == [(NOW, LATER)]


def test_another_folder_resolves_only_what_it_mends(
    export: Export, imports: Imports, tmp_path: Path
) -> None:
    export.sessions(
        {}, {"session_id": "S2", "student_rating": "7"}, {"session_id": "S3", "student_rating": "7"}
    )
    imports.run(export)
    next_month = Export(tmp_path / "next")
    next_month.sessions({"session_id": "S3"}, {"session_id": "S4"})
    imports.run(next_month, at=LATER)
    assert [key for _, _, key in imports.quarantine()] == ["S2"]


def test_a_file_with_too_many_bad_rows_is_refused(export: Export, imports: Imports) -> None:
    export.sessions(*({"session_id": f"S{n}"} for n in range(98)), {"session_id": ""})
    export.rows(
        "engagement_events.csv",
        [
            {
                "event_id": "E1",
                "tutor_id": "T1",
                "event_type": "login",
                "event_data": "",
                "timestamp": "2026-02-01 10:00:00",
            }
        ],
    )
    summary = imports.run(export, max_bad=0.01)
    (refused,) = summary.refused
    assert refused.name == "sessions.csv"
    assert refused.refused is not None
    assert "1 of 99 rows (1.0%)" in refused.refused
    assert (refused.rows, refused.loaded, refused.quarantined) == (99, 0, 1)
    assert imports.query("select count(*) from {platform}.sessions") == [(0,)]
    assert imports.query("select count(*) from {platform}.engagement_events") == [(1,)]
    assert imports.quarantine() == [(100, ["session_id_missing"], None)]
    # Exactly at the limit is not above it.
    assert not imports.run(export, max_bad=1 / 99).refused


def test_what_refers_to_a_refused_file_is_refused_with_it(export: Export, imports: Imports) -> None:
    export.tutors({}, {"tutor_id": "T2", "avg_historical_rating": "7"})
    summary = imports.run(export, max_bad=0.02)
    assert [file.name for file in summary.refused] == ["tutor_profiles.csv", "sessions.csv"]
    assert imports.quarantine() == [(3, ["avg_historical_rating_out_of_range"], "T2")]


def test_tutors_in_the_platform_are_known(export: Export, imports: Imports) -> None:
    imports.run(export)
    export.tutors({"tutor_id": "T2"})
    assert imports.run(export).files[1].loaded == 1
    assert imports.run(export, clear=True).files[1].loaded == 0


def test_clear_leaves_this_import_alone(export: Export, imports: Imports) -> None:
    imports.run(export)
    wanted = imports.platform()
    export.sessions({"session_id": "S2"}, {"session_id": "S3", "student_rating": "7"})
    imports.run(export)
    export.sessions({})
    imports.run(export, clear=True, at=LATER)
    assert imports.platform() == wanted
    assert imports.quarantine() == []


def test_clear_with_a_refused_file_removes_nothing(export: Export, imports: Imports) -> None:
    imports.run(export)
    before = imports.platform()
    export.tutors({"tutor_id": "T2"})
    export.sessions({"tutor_id": "T2", "student_rating": "7"})
    summary = imports.run(export, clear=True, max_bad=0.5)
    assert [file.name for file in summary.refused] == ["tutor_profiles.csv", "sessions.csv"]
    assert imports.platform() == before
    assert len(imports.quarantine()) == 1


def test_columns_may_be_missing_unknown_and_in_any_order(export: Export, imports: Imports) -> None:
    export.text(
        "sessions.csv",
        "mood,session_completed,tutor_id,session_datetime,session_id,mood\n"
        "good,1,T1,2026-02-03 16:00:00,S1,bad\n",
    )
    summary = imports.run(export)
    sessions = summary.files[1]
    assert sessions.loaded == 1
    unknown, missing = summary.notes
    assert unknown.endswith("does not know them: mood")
    assert "student_rating" in missing
    assert sessions.unknown_columns == ("mood",)
    assert "student_rating" in sessions.missing_columns
    assert imports.query("select id, status, subject from {platform}.sessions") == [
        ("S1", "completed", None)
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"session_id,tutor_id,session_datetime\n", "has no column session_completed"),
        (
            b"session_id,tutor_id,session_datetime,session_completed,tutor_id\n",
            "has the column tutor_id more than once",
        ),
        (b"session_id,tutor_id\xe4\n", "has no header line in UTF-8"),
        (
            "session_id,tutor_id\nS1,T1\n".encode("utf-16"),
            "no column session_datetime, session_completed. Its header, separated by commas, UTF",
        ),
        ("session_id,tutor_id\nS1,T1\n".encode("utf-16-be"), "by commas, UTF-16 BE: session_id, "),
        (b"PK\x03\x04\x14\0\6\0\x08\0\0\0!\0\xff\n", "is a spreadsheet's workbook: save"),
        (
            b"session_id;tutor_id;session_date\n",
            "has no column session_datetime (nearest: session_date), session_completed (nearest:"
            " session_date). Its header, separated by semicolons, UTF-8: session_id, tutor_id,"
            " session_date;",
        ),
        (b'\xef\xbb\xbf"session_id";"tutor_id"\n"S1";"T1"\n', "separated by semicolons"),
        (b"session_id\ttutor_id\n", "separated by tabs"),
        (
            b"Session ID,session-id,tutor_id,session_datetime,session_completed\n",
            "has the column session_id more than once: Session ID and session-id",
        ),
        (
            b"session_id;tutor_id;session_datetime;session_completed;"
            b"a,session_id,tutor_id,session_datetime,session_completed,b\n",
            "may be separated by commas and by semicolons",
        ),
        (b"\x1f\x8b\x08\x00broken", "is damaged and cannot be unpacked"),
    ],
)
def test_an_unusable_header_refuses_its_file(
    export: Export, imports: Imports, content: bytes, sentence: str
) -> None:
    export.bytes("sessions.csv", content)
    (refused,) = imports.run(export).refused
    assert sentence in (refused.refused or "")
    assert imports.query("select count(*) from {platform}.tutors") == [(1,)]


def test_only_a_header_loads_nothing_and_is_fine(export: Export, imports: Imports) -> None:
    export.text("sessions.csv", line_of(list(SESSION)))
    summary = imports.run(export, max_bad=0)
    assert not summary.refused
    assert summary.files[1].rows == 0


def test_optional_files(export: Export, imports: Imports) -> None:
    export.text(
        "experiments.csv",
        'experiment_id,name,variants,start_date,notes\nX1,Mails,"[""a"", ""b""]",2026-01-01,-\n',
    )
    export.text(
        "experiment_assignments.csv",
        "experiment_id,tutor_id,variant,conversion_value\nX1,T1,a,0.25\nX1,T1,b,\nX1,T9,a,\n",
    )
    export.text(
        "interventions.csv",
        "intervention_id,tutor_id,intervention_type,engagement_before,sent_at\n"
        "I1,T1,engagement,7.53,2026-01-02 10:00:00\nI2,T1,engagement,100.5,\nI3,T1,gift,,\n",
    )
    export.text(
        "engagement_events.csv",
        "event_id,tutor_id,event_type,event_data,timestamp\n"
        'E1,T1,login,"{""ip"": ""::1""}",2026-01-02 10:00:00\n'
        "E2,T1,login,{not json},2026-01-02 10:00:00\n",
    )
    export.text("tutor_aggregates.csv", "tutor_id\nT1\n")
    export.text("other.csv", "a\n")
    summary = imports.run(export)
    assert {f.name: (f.loaded, f.quarantined) for f in summary.files[2:]} == {
        "experiments.csv": (1, 0),
        "experiment_assignments.csv": (1, 2),
        "interventions.csv": (1, 2),
        "engagement_events.csv": (1, 1),
    }
    assert [note.split(" ")[0] for note in summary.notes[:2]] == [
        "other.csv",
        "tutor_aggregates.csv",
    ]
    assert imports.quarantine() == [
        (3, ["event_data_unparsable"], "E2"),
        (3, ["duplicate_id"], "X1/T1"),
        (4, ["unknown_tutor"], "X1/T9"),
        (3, ["engagement_before_out_of_range"], "I2"),
        (4, ["intervention_type_unknown_value"], "I3"),
    ]
    assert imports.query("select variants from {platform}.experiments") == [(["a", "b"],)]


def test_who_takes_part_makes_its_table(export: Export, imports: Imports) -> None:
    there = "select to_regclass('{platform}.session_students') is not null"
    imports.run(export)
    assert imports.query(there) == [(False,)]
    export.text(
        "session_students.csv",
        "session_id,student_id,attended,student_rating\n"
        "S1,ann,yes,4.5\nS1,bob,no,\nS1,ann,no,\nS9,ann,yes,\nS1,cid,yes,9\n",
    )
    for _ in range(2):
        imports.run(export)
        assert imports.query(
            "select student_id, attended, student_satisfaction_rating, is_first"
            " from {platform}.session_students order by 1"
        ) == [("ann", True, 4.5, None), ("bob", False, None, None)]
        assert imports.query("select user_id from {platform}.students order by 1") == [
            ("ann",),
            ("bob",),
        ]
    assert imports.quarantine() == [
        (4, ["duplicate_id"], "S1/ann"),
        (5, ["unknown_session"], "S9/ann"),
        (6, ["student_rating_out_of_range"], "S1/cid"),
    ]


def test_wrong_calls(export: Export, imports: Imports, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        import_folder(imports.warehouse, tmp_path / "nowhere", as_of=NOW)
    with pytest.raises(UsageError, match="between 0 and 1"):
        imports.run(export, max_bad=2)
    (export.path / "tutor_profiles.csv").unlink()
    with pytest.raises(RefusedError, match=r"no tutor_profiles\.csv"):
        imports.run(export)


def test_a_platform_that_is_not_ours_is_refused(export: Export, imports: Imports) -> None:
    here = imports.warehouse
    theirs = Warehouse(here.url, Schemas(platform="public"))
    with pytest.raises(RefusedError, match="nothing is ever written"):
        import_folder(theirs, export.path, as_of=NOW)


def test_two_imports_at_once_leave_the_state_of_one(export: Export, imports: Imports) -> None:
    export.sessions(*({"session_id": f"S{n}"} for n in range(300)), {"student_rating": "9"})
    imports.run(export)
    wanted = imports.platform()
    imports.run(Export(export.path), clear=True)
    export.sessions(*({"session_id": f"S{n}"} for n in range(300)), {"student_rating": "9"})
    threads = [Thread(target=imports.run, args=(export,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert imports.platform() == wanted
    assert len(imports.quarantine()) == 1


def test_text_that_looks_like_sql_or_copy_syntax_is_only_text(
    export: Export, imports: Imports
) -> None:
    texts = [
        "'; drop table platform.sessions; --",
        "\\N",
        "\\.",
        "{ops}",
        "%(as_of)s %s",
        'a\tb\\c"d\ne\r\nf',
        "NULL",
        "ümläut \U0001f600",
        "=1+1",
    ]
    export.sessions(
        *({"session_id": f"S{n}", "subject": text} for n, text in enumerate(texts)),
        *({"session_id": text, "subject": "x", "student_rating": "9"} for text in texts),
    )
    summary = imports.run(export)
    assert summary.files[1].loaded == len(texts)
    assert imports.query("select subject from {platform}.sessions order by id") == [
        (None if text in ("\\N", "NULL") else text,) for text in texts
    ]
    assert [
        payload["session_id"]
        for (payload,) in imports.query("select payload from {ops}.quarantine order by line")
    ] == texts


def test_the_quarantine_takes_rows_of_any_encoding_and_form(
    export: Export, imports: Imports
) -> None:
    good = line_of(list(SESSION.values())).encode()
    export.bytes(
        "sessions.csv",
        b"".join(
            [
                b"\xef\xbb\xbf" + line_of(list(SESSION)).encode().replace(b"\n", b"\r\n"),
                good.replace(b"Math", b"M\xe4th"),
                good.replace(b"Math", b"M\0th"),
                good.replace(b"Math", b'"Math'),
                b"S1,T1\r\n",
                b"S1," + b"x" * 300_000 + b"\n",
                good.replace(b"S1", b"S" * 3000),
                good.replace(b"\n", b"\r\n"),
            ]
        ),
    )
    imports.run(export)
    assert imports.quarantine() == [
        (2, ["not_utf8"], "S1"),
        (3, ["nul_character"], "S1"),
        (4, ["malformed_row"], "S1"),
        (5, ["wrong_column_count"], "S1"),
        (6, ["malformed_row"], None),
        (6, ["wrong_column_count"], None),
        (7, ["session_id_out_of_range"], None),
    ]
    assert imports.query("select id from {platform}.sessions") == [("S1",)]


FIELDS = st.one_of(
    st.sampled_from(["", " ", "True", "0", "5", "-1", "nan", "T1", "2026-02-03 16:00:00", "Good"]),
    st.text(max_size=20),
    st.text(alphabet="\",\n\r\\\t\0'{}%", max_size=8),
)
ROWS = st.dictionaries(st.sampled_from(list(SESSION)), FIELDS, max_size=4)
BYTES = st.binary(max_size=60)


ANY_ROWS = st.lists(ROWS | BYTES, min_size=1, max_size=25)
FUZZ = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@settings(FUZZ, max_examples=6)
@given(rows=ANY_ROWS)
def test_every_row_is_loaded_or_quarantined(
    export: Export, imports: Imports, rows: list[dict[str, str] | bytes]
) -> None:
    check_that_nothing_is_lost(export, imports, rows)


@pytest.mark.long
@pytest.mark.timeout(1800)
@settings(FUZZ, max_examples=150)
@given(rows=ANY_ROWS)
def test_every_row_of_many_files_is_loaded_or_quarantined(
    export: Export, imports: Imports, rows: list[dict[str, str] | bytes]
) -> None:
    check_that_nothing_is_lost(export, imports, rows)


def check_that_nothing_is_lost(
    export: Export, imports: Imports, rows: list[dict[str, str] | bytes]
) -> None:
    """Whatever the rows hold: in = loaded + quarantined, and a second import changes nothing."""
    lines = [
        row + b"\n"
        if isinstance(row, bytes)
        else line_of(list({**SESSION, "session_id": f"S{n}", **row}.values())).encode(
            "utf-8", "surrogatepass"
        )
        for n, row in enumerate(rows)
    ]
    export.bytes("sessions.csv", line_of(list(SESSION)).encode() + b"".join(lines))
    first = imports.run(export, clear=True)
    sessions = first.files[1]
    assert sessions.rows == sessions.loaded + sessions.quarantined
    assert imports.query("select count(*) from {platform}.sessions") == [(sessions.loaded,)]
    assert len(imports.quarantine()) == sessions.quarantined
    before = imports.platform(), imports.quarantine()
    again = imports.run(export, at=LATER)
    assert [file.changed for file in again.files] == [0, 0]
    assert (imports.platform(), imports.quarantine()) == before


def test_the_formats_bounds_lie_within_the_platforms(imports: Imports) -> None:
    """A number that PostgreSQL's column cannot hold would stop the whole import."""
    scale = dict(
        imports.query(
            "select table_name || '.' || column_name, numeric_precision - numeric_scale"
            " from information_schema.columns where table_schema = 'platform'"
            " and data_type = 'numeric'"
        )
    )
    checked = 0
    for file in csv_format().files:
        columns = {column.name: column for column in file.columns}
        for target in file.targets:
            for name, expression in target.columns.items():
                digits = scale.get(f"{target.table}.{name}")
                if digits is not None:
                    column = columns[expression]
                    assert column.maximum is not None
                    assert column.maximum < 10**digits
                    checked += 1
    assert checked >= 4


def test_payloads_are_json_of_the_row(export: Export, imports: Imports) -> None:
    export.tutors({}, {"tutor_id": "T2", "reliability_score": "1.5"})
    imports.run(export)
    (payload,) = imports.query("select payload::text from {ops}.quarantine")[0]
    assert json.loads(payload) == {**TUTOR, "tutor_id": "T2", "reliability_score": "1.5"}


def test_progress_reaches_the_end(export: Export, imports: Imports) -> None:
    seen: list[tuple[str, int, int]] = []
    import_folder(
        imports.warehouse, export.path, as_of=NOW, progress=lambda *step: seen.append(step)
    )
    size = (export.path / "sessions.csv").stat().st_size
    assert ("reading sessions.csv", size, size) in seen
    assert seen[-1][0] == "loading sessions.csv"
    assert seen[-1][1] == seen[-1][2]


def test_a_failing_database_changes_nothing(export: Export, imports: Imports) -> None:
    """An error while writing (here a foreign constraint) undoes all of it, with a sentence."""
    from tutor_pipeline.core.errors import TutorPipelineError

    constraint = sql.SQL("alter table {} ").format(sql.Identifier("platform", "sessions"))
    with imports.warehouse.connect() as database:
        database.execute(constraint + sql.SQL("add constraint never check (id <> 'S1')"))
    try:
        with pytest.raises(TutorPipelineError, match="nothing was changed"):
            imports.run(export)
        assert imports.query("select count(*) from {platform}.tutors") == [(0,)]
    finally:
        with imports.warehouse.connect() as database:
            database.execute(constraint + sql.SQL("drop constraint never"))
