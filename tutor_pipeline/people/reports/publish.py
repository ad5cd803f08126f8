"""Writing the validation report: a file per run, the newest under a name that stays.

Belongs here: files and their row in `ops.validation_reports`. Does not belong here: what the
report says (`validation`), how it looks (`render`), and who may read it (`serve`).
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
from tutor_pipeline.people.reports.validation import Validation, gather

NEWEST = "validation.html"
KEPT = 60
"""Reports that stay in the folder, the newest."""


@dataclass(frozen=True, slots=True)
class Written:
    """A report and where it is."""

    file: Path
    validation: Validation


def write_report(database: Database, folder: Path, run_id: str, now: datetime) -> Written:
    """Write the report of a run, and its row, in the connection's transaction.

    Repeated for the same run, it replaces that run's report. Reports beyond the newest KEPT are
    removed. Raises TutorPipelineError when the folder can't be written to.
    """
    validation = gather(database, now, run_id)
    page = render(validation)
    short = re.sub(r"[^0-9A-Za-z]", "", run_id)[:8]
    file = folder / f"validation-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{short}.html"
    earlier = database.execute(
        "select file from {ops}.validation_reports where run_id = %s", (run_id,)
    ).fetchone()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for target in (file, folder / NEWEST):
            write_whole(target, page)
        if earlier is not None and earlier[0] != file.name:
            (folder / Path(earlier[0]).name).unlink(missing_ok=True)
        # Their names begin with the moment.
        for old in sorted(folder.glob("validation-*.html"))[:-KEPT]:
            old.unlink(missing_ok=True)
    except OSError as error:
        raise TutorPipelineError(
            f"cannot write the report to {folder}: {error.strerror}"
        ) from error
    database.execute(
        "insert into {ops}.validation_reports (run_id, made_at, as_of, verdict, file, summary)"
        " values (%s, %s, %s, %s, %s, %s)"
        " on conflict (run_id) do update set made_at = excluded.made_at,"
        " as_of = excluded.as_of, verdict = excluded.verdict, file = excluded.file,"
        " summary = excluded.summary",
        (
            run_id,
            now,
            validation.freshness.as_of or now,
            validation.verdict.level,
            file.name,
            Jsonb(validation.summary()),
        ),
    )
    return Written(file, validation)


def write_whole(file: Path, page: str) -> None:
    """Write a file so that nobody ever reads half of it."""
    partial = file.with_name(f"{file.name}.{os.getpid()}.part")
    partial.write_text(page, encoding="utf-8")
    partial.replace(file)
