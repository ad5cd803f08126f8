"""The rows that rules read: of whom they are, and what they say in words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.unit.people.reports.conftest import Ops
from tutor_pipeline.core.formatting import likelihood
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun, write_header
from tutor_pipeline.metrics.wide_rows import _percent, everybody, read

AS_OF = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)

SHARES = (0, 0.0004, 0.0005, 0.004, 0.0994, 0.0995, 0.1, 0.344, 0.994, 0.995, 0.9999, 1)


@pytest.mark.parametrize("share", SHARES)
def test_a_probability_is_written_as_everywhere(warehouse: Warehouse, share: float) -> None:
    with warehouse.connect() as database:
        said = database.value(
            f"select {_percent('share')} from (select %(share)s::float8 as share) as tutor_risk",
            {"share": share},
        )
    assert said == likelihood(share)


@pytest.fixture(scope="module")
def built(warehouse: Warehouse) -> Warehouse:
    """The two tables that every row is read from, with three tutors."""
    with warehouse.connect() as database:
        database.execute(
            "create table {marts}.dim_tutors as"
            " select 't' || n as tutor_id, true as is_active from generate_series(1, 3) as n"
        )
        database.execute(
            "create table {marts}.tutor_aggregates as"
            " select tutor_id, %s as as_of, 12 as sessions_30d from {marts}.dim_tutors",
            (AS_OF,),
        )
    return warehouse


@pytest.mark.parametrize(
    ("covers", "scope", "tutors"),
    [
        ({}, None, ["t1", "t2", "t3"]),
        ({"tables": ("marts/tutor_scoreboard",)}, None, ["t1", "t2", "t3"]),
        ({"tutors": ("t2", "t9")}, ("t2", "t9"), ["t2"]),
        ({"tutors": ()}, (), []),
        (None, None, ["t1", "t2", "t3"]),
    ],
    ids=["everything", "some tables", "some tutors", "nobody", "no refresh of ours"],
)
def test_rows_are_of_the_tutors_that_a_refresh_covers(
    built: Warehouse,
    request: pytest.FixtureRequest,
    covers: dict[str, Any] | None,
    scope: tuple[str, ...] | None,
    tutors: list[str],
) -> None:
    run_id = request.node.callspec.id
    if covers is not None:
        write_header(built, RefreshRun(run_id, AS_OF, **covers))
    with built.connect() as database:
        found = read(database, run_id, ["sessions_30d"])
    assert (found.scope, [row["tutor_id"] for row in found.rows]) == (scope, tutors)
    assert found.as_of == AS_OF
    assert found.active_tutors == {"t1", "t2", "t3"}


def test_the_open_alerts_of_a_row_are_those_about_the_tutor(built: Warehouse) -> None:
    name = "open_alerts.no_show"
    with built.connect() as database, database.transaction(force_rollback=True):
        ops = Ops(database)
        ops.alert("t1", alert_type="no_show")
        ops.alert("t2", alert_type="no_show", subject_kind="student", subject_id="p1")
        found = {row["tutor_id"]: bool(row[name]) for row in everybody(database, [name])}
    assert found == {"t1": True, "t2": False, "t3": False}
