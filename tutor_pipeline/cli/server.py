"""Verbs around the server and the UI: demo, up, down, status, env."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Annotated, Any

import psycopg
import typer
from filelock import FileLock, Timeout
from rich.markup import escape
from rich.table import Table

from tutor_pipeline.cli import desk
from tutor_pipeline.cli.console import done, emit_json, note, out, warn
from tutor_pipeline.cli.installation import (
    Session,
    check_dagster_database,
    embedded_server,
    open_session,
    program,
    yesterday,
)
from tutor_pipeline.cli.options import AsJson
from tutor_pipeline.cli.services import (
    end_group,
    free_port,
    keep_code_server,
    running_group,
)
from tutor_pipeline.core.errors import RefusedError, TutorPipelineError
from tutor_pipeline.core.formatting import agree, count, visible
from tutor_pipeline.core.paths import PROJECT_DIR
from tutor_pipeline.core.settings import Settings, load_settings
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.standing import stands_by

if TYPE_CHECKING:
    from tutor_pipeline.sources.events.inbox import Queue

_END_SECONDS = 30
_ALIVE_SECONDS = 120
"""A daemon whose last heartbeat is older than this is not running."""


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command()(demo)
    app.command()(up)
    app.command()(down)
    app.command()(status)
    app.command()(env)


def demo() -> None:
    """Generate the default synthetic platform, run the whole pipeline, show who needs attention.

    Example: [bold]tutor-pipeline demo[/bold] (a second time changes nothing)
    """
    from tutor_pipeline.cli import alerts, attention, enrich, platform_data
    from tutor_pipeline.cli.launch import deliver_messages, refresh, snapshots
    from tutor_pipeline.sources.synthetic.parameters import Parameters

    session = open_session(note)
    end = yesterday()
    parameters = Parameters(end=end)
    platform_data.refuse_to_replace_an_import(session)
    if platform_data.is_loaded(session, parameters):
        done(f"The synthetic platform of {end} is there already")
    else:
        platform_data.generate_into(session, parameters)
    outcome = refresh()
    if not outcome.success:
        enrich.report(outcome, False)
        raise typer.Exit(1)
    days = snapshots(end - timedelta(days=parameters.days - 1), end)
    if not days.success:
        enrich.report(days, False)
        raise typer.Exit(1)
    exported = alerts.export_alerts(session, session.reports / "alerts.csv", include_resolved=True)
    told = deliver_messages()
    out.print()
    shown = attention.show_attention(session, limit=8)
    out.print()
    out.print(_held_against_the_truth(session), soft_wrap=True)
    out.print()
    out.print(f"All alerts   {exported}", soft_wrap=True)
    out.print(f"The data     {outcome.report}", soft_wrap=True)
    if told.success:
        out.print(f"Messages     {session.settings.messages_dir}", soft_wrap=True)
    if shown:
        out.print(f"One tutor    .venv/bin/tutor-pipeline tutor {shown[0]['tutor_id']}")
    out.print("The pages    make up, then open the link that it prints: what administrators see")


def _held_against_the_truth(session: Session) -> str:
    """Print how accurate the levels are: the truth of a synthetic platform is known."""
    from tutor_pipeline.steps.backtest_tutors import levels_and_truth

    with session.warehouse.connect() as database:
        counts = levels_and_truth(database)
    at_risk = sum(of_them for _, of_them in counts.values())
    high, right = counts.get("High", (0, 0))
    medium = counts.get("Medium", (0, 0))[1]
    return (
        f"The truth of this synthetic platform: {right:,} of the {count(high, 'tutor')} called High"
        f" {agree(right, 'is', 'are')} about to leave; of all {at_risk:,} who are,"
        f" {right + medium:,} {agree(right + medium, 'is', 'are')} High or Medium."
    )


def up(
    port: Annotated[int | None, typer.Option(help="Port of the UI; default TUTOR_UI_PORT.")] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. The UI has no login: keep it local.")
    ] = "127.0.0.1",
) -> None:
    """Start the desk, the Dagster UI, its daemon, and the server of the validation reports.

    Ctrl-C stops them; PostgreSQL keeps running.

    Example: [bold]tutor-pipeline up --port 3001[/bold]
    """
    session = open_session(note)
    check_dagster_database()
    pid_file = session.settings.home / "up.pid"
    _only_one = _refuse_another(session, pid_file)  # held as long as this process lives
    chosen = free_port(
        host, port or session.settings.ui_port, is_wish=port is not None, option="--port"
    )
    from tutor_pipeline.defs.common.dbt_manifest import load_manifest

    load_manifest(session.settings)
    if host not in ("127.0.0.1", "localhost", "::1"):
        warn(f"listening on {host}: Dagster has no login, put a reverse proxy in front of it")
        if session.settings.reports_url is None:
            warn("links to the validation reports lead to this machine: set TUTOR_REPORTS_URL")
    reports = _serve_reports(session, host, chosen)
    desk_port = desk.choose_port(session.settings, session.settings.desk_host, taken=(chosen,))
    note(f"Starting Dagster; the UI will be at http://{host}:{chosen} (Ctrl-C stops it)")
    _fail_runs_left_behind()
    child = _start_dagster(host, chosen)
    pid_file.write_text(str(child.pid))
    url = f"http://{host}:{chosen}"
    ready = (host, chosen, reports, session, desk_port)
    Thread(target=_say_when_ready, args=ready, daemon=True).start()
    Thread(target=keep_code_server, args=(child.pid, url, warn), daemon=True).start()
    ending = Event()
    served = Thread(
        target=desk.keep, args=(session.settings.desk_host, desk_port, ending, warn), daemon=True
    )
    served.start()

    def end(*_: object) -> None:
        pid_file.unlink(missing_ok=True)
        ending.set()
        end_group(child.pid)

    signal.signal(signal.SIGTERM, end)
    try:
        child.wait()
    except KeyboardInterrupt:
        pid_file.unlink(missing_ok=True)
    # A caller that stops it removes the file first. If it ends by itself, for instance because one
    # of its processes was killed, Dagster's exit status still reports success.
    is_wanted = not pid_file.exists()
    end()
    served.join(10)
    _fail_runs_left_behind(daemon_ended=True)
    if not is_wanted:
        warn("Dagster ended by itself: its last lines say why")
        raise typer.Exit(1)


def _refuse_another(session: Session, pid_file: Path) -> FileLock:
    """Raise RefusedError if the UI is up already. Returns the lock, which refuses a second start,
    even a concurrent one.
    """
    only_one = FileLock(session.settings.home / "up.lock", timeout=0)
    try:
        only_one.acquire()
        is_up = running_group(pid_file) is not None
    except Timeout:
        is_up = True
    if is_up:
        raise RefusedError(
            "the UI of this project is up already.\n"
            "Stop it with `tutor-pipeline down --ui-only`, or with Ctrl-C where it runs."
        )
    return only_one


def _start_dagster(host: str, port: int) -> subprocess.Popen[bytes]:
    workspace = PROJECT_DIR / "workspace.yaml"
    # A background process of a shell ignores SIGINT. Dagster would inherit that, and it ends on
    # SIGTERM only if it may end on SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A separate process group: Dagster leaves code servers behind unless the whole group is ended.
    return subprocess.Popen(
        [program("dagster"), "dev", "-w", str(workspace), "-h", host, "-p", str(port)],
        cwd=os.environ["DAGSTER_HOME"],
        env={
            **os.environ,
            "TUTOR_AUTOMATION": os.environ.get("TUTOR_AUTOMATION", "on"),
            # glibc keeps freed memory for each thread, and a code server has many: it would grow by
            # a megabyte a minute for hours.
            "MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", "2"),
            # Each process that a code server starts would be told of in the log.
            "GRPC_VERBOSITY": os.environ.get("GRPC_VERBOSITY", "ERROR"),
            # Its successor `dg dev` is a tool for developers, which users need not install.
            "PYTHONWARNINGS": "ignore:Function `dev_command` is superseded",
        },
        start_new_session=True,
    )


def down(
    ui_only: Annotated[bool, typer.Option("--ui-only", help="Leave PostgreSQL running.")] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete the embedded server's data as well.")
    ] = False,
) -> None:
    """Stop the UI and the embedded PostgreSQL. An external server is never stopped.

    Example: [bold]tutor-pipeline down[/bold]
    """
    settings = load_settings()
    ui = running_group(settings.home / "up.pid")
    if ui is not None:
        (settings.home / "up.pid").unlink(missing_ok=True)
        end_group(ui)
        _wait_until_up_has_ended(settings)
        done("Stopped the UI")
    if not ui_only:
        if embedded_server(settings).stop():
            done("Stopped the embedded PostgreSQL")
        elif ui is None:
            done("Nothing was running")
        if delete:
            embedded_server(settings).delete()
            done("Deleted its data")


def _wait_until_up_has_ended(settings: Settings) -> None:
    """`up` notes what it left behind in the database, which is stopped next."""
    with suppress(Timeout), FileLock(settings.home / "up.lock", timeout=_END_SECONDS):
        pass


def status(as_json: AsJson = False) -> None:
    """Show the database, row counts, whether automation runs, what waits, what is broken.

    Example: [bold]tutor-pipeline status --json[/bold]
    """
    settings = load_settings()
    server = embedded_server(settings).status()
    if settings.database_url is None and not server.running:
        what = "stopped" if server.exists else "not made yet"
        if as_json:
            emit_json({"database": {"embedded": True, "state": what}})
        else:
            out.print(f"The embedded PostgreSQL is {what}. Start it with: make demo, or make up")
        return
    session = open_session()
    facts = _facts(session)
    if as_json:
        emit_json(facts)
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for group, values in facts.items():
        for number, (name, value) in enumerate(values.items()):
            is_count = isinstance(value, int) and not isinstance(value, bool)
            shown = "–" if value is None else f"{value:,}" if is_count else value
            heading = f"[bold]{group.replace('_', ' ')}[/bold]" if number == 0 else ""
            table.add_row(heading, name.replace("_", " "), escape(str(shown)))
    out.print(table)


def env() -> None:
    """Print exports with which plain dagster, dg, dbt and psql use the same database.

    Example: [bold]eval "$(tutor-pipeline env)"; dg check defs; psql[/bold]
    """
    session = open_session(note)
    for name, value in session.environment().items():
        typer.echo(f"export {name}={shlex.quote(value)}")
    beside = Path(sys.executable).parent
    if str(beside) not in os.environ.get("PATH", "").split(os.pathsep):
        typer.echo(f'export PATH={shlex.quote(str(beside))}:"$PATH"')


def _facts(session: Session) -> dict[str, dict[str, Any]]:
    from tutor_pipeline.core.warehouse import reporting
    from tutor_pipeline.people import incidents
    from tutor_pipeline.people.notify import delivery_status
    from tutor_pipeline.people.reports import status_queries
    from tutor_pipeline.sources.changes import ledger
    from tutor_pipeline.sources.events import inbox, overview

    now = datetime.now(UTC)
    with session.warehouse.connect() as database:
        counts = status_queries.status(database)
        server = database.info.server_version
        views = reporting.described(database)
        queue = ledger.waiting(database, now)
        last_pass = status_queries.last_pass(database)
        broken = incidents.listed(database)
        messages = delivery_status.counts(database)
        is_ready = stands_by(database)
        events = inbox.queue(database) if overview.is_used(database) else None
        unknown = overview.unknown_types(database) if events else []
    settings = session.settings
    return {
        "database": {
            "where": session.warehouse.masked_url,
            "embedded": session.located.is_embedded,
            "server": f"PostgreSQL {server // 10_000}.{server % 10_000}",
            "platform_schema": settings.platform_schema,
            "mapping": settings.source_map and str(settings.source_map),
            "our_schemas": ", ".join(settings.schemas.ours),
            "views_for_readers": views,
            "time_zone": settings.timezone,
            "home": str(settings.home),
        },
        "versions": {
            name: version(name) for name in ("tutor-pipeline", "dagster", "dbt-core", "psycopg")
        },
        "rows": counts["rows"],
        "data": counts["data"],
        **_dagster_facts(now),
        "waiting": {
            "changes": queue.changes,
            "tutors": queue.tutors,
            "oldest": queue.oldest_at and queue.oldest_at.isoformat(" ", "seconds"),
            "set_aside": queue.set_aside,
            "a_refresh_stands_by": is_ready,
        },
        "last_pass": last_pass,
        **(_events(events, len(unknown)) if events else {}),
        "messages": {
            "to_be_told_later": messages["noted"],
            "on_their_way": messages["waiting"],
            "failing": messages["failing"],
            "dead": messages["dead"],
        },
        "incidents": {
            "open": len(broken),
            **{f"{each['kind']} {visible(each['subject'])}": each["title"] for each in broken},
        },
    }


def _events(queue: Queue, unknown_types: int) -> dict[str, dict[str, Any]]:
    return {
        "events": {
            "waiting": queue.waiting,
            "oldest": queue.oldest_at and queue.oldest_at.isoformat(" ", "seconds"),
            "quarantined": queue.quarantined,
            "unknown_types": unknown_types,
            "dead": queue.dead,
        }
    }


def _dagster_facts(now: datetime) -> dict[str, dict[str, Any]]:
    import dagster as dg

    try:
        check_dagster_database()
    except TutorPipelineError as error:
        # What else is known is shown all the same.
        return {"automation": {"unknown": " ".join(str(error).splitlines())}, "last_run": {}}
    with dg.DagsterInstance.get() as instance:
        return {"automation": _automation(instance, now), "last_run": _last_run(instance)}


def _automation(instance: Any, now: datetime) -> dict[str, Any]:
    """Whether the daemon is alive and watches for new sessions, by their own heartbeats."""
    from dagster._core.scheduler.instigation import InstigatorType, TickStatus

    beat = instance.get_daemon_heartbeats().get("SENSOR")
    states = [
        state
        for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
        if state.instigator_name == "new_sessions" and state.instigator_data is not None
    ]
    looks = [state.instigator_data.last_tick_start_timestamp for state in states]
    looked = max((look for look in looks if look is not None), default=None)
    said = [
        tick.skip_reason
        for state in states
        for tick in instance.get_ticks(
            state.instigator_origin_id, state.selector_id, limit=1, statuses=[TickStatus.SKIPPED]
        )
    ]

    def is_recent(seconds: float | None) -> bool:
        return seconds is not None and now.timestamp() - seconds < _ALIVE_SECONDS

    return {
        "daemon": "running" if is_recent(beat and beat.timestamp) else "not running",
        "new_sessions": "on" if is_recent(looked) else "off",
        "looked": looked and datetime.fromtimestamp(looked, UTC).isoformat(" ", "seconds"),
        "says": next(iter(said), None),
    }


def _last_run(instance: Any) -> dict[str, Any]:
    records = instance.get_run_records(limit=1)
    if not records:
        return {"run": None}
    record = records[0]
    began = record.start_time
    return {
        "run": record.dagster_run.run_id,
        "job": record.dagster_run.job_name,
        "status": record.dagster_run.status.value,
        "started": datetime.fromtimestamp(began, UTC).isoformat(" ", "seconds") if began else None,
        "seconds": round(record.end_time - began, 1) if began and record.end_time else None,
    }


def _fail_runs_left_behind(*, daemon_ended: bool = False) -> None:
    """End runs left "running" by a crash or a stop; they would block their successors for hours.
    Does nothing if another daemon may work on them.
    """
    import dagster as dg

    statuses = [getattr(dg.DagsterRunStatus, name) for name in ("STARTING", "STARTED", "CANCELING")]
    try:
        with dg.DagsterInstance.get() as instance:
            beat = instance.get_daemon_heartbeats().get("SENSOR")
            is_quiet = beat is None or time.time() - beat.timestamp > _ALIVE_SECONDS
            if not (daemon_ended or is_quiet):
                return
            for run in instance.get_runs(dg.RunsFilter(statuses=statuses)):
                if run.remote_job_origin is None:
                    continue  # one of the command line
                if daemon_ended:
                    instance.report_run_canceled(run, "Dagster was stopped.")
                else:
                    instance.report_run_failed(run, "The Dagster that launched it is gone.")
    except Exception as error:  # the database may be gone as well, and is no reason not to end
        warn(f"runs left behind still count as running: {error}")


def _serve_reports(session: Session, host: str, ui_port: int) -> str:
    """Serve the validation reports from a thread, on a fixed port. Returns their URL."""
    from tutor_pipeline.people.reports.serve import serve

    settings = session.settings
    port = free_port(
        host,
        settings.reports_port_in_use,
        is_wish=settings.reports_port is not None,
        option="TUTOR_REPORTS_PORT",
        taken=(ui_port,),
    )
    serve(settings.reports_dir, host, port, settings.reports_url)
    settings.reports_port_file.write_text(str(port))
    return settings.report_address("")


def _say_when_ready(host: str, port: int, reports: str, session: Session, desk_port: int) -> None:
    url = f"http://{host}:{port}"
    for _ in range(180):
        time.sleep(1)
        with suppress(OSError), socket.create_connection((host, port), timeout=2):
            done(f"Ready: {url}/assets/ops/alerts and {url}/runs; validation report: {reports}")
            break
    # Last: Dagster writes dozens of lines while it starts.
    _say_where_the_desk_is(session, desk_port)
    _say_when_one_stands_by(session.warehouse)


def _say_where_the_desk_is(session: Session, port: int) -> None:
    """Tell the address of the desk; on a machine of one's own, with a link that signs in."""
    settings = session.settings
    if not desk.wait_until_served(settings.desk_host, port):
        return
    if not desk.is_loopback(settings.desk_host):
        done(f"What administrators see: {settings.desk_address}")
        return
    done(f"What administrators see: {settings.desk_address}; to sign in, once, within 10 minutes:")
    done(desk.sign_in_link(settings, session.warehouse))
    note("Another link: tutor-pipeline desk link; accounts: tutor-pipeline users add NAME")


def _say_when_one_stands_by(warehouse: Warehouse) -> None:
    """Tell when a session finds a refresh that is ready; never, where nothing starts one."""
    for _ in range(180):
        with suppress(TutorPipelineError, psycopg.Error), warehouse.connect() as database:
            if stands_by(database):
                done("A refresh stands by: what a session changes is there a second later")
                return
        time.sleep(1)
