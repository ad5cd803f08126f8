"""The sensor that starts sending, and the run that sends, on a real instance and database."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest

from tests.servers import MailServer
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.definitions import defs
from tutor_pipeline.defs import delivery
from tutor_pipeline.defs.common.warehouse_resource import WarehouseResource
from tutor_pipeline.defs.delivery import HELPED_AFTER, build_outbox_sensor
from tutor_pipeline.people.notify.kinds import incident
from tutor_pipeline.steps import tell
from tutor_pipeline.steps.names import Job

NOW = datetime(2026, 3, 18, 9, tzinfo=UTC)
DETAILS = {"title": "t", "kind": "drift", "subject": "s", "why": "w", "means": "m", "next": "n"}
TABLES = ("outbox", "messages", "deliveries")


@dg.job(name=Job.DELIVER_MESSAGES, executor_def=dg.in_process_executor)
def job():
    @dg.op
    def work():
        pass

    work()


@pytest.fixture
def place(databases, monkeypatch, tmp_path):
    """A warehouse of its own that the resource finds, and an instance."""
    url = databases.create()
    monkeypatch.setenv("TUTOR_DATABASE_URL", url)
    monkeypatch.setenv("TUTOR_HOME", str(tmp_path))
    with dg.instance_for_test() as instance:
        yield Warehouse(url), instance


@pytest.fixture
def look(place):
    """What the sensor says: a request for a run, or why not."""
    _, instance = place
    sensor = build_outbox_sensor(dg.DefaultSensorStatus.STOPPED)

    def evaluate():
        context = dg.build_sensor_context(
            instance=instance, resources={"warehouse": WarehouseResource()}
        )
        return sensor(context)

    return evaluate


def note(warehouse, number=1, at=None):
    at = at or datetime.now(UTC)
    with warehouse.connect() as database:
        incident.note(database, number, DETAILS, at=at, run_id=None)


def execute(instance, **config):
    return defs.resolve_job_def(Job.DELIVER_MESSAGES).execute_in_process(
        instance=instance,
        run_config={"ops": {"ops__messages": {"config": {"linger_seconds": 0, **config}}}},
        raise_on_error=False,
    )


def started(instance, age=timedelta(0)):
    """A run of the job that is at work since a while."""
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.NOT_STARTED)
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.PIPELINE_START.value, job_name=Job.DELIVER_MESSAGES
    )
    instance.report_dagster_event(event, run.run_id)
    return run


def test_with_nothing_to_tell_nothing_starts(look):
    found = look()
    assert isinstance(found, dg.SkipReason)
    assert "nothing to send; 0 things to be told later, 0 to be tried again, 0 dead" in str(found)


def test_something_to_tell_starts_a_run_and_it_sends(place, look, tmp_path, monkeypatch):
    warehouse, instance = place
    server = MailServer()
    server.start()
    monkeypatch.setenv("TUTOR_NOTIFY_OPS", server.url("oncall@example.com"))
    note(warehouse)
    assert isinstance(look(), dg.RunRequest)
    result = execute(instance)
    server.stop()
    assert result.success
    assert [each["Subject"] for each in server.mails] == ["Pipeline: t"]
    assert len(list((tmp_path / "reports" / "messages").glob("*.html"))) == 1
    (made,) = result.asset_materializations_for_node("ops__messages")
    shown = {name: value.value for name, value in made.metadata.items()}
    assert (shown["sent"], shown["failed"], shown["dead_letters"]) == (2, 0, 0)
    assert {
        "message": "Pipeline: t",
        "address": "email to oncall@example.com via 127.0.0.1",
        "what became of it": "sent",
    } in [record.data for record in shown["what_was_sent"].records]
    (check,) = result.get_asset_check_evaluations()
    assert check.passed
    assert isinstance(look(), dg.SkipReason)


def test_a_failing_address_fails_no_run_and_a_dead_letter_fails_the_check(place, look, monkeypatch):
    warehouse, instance = place
    monkeypatch.setenv("TUTOR_NOTIFY_OPS", "mailto://127.0.0.1:1?from=a@e.com&to=b@e.com")
    note(warehouse)
    result = execute(instance)
    assert result.success
    (check,) = result.get_asset_check_evaluations()
    assert check.passed  # it is still tried
    assert "1 to be tried again" in str(look())
    with warehouse.connect() as database:
        database.execute(
            "update ops.deliveries set attempts = 7, due_at = now() where state = 'waiting'"
        )
    assert isinstance(look(), dg.RunRequest)
    result = execute(instance)
    assert result.success
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    (row,) = check.metadata["addresses"].value.records
    assert "email to b@e.com" in row.data["address"]
    assert "1 dead" in str(look())


def test_one_run_at_a_time_and_help_when_what_is_due_waits(place, look):
    warehouse, instance = place
    started(instance)
    note(warehouse)
    assert "is running since" in str(look())
    assert "1 thing to tell, 0 deliveries due" in str(look())
    # The run has been at work for long, and what is due waits for as long.
    with warehouse.connect() as database:
        database.execute("update ops.outbox set due_at = now() - interval '1 hour'")
    assert isinstance(look(), dg.SkipReason)  # it has only just started


def test_a_run_that_is_at_work_too_long_gets_help_and_then_counts_as_gone(place, look, monkeypatch):
    warehouse, instance = place
    run = started(instance)
    note(warehouse, at=datetime.now(UTC) - timedelta(hours=1))
    soon = datetime.now(UTC) + HELPED_AFTER + timedelta(seconds=1)
    monkeypatch.setattr(delivery, "_clock", lambda: soon)
    assert isinstance(look(), dg.RunRequest)
    started(instance)
    assert isinstance(look(), dg.SkipReason)  # two are enough
    later = datetime.now(UTC) + delivery.GONE_AFTER + timedelta(seconds=1)
    monkeypatch.setattr(delivery, "_clock", lambda: later)
    look()
    assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.FAILURE


def test_runs_that_fail_are_not_repeated_at_once(place, look):
    warehouse, instance = place
    note(warehouse)
    run = started(instance)
    instance.report_run_failed(run, "out of memory")
    assert "1 run in a row failed; tried again in" in str(look())


def test_a_database_that_is_away_is_a_reason(place, look, monkeypatch):
    monkeypatch.setenv("TUTOR_DATABASE_URL", "postgresql://nobody:s3cret@127.0.0.1:1/none")
    found = str(look())
    assert "cannot connect to postgresql://nobody@127.0.0.1:1/none" in found
    assert "s3cret" not in found


@pytest.mark.parametrize(
    ("now", "zone", "expected"),
    [
        ("2026-03-16T07:00", "UTC", date(2026, 3, 9)),
        ("2026-03-15T23:59", "UTC", date(2026, 3, 2)),
        ("2026-03-15T23:59", "Europe/Berlin", date(2026, 3, 9)),
        ("2026-03-22T12:00", "UTC", date(2026, 3, 9)),
    ],
)
def test_the_last_week_that_is_over(now, zone, expected):
    assert tell.last_week(datetime.fromisoformat(now).replace(tzinfo=UTC), zone) == expected


def test_any_day_names_its_week():
    assert tell.monday("2026-03-15") == date(2026, 3, 9)
    assert tell.monday("2026-03-09") == date(2026, 3, 9)
    with pytest.raises(ValueError, match="isoformat"):
        tell.monday("next week")
