"""The verb that erases a person's data on request: forget."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
from rich.markup import escape
from rich.table import Table

from tutor_pipeline.cli.console import done, emit_json, note, out, warn
from tutor_pipeline.cli.installation import Session, embedded_server, open_session
from tutor_pipeline.cli.options import AsJson, By, actor
from tutor_pipeline.core.errors import RefusedError, UsageError
from tutor_pipeline.core.findings import Kind
from tutor_pipeline.core.formatting import count, visible
from tutor_pipeline.core.warehouse import erasure
from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.core.warehouse.locks import one_writer
from tutor_pipeline.core.warehouse.personal_data import Person, Role
from tutor_pipeline.core.warehouse.platform import is_ours

_MAX_ID = 1_000


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command()(forget)


def forget(
    tutor: Annotated[
        str | None, typer.Option("--tutor", metavar="ID", help="Erase this tutor.")
    ] = None,
    student: Annotated[
        str | None, typer.Option("--student", metavar="ID", help="Erase this student.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be erased. Changes nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Erase everything about one person: rows, history, messages, run logs, files.

    The platform must erase them first: while its tables name them, this refuses (exit status 3),
    because the next refresh would bring everything back. In a platform that `import` or
    `generate` made, they are erased here. This cannot be undone.

    Example: [bold]tutor-pipeline forget --tutor T0042 --dry-run[/bold]
    """
    role, id_ = _whom(tutor, student)
    who = actor(by)
    if not (yes or dry_run) and not sys.stdin.isatty():
        raise UsageError(
            "forget asks first, and nobody can answer here: say --yes, or look with --dry-run"
        )
    session = open_session(note)
    if dry_run or not yes:
        found = _look(session, role, id_)
        if dry_run:
            _report(found, as_json, is_done=False)
            raise typer.Exit(RefusedError.exit_code if found.platform else 0)
        _refuse_while_named(found)
        if not as_json:
            _show(found, "would go")
        if found.anything:
            question = f"Erase all of this from {session.warehouse.masked_url}?"
            typer.confirm(question, abort=True, err=True)
    erased = _erase(session, role, id_, who)
    _report(erased, as_json, is_done=True)
    raise typer.Exit(1 if erased.is_incomplete else 0)


@dataclass(slots=True)
class _Found:
    """What is, or was, stored about a person: rows by table, Dagster's rows, files.

    `platform`: rows of an external platform that still name them. `left` and `elsewhere`: columns
    and files that still name them; the pipeline does not own these files. `runs_in_progress` may
    still write earlier results into Dagster's history.
    """

    role: Role
    id: str
    platform: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    dagster: dict[str, int] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    left: list[erasure.Left] = field(default_factory=list)
    elsewhere: list[Path] = field(default_factory=list)
    runs_in_progress: int = 0
    is_our_platform: bool = False

    @property
    def anything(self) -> bool:
        """Whether there is something to erase."""
        return bool(self.rows or self.dagster or self.files)

    @property
    def is_incomplete(self) -> bool:
        """Whether the pipeline's tables still name the person in this role."""
        return any(not each.of_other_role for each in self.left)

    @property
    def named(self) -> str:
        """The person, safe to print."""
        return f"{self.role} {visible(self.id, _MAX_ID)}"

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "role": self.role,
            "id": self.id,
            "platform": self.platform,
            "rows": self.rows,
            "dagster": self.dagster,
            "files": [str(file) for file in self.files],
            "left": [asdict(each) for each in self.left],
            "elsewhere": [str(file) for file in self.elsewhere],
            "runs_in_progress": self.runs_in_progress,
        }


def _whom(tutor: str | None, student: str | None) -> tuple[Role, str]:
    given = [(Role.TUTOR, tutor), (Role.STUDENT, student)]
    named = [(role, id_) for role, id_ in given if id_ is not None]
    if len(named) != 1 or not named[0][1].strip():
        raise UsageError("whom? Name one person: --tutor ID or --student ID")
    return named[0]


def _look(session: Session, role: Role, id_: str) -> _Found:
    """Run the erasure and roll it back. Returns what would be erased."""
    from tutor_pipeline.core.warehouse.dagster_erasure import mask_history
    from tutor_pipeline.people.reports.file_erasure import files_about

    warehouse, found = session.warehouse, _Found(role, id_)
    with warehouse.connect() as database:
        person = _known(database, role, id_)
        _ask_platform(database, person, found)
        with database.transaction(force_rollback=True):
            found.rows = _erase_rows(database, person, found)
    with _dagster(session).connect() as database:
        found.dagster = mask_history(database.connection, person, write=False)
    found.files = files_about(session.settings.home, person)
    return found


def _erase(session: Session, role: Role, id_: str, who: str) -> _Found:
    """Erase files first, since only the rows know the person's sessions and name; then the rows, in
    one transaction; then Dagster's history. After a kill, the same command does the rest.
    """
    from tutor_pipeline.core.warehouse.dagster_erasure import mask_history, runs_in_progress
    from tutor_pipeline.judgement.lifecycle import store
    from tutor_pipeline.people.reports import file_erasure as files
    from tutor_pipeline.sources import losses
    from tutor_pipeline.steps.take import HISTORY, REFRESH

    warehouse, found = session.warehouse, _Found(role, id_)
    with ExitStack() as held:
        # Locks like a full refresh, so that nothing is built meanwhile from data read before.
        for what in (HISTORY, REFRESH):
            held.enter_context(one_writer(warehouse, what, warn))
        with warehouse.connect() as database:
            person = _known(database, role, id_)
            _ask_platform(database, person, found)
            _refuse_while_named(found)
        found.files = files.files_about(session.settings.home, person)
        files.delete(found.files)
        with warehouse.connect() as database:
            for kind in Kind:
                store.lock(database, kind)
            erasure.lock_queues(database)
            # What events brought meanwhile is theirs, too.
            person = _known(database, role, id_)
            erasure.drop_remains(database)
            found.rows = _erase_rows(database, person, found)
            if found.rows:
                now = datetime.now(UTC)
                erasure.record(database, role, found.rows, by=who, at=now)
                if found.is_our_platform:
                    losses.accept_next(database, now, why="tutor-pipeline forget")
        with warehouse.connect() as database:
            found.left = erasure.left(database, person, _searched(warehouse, found.is_our_platform))
        # Files written while the rows still existed.
        late = files.files_about(session.settings.home, person)
        files.delete(late)
        found.files += late
        with _dagster(session).connect() as database:
            found.dagster = mask_history(database.connection, person)
            found.runs_in_progress = runs_in_progress(database.connection)
        log = embedded_server(session.settings).status().log
        found.elsewhere = files.others_about(session.settings.home, log, person)
    return found


def _known(database: Database, role: Role, id_: str) -> Person:
    """The person, with what our tables and a platform of ours know."""
    from tutor_pipeline.sources.personal_rows import with_sessions_of_ours

    person = erasure.known(database, role, id_)
    return with_sessions_of_ours(database, person) if is_ours(database) else person


def _ask_platform(database: Database, person: Person, found: _Found) -> None:
    """Whether the pipeline owns the platform, or the platform still names the person."""
    from tutor_pipeline.sources.personal_rows import named_in

    found.is_our_platform = is_ours(database)
    if not found.is_our_platform:
        found.platform = named_in(database, _contract(), person)


def _erase_rows(database: Database, person: Person, found: _Found) -> dict[str, int]:
    from tutor_pipeline.sources.events import erased
    from tutor_pipeline.sources.personal_rows import erase_from_ours

    with database.transaction() as all_of_it:
        # Read before the rows are gone: what names them later is dropped.
        erased.remember(database, person, datetime.now(UTC))
        rows = erasure.erase(database, person)
        if found.is_our_platform:
            rows |= erase_from_ours(database, _contract(), person)
        if not rows:
            # Of whom there is nothing, an id may be mistyped: its events come in.
            raise psycopg.Rollback(all_of_it)
    return rows


def _contract() -> Any:
    from tutor_pipeline.sources.contract import load_contract

    return load_contract()


def _dagster(session: Session) -> Warehouse:
    return Warehouse(session.located.dagster_url)


def _searched(warehouse: Warehouse, is_our_platform: bool) -> list[str]:
    schemas = warehouse.schemas
    return [*schemas.ours, *([schemas.platform, schemas.truth] if is_our_platform else [])]


def _refuse_while_named(found: _Found) -> None:
    if found.platform:
        raise RefusedError(
            f"the platform still names {found.named}: {_listed(found.platform)}.\n"
            "Nothing was erased: the next refresh would bring it back. Erase them there first; the"
            " platform's tables are never altered from here."
        )


def _listed(rows: Mapping[str, int]) -> str:
    return ", ".join(f"{table} {count(number, 'row')}" for table, number in rows.items())


def _report(found: _Found, as_json: bool, *, is_done: bool) -> None:
    if as_json:
        emit_json(found.as_dict())
        return
    _show(found, "erased" if is_done else "would go")
    if is_done:
        _show_what_is_left(found)
    elif found.platform:
        warn(
            f"the platform still names {found.named}: {_listed(found.platform)}; until it has"
            " erased them, forget refuses"
        )
    elif found.anything:
        note("Nothing was changed")


def _show(found: _Found, heading: str) -> None:
    if not found.anything:
        out.print(f"There is nothing of {escape(found.named)}.", soft_wrap=True)
        return
    table = Table(heading, "rows", box=None)
    for name, rows in found.rows.items():
        table.add_row(escape(name), f"{rows:,}")
    for name, rows in found.dagster.items():
        table.add_row(f"Dagster's {escape(name)}: the id in them", f"{rows:,}")
    out.print(table)
    for file in found.files:
        out.print(f"file {escape(visible(str(file), _MAX_ID))}", soft_wrap=True)


def _show_what_is_left(found: _Found) -> None:
    for each in found.left:
        place = f"{each.table}.{each.column}: {count(each.rows, 'row')} with"
        if each.of_other_role:
            other = found.role.other
            warn(f"{place} a {other} of this id; if that is the same person: forget --{other}")
        else:
            warn(f"{place} this id, in what is about somebody else")
    if not found.left:
        done(f"Nothing of {found.named} is left in our tables")
    for file in found.elsewhere:
        warn(f"{file} names them, and is not ours to delete")
    if found.runs_in_progress:
        warn(
            f"{count(found.runs_in_progress, 'run')} in progress may yet write the id into"
            " Dagster's history: run this again after that"
        )
    note("Backups, exports written elsewhere and messages that were sent are yours to erase")
    if found.is_our_platform:
        note("Importing a file that still has them brings them back")
