"""Verbs that load data: generate, import."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from psycopg.types.json import Jsonb
from rich.markup import escape
from rich.table import Table

from tutor_pipeline.cli.console import done, emit_json, err, note, out, progress_bar
from tutor_pipeline.cli.installation import Session, open_session, yesterday
from tutor_pipeline.cli.options import AsJson, SourceMap
from tutor_pipeline.core.errors import RefusedError, UsageError
from tutor_pipeline.core.formatting import count
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.marked_schemas import MARK, schema_mark
from tutor_pipeline.people import incidents
from tutor_pipeline.people.incidents import Kind
from tutor_pipeline.people.reports.status_queries import STALE_DAYS
from tutor_pipeline.sources import losses, relations
from tutor_pipeline.sources.synthetic.parameters import Parameters
from tutor_pipeline.sources.synthetic.worlds import ORDINARY, WORLDS

if TYPE_CHECKING:
    from tutor_pipeline.sources.csv.importing import ImportSummary
    from tutor_pipeline.sources.csv.mapped_files import MappedFiles

SYNTHETIC, CSV, EVENTS = "synthetic", "csv", "events"
_REAL = (CSV, EVENTS)
REFUSED = 3


class Mode(StrEnum):
    """Presets of `generate`."""

    DEV = "dev"
    PRODUCTION = "production"


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command()(generate)
    app.command("import")(import_)


def generate(
    mode: Annotated[
        Mode | None,
        typer.Option(help="dev: 25 tutors, 14 days. production: 22,500 sessions in 30 days."),
    ] = None,
    tutors: Annotated[int | None, typer.Option(help="Default 150.")] = None,
    days: Annotated[int | None, typer.Option(help="Default 90.")] = None,
    sessions_per_day: Annotated[
        int | None, typer.Option(help="Of all tutors; default 60, or the world's own.")
    ] = None,
    world: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="; ".join(f"{it.name}: {it.says}" for it in WORLDS.values()) + "."
        ),
    ] = ORDINARY.name,
    seed: Annotated[int | None, typer.Option(help="Same seed, same rows; default 7.")] = None,
    end: Annotated[
        str | None, typer.Option(metavar="DATE", help="Last day; default yesterday.")
    ] = None,
    export_csv: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a CSV export instead of loading the platform."),
    ] = None,
    no_engagement_events: Annotated[bool, typer.Option("--no-engagement-events")] = False,
    no_interventions: Annotated[bool, typer.Option("--no-interventions")] = False,
    no_experiments: Annotated[bool, typer.Option("--no-experiments")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace imported data in the platform schema.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Generate a synthetic platform with its truth, and load it in place of the last one.

    Example: [bold]tutor-pipeline generate --tutors 150 --days 90 --seed 7[/bold]
    """
    given = {
        "tutors": tutors,
        "days": days,
        "sessions_per_day": sessions_per_day,
        "seed": seed,
        "world": world,
        "engagement_events": not no_engagement_events,
        "interventions": not no_interventions,
        "experiments": not no_experiments,
    }
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    last = _day(end) if end else yesterday()
    parameters = (
        Parameters.preset(mode, last, **changes) if mode else Parameters(end=last, **changes)
    )
    if export_csv is not None:
        rows = _export(parameters, export_csv)
    else:
        session = open_session(note)
        if not replace:
            refuse_to_replace_an_import(session)
        rows = generate_into(session, parameters)
    if as_json:
        emit_json({"parameters": asdict(parameters), "rows": rows})


def import_(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a CSV export.")],
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove the platform's rows first.")
    ] = False,
    max_bad: Annotated[
        float,
        typer.Option(
            min=0, max=100, metavar="PERCENT", help="Refuse a file with more bad rows (percent)."
        ),
    ] = 2.0,
    replace_missing: Annotated[
        bool,
        typer.Option(
            "--replace-missing",
            help="Empty the columns that a file lacks, in the rows that it has. Without it they"
            " stay as they are.",
        ),
    ] = False,
    source_map: SourceMap = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before --clear with a file without rows.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Load a CSV export: good rows into the platform schema, bad ones into quarantine.

    DIR may be a zip archive, and its files may be packed (.gz, .zip). Separator, encoding and line
    ends are recognised.

    Example: [bold]tutor-pipeline import exports/2026-01 --max-bad 5[/bold]
    """
    from tutor_pipeline.sources.csv.importing import Wishes, import_folder
    from tutor_pipeline.sources.mapping.files import mapped_files
    from tutor_pipeline.sources.mapping.reading import read_map

    if source_map is not None:
        os.environ["TUTOR_SOURCE_MAP"] = str(source_map)
    session = open_session(note)
    path = session.settings.source_map
    mapped = {} if path is None else mapped_files(read_map(path))
    # What an import writes has the contract's names, whatever the mapping calls other tables.
    session = replace(
        session,
        located=replace(session.located, warehouse=replace(session.warehouse, source=None)),
    )
    if not clear and last_load(session) == SYNTHETIC:
        raise RefusedError(
            "the platform schema holds the synthetic platform; an import beside it would mix the"
            " two.\nReplace it with: tutor-pipeline import --clear DIR"
        )
    if clear and not yes:
        _ask_about_empty_files(session, folder, mapped)

    def remember(database: Database, summary: ImportSummary) -> None:
        """Belongs to the transaction of the import: a kill leaves both or neither."""
        if summary.is_loaded:
            if clear:
                _forget_truth(database)
            _forget_findings_of_another(database, CSV, {})
            replaced = "tutor-pipeline import --clear" if clear else None
            remember_load(database, CSV, {"folder": str(folder.resolve())}, replaced=replaced)

    with progress_bar(f"Importing {folder}") as update:
        summary = import_folder(
            session.warehouse,
            folder,
            Wishes(
                clear=clear,
                replace_missing=replace_missing,
                max_bad=max_bad / 100,
                mapped=mapped,
            ),
            as_of=datetime.now(UTC),
            progress=update,
            on_wait=note,
            before_commit=remember,
        )
    if as_json:
        emit_json(
            {
                "folder": str(summary.folder),
                "files": [asdict(file) for file in summary.files],
                "notes": summary.notes,
            }
        )
    else:
        _show_import(summary, None if summary.refused else _advice(session))
    raise typer.Exit(REFUSED if summary.refused else 0)


def _ask_about_empty_files(session: Session, folder: Path, mapped: MappedFiles) -> None:
    """Ask before `--clear` empties tables for which the folder has a header and no rows.

    Raises RefusedError if nobody can answer.
    """
    from tutor_pipeline.sources.csv.empty_files import rows_without_successor

    with session.warehouse.connect() as database:
        lost = rows_without_successor(database, folder, mapped)
    if not lost:
        return
    what = ", ".join(
        f"{name} (the platform has {count(rows, 'row')})" for name, rows in lost.items()
    )
    said = f"--clear removes all rows of the platform, and these files bring none: {what}"
    if not sys.stdin.isatty():
        raise RefusedError(f"{said}.\nNothing was changed. If that is meant, say --yes.")
    typer.confirm(f"{said}. Go on?", abort=True)


def _advice(session: Session) -> str:
    """What to do after an import, by the age of what is there now."""
    from tutor_pipeline.judgement.lifecycle import store

    now = datetime.now(UTC)
    with session.warehouse.connect() as database:
        newest = relations.newest_completed_session(database, now)
        return how_to_compute(newest, store.last_applied(database), now)


def how_to_compute(newest: datetime | None, applied: datetime | None, now: datetime) -> str:
    """The advice after an import: `newest` is the newest session that took place, `applied` as of
    when the findings are. Old sessions are computed as of their own day.
    """
    if newest is None:
        return "Imported. No session took place yet, so there is nothing to compute"
    if now - newest <= timedelta(days=STALE_DAYS):
        return "Imported. Compute with: tutor-pipeline enrich"
    # Findings as of a later day bar the way back.
    is_barred = applied is not None and applied - newest > timedelta(days=1)
    before = "tutor-pipeline clear --yes && " if is_barred else ""
    age = count((now - newest).days, "day")
    return (
        f"Imported. The newest session is {age} old ({newest:%Y-%m-%d}): windows of 7 to 30 days"
        " hold little or nothing today. Compute as of that day with:"
        f" {before}tutor-pipeline enrich --as-of latest"
    )


def _show_import(summary: ImportSummary, advice: str | None) -> None:
    table = Table("file", "rows", "loaded", "changed", "quarantined", "reasons", box=None)
    for file in summary.files:
        reasons = ", ".join(f"{name} {number:,}" for name, number in file.reasons.items())
        counts = (file.rows, file.loaded, file.changed, file.quarantined)
        table.add_row(file.name, *(f"{number:,}" for number in counts), escape(reasons))
    out.print(table)
    for text in summary.notes:
        note(text)
    for file in summary.refused:
        why = str(file.refused).removeprefix(f"{file.name} ")
        err.print(f"[bold red]refused:[/bold red] {escape(f'{file.name}: {why}')}", soft_wrap=True)
        for example in file.examples:
            err.print(f"  {escape(example.sentence)}", soft_wrap=True)
    if any(file.quarantined for file in summary.files):
        note("The bad rows, with line and reason: tutor-pipeline quarantine list")
    if advice is not None:
        done(advice)


def generate_into(session: Session, parameters: Parameters) -> dict[str, int]:
    """Generate and load, with progress. Returns rows per table."""
    from tutor_pipeline.sources.synthetic.generator import generate as make
    from tutor_pipeline.sources.synthetic.load import load
    from tutor_pipeline.sources.synthetic.population import row_count

    note(_generating(parameters))
    population = make(parameters)
    with (
        progress_bar("Loading the platform") as update,
        session.warehouse.connect() as database,
        database.transaction(),
    ):
        # One transaction: a kill leaves a platform and what is known of it, or neither.
        load(database, population, progress=update, on_wait=note)
        _forget_findings_of_another(database, SYNTHETIC, _plain(parameters))
        remember_load(database, SYNTHETIC, _plain(parameters), replaced="tutor-pipeline generate")
    rows = {table: row_count(columns) for table, columns in population.platform.items()}
    done(
        f"Loaded {count(sum(rows.values()), 'row')}, {count(rows['sessions'], 'session')} among"
        " them"
    )
    return rows


def _generating(parameters: Parameters) -> str:
    tutors, days = count(parameters.tutors, "tutor"), count(parameters.days, "day")
    return f"Generating {tutors} over {days}"


def refuse_to_replace_an_import(session: Session) -> None:
    """Raise RefusedError if the platform schema holds imported data, or that of events."""
    last = last_load(session)
    if last == CSV or (last == EVENTS and _has_events(session)):
        what = "imported data" if last == CSV else "what events brought"
        raise RefusedError(
            f"the platform schema holds {what}, which generating would replace.\n"
            "To replace it: tutor-pipeline generate --replace. To keep it, use another"
            " TUTOR_HOME (or TUTOR_PLATFORM_SCHEMA) for the synthetic platform."
        )


def _has_events(session: Session) -> bool:
    with session.warehouse.connect() as database:
        return bool(database.value("select exists (select 1 from {ops}.event_versions)"))


def is_loaded(session: Session, parameters: Parameters) -> bool:
    """Whether the platform schema holds exactly this synthetic platform."""
    with session.warehouse.connect() as database:
        row = database.execute(
            "select kind = %s and parameters = %s from {ops}.platform_loads"
            " order by load_no desc limit 1",
            (SYNTHETIC, Jsonb(_plain(parameters))),
        ).fetchone()
    return row == (True,)


def last_load(session: Session) -> str | None:
    """What filled the platform schema last: synthetic, csv, events, or None."""
    with session.warehouse.connect() as database:
        row = database.execute(
            "select kind from {ops}.platform_loads order by load_no desc limit 1"
        ).fetchone()
    return None if row is None else str(row[0])


def remember_load(
    database: Database, kind: str, parameters: dict[str, Any], *, replaced: str | None
) -> None:
    """Record a load. `replaced`: the command that removed what was there before, None = none."""
    database.execute(
        "insert into {ops}.platform_loads (kind, parameters, loaded_at) values (%s, %s, %s)",
        (kind, Jsonb(parameters), datetime.now(UTC)),
    )
    if replaced is not None:
        losses.accept_next(database, datetime.now(UTC), why=replaced)


def _forget_findings_of_another(database: Database, kind: str, parameters: dict[str, Any]) -> None:
    """Remove alerts and learned versions if another platform has replaced the one they describe.

    Another export of the same platform, or a later end of the same synthetic one, keeps them.
    """
    from tutor_pipeline.judgement.lifecycle import store
    from tutor_pipeline.judgement.scores.departure.students import STUDENTS
    from tutor_pipeline.judgement.scores.departure.tutors import TUTORS
    from tutor_pipeline.judgement.scores.storage import feature_log, score_tables, versions

    last = database.execute(
        "select kind, parameters from {ops}.platform_loads order by load_no desc limit 1"
    ).fetchone()
    if last is None:
        return
    # An import adds to what events brought.
    same = kind in _REAL and last[0] in _REAL
    same = same or (
        last[0] == kind
        # Loads recorded before worlds existed were the ordinary one.
        and {"world": ORDINARY.name, **last[1], "end": None} == {**parameters, "end": None}
    )
    if same:
        return
    if removed := store.clear(database):
        note(f"Removed {count(removed, 'alert')} of the platform that this one replaces")
    score_tables.clear(database)
    for forecast in (TUTORS, STUDENTS):
        versions.forget_learned(
            database,
            forecast.scorer,
            "Forgotten: another platform has replaced the one that it was learned on",
            datetime.now(UTC),
        )
    feature_log.forget(database)
    for of in (Kind.LEAKAGE, Kind.HELD_BACK):
        of_it = [each["subject"] for each in incidents.listed(database, kind=of)]
        incidents.close(database, of, of_it, datetime.now(UTC))


def _forget_truth(database: Database) -> None:
    """Drop the truth of a synthetic platform that an import has replaced."""
    if (schema_mark(database.connection, database.schemas.truth) or "").startswith(MARK):
        database.execute("drop schema {truth} cascade")


def _export(parameters: Parameters, folder: Path) -> dict[str, int]:
    from tutor_pipeline.sources.synthetic.export import export_csv
    from tutor_pipeline.sources.synthetic.generator import generate as make

    note(_generating(parameters))
    rows = export_csv(make(parameters), folder)
    done(f"Wrote {', '.join(f'{name} ({number:,})' for name, number in rows.items())} to {folder}")
    return rows


def _plain(parameters: Parameters) -> dict[str, Any]:
    return {**asdict(parameters), "end": parameters.end.isoformat()}


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--end {text}: write a day as 2026-01-31") from error
