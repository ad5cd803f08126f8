"""Backfills of the tables with a row per day, as the asset page starts them, and their check."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from tests.integration.ui import Ui
from tutor_pipeline.core.warehouse.locks import one_writer

HISTORY = dg.AssetKey(["marts", "tutor_aggregates_history"])
SNAPSHOTS = dg.AssetKey(["marts", "tutor_performance_snapshots"])
YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)


@pytest.fixture(scope="module")
def project(new_project):
    project = new_project()
    project.run("generate", "--tutors", "12", "--days", "40")
    project.run("enrich")
    return project


@pytest.fixture(scope="module")
def definitions(project):
    """The project's definitions, loaded in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in project.environment.items():
            patch.setenv(name, value)
        from tutor_pipeline.definitions import build_defs

        yield build_defs()


def run(definitions, job, days=None, assets=None):
    tags = {}
    if days is not None:
        tags = {
            "dagster/asset_partition_range_start": days[0].isoformat(),
            "dagster/asset_partition_range_end": days[1].isoformat(),
        }
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def(job).execute_in_process(
            instance=instance, tags=tags, asset_selection=assets
        )
    assert result.success
    return result


def counted(project, table, column):
    return project.query(
        f"select count(*), count(distinct {column}), min({column}), max({column})"
        f" from marts.{table}"
    )[0]


@pytest.mark.long
def test_the_asset_page_may_choose_one_of_the_two(definitions, project):
    days = (YESTERDAY - timedelta(days=20), YESTERDAY)
    result = run(definitions, "daily_snapshots", days, [HISTORY])
    (rows, found, first, last) = counted(project, "tutor_aggregates_history", "as_of_date")
    assert (found, first, last) == (21, *days)
    assert rows >= 21 * 12
    (missing,) = project.query("select to_regclass('marts.tutor_performance_snapshots')")
    assert missing == (None,)
    partitions = [each.partition for each in result.asset_materializations_for_node("snapshots")]
    assert len(partitions) == 21
    # The comparison with a rebuild is not for a run that writes days.
    compared = {each.check_name for each in result.get_asset_check_evaluations()}
    assert compared == {"history_has_its_tutor", "one_row_of_history_per_tutor_and_day"}


def test_reconciling_finds_and_repairs_what_differs(definitions, project):
    days = (YESTERDAY - timedelta(days=10), YESTERDAY)
    run(definitions, "daily_snapshots", days)

    def checks():
        result = run(definitions, "reconcile_history")
        return {
            each.asset_key: (each.passed, each.metadata["rows_failing"].value)
            for each in result.get_asset_check_evaluations()
        }

    assert checks() == {HISTORY: (True, 0), SNAPSHOTS: (True, 0)}
    project.execute(
        "update marts.tutor_aggregates_history set sessions_30d = 999"
        f" where as_of_date = '{days[0]}' and tutor_id in ('T0001', 'T0002');"
        f"delete from marts.tutor_aggregates_history where tutor_id = 'T0003'"
        f" and as_of_date = '{YESTERDAY}';"
        "update marts.tutor_aggregates_history set sessions_7d = 999"
        f" where as_of_date = '{days[0]}' and tutor_id = 'T0004';"
        "insert into ops.history_repairs (tutor_id, changed_on, noted_at)"
        f" values ('T0004', '{days[0]}', now());"
        "update marts.tutor_performance_snapshots set sessions_count = 999"
        f" where snapshot_date = '{YESTERDAY}' and period_type = 'daily'"
    )
    (snapshots,) = project.query(
        "select count(*) from marts.tutor_performance_snapshots where sessions_count = 999"
    )
    assert checks() == {HISTORY: (False, 3), SNAPSHOTS: (False, snapshots[0])}
    sample, severity, blocking = project.query(
        "select sample, severity, blocking from ops.dq_results"
        " where check_name = 'equals_a_rebuild' and asset = 'marts/tutor_aggregates_history'"
        " order by evaluated_at desc limit 1"
    )[0]
    assert [(row["tutor_id"], row["the_row"]) for row in sample] == [
        ("T0001", "had other values"),
        ("T0002", "had other values"),
        ("T0003", "was missing"),
    ]
    assert (severity, blocking) == ("warn", False)
    assert checks() == {HISTORY: (True, 0), SNAPSHOTS: (True, 0)}


def test_days_and_some_tutors_are_written_beside_each_other(definitions, project):
    before = project.query("select * from marts.tutor_aggregates_history order by 1, 3")
    with one_writer(project.warehouse, "history"):
        project.run("backfill", "--tutor", "T0001")
    with one_writer(project.warehouse, "refresh"):
        run(definitions, "daily_snapshots", (YESTERDAY, YESTERDAY), [HISTORY])
    assert project.query("select * from marts.tutor_aggregates_history order by 1, 3") == before


@pytest.mark.long
@pytest.mark.timeout(900)
def test_backfills_from_the_asset_page(project):
    """As the page does: GraphQL, the daemon, one run for all days; and the same twice at once."""
    project.execute("drop table if exists marts.tutor_aggregates_history cascade")
    names = [(YESTERDAY - timedelta(days=back)).isoformat() for back in reversed(range(100))]
    with Ui(project) as ui:
        for backfill in [ui.backfill(HISTORY.path, names) for _ in range(2)]:
            assert ui.runs_of(backfill) == ["SUCCESS"]
    (_, days, _, last) = counted(project, "tutor_aggregates_history", "as_of_date")
    assert last == YESTERDAY
    assert days >= 40
