"""The verb simulate: commits sessions to the synthetic platform in real time, or posts events."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tutor_pipeline.cli.console import done, emit_json, err, note, progress_bar, warn
from tutor_pipeline.cli.installation import Session, open_session, yesterday
from tutor_pipeline.cli.options import AsJson, day
from tutor_pipeline.cli.platform_data import SYNTHETIC
from tutor_pipeline.core.errors import RefusedError, UsageError
from tutor_pipeline.core.formatting import count
from tutor_pipeline.sources.synthetic.live_events import Event, Kind, Plan
from tutor_pipeline.sources.synthetic.parameters import Parameters

if TYPE_CHECKING:
    from tutor_pipeline.cli.simulate_posted import Told
    from tutor_pipeline.sources.synthetic.live_player import Summary

SIGNED_BY = "TUTOR_EVENT_SECRET"
"""The environment variable that holds the secret with which events are signed."""

RATE_UNITS = {"day": 86_400, "h": 3_600, "min": 60, "s": 1}
DURATION_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_NUMBER = r"(\d+(?:\.\d+)?)"
_POSTED = "Events instead of a database"
_TUTORS, _DAYS = 30, 30
_SLICE_SECONDS = 0.2  # how soon a signal to stop is noticed


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command()(simulate)


def simulate(
    rate: Annotated[
        str,
        typer.Option(metavar="N/day|h|min|s", help="Average rate of sessions; 0: only the burst."),
    ],
    burst: Annotated[
        int, typer.Option(metavar="N", help="Sessions in the first minute, before the steady rate.")
    ] = 0,
    duration: Annotated[
        str | None, typer.Option("--for", metavar="30s|10m|2h", help="Default: until Ctrl-C.")
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Same seed and tutors: the same events at the same times.")
    ] = 7,
    poor_firsts: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Share of poor first sessions, 0 to 1."),
    ] = 0.0,
    log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Add a JSON line per committed transaction."),
    ] = None,
    post: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Make up a platform and send its life as signed events to the receiver at this"
            " address, past days first. Needs no database here.",
            rich_help_panel=_POSTED,
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The source that sends, as the receiver knows it.",
            rich_help_panel=_POSTED,
        ),
    ] = None,
    secret_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=f"A file with the secret of the source. Default: {SIGNED_BY}.",
            rich_help_panel=_POSTED,
        ),
    ] = None,
    tutors: Annotated[
        int | None, typer.Option(help=f"Default {_TUTORS}.", rich_help_panel=_POSTED)
    ] = None,
    days: Annotated[
        int | None, typer.Option(help=f"Past days; default {_DAYS}.", rich_help_panel=_POSTED)
    ] = None,
    end: Annotated[
        str | None,
        typer.Option(
            metavar="DATE",
            help="The last past day, default yesterday. Same seed, tutors, days and end: the same"
            " events.",
            rich_help_panel=_POSTED,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add sessions to the synthetic platform in real time, as a live platform does.

    Metrics and feedback follow later; some sessions are corrected, moved or deleted. Ctrl-C stops.

    Example: [bold]tutor-pipeline simulate --rate 10000/day --burst 500 --for 10m[/bold]

    With --post it sends signed events instead; with --rate 0 those of the past days alone.

    Example: [bold]TUTOR_EVENT_SECRET=whsec_… tutor-pipeline simulate --post http://127.0.0.1:3040
    --source demo --rate 500/h[/bold]
    """
    per = per_second(rate)
    until = None if duration is None else seconds(duration)
    only_past = post is not None and not per and not burst
    plan = None if only_past else Plan(per, burst, seed, poor_firsts)
    if post is not None:
        if source is None:
            raise UsageError("--post needs --source NAME: the source that the secret was made for")
        made_up = Parameters(
            end=_past_day(end),
            tutors=_TUTORS if tutors is None else tutors,
            days=_DAYS if days is None else days,
            seed=seed,
        )
        _post(Receiver(post, source, _secret(secret_file)), made_up, plan, until, log, as_json)
        return
    for option, value in {
        "--source": source, "--secret-file": secret_file, "--tutors": tutors, "--days": days,
        "--end": end,
    }.items():  # fmt: skip
        if value is not None:
            raise UsageError(f"{option} goes with --post; without it the platform is there already")
    assert plan is not None
    _commit(plan, rate, until, log, as_json)


def _commit(plan: Plan, rate: str, until: float | None, log: Path | None, as_json: bool) -> None:
    """Commit a simulation to the database."""
    from tutor_pipeline.sources.synthetic import live_player
    from tutor_pipeline.sources.synthetic.live_simulation import simulate as simulated

    session = open_session(note)
    with session.warehouse.connect() as database:
        live_player.refuse_others(database)
        cast = live_player.read_cast(database, _parameters(session), datetime.now(UTC))
    started = datetime.now(UTC)
    note(f"Simulating {count(len(cast.tutor_ids), 'tutor')}, sessions at {rate} (Ctrl-C stops)")
    summary, counts = _play(session, simulated(cast, plan, started), until, log)
    if as_json:
        emit_json(
            {"seed": plan.seed, "started_at": started, "ended_at": datetime.now(UTC)}
            | {"tutors": len(cast.tutor_ids), "by_kind": counts}
            | asdict(summary)
        )
    else:
        _report(summary, counts)


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where events are sent, and as whom."""

    url: str
    source: str
    secret: str


def _post(
    receiver: Receiver,
    made_up: Parameters,
    plan: Plan | None,
    until: float | None,
    log: Path | None,
    as_json: bool,
) -> None:
    """Send the past of a made-up platform, then what happens from now on."""
    from tutor_pipeline.cli import simulate_posted as posted
    from tutor_pipeline.sources.events.sending import Sender
    from tutor_pipeline.sources.synthetic import generate
    from tutor_pipeline.sources.synthetic.casting import cast_of_population
    from tutor_pipeline.sources.synthetic.live_simulation import simulate as simulated

    counts: dict[Any, int] = dict.fromkeys(Kind, 0)
    played = posted.Played()
    with ExitStack() as stack:
        write_line = stack.enter_context(_log(log))
        stopped = stack.enter_context(_signals())

        def wait(seconds: float) -> bool:
            return _wait(seconds, stopped)

        sender = Sender(
            receiver.url,
            receiver.source,
            receiver.secret,
            tell=note,
            wait=wait,
            clock=lambda: datetime.now(UTC),
        )
        population = generate(made_up)
        events = posted.history_of(population)
        with progress_bar("Sending events") as progress:
            history = posted.send_history(
                sender, events, progress=progress, is_stopped=lambda: bool(stopped)
            )
        _report_events(f"{count(made_up.days, 'day')} to {made_up.end}", history)
        if plan is not None and not stopped:
            started = datetime.now(UTC)
            cast = cast_of_population(population, started)
            note(f"Going on with {count(len(cast.tutor_ids), 'tutor')} (Ctrl-C stops)")
            status = stack.enter_context(err.status("", refresh_per_second=2))

            def sent(transaction: Event) -> None:
                counts[transaction.kind] += 1
                write_line(log_line(transaction, datetime.now(UTC)))
                status.update(_listed(counts))

            played = posted.play(
                sender, simulated(cast, plan, started), started, until=until, wait=wait, sent=sent
            )
    if plan is not None:
        _report_events(_listed(counts) or "nothing since", played.told)
    if as_json:
        emit_json(
            {"seed": made_up.seed, "end": made_up.end, "tutors": made_up.tutors}
            | {"past": history.statuses, "since": played.told.statuses, "by_kind": counts}
            | {"transactions": played.transactions, "given_up": played.given_up}
        )


def _report_events(what: str, told: Told) -> None:
    statuses = ", ".join(f"{each.replace('_', ' ')} {n:,}" for each, n in told.statuses.items())
    done(f"Sent {count(told.statuses.total(), 'event')} ({what}): {statuses or 'none'}")
    for event_id, problems in told.problems.items():
        warn(f"{event_id} does not count as it is: {', '.join(problems)}")


def _secret(file: Path | None) -> str:
    """The secret of the source. Raises UsageError."""
    if file is None:
        if not (secret := os.environ.get(SIGNED_BY, "").strip()):
            raise UsageError(
                f"{SIGNED_BY} is not set: put the secret of the source there (whsec_…), or into a"
                " file and say --secret-file FILE. Where the receiver runs, make one with"
                " tutor-pipeline events secrets add NAME"
            )
        return secret
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--secret-file {file}: {getattr(error, 'strerror', error)}") from error


def _past_day(end: str | None) -> date:
    """The day, by default yesterday. Raises UsageError for one that is not over."""
    found = yesterday() if end is None else day(end, "--end")
    if found > yesterday():
        raise UsageError(f"--end {end}: name a day that is over (in UTC), {yesterday()} at most")
    return found


def _play(
    session: Session, events: Iterator[Event], until: float | None, log: Path | None
) -> tuple[Summary, dict[Any, int]]:
    """Commit events at their times. Returns a summary and the counts by kind."""
    from tutor_pipeline.sources.synthetic import live_player

    counts: dict[Any, int] = dict.fromkeys(Kind, 0)
    with ExitStack() as stack:
        write_line = stack.enter_context(_log(log))
        stopped = stack.enter_context(_signals())
        progress = stack.enter_context(err.status("", refresh_per_second=2))

        def committed(event: Event) -> None:
            counts[event.kind] += 1
            write_line(log_line(event, datetime.now(UTC)))
            progress.update(_listed(counts))

        summary = live_player.play(
            session.warehouse,
            events,
            until=until,
            committed=committed,
            tell=note,
            wait=lambda seconds: _wait(seconds, stopped),
        )
    return summary, counts


def _report(summary: Summary, counts: Mapping[Any, int]) -> None:
    done(f"Committed {count(summary.transactions, 'transaction')}: {_listed(counts) or 'none'}")
    if summary.outages:
        note(
            f"The database was away {count(summary.outages, 'time')},"
            f" {summary.away_seconds:,.0f} s in all; given up when it was stopped:"
            f" {count(summary.given_up, 'transaction')}"
        )


def per_second(text: str) -> float:
    """Parse a rate like 10000/day to sessions per second. Raises UsageError."""
    found = re.fullmatch(f"{_NUMBER}/({'|'.join(RATE_UNITS)})", text.strip())
    if found is None and re.fullmatch("0+", text.strip()):
        return 0.0
    if found is None:
        raise UsageError(f"--rate {text}: write 10000/day, 500/h, 7/min, 2/s or 0")
    return float(found[1]) / RATE_UNITS[found[2]]


def seconds(text: str) -> float:
    """Parse a duration like 30s, 10m, 2h or 1d to seconds. Raises UsageError."""
    found = re.fullmatch(f"{_NUMBER}([{''.join(DURATION_UNITS)}])", text.strip())
    length = float(found[1]) * DURATION_UNITS[found[2]] if found else 0.0
    if not length:
        raise UsageError(f"--for {text}: write 30s, 10m, 2h or 1d")
    return length


def log_line(event: Event, committed_at: datetime) -> str:
    """One JSON object: what was committed, when COMMIT returned, and which tables it touched."""
    line = {
        "committed_at": committed_at,
        "kind": event.kind,
        "tutor_id": event.tutor_id,
        "session_id": event.session_id,
        "tables": sorted({write.table for write in event.writes}),
        **event.details,
    }
    return json.dumps(line, default=lambda value: value.isoformat())


def _parameters(session: Session) -> Parameters:
    """The parameters of the generated platform. Raises RefusedError if it holds something else."""
    with session.warehouse.connect() as database:
        row = database.execute(
            "select kind, parameters from {ops}.platform_loads order by load_no desc limit 1"
        ).fetchone()
    if row is None:
        raise RefusedError("the platform is empty. Run first: tutor-pipeline generate")
    if row[0] != SYNTHETIC:
        raise RefusedError(
            "the platform schema holds imported data; simulated sessions would mix with it.\n"
            "Use another TUTOR_HOME (or TUTOR_PLATFORM_SCHEMA), and run there first:"
            " tutor-pipeline generate"
        )
    return Parameters(**{**row[1], "end": date.fromisoformat(row[1]["end"])})


@contextmanager
def _log(path: Path | None) -> Iterator[Callable[[str], object]]:
    """Yield a function that appends a whole line to the file at once."""
    if path is None:
        yield lambda _: None
        return
    try:
        file = path.open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        raise UsageError(f"--log {path}: {error.strerror}") from error
    with file:
        yield lambda line: file.write(f"{line}\n")


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Yield a list that receives the first signal to stop. A second signal ends the process."""
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, _: Any) -> None:
        received.append(number)
        is_interrupt = number == signal.SIGINT
        signal.signal(number, signal.default_int_handler if is_interrupt else signal.SIG_DFL)

    for number in before:
        signal.signal(number, stop)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(seconds: float, stopped: list[int]) -> bool:
    """Sleep until the time is over or a signal arrives. Returns whether one arrived."""
    # A sleep continues after a signal, and an Event set by the handler could deadlock.
    end = time.monotonic() + seconds
    while not stopped and (left := end - time.monotonic()) > 0:
        time.sleep(min(left, _SLICE_SECONDS))
    return bool(stopped)


def _listed(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{kind.replace('_', ' ')} {n:,}" for kind, n in counts.items() if n)
