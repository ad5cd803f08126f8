"""Old runs of Dagster go; the asset page shows what it showed."""

import shutil
from datetime import UTC, datetime, timedelta

import dagster as dg
import psycopg
import pytest
from dagster import DagsterRunStatus

from tutor_pipeline.core.settings import PROJECT_DIR
from tutor_pipeline.defs.common.warehouse_resource import WarehouseResource
from tutor_pipeline.defs.housekeeping import (
    RUN_RULES,
    delete_old_checks,
    delete_old_runs,
    retention,
)

DAYS = dg.DailyPartitionsDefinition(start_date="2026-11-01", end_date="2026-11-08")
FAILS = {"ops": {"alerts": {"config": {"fails": True}}}}


class Config(dg.Config):
    fails: bool = False


@dg.asset(check_specs=[dg.AssetCheckSpec("sound", asset="alerts")])
def alerts(context: dg.AssetExecutionContext, config: Config):
    print("working")  # noqa: T201 (a log of the run)
    if config.fails:
        raise ValueError("no")
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True)])


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def snapshots():
    return None


defs = dg.Definitions(
    assets=[alerts, snapshots, retention],
    jobs=[
        dg.define_asset_job("post_session_refresh", selection="alerts"),
        dg.define_asset_job("daily_refresh", selection="alerts"),
        dg.define_asset_job("daily_snapshots", selection="snapshots"),
        dg.define_asset_job("housekeeping", selection=[retention]),
    ],
    resources={"warehouse": WarehouseResource(), "io_manager": dg.mem_io_manager},
    executor=dg.in_process_executor,
)


@pytest.fixture
def instance(warehouse, databases, tmp_path, monkeypatch):
    """As in production: deploy/dagster.yaml, on PostgreSQL."""
    url = databases.create(migrated=False)
    for name, value in {
        "DAGSTER_HOME": str(tmp_path),
        "TUTOR_HOME": str(tmp_path),
        "TUTOR_DATABASE_URL": warehouse.url,
        "TUTOR_DAGSTER_DATABASE_URL": url,
    }.items():
        monkeypatch.setenv(name, value)
    shutil.copy(PROJECT_DIR / "deploy" / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


@pytest.fixture
def database(instance):
    url = instance.event_log_storage.postgres_url
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def run(instance, job, *days, **config):
    """Run a job to its end, over a range of days if any are given; its run id."""
    tags = {}
    if days:
        tags = {
            "dagster/asset_partition_range_start": days[0],
            "dagster/asset_partition_range_end": days[-1],
        }
    result = defs.resolve_job_def(job).execute_in_process(
        instance=instance, tags=tags, raise_on_error=False, **config
    )
    return result.run_id


def page(instance):
    """What the asset page shows, from the events and not from a cache of them."""
    instance.wipe_asset_cached_status([alerts.key, snapshots.key])
    newest = {
        asset.key: instance.get_latest_materialization_event(asset.key).run_id
        for asset in (alerts, snapshots)
    }
    check = dg.AssetCheckKey(alerts.key, "sound")
    checks = instance.event_log_storage.get_latest_asset_check_execution_by_key([check])
    return newest, instance.get_materialized_partitions(snapshots.key), checks[check].status


def in_days(days):
    return datetime.now(UTC) + timedelta(days=days)


def run_ids(instance):
    return set(instance.get_run_ids())


def clean(instance, database, days):
    """As if so many days had passed; how many runs and outcomes of checks went."""
    runs = delete_old_runs(instance, database, in_days(days))
    assert delete_old_runs(instance, database, in_days(days)) == 0
    checks = delete_old_checks(database)
    assert delete_old_checks(database) == 0
    return runs, checks


def test_what_is_shown_outlives_its_age(instance, database, tmp_path):
    some_days = run(instance, "daily_snapshots", "2026-11-01", "2026-11-05")
    run(instance, "daily_snapshots", "2026-11-06")  # made again below
    last_days = run(instance, "daily_snapshots", "2026-11-06", "2026-11-07")
    failed = run(instance, "post_session_refresh", run_config=FAILS)
    hot = [run(instance, "post_session_refresh") for _ in range(3)]
    daily = [run(instance, "daily_refresh") for _ in range(2)]
    waiting = instance.create_run_for_job(
        defs.resolve_job_def("post_session_refresh"), status=DagsterRunStatus.NOT_STARTED
    ).run_id
    before, everything = page(instance), run_ids(instance)
    assert before[0] == {alerts.key: daily[1], snapshots.key: last_days}
    assert len(before[1]) == 7
    assert (tmp_path / "storage" / hot[0]).is_dir()

    assert clean(instance, database, 1) == (0, 0)
    assert run_ids(instance) == everything

    assert clean(instance, database, 3) == (3, 3)
    assert run_ids(instance) == everything - set(hot)
    assert failed in run_ids(instance)
    assert not (tmp_path / "storage" / hot[0]).exists()
    assert (tmp_path / "storage" / daily[0]).is_dir()
    assert page(instance) == before

    # The one made again, the failed one, and the one before the newest, with their checks.
    assert clean(instance, database, 31) == (3, 2)
    assert run_ids(instance) == {some_days, last_days, daily[1], waiting}
    assert page(instance) == before
    events = database.execute("select distinct run_id from event_logs").fetchall()
    assert {run_id for (run_id,) in events} <= run_ids(instance)


def test_killed_in_the_middle_it_goes_on(instance, database, monkeypatch):
    made = [run(instance, "post_session_refresh") for _ in range(4)]
    delete_run = instance.run_storage.delete_run

    def die(run_id):
        if len(run_ids(instance)) == 3:
            raise KeyboardInterrupt
        delete_run(run_id)

    monkeypatch.setattr(instance.run_storage, "delete_run", die)
    with pytest.raises(KeyboardInterrupt):
        delete_old_runs(instance, database, in_days(3))
    monkeypatch.undo()
    assert len(run_ids(instance)) == 3
    assert delete_old_runs(instance, database, in_days(3)) == 2
    assert run_ids(instance) == {made[-1]}
    assert database.execute(
        "select count(*) from event_logs where run_id <> %s", (made[-1],)
    ).fetchone() == (0,)


def test_the_job_tells_what_is_left(instance, database):
    for _ in range(2):
        run_id = run(instance, "housekeeping")
        assert instance.get_run_by_id(run_id).is_success
    event = instance.get_latest_materialization_event(retention.key)
    values = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    assert values["rows_deleted"] == 0
    assert values["runs_rows"] == 2
    # What the run itself added since it counted.
    (events,) = database.execute("select count(*) from event_logs").fetchone()
    assert 0 < values["event_logs_rows"] <= events
    assert values["dagster_megabytes"] > 0
    rows = {record.data["table"]: record.data["rows"] for record in values["tables"].records}
    assert rows["ops.session_ledger"] == 0


def test_no_run_that_goes_on_is_ever_old():
    finished = {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}
    assert {status for rule in RUN_RULES for status in rule.statuses} == finished
