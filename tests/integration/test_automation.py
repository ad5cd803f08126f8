"""`tutor-pipeline up` as users run it, with a platform that lives, and processes that die.

Sessions come once a second, with all that happens to them later, while a run, the code server, the
daemon and PostgreSQL itself are ended. Afterwards the tables are those of a full refresh.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.integration.conftest import COMMAND, Project
from tests.integration.refreshes import differences, tables, until
from tutor_pipeline.cli.services import members
from tutor_pipeline.core.warehouse.embedded import DAGSTER_DATABASE, EmbeddedServer
from tutor_pipeline.core.warehouse.locks import one_writer
from tutor_pipeline.sources.changes import ledger

pytestmark = pytest.mark.long

SECONDS = 240
"""Within them the pipeline recovers from anything."""

PARTS = {
    "daemon": "dagster._daemon",
    "code server": "api grpc",
    "run": "spawn_main",
}
"""What the command line of each of Dagster's processes contains."""


class Life:
    """A project with a server of its own, `up`, and what `simulate` says it committed."""

    def __init__(self, home: Path, zygote) -> None:
        self.home = home
        self.server = EmbeddedServer(home / "database")
        url = self.server.ensure_running()
        self.project = Project(
            home,
            url,
            zygote,
            {
                "TUTOR_DAGSTER_DATABASE_URL": self.server.url(DAGSTER_DATABASE),
                "TUTOR_AUTOMATION": "on",
                # Rules that look at nobody else: passes and a full refresh say the same.
                "TUTOR_RULE_PROFILE": "conservative",
                # No day begins while tables are compared.
                "TUTOR_TIMEZONE": "UTC" if datetime.now(UTC).hour < 23 else "Etc/GMT-12",
            },
        )
        self.port = 0
        self.process: psutil.Popen | None = None

    def start(self) -> None:
        """`up`, as somebody starts it, and again after it has died."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        with (self.home / "up.log").open("ab") as log:
            self.process = psutil.Popen(
                [*COMMAND, "up", "--port", str(self.port)],
                stdout=log,
                stderr=log,
                env=self.project.environment,
            )

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    def find(self, part: str) -> list[psutil.Process]:
        """Processes below `up` that are alive."""
        assert self.process is not None
        found = []
        for process in self.process.children(recursive=True):
            try:
                if PARTS[part] in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def kill(self, part: str) -> None:
        processes = self.find(part)
        assert processes, f"no {part} to kill"
        for process in processes:
            process.kill()

    @contextmanager
    def simulation(self, log: Path, *arguments: str) -> Iterator[None]:
        """Sessions go on coming."""
        process = subprocess.Popen(
            [*COMMAND, "simulate", "--log", str(log), *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.project.environment,
        )
        try:
            yield
            process.send_signal(signal.SIGTERM)
            assert process.wait(90) == 0
        finally:
            process.kill()
            process.wait()

    def goes_on(self) -> None:
        """Wait until a pass has begun and ended since now."""
        ((now,),) = self.project.query("select clock_timestamp()")
        newer = "select 1 from ops.refresh_passes where taken_at > %s limit 1"

        def has_gone_on():
            assert self.process.poll() is None, "up has ended"
            return self.project.query(newer, now)

        until(has_gone_on, "something is processed", SECONDS)

    def is_at_work(self) -> None:
        """Wait until a refresh has taken something and not settled it."""
        taken = "select 1 from ops.session_changes limit 1"
        until(lambda: self.project.query(taken), "a refresh is at work", SECONDS)

    def has_caught_up(self) -> bool:
        """Whether nothing differs from what was processed, feedback and metrics included."""
        warehouse = self.project.warehouse
        with warehouse.connect(autocommit=True) as connection:
            queue = ledger.compare(connection, datetime.now(UTC), whole=True)
        return queue == ledger.Queue(0, 0, None, 0)

    def ask(self, query: str):
        """What the UI would be told."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql",
            data=json.dumps({"query": query}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            answer = json.loads(response.read())
        assert "errors" not in answer, answer
        return answer["data"]


@pytest.fixture(scope="module")
def life(zygote):
    # Entered by the server's user: as root, it is another one.
    home = Path(tempfile.mkdtemp(prefix="tutor-automation-"))
    home.chmod(0o755)
    life = Life(home, zygote)
    life.project.run("generate", "--tutors", "30", "--days", "20")
    life.start()
    yield life
    life.stop()
    life.server.delete()
    shutil.rmtree(home, ignore_errors=True)


def test_an_empty_ledger_leads_to_one_full_refresh_by_itself(life):
    filled = "select count(*) > 0 from ops.session_ledger where version is not null"
    until(lambda: life.project.query(filled) == [(True,)], "the ledger is filled", SECONDS)
    # Messages may be on their way by then.
    until(lambda: finished(life, "daily_refresh") == ["SUCCESS"], "one refresh of all", SECONDS)


def finished(life, job):
    """How the runs of a job stand, oldest first."""
    with psycopg.connect(life.project.settings["TUTOR_DAGSTER_DATABASE_URL"]) as connection:
        rows = connection.execute(
            "select status from runs where pipeline_name = %s order by id", (job,)
        )
        return [status for (status,) in rows]


@pytest.mark.timeout(900)
def test_a_run_that_is_killed_and_a_database_that_goes_lose_nothing(life):
    outlives(life, "run", "database")


def test_people_see_what_waits_and_what_a_pass_did(life):
    depth_and_age = re.compile(r"\d+ changes? of \d+ tutors? waits?, oldest \d+")
    passes = "select count(*) from ops.refresh_passes"

    def is_ready():
        return life.project.json("status")["waiting"]["a_refresh_stands_by"]

    until(is_ready, "a refresh stands by, and the status says so", SECONDS)
    ((before,),) = life.project.query(passes)
    with one_writer(life.project.warehouse, "refresh"):  # so that something has to wait
        life.project.execute(
            "update platform.sessions set overall_session_score = 6 where id in (select id from"
            " platform.sessions where status = 'completed' order by scheduled_start desc limit 3)"
        )
        until(
            lambda: any(map(depth_and_age.search, reasons(life))),
            f"a reason that says how much waits, among {reasons(life)}",
            SECONDS,
        )
    # Which run takes them is open: one that lingers from before may.
    until(lambda: life.project.query(passes) > [(before,)], "a pass has ended", SECONDS)
    until(life.has_caught_up, "nothing waits", SECONDS)

    asset = """{assetOrError(assetKey: {path: ["%s", "%s"]}) {... on Asset {
        assetMaterializations(limit: 50) {metadataEntries {label
        ... on IntMetadataEntry {intValue} ... on FloatMetadataEntry {floatValue}}}}}}"""
    for path in (("marts", "tutor_aggregates"), ("ops", "alerts"), ("ops", "session_ledger")):
        until(
            lambda path=path: "changes_taken" in str(life.ask(asset % path)),
            f"{path} has been made",
            SECONDS,
        )
        found = life.ask(asset % path)["assetOrError"]["assetMaterializations"]
        numbers = [
            {
                each["label"]: each.get("intValue", each.get("floatValue"))
                for each in one["metadataEntries"]
            }
            for one in found
        ]
        plotted = [each for each in numbers if each.get("changes_taken")]
        assert plotted, path
        assert all(each["oldest_change_seconds"] >= 0 for each in plotted)


def reasons(life):
    """Why the sensor started nothing, in its newest ticks."""
    sensor = """{sensorOrError(sensorSelector: {repositoryName: "__repository__",
        repositoryLocationName: "tutor_pipeline", sensorName: "new_sessions"}) {
        ... on Sensor {sensorState {ticks(limit: 20) {skipReason}}}}}"""
    ticks = life.ask(sensor)["sensorOrError"]["sensorState"]["ticks"]
    return [tick["skipReason"] for tick in ticks if tick["skipReason"]]


@pytest.mark.timeout(900)
def test_a_daemon_and_a_code_server_that_are_killed_lose_nothing(life):
    outlives(life, "daemon", "code server")


def outlives(life, *parts):
    """End each part while a refresh is at work: another one goes on, and all is as it should be."""
    log = life.home / f"{parts[0]}.jsonl"
    with life.simulation(log, "--rate", "1/s", "--poor-firsts", "0.3"):
        life.goes_on()
        for part in parts:
            life.is_at_work()
            group = os.getpgid(life.find("daemon")[0].pid)
            if part == "database":
                life.server.stop()
                time.sleep(20)
                life.server.ensure_running()
            else:
                life.kill(part)
            if part == "daemon":
                assert life.process.wait(90) == 1  # without its daemon it does not stay up
                assert members(group, part="") == [], "its runs end with it"
                life.start()
            life.goes_on()
    until(life.has_caught_up, "nothing waits", SECONDS)
    everything_is_processed(life, log)

    moment = datetime.now(UTC)
    before = tables(life.project.url, moment)
    life.project.run("enrich")
    assert differences(before, tables(life.project.url, moment)) == {}


def everything_is_processed(life, log):
    """Every session that was committed, and each alert once."""
    query = life.project.query
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    committed = {line["session_id"] for line in lines if line["kind"] == "session"}
    assert len(committed) > 30
    there = {
        session
        for (session,) in query(
            "select id from platform.sessions where id = any(%s) and scheduled_start <= now()",
            list(committed),
        )
    }
    gone = {line["session_id"] for line in lines if line["kind"] in ("deletion", "moved_to_day")}
    assert committed - there <= gone
    processed = {
        session
        for (session,) in query(
            "select session_id from ops.session_ledger join platform.sessions"
            " on sessions.id = session_id and sessions.tutor_id = session_ledger.tutor_id"
            " where version is not null and pending_since is null"
        )
    }
    assert there - processed <= {
        line["session_id"] for line in lines if line["kind"] == "moved_to_day"
    }, "one that was moved out of the window before it was seen waits for the daily refresh"
    opened = query("select count(*) from ops.alerts where session_id = any(%s)", list(committed))
    assert opened != [(0,)]
    assert (
        query(
            "select tutor_id, alert_type from ops.alerts where resolved_at is null"
            " group by 1, 2 having count(*) > 1"
        )
        == []
    )
    # What happened to an alert: opened, then by turns resolved and opened again.
    assert (
        query(
            "select tutor_id, alert_id, event from ("
            "  select *, lag(event) over (partition by tutor_id, alert_id order by event_no)"
            "    as earlier from ops.alert_events"
            "  where event in ('opened', 'reopened', 'resolved')) as events"
            " where (event = 'opened') <> (earlier is null)"
            "  or (event = 'resolved') = (coalesce(earlier, 'resolved') = 'resolved')"
        )
        == []
    )
