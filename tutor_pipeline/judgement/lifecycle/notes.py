"""Notes of people about a tutor, a student or a subject, in `ops.notes`.

Belongs here: writing and removing them. Only whoever wrote a note removes it.
Does not belong here: notes of an act (`alert_actions` keeps these with the act).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.findings import Kind, Subject
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.judgement.lifecycle.store import check_person, lock

MAX_CHARACTERS = 4_000


def add(
    database: Database,
    subject: Subject,
    text: str,
    *,
    by: str,
    at: datetime,
    alert_id: str | None = None,
    is_known: Callable[[], bool] = lambda: True,
) -> int:
    """Writes a note. Returns its number. Raises UsageError for an empty or too long one.

    `is_known` says whether whom it is about is still there. It is asked while nobody can be erased:
    a note that is written meanwhile would stay.
    """
    check_person(by)
    if not text.strip():
        raise UsageError("the note is empty: write what the next person should know")
    if len(text) > MAX_CHARACTERS:
        raise UsageError(
            f"the note has {len(text):,} characters, {MAX_CHARACTERS:,} are the most: split it"
        )
    with database.transaction():
        lock(database, Kind.ALERT)
        if not is_known():
            raise UsageError(f"there is no {subject.kind} {subject.id} any more")
        number: int = database.value(
            """
            insert into {ops}.notes (tutor_id, subject_kind, subject_id, alert_id, at, author, text)
            values (%s, %s, %s, %s, %s, %s, %s)
            returning note_id
            """,
            (subject.tutor_id, subject.kind, subject.id, alert_id, at, by, text.strip()),
        )
    return number


def remove(database: Database, tutor_id: str, note_id: int, *, by: str) -> bool:
    """Removes a note of one's own. Returns whether there was one."""
    gone = database.execute(
        "delete from {ops}.notes where tutor_id = %s and note_id = %s and author = %s",
        (tutor_id, note_id, by),
    )
    return gone.rowcount > 0
