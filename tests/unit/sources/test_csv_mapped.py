"""Exports whose files, columns and texts are another platform's: a mapping says what they mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sources.conftest import SESSION, Export, Imports
from tutor_pipeline.core.errors import RefusedError, TutorPipelineError
from tutor_pipeline.sources.csv.mapped_files import MappedFiles
from tutor_pipeline.sources.csv.readings import Meaning
from tutor_pipeline.sources.mapping.files import mapped_files
from tutor_pipeline.sources.mapping.reading import read_map
from tutor_pipeline.sources.moments import moment_of
from tutor_pipeline.sources.problems import BadValueError

MAP = """
files:
  tutor_profiles.csv:
    file: teachers.csv
    columns:
      tutor_id: Teacher No.
      active_status: {column: State, values: {employed: true, left: false}}
  sessions.csv:
    file: "lessons-*.csv"
    dates: day first
    timezone: Europe/Berlin
    decimal: ","
    columns:
      session_id: Lesson
      tutor_id: Teacher No.
      session_datetime: Begin
      session_completed:
        column: State
        values: {held: true, teacher absent: false, student absent: false}
      tutor_showed:
        column: State
        values: {held: true, teacher absent: false, student absent: true}
      student_showed: {column: State, values: {held: true, student absent: false}, others: null}
      student_rating: {column: Stars, scale: [0, 10]}
      scheduled_duration_min: Minutes
"""
TEACHERS = "Teacher No.;State\n7;employed\n8;left\n"
LESSONS = (
    "Lesson;Teacher No.;Begin;State;Stars;Minutes\n"
    "1;7;03/02/2026 16:00;held;7,5;45,5\n"
    "2;7;04.02.2026, 4:30 pm;Teacher absent;;60\n"
    "3;8;2026-02-05 09:00:00Z;student absent;;\n"
)
PLAIN_TUTORS = [
    {"tutor_id": "7", "active_status": "True"},
    {"tutor_id": "8", "active_status": "False"},
]
_BASE = {"session_completed": "True", "tutor_showed": "True", "student_showed": "True"}
PLAIN_SESSIONS = [
    {
        "session_id": "1",
        "tutor_id": "7",
        "session_datetime": "2026-02-03 15:00:00Z",
        **_BASE,
        "student_rating": "4",
        "scheduled_duration_min": "46",
    },
    {
        "session_id": "2",
        "tutor_id": "7",
        "session_datetime": "2026-02-04 15:30:00Z",
        "session_completed": "False",
        "tutor_showed": "False",
        "student_showed": "",
        "student_rating": "",
        "scheduled_duration_min": "60",
    },
    {
        "session_id": "3",
        "tutor_id": "8",
        "session_datetime": "2026-02-05 09:00:00Z",
        **_BASE,
        "session_completed": "False",
        "student_showed": "False",
        "student_rating": "",
        "scheduled_duration_min": "",
    },
]


def mapping(tmp_path: Path, text: str) -> MappedFiles:
    path = tmp_path / "source.yml"
    path.write_text(text, encoding="utf-8")
    return mapped_files(read_map(path))


@pytest.fixture
def foreign(export: Export) -> Export:
    for path in export.path.iterdir():
        path.unlink()
    export.text("teachers.csv", TEACHERS)
    export.text("Lessons-2026-02.CSV", LESSONS)
    return export


def test_a_mapped_export_gives_what_the_formats_own_files_give(
    foreign: Export, imports: Imports, tmp_path: Path
) -> None:
    summary = imports.run(foreign, mapped=mapping(tmp_path, MAP), max_bad=0)
    assert [file.refused for file in summary.files] == [None, None]
    mapped = imports.platform()
    assert mapped["sessions"], "there are sessions"
    plain = Export(tmp_path / "plain")
    plain.rows("tutor_profiles.csv", PLAIN_TUTORS)
    plain.rows("sessions.csv", PLAIN_SESSIONS)
    imports.run(plain, max_bad=0, clear=True)
    assert imports.platform() == mapped


def test_a_bad_row_is_shown_as_the_file_has_it(
    foreign: Export, imports: Imports, tmp_path: Path
) -> None:
    foreign.text(
        "Lessons-2026-02.CSV",
        LESSONS + "4;7;13/13/2026 10:00;held;11;\n5;7;06/02/2026 10:00;postponed;;\n",
    )
    summary = imports.run(foreign, mapped=mapping(tmp_path, MAP), max_bad=0.1)
    (sessions,) = summary.refused
    said = {each.reason: each.sentence for each in sessions.examples}
    unknown = said["session_completed_unknown_value"]
    assert 'line 6: State is "postponed"' in unknown
    assert "held, teacher absent or student absent, as the mapping says" in unknown
    assert 'line 5: Begin is "13/13/2026 10:00"' in said["session_datetime_unparsable"]
    assert 'line 5: Stars is "11"' in said["student_rating_out_of_range"]
    assert [key for _, _, key in imports.quarantine()] == ["4", "5"]


def test_a_file_or_a_column_that_the_mapping_names_must_be_there(
    foreign: Export, imports: Imports, tmp_path: Path
) -> None:
    mapped = mapping(tmp_path, MAP.replace("Stars", "Stars given"))
    summary = imports.run(foreign, mapped=mapped)
    (sessions,) = summary.refused
    assert "no column Stars given, which the mapping has for student_rating" in str(
        sessions.refused
    )
    with pytest.raises(RefusedError, match=r"has no lectures\*\.csv, which the mapping has for"):
        imports.run(foreign, mapped=mapping(tmp_path, MAP.replace("lessons-*", "lectures*")))
    optional = f"{MAP}  session_students.csv: {{file: pupils.csv}}\n"
    with pytest.raises(RefusedError, match=r"has no pupils\.csv, which the mapping has for"):
        imports.run(foreign, mapped=mapping(tmp_path, optional))
    foreign.text("lessons-2026-03.csv", LESSONS)
    with pytest.raises(RefusedError, match="more than once"):
        imports.run(foreign, mapped=mapping(tmp_path, MAP))


def test_columns_that_are_not_listed_are_called_as_in_the_format(
    export: Export, imports: Imports, tmp_path: Path
) -> None:
    export.rows(
        "sessions.csv", [{**SESSION, "session_datetime": "02/03/2026 4:00 PM"} for _ in "1"]
    )
    mapped = mapping(tmp_path, "files: {sessions.csv: {dates: month first}}")
    summary = imports.run(export, mapped=mapped, max_bad=0)
    assert summary.files[1].missing_columns == ()
    assert imports.query("select scheduled_start, subject from {platform}.sessions") == [
        (datetime(2026, 2, 3, 16, tzinfo=UTC), "Math")
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("files: {session.csv: {}}", "no such file; did you mean sessions.csv?"),
        ("files: {sessions.csv: {columns: {tutor: x}}}", "no column tutor; did you mean tutor_id?"),
        ("files: {sessions.csv: {dates: dd/mm}}", "day first"),
        ("files: {sessions.csv: {columns: {subject: {decimal: ','}}}}", "subject is no number"),
        ("files: {sessions.csv: {columns: {subject: {timezone: UTC}}}}", "subject is no moment"),
        ("files: {sessions.csv: {columns: {actual_duration_min: {scale: [0, 9]}}}}", "no bounds"),
        (
            "files: {sessions.csv: {columns: {session_completed: {values: {x: maybe}}}}}",
            "x becomes maybe, which session_completed cannot be",
        ),
        (
            "files: {sessions.csv: {columns: {connection_quality: {values: {x: good}}}}}",
            "did you mean Good?",
        ),
        ("files: {sessions.csv: {columns: {subject: {others: null}}}}", "others is of values"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "source.yml"
    path.write_text(f"\n{text}\n", encoding="utf-8")
    with pytest.raises(TutorPipelineError) as refused:
        read_map(path)
    assert "line 2: " in str(refused.value)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("meaning", "text", "read"),
    [
        (Meaning(dates="day first"), "3.4.26", "2026-04-03"),
        (Meaning(dates="day first"), "03-04-2026T10:00", "2026-04-03 10:00"),
        (Meaning(dates="month first"), "03/04/2026 12:05 AM", "2026-03-04 00:05"),
        (Meaning(dates="month first"), "3/4/2026 12pm", "2026-03-04 12:00"),
        (Meaning(dates="day first"), "2026-04-03 10:00:00", "2026-04-03 10:00:00"),
        (Meaning(dates="day first"), "03/04/2026 10:00 Asia/Tokyo", "2026-04-03 10:00 Asia/Tokyo"),
        (Meaning(dates="seconds"), "1770134400", "2026-02-03 16:00:00+00:00"),
        (Meaning(dates="milliseconds"), "1770134400500", "2026-02-03 16:00:00.500000+00:00"),
        (Meaning(dates="days"), "46056.6666667", "2026-02-03 16:00:00"),
        (Meaning(timezone="Asia/Tokyo"), "2026-02-03 16:00", "2026-02-03 16:00 Asia/Tokyo"),
        (Meaning(timezone="Asia/Tokyo"), "2026-02-03 16:00+01:00", "2026-02-03 16:00+01:00"),
        (Meaning(timezone="Asia/Tokyo"), "2026-02-03T16:00:00Z", "2026-02-03T16:00:00Z"),
        (Meaning(dates="days", timezone="Asia/Tokyo"), "46056", "2026-02-03 00:00:00 Asia/Tokyo"),
        (Meaning(decimal=","), "1.234,5", "1234.5"),
        (Meaning(decimal=","), "4,5 %", "4.5%"),
        (Meaning(decimal="."), "1,234", "1234"),
        (Meaning(decimal=","), "0:45", "0:45"),
        (Meaning(scale=((0, 10), (1, 5))), "10", "5.0"),
        (Meaning(decimal=",", scale=((0, 10), (1, 5))), "2,5", "2.0"),
        (Meaning(values={"Yes ": "true"}), "YES", "true"),
        (Meaning(values={"yes": "true"}, others_are_none=True), "perhaps", ""),
    ],
)
def test_a_meaning_gives_one_reading(meaning: Meaning, text: str, read: str) -> None:
    assert meaning.reading()(text) == read


@pytest.mark.parametrize(
    ("meaning", "text"),
    [
        (Meaning(decimal=","), "1,234.5"),
        (Meaning(decimal="."), "1.234,5"),
        (Meaning(decimal=","), "12.34"),
        (Meaning(decimal=","), "much"),
        (Meaning(values={"yes": "true"}), "perhaps"),
        (Meaning(dates="month first"), "3/4/2026 13:00 PM"),
        (Meaning(dates="seconds"), "1e300"),
        (Meaning(dates="seconds"), "nan"),
        (Meaning(scale=((0, 10), (1, 5))), "inf"),
    ],
)
def test_what_does_not_fit_is_a_bad_value(meaning: Meaning, text: str) -> None:
    with pytest.raises(BadValueError):
        meaning.reading()(text)


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2199, 1, 1)).map(
        lambda moment: moment.replace(microsecond=0)
    )
)
def test_every_way_to_write_a_moment_is_read_as_that_moment(moment: datetime) -> None:
    iso = f"{moment:%Y-%m-%d %H:%M:%S}"
    ways = {
        f"{moment:%d/%m/%Y %H:%M:%S}": Meaning(dates="day first"),
        f"{moment:%m-%d-%Y %H:%M:%S}": Meaning(dates="month first"),
        f"{moment:%m/%d/%Y %I:%M:%S %p}": Meaning(dates="month first"),
        f"{moment:%d.%m.%Y, %H:%M:%S}": Meaning(dates="day first"),
        str((moment - datetime(1899, 12, 30)) / timedelta(days=1)): Meaning(dates="days"),
    }
    for text, meaning in ways.items():
        assert moment_of(meaning.reading()(text)) == iso, text
    counted = (moment - datetime(1970, 1, 1)).total_seconds()
    seconds = Meaning(dates="seconds").reading()(str(int(counted)))
    assert moment_of(seconds) == f"{iso}+00:00"
