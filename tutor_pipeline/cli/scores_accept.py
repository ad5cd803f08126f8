"""The verb `scores accept`: a person confirms that a suspected leak is none."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from tutor_pipeline.cli.console import done, emit_json, note
from tutor_pipeline.cli.installation import Session, open_session
from tutor_pipeline.cli.options import AsJson, By, actor
from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.people import incidents
from tutor_pipeline.people.incidents import Kind


def accept(
    what: Annotated[
        str,
        typer.Argument(metavar="VERSION|COLUMN", help="A version held back, or a column left out."),
    ],
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why it is no leak; recorded.")
    ] = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Accept a suspected leak: a version that is held back, or a column that is left out.

    A version is in force from the next refresh on. A column is used in the next learning, and
    compared only with its log from now on. `tutor-pipeline incidents` lists both.

    Example: [bold]tutor-pipeline scores accept 12 --reason "checked the tables"[/bold]
    """
    who = actor(by)
    why = (reason or "").strip() or "no reason given"
    session = open_session(note)
    at = datetime.now(UTC)
    number = what.strip().removeprefix("v")
    said = (
        _version(session, int(number), who, why, at)
        if number.isdecimal() and len(number) < 10
        else _column(session, what.strip(), who, why, at)
    )
    if as_json:
        emit_json(said)
    else:
        done(said["said"])


def _version(session: Session, version: int, by: str, why: str, at: datetime) -> dict[str, Any]:
    from tutor_pipeline.judgement.scores.departure.tutors import TUTORS
    from tutor_pipeline.judgement.scores.storage import versions

    with session.warehouse.connect() as database:
        scorer = versions.scorer_of(database, version) or TUTORS.scorer
        accepted = versions.accept(database, scorer, version, by=by, why=why, at=at)
        if accepted.why_not is not None:
            raise UsageError(accepted.why_not)
        incidents.close(database, Kind.HELD_BACK, [scorer], at)
    said = (
        f"accepted version {version}: it is version {accepted.now}, in force from the next refresh"
        " on (tutor-pipeline enrich --only scores)"
        if accepted.is_new
        else f"version {version} is accepted already: it is version {accepted.now}"
    )
    return {"version": version, "now": accepted.now, "is_new": accepted.is_new, "said": said}


def _column(session: Session, column: str, by: str, why: str, at: datetime) -> dict[str, Any]:
    from tutor_pipeline.judgement.scores.departure.students import STUDENTS
    from tutor_pipeline.judgement.scores.departure.tutors import TUTORS
    from tutor_pipeline.judgement.scores.score import Subject
    from tutor_pipeline.judgement.scores.storage import feature_log, versions
    from tutor_pipeline.steps.leaks import OF_STUDENTS

    forecast = STUDENTS if column.endswith(OF_STUDENTS) else TUTORS
    subject, name = Subject(forecast.who), column.removesuffix(OF_STUDENTS)
    with session.warehouse.connect() as database:
        left_out = {each["subject"] for each in incidents.listed(database, kind=Kind.LEAKAGE)}
        if column not in left_out:
            before = feature_log.accepted(database, subject)
            if name in before:
                said = f"{column} is accepted already"
                return {"column": column, "is_new": False, "said": said}
        # A column that holds only its present value has no incident.
        left_out |= versions.present_only(database, forecast.scorer)
        if column not in left_out:
            names = f"; left out are {', '.join(sorted(left_out))}" if left_out else ""
            raise UsageError(f"no version and no column that is left out is called {column}{names}")
        feature_log.accept(database, subject, name, by=by, why=why, at=at)
        incidents.close(database, Kind.LEAKAGE, [column], at)
    said = f"accepted {column}: it is learned from again the next time"
    return {"column": column, "is_new": True, "said": said}
