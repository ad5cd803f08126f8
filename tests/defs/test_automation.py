"""Sensors and schedules on a real instance (as deploy/dagster.yaml says) and a real database."""

import json
import os
import shutil
import socket
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._utils.schedules import schedule_execution_time_iterator

from tutor_pipeline.cli.server import _fail_runs_left_behind
from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.settings import Settings
from tutor_pipeline.core.warehouse.platform import reserve
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun, write_header
from tutor_pipeline.core.warehouse.standing import present
from tutor_pipeline.definitions import build_defs, defs
from tutor_pipeline.defs import new_sessions
from tutor_pipeline.defs.common import run_records
from tutor_pipeline.defs.common.warehouse_resource import WarehouseResource
from tutor_pipeline.defs.incidents import THE_OTHERS, build_incident_sensors
from tutor_pipeline.defs.new_sessions import (
    BEGINS_WITHIN,
    ENDED_AT_ONCE,
    ENDS_WITHIN,
    build_new_sessions_sensor,
)
from tutor_pipeline.defs.refresh_after_sessions import (
    LINGERS_FOR,
    STANDS_BY_FOR,
    fingerprint,
    is_on,
)
from tutor_pipeline.defs.schedules import build_schedules, days_due
from tutor_pipeline.judgement.quality.guard import Required
from tutor_pipeline.judgement.quality.outcome import Outcome, Status
from tutor_pipeline.judgement.quality.results import record
from tutor_pipeline.people import incidents
from tutor_pipeline.sources.changes import ledger
from tutor_pipeline.sources.events import applying
from tutor_pipeline.sources.losses import Limits, accept
from tutor_pipeline.steps import losses
from tutor_pipeline.steps.names import Job

PROJECT = Path(__file__).parents[2]
REQUIRED = Required("marts/fct_sessions", "known")
STOPPED = dg.DefaultSensorStatus.STOPPED


class Failing(dg.Config):
    message: str | None = None


@dg.op
def work(config: Failing) -> None:
    if config.message:
        raise ValueError(config.message)


def job(name):
    @dg.job(name=name, executor_def=dg.in_process_executor)
    def made():
        work()

    return made


DAILY, JOB = Job.DAILY_REFRESH, Job.POST_SESSION_REFRESH
CODE = JobPythonOrigin(
    JOB, RepositoryPythonOrigin(sys.executable, ModuleCodePointer("tests", "jobs"))
)
JOBS = {name: job(name) for name in (JOB, DAILY)}


def asset(name):
    @dg.asset(name=name, key_prefix="marts")
    def made(config: Failing) -> None:
        if config.message:
            raise ValueError(config.message)

    return made


OF_ASSETS = dg.Definitions(
    [asset("a"), asset("b")], executor=dg.in_process_executor
).resolve_implicit_global_asset_job_def()


class Place:
    """A platform, its warehouse, and a Dagster instance."""

    def __init__(self, warehouse, instance):
        self.warehouse = warehouse
        self.instance = instance
        self.number = 0
        self.sensors = {
            sensor.name: sensor
            for sensor in (
                build_new_sessions_sensor(JOBS, [REQUIRED], STOPPED, wait_seconds=0),
                *build_incident_sensors([REQUIRED], STOPPED),
            )
        }
        self.cursors = {}

    def execute(self, text, *parameters):
        with self.warehouse.connect() as database:
            cursor = database.execute(text, parameters)
            return cursor.fetchall() if cursor.description else []

    def session(self, tutor="T1", days=1.0):
        self.number += 1
        self.execute(
            "insert into {platform}.sessions (id, tutor_id, student_id, subject, session_number,"
            " scheduled_start, status) values (%s, %s, 'S1', 'Math', 1, %s, 'completed')",
            f"s{self.number}", tutor, datetime.now(UTC) - timedelta(days=days),
        )  # fmt: skip

    def fill(self):
        with self.warehouse.connect(autocommit=True) as database:
            ledger.take_all(database, "full", datetime.now(UTC))
            with database.transaction():
                ledger.settle(database, "full")

    def check(self, status=Status.PASSED, run_id="full", **of):
        outcome = Outcome(REQUIRED.asset, REQUIRED.check, "suite", "All are known.", "error", True,
                          status, **of)  # fmt: skip
        with self.warehouse.connect() as database:
            record(database, run_id, datetime.now(UTC), [outcome])

    def ready(self):
        """As after a full refresh of one old session."""
        self.session(days=5)
        write_header(self.warehouse, RefreshRun("full", datetime.now(UTC)))
        self.fill()
        self.check()

    def look(self, name="new_sessions"):
        """Evaluate a sensor: its run request, or why it skips."""
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(name),
            resources={"warehouse": WarehouseResource()},
        )
        result = self.sensors[name](context)
        if isinstance(result, dg.SkipReason):
            return result.skip_message
        self.cursors[name] = result.cursor
        if result.run_requests:
            return result.run_requests[0]
        return result.skip_reason.skip_message

    def create(self, name, launched=True, made=None, **of):
        """A run that a sensor or the UI asks for, or the command line."""
        origin = RemoteRepositoryOrigin(
            ManagedGrpcPythonEnvCodeLocationOrigin(
                LoadableTargetOrigin(module_name="tutor_pipeline.definitions"), "tutor_pipeline"
            ),
            "__repository__",
        ).get_job_origin(name)
        return self.instance.create_run_for_job(
            made or JOBS[name],
            remote_job_origin=origin if launched else None,
            job_code_origin=CODE if launched else None,
            **of,
        )

    def run(self, name=JOB, message=None, run_id=None, launched=True):
        """A run, executed to its end."""
        config = {"ops": {"work": {"config": {"message": message}}}}
        run = self.create(name, launched, run_id=run_id, run_config=config)
        execute_run(InMemoryJob(JOBS[name]), run, self.instance)
        return run.run_id

    def materialize(self, asset, message=None):
        """A run of one asset, as the UI starts it."""
        chosen = {dg.AssetKey(["marts", asset])}
        made = OF_ASSETS.get_subset(asset_selection=chosen)
        config = {"ops": {f"marts__{asset}": {"config": {"message": message}}}}
        run = self.create(made.name, made=made, asset_selection=chosen, run_config=config)
        execute_run(InMemoryJob(made), run, self.instance)

    def in_state(self, status, name=JOB):
        return self.create(name, status=status).run_id

    def incidents(self, **of):
        with self.warehouse.connect() as database:
            return incidents.listed(database, **of)


@pytest.fixture(scope="module")
def instance(databases, tmp_path_factory):
    home = tmp_path_factory.mktemp("dagster")
    shutil.copy(PROJECT / "deploy" / "dagster.yaml", home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUTOR_DAGSTER_DATABASE_URL", databases.create(migrated=False))
        with dg.DagsterInstance.from_config(str(home)) as instance:
            yield instance


@pytest.fixture
def place(platform_warehouse, instance, monkeypatch):
    place = Place(platform_warehouse, instance)
    tables = place.execute(
        "select schemaname || '.' || tablename from pg_tables"
        " where schemaname in ('ops', 'platform') and tablename <> 'alembic_version'"
    )
    place.execute(f"truncate {', '.join(name for (name,) in tables)}")
    monkeypatch.setenv("TUTOR_DATABASE_URL", platform_warehouse.url)
    monkeypatch.setenv("TUTOR_LINGER_SECONDS", "30")  # nobody stands by
    instance.wipe()
    return place


def test_the_instance_is_as_the_specification_says(instance):
    concurrency = instance.get_concurrency_config()
    assert concurrency.run_queue_config.tag_concurrency_limits == [
        {"key": "dagster/backfill", "limit": 1}
    ]
    assert instance.run_coordinator.dequeue_interval_seconds == 1
    assert instance.run_retries_max_retries == 1
    assert not instance.run_retries_retry_on_asset_or_op_failure
    assert instance.get_settings("sensors")["num_workers"] >= 4
    assert not instance.telemetry_enabled


def test_before_there_is_a_platform_and_before_it_is_built(place):
    assert "no sessions yet" in place.look()
    place.session(days=200)
    assert "nothing to watch" in place.look()
    place.session()
    request = place.look()
    assert request.job_name == DAILY
    run_id = place.in_state(dg.DagsterRunStatus.STARTED, DAILY)
    assert place.look().startswith(f"daily_refresh {run_id[:8]} is running since")
    place.instance.report_run_failed(place.instance.get_run_by_id(run_id))
    assert "nothing is built yet" in place.look()
    assert "failed" in place.look()
    assert place.in_state(dg.DagsterRunStatus.QUEUED, DAILY)
    assert "is queued" in place.look()


def test_a_new_session_starts_one_run_and_no_second_one(place):
    place.ready()
    assert place.look() == "nothing changed"
    place.session("T1")
    place.session("T2")
    request = place.look()
    assert (request.job_name, request.run_key, request.run_config) == (JOB, None, {})
    assert request.tags["changes"] == request.tags["tutors"] == "2"
    for status, word in (
        (dg.DagsterRunStatus.QUEUED, "queued"),
        (dg.DagsterRunStatus.STARTING, "starting"),
        (dg.DagsterRunStatus.STARTED, "running"),
    ):
        run_id = place.in_state(status)
        said = place.look()
        assert f"{run_id[:8]} is {word} since" in said
        assert "2 changes of 2 tutors wait, oldest" in said
        place.instance.delete_run(run_id)
    assert isinstance(place.look(), dg.RunRequest)


def test_feedback_is_compared_once_a_minute(place):
    place.ready()
    assert place.look() == "nothing changed"
    compared_at = json.loads(place.cursors["new_sessions"])["compared_at"]
    place.execute(
        "insert into {platform}.session_feedback (session_id, student_satisfaction_rating)"
        " values ('s1', 2)"
    )
    assert place.look() == "nothing changed"
    assert json.loads(place.cursors["new_sessions"])["compared_at"] == compared_at
    place.cursors["new_sessions"] = json.dumps({"compared_at": "2020-01-01T00:00:00+00:00"})
    assert place.look().tags["changes"] == "1"


def test_it_backs_off_after_failures_and_forgets_them_after_a_success(place):
    place.ready()
    place.session()
    for _ in range(3):
        place.run(message="the disk is full")
    said = place.look()
    assert said.startswith("3 refresh runs in a row failed")
    assert "work: ValueError: the disk is full; tried again in 3" in said
    assert "1 change of 1 tutor wait" in said
    place.run()
    assert isinstance(place.look(), dg.RunRequest)


def test_a_blocking_check_is_named_and_nothing_starts(place):
    place.ready()
    place.check(Status.FAILED, rows_failing=7)
    place.session()
    said = place.look()
    assert said.startswith("blocked by a check, 1 change of 1 tutor waits, oldest")
    assert "marts/fct_sessions: known: All are known. (7 rows do not)" in said


def test_a_full_refresh_that_did_not_end_is_begun_again(place):
    place.ready()
    write_header(place.warehouse, RefreshRun("killed", datetime.now(UTC)))
    place.session()
    assert place.look().job_name == DAILY
    place.run(DAILY, "it failed")
    said = place.look()
    assert said.startswith("checks of marts/fct_sessions were not evaluated since")
    assert "it failed); started again in" in said


def test_other_columns_of_the_platform_are_no_changes_and_call_for_a_full_refresh(place):
    place.ready()
    place.execute("update {ops}.refresh_runs set source_shape = 'of other columns'")
    place.session()
    request = place.look()
    assert request.job_name == DAILY
    assert request.asset_selection is None
    assert "columns are others" in request.tags["reason"]


def test_a_loss_that_a_full_refresh_would_refuse_is_said_before_one_is_begun(place):
    place.ready()
    place.execute("update {ops}.refresh_runs set source_shape = 'of other columns'")
    with place.warehouse.connect() as database:
        losses.store(
            database, datetime.now(UTC), Limits(0.02, 20, 3), ["sessions: gone"], run_id="refused"
        )
        accept(database, datetime.now(UTC), datetime.now(UTC), run_id="r", why="", whole=True)
        database.execute(
            "update {ops}.source_states set counts = counts || '{{\"sessions\": 5000}}'"
        )
    place.session()
    assert place.look().startswith("rows of the platform are missing")


def test_tables_rebuilt_by_hand_are_built_and_checked_alone(place):
    place.ready()
    asset = "marts/fct_sessions"
    write_header(place.warehouse, RefreshRun("hand", datetime.now(UTC), tables=(asset,)))
    place.session()
    request = place.look()
    assert request.job_name == DAILY
    assert request.asset_selection == [dg.AssetKey(["marts", "fct_sessions"])]
    assert request.asset_check_keys == [
        dg.AssetCheckKey(dg.AssetKey(["marts", "fct_sessions"]), "known")
    ]


@pytest.mark.parametrize("pid", ["1", "999999999", "no number"])
def test_a_command_whose_process_is_gone_holds_nothing_up(place, pid):
    place.ready()
    write_header(place.warehouse, RefreshRun("killed", datetime.now(UTC)))
    place.session()
    alive = place.create(
        DAILY, launched=False, status=dg.DagsterRunStatus.STARTED,
        tags={run_records.PROCESS_TAG: run_records.this_process()},
    )  # fmt: skip
    assert f"{alive.run_id[:8]} is running" in place.look()
    place.instance.report_run_canceled(alive)
    place.create(
        DAILY, launched=False, status=dg.DagsterRunStatus.STARTED,
        tags={run_records.PROCESS_TAG: f"{socket.gethostname()} {pid} 12.5"},
    )  # fmt: skip
    assert "Its process is gone" in place.look()


def test_lost_rows_are_the_reason_and_one_incident_until_they_are_back(place):
    for number in range(30):
        place.session(days=5 + number)
    write_header(place.warehouse, RefreshRun("full", datetime.now(UTC)))
    place.fill()
    place.check()
    with place.warehouse.connect() as database:
        now = datetime.now(UTC)
        accept(database, now, now, run_id="full", why="a test", whole=True)
    place.execute("create table kept as table {platform}.sessions")
    place.execute("delete from {platform}.sessions")
    assert "sessions: 30 of 30 rows are gone (100%, there at" in place.look()
    place.session()
    said = place.look()
    assert said.startswith("rows of the platform are missing, 10 changes of 1 tutor wait")
    assert "sessions: 29 of 30 rows are gone (97%" in said
    assert "tutor-pipeline enrich --accept-loss" in said
    for _ in range(2):
        place.look("watch")
    (incident,) = place.incidents()
    assert (incident["kind"], incident["subject"]) == ("source_loss", "the platform")
    place.execute("insert into {platform}.sessions select * from kept on conflict do nothing")
    place.execute("drop table kept")
    assert isinstance(place.look(), dg.RunRequest)
    place.look("watch")
    assert place.incidents() == []


def started(place, run_id, ago):
    """Let a run have started some time ago."""
    with place.instance.run_storage.connect() as database:
        from sqlalchemy import text

        database.execute(
            text("update runs set start_time = :at where run_id = :run"),
            {"at": (datetime.now(UTC) - ago).timestamp(), "run": run_id},
        )


def test_a_run_whose_process_is_gone_is_ended(place):
    place.ready()
    place.session()
    run_id = place.in_state(dg.DagsterRunStatus.STARTED)
    assert f"{run_id[:8]} is running" in place.look()  # it may be loading
    started(place, run_id, 2 * BEGINS_WITHIN)
    with present(place.warehouse, run_id):
        assert f"{run_id[:8]} is running" in place.look()
    # One that ends is absent before Dagster hears of it.
    assert f"{run_id[:8]} is running" in place.look()
    absent_for(place, run_id, ENDS_WITHIN)
    place.look()
    assert place.instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.FAILURE


def absent_for(place, run_id, time):
    """Let a run have been absent for some time."""
    seen = json.loads(place.cursors["new_sessions"])
    assert list(seen["absent"]) == [run_id]
    seen["absent"][run_id] = (datetime.now(UTC) - time).isoformat()
    place.cursors["new_sessions"] = json.dumps(seen)


def test_a_successor_that_is_killed_while_it_waits_is_replaced(place, monkeypatch):
    monkeypatch.delenv("TUTOR_LINGER_SECONDS")
    place.ready()
    at_work, successor = (place.in_state(dg.DagsterRunStatus.STARTED) for _ in range(2))
    started(place, at_work, timedelta(seconds=STANDS_BY_FOR))
    started(place, successor, 2 * BEGINS_WITHIN)
    with present(place.warehouse, at_work):
        assert f"{at_work[:8]} is running" in place.look()
        absent_for(place, successor, ENDS_WITHIN)
        assert place.look().tags["relieves"] == at_work[:8]
    assert place.instance.get_run_by_id(successor).status is dg.DagsterRunStatus.FAILURE
    assert not place.instance.get_run_by_id(at_work).is_finished


def test_one_that_ended_at_once_is_not_followed_at_once(place, monkeypatch):
    monkeypatch.delenv("TUTOR_LINGER_SECONDS")
    place.ready()
    run = place.create(JOB, run_config={"ops": {"work": {"config": {}}}}, tags={"stands_by": "yes"})
    execute_run(InMemoryJob(JOBS[JOB]), run, place.instance)
    assert place.look() == "nothing changed"
    started(place, run.run_id, 2 * ENDED_AT_ONCE)  # it lived for long
    assert place.look().tags["stands_by"] == "yes"
    started(place, run.run_id, timedelta(0))
    place.session()
    assert place.look().tags["changes"] == "1"


def test_a_run_knows_when_its_sensor_is_switched_off(place):
    def switch(location, status):
        origin = RemoteRepositoryOrigin(
            ManagedGrpcPythonEnvCodeLocationOrigin(
                LoadableTargetOrigin(module_name="tutor_pipeline.definitions"), location
            ),
            "__repository__",
        ).get_instigator_origin("new_sessions")
        place.instance.add_instigator_state(InstigatorState(origin, InstigatorType.SENSOR, status))

    assert is_on(place.instance)
    switch("ours", InstigatorStatus.STOPPED)
    assert not is_on(place.instance)
    # A state of another deployment may be left.
    switch("another", InstigatorStatus.RUNNING)
    assert is_on(place.instance)


@pytest.mark.parametrize("setting", ["source_map", "rule_profile"])
def test_a_run_notices_that_a_file_it_has_loaded_changed(tmp_path, setting):
    path = tmp_path / "file.yml"
    path.write_text("a: 1", encoding="utf-8")
    settings = Settings(**{setting: str(path)})
    before = fingerprint(settings)
    assert fingerprint(settings) == before
    os.utime(path, ns=(1, 1))
    assert fingerprint(settings) != before


def test_a_run_stands_by_and_the_next_one_is_started_before_it_ends(place, monkeypatch):
    monkeypatch.delenv("TUTOR_LINGER_SECONDS")
    place.ready()
    request = place.look()
    assert (request.job_name, request.tags["stands_by"]) == (JOB, "yes")
    run_id = place.in_state(dg.DagsterRunStatus.STARTED)
    with present(place.warehouse, run_id):
        assert place.look().endswith("; nothing waits")
        started(place, run_id, timedelta(seconds=STANDS_BY_FOR - 20))
        assert place.look().endswith("; nothing waits")
        started(place, run_id, timedelta(seconds=STANDS_BY_FOR))
        assert place.look().tags["relieves"] == run_id[:8]


@pytest.mark.parametrize("what", ["a check", "a failure"])
def test_nobody_stands_by_who_could_not_work(place, monkeypatch, what):
    monkeypatch.delenv("TUTOR_LINGER_SECONDS")
    place.ready()
    if what == "a check":
        place.check(Status.FAILED, rows_failing=7)
    else:
        place.run(message="the disk is full")
    assert place.look() == "nothing changed"


def test_a_relief_that_outlives_its_run_is_not_relieved_at_once(place, monkeypatch):
    place.ready()
    at_work, relief = (place.in_state(dg.DagsterRunStatus.STARTED) for _ in range(2))
    monkeypatch.setattr(new_sessions, "LOADS_FOR", LINGERS_FOR)
    monkeypatch.setattr(new_sessions, "_gone", ends(place, at_work))
    place.execute(
        "insert into {ops}.refresh_passes (run_id, taken_at, settled_at, changes, tutors, seconds)"
        " values ('r/1', now(), now() + interval '1 minute', 1, 1, '{{}}')"
    )
    assert f"{at_work[:8]} is running" in place.look()
    assert place.instance.get_run_by_id(at_work).is_finished
    # Now it is alone, and in time the next one is asked for.
    assert place.look().tags["relieves"] == relief[:8]


def ends(place, run_id):
    """In the middle of a look, a run ends."""

    def gone(*_):
        run = place.instance.get_run_by_id(run_id)
        if not run.is_finished:
            place.instance.report_run_canceled(run)
        return []

    return gone


def test_a_database_that_is_down_is_a_reason_and_no_traceback(place, monkeypatch):
    place.ready()
    place.look()
    monkeypatch.setenv("TUTOR_DATABASE_URL", "postgresql://nobody:secret@127.0.0.1:1/nowhere")
    for name in ("new_sessions", "watch"):
        said = place.look(name)
        assert said.startswith("cannot connect to postgresql://nobody@127.0.0.1:1/nowhere")
        assert "secret" not in said
    assert json.loads(place.cursors["new_sessions"])["unreachable_since"]
    monkeypatch.setenv("TUTOR_DATABASE_URL", place.warehouse.url)
    assert place.look() == "nothing changed"
    assert json.loads(place.cursors["new_sessions"])["unreachable_since"] is None


def test_a_database_that_is_down_says_since_when():
    error, at = TutorPipelineError("cannot connect to it\nmore"), datetime(2026, 3, 18, tzinfo=UTC)
    memory = new_sessions._Memory()
    for minutes, since in ((0, "0 s"), (10, "10 min"), (130, "2 h")):
        found = new_sessions._unreachable(error, memory, at + timedelta(minutes=minutes))
        assert found.reason == f"cannot connect to it (since {since})"
        memory = new_sessions._Memory.read(memory.write())


def test_a_failing_run_is_one_incident_until_a_later_one_succeeds(place):
    place.ready()
    assert place.look("failures") == "runs that fail from now on"
    for _ in range(5):
        place.run(message="the disk is full")
    assert place.look("failures").endswith("1 incident opened")
    (row,) = place.incidents()
    assert (row["kind"], row["subject"], row["occurrences"]) == ("run_failure", JOB, 5)
    assert row["details"]["why"] == "work: ValueError: the disk is full"
    assert place.look("failures") == "no run failed"
    assert "1 open incident (run_failure post_session_refresh)" in place.look("watch")
    place.run(DAILY)
    assert "1 open incident" in place.look("watch")
    place.run()
    assert place.look("watch").endswith("0 open incidents; 1 closed")


def test_a_failing_asset_is_one_incident_until_a_run_of_that_asset_succeeds(place):
    place.look("failures")
    place.materialize("a", "the disk is full")
    place.look("failures")
    (row,) = place.incidents()
    assert (row["kind"], row["subject"]) == ("run_failure", "marts/a")
    place.materialize("b")
    assert "1 open incident (run_failure marts/a)" in place.look("watch")
    place.materialize("a")
    assert place.look("watch").endswith("0 open incidents; 1 closed")


def test_a_failure_is_not_lost_while_the_database_is_down(place, monkeypatch):
    place.look("failures")
    place.run(DAILY, "cannot connect")
    monkeypatch.setenv("TUTOR_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nowhere")
    assert place.look("failures").startswith("1 failed run to report: cannot connect")
    monkeypatch.setenv("TUTOR_DATABASE_URL", place.warehouse.url)
    place.look("failures")
    assert [row["subject"] for row in place.incidents()] == [DAILY]


def test_cancelled_runs_and_those_of_the_command_line_are_no_incidents(place):
    place.look("failures")
    run = place.instance.get_run_by_id(place.in_state(dg.DagsterRunStatus.STARTED))
    place.instance.report_run_canceled(run)
    place.run(DAILY, "wrong option", launched=False)
    place.look("failures")
    assert place.incidents() == []


def test_of_a_killed_run_it_is_said_what_killed_it(place):
    run = place.create(JOB, status=dg.DagsterRunStatus.STARTED)
    place.look("failures")
    place.instance.report_engine_event("[DagsterApiServer] terminated by signal 9", run)
    place.instance.report_run_failed(run)
    place.look("failures")
    assert [row["details"]["why"] for row in place.incidents()] == ["terminated by signal 9"]


@pytest.mark.parametrize(
    ("daemon_ended", "status"),
    [(True, dg.DagsterRunStatus.CANCELED), (False, dg.DagsterRunStatus.FAILURE)],
)
def test_of_the_runs_left_behind_those_of_the_command_line_go_on(
    place, monkeypatch, daemon_ended, status
):
    monkeypatch.setenv("DAGSTER_HOME", place.instance.root_directory)
    started = dg.DagsterRunStatus.STARTED
    by_sensor = place.create(JOB, status=started).run_id
    by_hand = place.create(DAILY, launched=False, status=started).run_id
    _fail_runs_left_behind(daemon_ended=daemon_ended)
    assert place.instance.get_run_by_id(by_sensor).status is status
    assert place.instance.get_run_by_id(by_hand).status is started


def test_a_failed_blocking_check_is_the_incident_and_not_its_run(place):
    place.ready()
    place.look("failures")
    run_id = "11111111-1111-4111-8111-111111111111"
    place.check(Status.FAILED, run_id, rows_failing=7)
    place.run(DAILY, "a check failed", run_id=run_id)
    place.look("failures")
    (row,) = place.incidents()
    assert (row["kind"], row["subject"]) == ("blocking_check", "marts/fct_sessions: known")
    assert row["details"]["why"] == "7 rows fail"
    place.run(DAILY)
    assert "1 open incident" in place.look("watch")
    place.check(Status.PASSED, "mended")
    assert "0 open incidents; 1 closed" in place.look("watch")


def test_a_stuck_queue_is_one_incident_that_says_why(place):
    place.ready()
    place.check(Status.FAILED, rows_failing=7)
    place.session()
    assert "0 open incidents" in place.look("watch")
    place.execute(
        "update {ops}.session_ledger set pending_since = pending_since - interval '25 minutes'"
        " where pending_since is not null"
    )
    for _ in range(4):
        said = place.look("watch")
    assert said.startswith("1 change of 1 tutor waits, oldest 25 min; 1 open incident (stuck_queue")
    (row,) = place.incidents()
    assert (row["subject"], row["occurrences"]) == ("new sessions", 1)
    assert row["details"]["changes"] == 1
    assert "known: All are known." in row["details"]["why"]
    place.fill()
    assert place.look("watch") == "nothing waits; 0 open incidents; 1 closed"


def event(place, event_id, state="waiting", minutes=0, **values):
    place.execute(
        "insert into {ops}.event_inbox (source, event_id, received_at, state_at, type, body,"
        " digest, state, error) values (%s, %s, %s, now(), %s, '', '', %s, %s)",
        values.get("source", "shop"), event_id,
        datetime.now(UTC) - timedelta(minutes=minutes, days=values.get("days", 0)),
        values.get("type", "session.completed"), state, values.get("error"),
    )  # fmt: skip


def test_events_that_nobody_applies_are_an_incident_until_somebody_does(place):
    event(place, "e1", minutes=1)
    assert "0 open incidents" in place.look("watch")
    event(place, "e2", minutes=25)
    for _ in range(2):
        assert "1 open incident (stuck_queue events)" in place.look("watch")
    (row,) = place.incidents()
    assert row["title"] == "2 events wait, the oldest for 25 min"
    assert row["details"]["why"].startswith("nobody applies them: the desk or")
    assert row["occurrences"] == 1
    with place.warehouse.connect() as database:
        assert reserve(database)
        place.look("watch")
        assert "has been writing to the platform since" in place.incidents()[0]["details"]["why"]
        database.lock(applying.LOCK)
        place.look("watch")
        assert "they are being applied" in place.incidents()[0]["details"]["why"]
    place.execute("update {ops}.event_inbox set state = 'applied'")
    assert place.look("watch").endswith("0 open incidents; 1 closed")


def test_each_type_of_events_that_is_not_read_is_told_once(place):
    for number, kind in enumerate(("a\x1b", "a\x1b", "b")):
        event(place, f"e{number}", "unknown", type=kind)
    event(place, "other", "unknown", type="b", source="app")
    event(place, "old", "unknown", type="old", days=8)
    for _ in range(2):
        place.look("watch")
    found = {row["subject"]: row for row in place.incidents()}
    assert set(found) == {"shop: a\\u001b", "shop: b", "app: b"}
    assert found["shop: a\\u001b"]["details"]["events"] == 2
    assert all(row["kind"] == "unknown_events" for row in found.values())
    assert [row["occurrences"] for row in found.values()] == [1, 1, 1]
    messages = "select count(*) from {ops}.outbox where kind = 'incident'"
    with place.warehouse.connect() as database:
        assert database.value(messages) == 3
    for number in range(30):
        event(place, f"many{number}", "unknown", type=f"t{number}")
    place.look("watch")
    assert len(place.incidents()) == 11
    place.execute("update {ops}.event_inbox set received_at = now() - interval '8 days'")
    assert "11 closed" in place.look("watch")


def test_events_on_which_applying_fails_are_an_incident_of_their_source(place):
    for number in range(3):
        event(place, f"e{number}", "dead", error=f"ValueError: {number}")
    for _ in range(2):
        place.look("watch")
    (row,) = place.incidents()
    assert (row["kind"], row["subject"], row["occurrences"]) == ("dead_events", "shop", 1)
    assert row["title"] == "3 events of shop cannot be applied"
    assert row["details"]["why"] == "e2: ValueError: 2"
    place.execute("update {ops}.event_inbox set state = 'waiting'")
    assert "1 closed" in place.look("watch")


def test_tutors_set_aside_are_incidents_but_never_a_storm(place):
    place.ready()
    place.session("T9")
    place.look()
    with place.warehouse.connect(autocommit=True) as database:
        for number in range(9):
            now = datetime.now(UTC) + timedelta(seconds=number)
            ledger.set_aside(database, f"T{number + 1}", "it divides by zero", "r", now)
    for _ in range(2):
        place.look("watch")
    found = place.incidents()
    assert [row["subject"] for row in reversed(found)] == ["T1", "T2", "T3", THE_OTHERS]
    assert found[0]["details"]["tutors"] == ["T4", "T5", "T6", "T7", "T8", "T9"]
    place.execute("delete from {ops}.set_aside_tutors")
    assert "4 closed" in place.look("watch")


def test_a_drift_is_an_incident_until_a_comparison_finds_none(place):
    outcome = Outcome("marts/history", "equals_a_rebuild", "pipeline", "Equal.", "warn", False,
                      Status.FAILED, rows_failing=3)  # fmt: skip
    with place.warehouse.connect() as database:
        record(database, "sunday", datetime.now(UTC), [outcome])
    for _ in range(2):
        place.look("watch")
    (row,) = place.incidents()
    assert (row["kind"], row["subject"], row["occurrences"]) == ("drift", "marts/history", 1)


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Athens", "Australia/Lord_Howe"])
def test_each_schedule_runs_once_a_day_whatever_the_clocks_do(zone):
    jobs = {name: job(name) for name in ("daily_refresh", "housekeeping")}
    schedules = build_schedules(jobs, [], date(2025, 1, 1), zone, dg.DefaultScheduleStatus.RUNNING)
    assert {each.name for each in schedules} == set(jobs)
    for each in schedules:
        assert each.execution_timezone == zone
        assert each.description
        times = schedule_execution_time_iterator(
            datetime(2026, 3, 1, tzinfo=UTC).timestamp(), each.cron_schedule, zone
        )
        days = [next(times).date() for _ in range(280)]
        assert days == [days[0] + timedelta(days=number) for number in range(280)]


def test_nights_that_were_missed_are_made_up_for():
    yesterday, first = date(2026, 3, 18), date(2026, 1, 1)
    day = timedelta(days=1)
    built = {(first + number * day).isoformat() for number in range(60)}
    assert days_due(built, first, yesterday) == (date(2026, 3, 2), yesterday)
    built |= {(first + number * day).isoformat() for number in range(90)}
    assert days_due(built, first, yesterday) == (yesterday, yesterday)
    assert days_due((), first, yesterday) == (first, yesterday)
    assert days_due((), date(2020, 1, 1), yesterday) == (yesterday - 89 * day, yesterday)


def test_the_nightly_days_are_one_run_of_the_range(instance):
    instance.wipe()
    days = dg.DailyPartitionsDefinition(start_date="2026-03-01", timezone="Europe/Berlin")
    seen = []

    @dg.asset(partitions_def=days, backfill_policy=dg.BackfillPolicy.single_run())
    def by_day(context: dg.AssetExecutionContext) -> None:
        seen.append(tuple(context.partition_key_range))

    nightly = dg.define_asset_job("daily_snapshots", [by_day])
    (schedule,) = build_schedules(
        {nightly.name: nightly}, [by_day.key], date(2026, 3, 1), "Europe/Berlin",
        dg.DefaultScheduleStatus.STOPPED,
    )  # fmt: skip
    made = dg.Definitions(assets=[by_day], jobs=[nightly], schedules=[schedule])

    def tick(at):
        context = dg.build_schedule_context(instance, scheduled_execution_time=at)
        (request,) = (
            made.resolve_schedule_def("daily_snapshots").evaluate_tick(context).run_requests
        )
        result = made.resolve_job_def(nightly.name).execute_in_process(
            instance=instance, tags=dict(request.tags)
        )
        assert result.success

    tick(datetime.fromisoformat("2026-03-28T03:30+01:00"))
    # Two nights later, one of them missed, on the day after the clocks went forward.
    tick(datetime.fromisoformat("2026-03-30T03:30+02:00"))
    assert seen == [("2026-03-01", "2026-03-27"), ("2026-03-28", "2026-03-29")]


def test_automation_is_on_only_when_it_is_asked_for(monkeypatch):
    def statuses(definitions):
        repository = definitions.get_repository_def()
        made = (*repository.sensor_defs, *repository.schedule_defs)
        assert all(each.description for each in made)
        return {each.default_status.value for each in made}

    assert statuses(defs) == {"STOPPED"}
    monkeypatch.setenv("TUTOR_AUTOMATION", "on")
    assert statuses(build_defs()) == {"RUNNING"}
