"""Writes the validation report: one file per run, and a copy of the newest under a fixed name.

Belongs here: the files and their rows in `ops.validation_reports`.
Does not belong here: the content (`validation`), the page (`render`), and serving it (`serve`).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from psycopg.types.json import Jsonb

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.people.reports.render import render
from tutor_pipeline.people.reports.validation import Validation
from tutor_pipeline.people.reports.validation_reader import gather

NEWEST = "validation.html"
KEPT = 60
"""How many reports stay in the folder, the newest ones."""

_RECORD = """
    insert into {ops}.validation_reports (run_id, made_at, as_of, verdict, file, summary)
    values (%(run_id)s, %(made_at)s, %(as_of)s, %(verdict)s, %(file)s, %(summary)s)
    on conflict (run_id) do update set
        made_at = excluded.made_at,
        as_of = excluded.as_of,
        verdict = excluded.verdict,
        file = excluded.file,
        summary = excluded.summary
"""


@dataclass(frozen=True, slots=True)
class Written:
    """A report and its file."""

    file: Path
    validation: Validation


def write_report(database: Database, folder: Path, run_id: str, now: datetime) -> Written:
    """Writes the report of a run and, in the database's transaction, its row.

    A second report of the same run replaces the first. Removes reports beyond the newest KEPT.
    Raises TutorPipelineError when the folder cannot be written to.
    """
    validation = gather(database, now, run_id)
    page = render(validation)
    short = re.sub(r"[^0-9A-Za-z]", "", run_id)[:8]
    file = folder / f"validation-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{short}.html"
    earlier = database.value(
        "select file from {ops}.validation_reports where run_id = %(run_id)s", {"run_id": run_id}
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for target in (file, folder / NEWEST):
            write_whole(target, page)
        if earlier is not None and earlier != file.name:
            (folder / Path(earlier).name).unlink(missing_ok=True)
        # The names begin with the moment, so they sort by age.
        for old in sorted(folder.glob("validation-*.html"))[:-KEPT]:
            old.unlink(missing_ok=True)
    except OSError as error:
        raise TutorPipelineError(
            f"cannot write the report to {folder}: {error.strerror}"
        ) from error
    database.execute(
        _RECORD,
        {
            "run_id": run_id,
            "made_at": now,
            "as_of": validation.freshness.as_of or now,
            "verdict": validation.verdict.level,
            "file": file.name,
            "summary": Jsonb(validation.summary()),
        },
    )
    return Written(file, validation)


def write_whole(file: Path, page: str) -> None:
    """Writes a file through a temporary one, so that nobody reads half of it."""
    partial = file.with_name(f"{file.name}.{os.getpid()}.part")
    partial.write_text(page, encoding="utf-8")
    partial.replace(file)
