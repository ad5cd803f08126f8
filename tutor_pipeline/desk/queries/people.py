"""Names and notes of tutors and students, and who may act."""

from __future__ import annotations

from collections.abc import Collection

from tutor_pipeline.core.findings import Subject
from tutor_pipeline.core.warehouse.database import Database, Row


def like(text: str) -> str:
    """Returns a pattern for `ilike` that finds a text, whatever signs it has."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def tutor_names(database: Database, ids: Collection[str]) -> dict[str, str | None]:
    """Returns the names of tutors by id."""
    rows = database.rows(
        "select tutor_id, name from {marts}.dim_tutors where tutor_id = any(%s)", (list(ids),)
    )
    return {row["tutor_id"]: row["name"] for row in rows}


def profiles(database: Database, ids: Collection[str]) -> dict[str, Row]:
    """Returns name, member_since, primary_subject … of tutors by id."""
    rows = database.rows(
        "select tutor_id, name, member_since, primary_subject, certification_level,"
        " months_experience, is_active from {marts}.dim_tutors where tutor_id = any(%s)",
        (list(ids),),
    )
    return {row["tutor_id"]: row for row in rows}


def students(database: Database, ids: Collection[str]) -> dict[str, Row]:
    """Returns student_id and name of students by id."""
    rows = database.rows(
        "select student_id, name from {marts}.dim_students where student_id = any(%s)",
        (sorted({each for each in ids if each}),),
    )
    return {row["student_id"]: row for row in rows}


def subjects(database: Database) -> list[str]:
    """Returns the main subjects of tutors."""
    rows = database.rows(
        "select distinct primary_subject from {marts}.dim_tutors"
        " where primary_subject is not null order by primary_subject limit 200"
    )
    return [row["primary_subject"] for row in rows]


def certifications(database: Database) -> list[str]:
    """Returns the levels of certification that tutors have."""
    rows = database.rows(
        "select distinct certification_level from {marts}.dim_tutors"
        " where certification_level is not null order by certification_level limit 50"
    )
    return [row["certification_level"] for row in rows]


def risks(database: Database, ids: Collection[str]) -> dict[str, Row]:
    """Returns the risk of tutors by id."""
    rows = database.rows(
        "select * from {ops}.current_tutor_risk where tutor_id = any(%s)", (list(ids),)
    )
    return {row["tutor_id"]: row for row in rows}


def colleagues(database: Database, account: str) -> list[str]:
    """Returns the accounts that may act on alerts, `account` included."""
    rows = database.rows(
        "select name from {ops}.accounts where role in ('coach', 'admin') and disabled_at is null"
        " order by name limit 500"
    )
    return sorted({account, *(row["name"] for row in rows)})


def notes(database: Database, about: Subject) -> list[Row]:
    """Returns the notes about a tutor, student or subject, newest first."""
    return database.rows(
        "select tutor_id, note_id, alert_id, at, author, text from {ops}.notes"
        " where tutor_id = %s and subject_kind = %s and subject_id = %s"
        " order by at desc, note_id desc limit 100",
        about,
    )


def newest_notes(database: Database, tutors: Collection[str]) -> dict[str, Row]:
    """Returns the newest note about each of some tutors, by tutor."""
    rows = database.rows(
        "select distinct on (tutor_id) tutor_id, at, author, text from {ops}.notes"
        " where tutor_id = any(%s) and subject_kind = 'tutor'"
        " order by tutor_id, at desc, note_id desc",
        (list(tutors),),
    )
    return {row["tutor_id"]: row for row in rows}
