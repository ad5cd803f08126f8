"""The real thing, alive: `tutor-pipeline up`, its daemon, and sessions that `simulate` commits.

    .venv/bin/python benchmarks/live.py latency            # 10 min at 10,000/day, then a burst
    .venv/bin/python benchmarks/live.py latency --for 120 --arms warm
    .venv/bin/python benchmarks/live.py latency --arms warm --busy 3 --pooler
    .venv/bin/python benchmarks/live.py messages           # 4 min at 10,000/day (make install-dev)
    .venv/bin/python benchmarks/live.py endurance          # 10 x the rate, for an hour

latency    seconds from COMMIT of a completed session to the commit that wrote its tutor's findings,
           and to the commit of the alert it opened. Arms, each a part of the same time: `cold`, the
           baseline, in which a refresh ends as soon as nothing waits, so that each session starts
           one; `warm`, as shipped, with how long a start of `up` takes, and late metrics and
           feedback. Then 500 sessions within a minute. `--busy`: beside processes that never rest;
           `--pooler`: through PgBouncer in transaction mode.
messages   seconds from the commit of a pass to the arrival of the mail that tells of it, at a real
           SMTP server, for session reports and for critical alerts; beside them, as the baseline of
           the same run, the seconds from COMMIT of a session to the commit of its pass.
endurance  memory of every process, seconds per pass, and the size of Dagster's own tables, at the
           beginning and at the end.

Each gets an embedded server and a home of its own in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any

import psutil
import psycopg

COMMAND = [sys.executable, "-c", "from tutor_pipeline.cli import main; main()"]
ACTIVE = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED")


def run(*arguments: str, **environment: str) -> None:
    subprocess.run(
        [*COMMAND, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )


def home() -> Path:
    """The benchmark's own TUTOR_HOME."""
    return Path(os.environ["TUTOR_HOME"])


@contextmanager
def beside(processes: int) -> Iterator[None]:
    """Beside processes that never rest."""
    found = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for each in found:
            each.kill()
            each.wait()


@contextmanager
def pooler() -> Iterator[None]:
    """PgBouncer in transaction mode between us and the server. Dagster's own way stays direct."""
    direct, dagster = databases()
    server = psycopg.conninfo.conninfo_to_dict(direct)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = home() / "pgbouncer.ini"
    settings.write_text(
        "[databases]\n* = "
        + " ".join(f"{name}={server[name]}" for name in ("host", "port", "user", "password"))
        + f"\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        "auth_type = any\npool_mode = transaction\n"
        + ("user = nobody\n" if os.geteuid() == 0 else "")
    )
    process = subprocess.Popen([shutil.which("pgbouncer") or "pgbouncer", "-q", str(settings)])
    os.environ["TUTOR_DATABASE_URL"] = (
        f"postgresql://{server['user']}@127.0.0.1:{port}/{server['dbname']}"
    )
    os.environ["TUTOR_DAGSTER_DATABASE_URL"] = dagster
    time.sleep(1)
    try:
        yield
    finally:
        del os.environ["TUTOR_DATABASE_URL"], os.environ["TUTOR_DAGSTER_DATABASE_URL"]
        process.terminate()
        process.wait()


def databases() -> tuple[str, str]:
    """URLs of the pipeline's database and of Dagster's."""
    from tutor_pipeline.core.settings import load_settings

    located = load_settings().locate()
    return located.warehouse.url, located.dagster_url


@contextmanager
def up(**environment: str) -> Iterator[psutil.Process]:
    """`tutor-pipeline up` on a free port, ready when its daemon has ticked."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [*COMMAND, "up", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )
    try:
        _wait_for_tick()
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def _wait_for_tick() -> None:
    began = datetime.now().astimezone()
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with psycopg.connect(databases()[1]) as connection:
            (ticks,) = connection.execute(
                "select count(*) from job_ticks where type = 'SENSOR' and create_timestamp > %s",
                (began.astimezone().replace(tzinfo=None),),
            ).fetchone() or (0,)
        if ticks:
            return
        time.sleep(0.5)
    raise SystemExit("the daemon did not evaluate a sensor within two minutes")


def simulate(log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, "simulate", f"--log={log}", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def events(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


class Watch:
    """How many refreshes were queued at once, and how many ran, looked at twice a second."""

    def __init__(self) -> None:
        self.most = Counter[str]()

    def look(self) -> None:
        with psycopg.connect(databases()[1]) as connection:
            rows = connection.execute(
                "select status, count(*) from runs where pipeline_name = 'post_session_refresh'"
                " and status = any(%s) group by status",
                (list(ACTIVE),),
            ).fetchall()
        found = dict(rows)
        queued = sum(found.get(status, 0) for status in ("QUEUED", "NOT_STARTED", "STARTING"))
        self.most["queued"] = max(self.most["queued"], queued)
        self.most["running"] = max(self.most["running"], found.get("STARTED", 0))


def settle(log: Path, watch: Watch, seconds: float = 240) -> None:
    """Wait until every session of the log is in the ledger."""
    wanted = [(e["tutor_id"], e["session_id"]) for e in events(log) if e["kind"] == "session"]
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        watch.look()
        with psycopg.connect(databases()[0]) as connection:
            (missing,) = connection.execute(
                "select count(*) from unnest(%s::text[], %s::text[]) as wanted (tutor_id, id)"
                " left join ops.session_ledger as ledger"
                " on ledger.tutor_id = wanted.tutor_id and ledger.session_id = wanted.id"
                " left join platform.sessions on sessions.id = wanted.id"
                " and sessions.tutor_id = wanted.tutor_id"
                # One that was moved to another day may lie ahead.
                " where ledger.version is null and sessions.scheduled_start <= now()",
                ([tutor for tutor, _ in wanted], [session for _, session in wanted]),
            ).fetchone() or (0,)
        if not missing:
            return
        time.sleep(0.5)
    print(f"  {missing} sessions are still not processed")


def latencies(log: Path) -> tuple[list[float], list[float], dict[str, list[float]]]:
    """Seconds from commit to findings, from commit to alert, and by stage of the passes."""
    transactions = events(log)
    committed = {
        (e["tutor_id"], e["session_id"]): datetime.fromisoformat(e["committed_at"])
        for e in transactions
        if e["kind"] == "session"
    }
    since = min(committed.values())
    with psycopg.connect(databases()[0]) as connection:
        passes = connection.execute(
            "select run_id, taken_at, settled_at, seconds from ops.refresh_passes"
            " where settled_at >= %s order by settled_at",
            (since,),
        ).fetchall()
        first = connection.execute(
            "select tutor_id, session_id, processed_at from ops.session_ledger"
            " where processed_at >= %s",
            (since,),
        ).fetchall()
        opened = connection.execute(
            "select event.tutor_id, pass.taken_at, pass.settled_at"
            " from ops.alert_events as event"
            " join ops.refresh_passes as pass on pass.run_id = event.run_id"
            " where event.event in ('opened', 'reopened') and pass.settled_at >= %s",
            (since,),
        ).fetchall()
    taken = sorted(at for _, at, _, _ in passes)
    findings, stages = [], defaultdict(list)
    for tutor_id, session_id, processed_at in first:
        at = committed.get((tutor_id, session_id))
        if at is not None:
            # A session that was corrected since is in the ledger with its newest version: the
            # first pass after its commit is the one that made its findings.
            taken_at = next((each for each in taken if each >= at), None)
            settled = [done for _, begun, done, _ in passes if begun == taken_at]
            findings.append(((settled[0] if settled else processed_at) - at).total_seconds())
            if taken_at is not None:
                stages["wait"].append((taken_at - at).total_seconds())
    for _, _, _, seconds in passes:
        for name, value in seconds.items():
            stages[name].append(value)
    # What opened an alert is the tutor's newest transaction that its pass could see. Where that
    # is no session, it came late: metrics and feedback are looked for once a minute.
    alerts = []
    for tutor_id, taken_at, settled_at in opened:
        seen = [
            (at, event["kind"])
            for event in transactions
            if event["tutor_id"] == tutor_id
            and (at := datetime.fromisoformat(event["committed_at"])) <= taken_at
        ]
        if seen and max(seen)[1] == "session":
            alerts.append((settled_at - max(seen)[0]).total_seconds())
    return findings, alerts, stages


def late_rows(log: Path) -> dict[str, list[float]]:
    """Seconds from the commit of late metrics and feedback to the commit of the pass that took
    them, of sessions to which nothing happened after that.
    """
    newest = {}
    for event in events(log):
        newest[event["tutor_id"], event["session_id"]] = event
    with psycopg.connect(databases()[0]) as connection:
        processed = {
            (tutor_id, session_id): at
            for tutor_id, session_id, at in connection.execute(
                "select tutor_id, session_id, processed_at from ops.session_ledger"
                " where pending_since is null and session_id = any(%s)",
                ([session_id for _, session_id in newest],),
            )
        }
    found = defaultdict(list)
    for key, event in newest.items():
        if event["kind"] in ("metrics", "feedback") and key in processed:
            took = (processed[key] - datetime.fromisoformat(event["committed_at"])).total_seconds()
            # Before: the pass of its session was still reading, and took it with it.
            found[event["kind"]].append(max(took, 0))
    return found


def describe(name: str, values: list[float]) -> str:
    if not values:
        return f"{name}: none"
    p95 = quantiles(values, n=20)[-1] if len(values) > 1 else values[0]
    return (
        f"{name}: {len(values)} · median {median(values):.1f} s · p95 {p95:.1f} s"
        f" · most {max(values):.1f} s"
    )


def latency(options: argparse.Namespace) -> None:
    medians = {}
    for arm in options.arms:
        began = time.monotonic()
        log = home() / f"{arm}.jsonl"
        watch = Watch()
        environment = {"TUTOR_LINGER_SECONDS": "0"} if arm == "cold" else {}
        with up(**environment):
            ticked = time.monotonic()
            if arm == "warm":
                _wait_until_one_stands_by()
                ready = time.monotonic()
                print(
                    f"up: first tick after {ticked - began:.0f} s, a refresh stands by after"
                    f" {ready - began:.0f} s"
                )
                print(f"  {_first_sessions(home() / 'first.jsonl')}")
            time.sleep(20)  # what the set-up left to do
            steady = (f"--rate={options.rate}", f"--for={options.seconds}s")
            simulate(log, *steady, "--poor-firsts=0.3", "--seed=11").wait()
            settle(log, watch)
            findings, alerts, stages = latencies(log)
            medians[arm] = median(findings)
            print(f"{arm}: {options.rate} for {options.seconds} s")
            print(f"  {describe('session to findings', findings)}")
            print(f"  {describe('session to alert', alerts)}")
            shares = ", ".join(f"{stage} {mean(each):.2f}" for stage, each in stages.items())
            print(f"  mean seconds by stage: {shares}")
            time.sleep(20)  # for what was late
            for kind, values in late_rows(log).items():
                print(f"  {describe(f'late {kind}', values)}")
            if arm == "warm" and options.burst:
                _burst(options.burst)
    if {"cold", "warm"} <= medians.keys():
        print(f"cold is {medians['cold'] / medians['warm']:.1f} times warm (medians)")


def _wait_until_one_stands_by() -> None:
    from tutor_pipeline.core.settings import load_settings
    from tutor_pipeline.core.warehouse.standing import stands_by

    warehouse = load_settings().locate().warehouse
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with warehouse.connect() as database:
            if stands_by(database):
                return
        time.sleep(0.2)
    raise SystemExit("no refresh stood by within two minutes")


def _first_sessions(log: Path) -> str:
    simulate(log, "--rate=100000/day", "--for=10s", "--seed=15").wait()
    settle(log, Watch())
    return describe("its first 10 seconds: session to findings", latencies(log)[0])


def _burst(sessions: int) -> None:
    log = home() / "burst.jsonl"
    watch = Watch()
    process = simulate(
        log, "--rate=0/day", f"--burst={sessions}", "--for=65s", "--seed=12", "--poor-firsts=0.1"
    )
    while process.poll() is None:
        watch.look()
        time.sleep(0.5)
    settle(log, watch)
    findings, alerts, _ = latencies(log)
    print(f"burst: {sessions} within a minute")
    print(f"  {describe('session to findings', findings)}")
    print(f"  {describe('session to alert', alerts)}")
    print(f"  at most {watch.most['queued']} queued, {watch.most['running']} running")


def messages(options: argparse.Namespace) -> None:
    from aiosmtpd.controller import Controller

    arrived: dict[str, datetime] = {}

    class Mails:
        async def handle_DATA(  # noqa: N802 (aiosmtpd's name)
            self, server: Any, session: Any, envelope: Any
        ) -> str:
            now = datetime.now().astimezone()
            head = envelope.content.partition(b"\r\n\r\n")[0].decode()
            (line,) = [each for each in head.splitlines() if each.startswith("Message-ID:")]
            arrived.setdefault(line.split("<")[1].split("@")[0], now)
            return "250 OK"

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Controller(Mails(), hostname="127.0.0.1", port=port)
    server.start()
    address = f"mailto://127.0.0.1:{port}?from=pipeline@example.com&to=coach@example.com"
    log = home() / "messages.jsonl"
    with up(TUTOR_NOTIFY_SESSIONS=address, TUTOR_NOTIFY_CRITICAL=address):
        time.sleep(20)
        steady = (f"--rate={options.rate}", f"--for={options.seconds}s")
        simulate(log, *steady, "--poor-firsts=0.3", "--seed=14").wait()
        settle(log, Watch())
        time.sleep(75)  # until what was noted last has arrived
    server.stop()
    findings, _, _ = latencies(log)
    with psycopg.connect(databases()[0]) as connection:
        told = connection.execute(
            "select noted.audience, noted.message_id, pass.settled_at from ops.outbox as noted"
            " inner join ops.refresh_passes as pass on noted.run_id = pass.run_id"
            " where noted.dropped is null"
        ).fetchall()
    print(f"messages: {options.rate} for {options.seconds} s")
    print(f"  {describe('session to findings (the baseline)', findings)}")
    for audience in ("sessions", "critical"):
        own = [(message, at) for each, message, at in told if each == audience]
        waits = [
            (arrived[message] - at).total_seconds() for message, at in own if message in arrived
        ]
        late = len(own) - sum(wait < 60 for wait in waits)
        print(f"  {describe(f'findings to mail, {audience}', waits)}; {late} not within a minute")
        if waits:
            print(f"    {median(waits) / median(findings):.1f} times the baseline (medians)")


def endurance(options: argparse.Namespace) -> None:
    log = home() / "endurance.jsonl"
    samples: list[tuple[float, dict[str, float]]] = []
    with up() as parent:
        process = simulate(log, f"--rate={options.rate}", f"--for={options.seconds}s", "--seed=13")
        watch = Watch()
        began = time.monotonic()
        while process.poll() is None:
            samples.append((time.monotonic() - began, _memory(parent)))
            watch.look()
            if len(samples) % 30 == 1:
                print(f"  {samples[-1][0]:5.0f} s  {_sizes()}", flush=True)
            time.sleep(10)
        settle(log, watch)
    print(f"endurance: {options.rate} for {options.seconds} s, {len(events(log))} transactions")
    findings, _, _ = latencies(log)
    half = len(findings) // 2
    print(f"  {describe('session to findings', findings)}")
    print(
        f"  first half {median(findings[:half]):.1f} s, second half {median(findings[half:]):.1f} s"
    )
    tenth = max(len(samples) // 10, 1)
    for name in samples[-1][1]:
        early = [each[name] for _, each in samples[tenth : 3 * tenth] if name in each]
        late = [each[name] for _, each in samples[-2 * tenth :] if name in each]
        if early and late:
            print(f"  {name}: {mean(early):.0f} MB, at the end {mean(late):.0f} MB")
    _passes_over_time()
    print(f"  before housekeeping: {_sizes()}")
    print(f"  at most {watch.most['queued']} queued, {watch.most['running']} running")


def _memory(parent: psutil.Process) -> dict[str, float]:
    """MB of each lasting process below `up`, and of the refreshes together."""
    found: dict[str, float] = defaultdict(float)
    for process in [parent, *parent.children(recursive=True)]:
        try:
            words = " ".join(process.cmdline())
            size = process.memory_full_info().uss / 2**20
        except psutil.Error:
            continue
        for name, mark in (
            ("web server", "dagster_webserver"),
            ("daemon", "dagster._daemon"),
            ("code server", "api grpc"),
            ("refresh", "spawn_main"),
            ("up", "tutor_pipeline.cli"),
        ):
            if mark in words:
                found[name] = max(found[name], size)
                break
    return found


def _sizes() -> str:
    with psycopg.connect(databases()[1]) as connection:
        rows = connection.execute(
            "select relname, pg_total_relation_size(oid) / 1048576.0 from pg_class"
            " where relkind = 'r' and relnamespace = 'public'::regnamespace"
            " order by 2 desc limit 4"
        ).fetchall()
    return "Dagster's tables: " + ", ".join(f"{name} {size:.1f} MB" for name, size in rows)


def _passes_over_time() -> None:
    with psycopg.connect(databases()[0]) as connection:
        rows = connection.execute(
            "select tile, count(*), avg(extract(epoch from settled_at - taken_at))"
            " from (select *, ntile(4) over (order by taken_at) as tile from ops.refresh_passes)"
            " as passes group by tile order by tile"
        ).fetchall()
    quarters = ", ".join(f"{float(seconds):.2f} s" for _, _, seconds in rows)
    print(f"  a pass takes, by quarter of the time: {quarters}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("latency", "messages", "endurance"))
    parser.add_argument("--for", dest="seconds", type=int, help="seconds of steady sessions")
    parser.add_argument("--rate", help="sessions, for instance 10000/day")
    parser.add_argument("--arms", nargs="+", default=["cold", "warm"], choices=("cold", "warm"))
    parser.add_argument("--burst", type=int, default=500, help="sessions within a minute; 0 = none")
    parser.add_argument("--busy", type=int, default=0, help="so many processes that never rest")
    parser.add_argument("--pooler", action="store_true", help="through PgBouncer")
    parser.add_argument("--tutors", type=int, default=3000)
    parser.add_argument("--days", type=int, default=14)
    options = parser.parse_args()
    options.seconds = options.seconds or {"latency": 600, "messages": 240}.get(options.what, 3600)
    options.rate = options.rate or ("100000/day" if options.what == "endurance" else "10000/day")
    folder = Path(tempfile.mkdtemp(prefix="tutor-live-"))
    folder.chmod(0o755)
    os.environ["TUTOR_HOME"] = str(folder)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        size = (f"--tutors={options.tutors}", f"--days={options.days}", "--sessions-per-day=10000")
        run("generate", *size, "--seed=7")
        run("enrich")
        measure = {"latency": latency, "messages": messages, "endurance": endurance}[options.what]
        with pooler() if options.pooler else nullcontext(), beside(options.busy):
            measure(options)
    finally:
        run("down", "--delete")
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
