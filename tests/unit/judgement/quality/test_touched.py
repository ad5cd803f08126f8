"""The blocking checks of some tutors' rows fail as they do in a full refresh."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.judgement.quality.run import run_suite
from tutor_pipeline.judgement.quality.suites import Check, Suite
from tutor_pipeline.judgement.quality.touched import failing_tutors

AS_OF = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)
VALUES = {
    "below": -0.001,
    "at the least": 0.0,
    "within": 0.5,
    "at the most": 1.0,
    "above": 1.001,
    "unknown": None,
}
"""Tutor → their value, around bounds of 0 and 1."""


@pytest.fixture(scope="module", autouse=True)
def sessions(warehouse: Warehouse) -> None:
    """marts.fct_sessions: a session of each tutor."""
    with warehouse.connect() as database:
        database.execute("create table {marts}.fct_sessions (tutor_id text, x double precision)")
        for row in VALUES.items():
            database.execute("insert into {marts}.fct_sessions values (%s, %s)", row)


@pytest.mark.parametrize(
    ("strict", "at_a_bound"),
    [
        ({}, set()),
        ({"strict_min": True}, {"at the least"}),
        ({"strict_max": True}, {"at the most"}),
        ({"strict_min": True, "strict_max": True}, {"at the least", "at the most"}),
        ({"strict_min": False, "strict_max": False}, set()),
    ],
    ids=["none", "least", "most", "both", "said to be none"],
)
def test_a_bound_belongs_to_what_is_fine_unless_it_is_strict(
    warehouse: Warehouse,
    make_check: Callable[..., Check],
    strict: dict[str, bool],
    at_a_bound: set[str],
) -> None:
    check = make_check(
        "in_range", "expect_column_values_to_be_between",
        column="x", min_value=0, max_value=1, **strict,
    )  # fmt: skip
    suite = Suite.model_construct(
        name="sessions", asset="marts/fct_sessions", about="Sessions.", keys=("tutor_id",),
        checks=(check,),
    )  # fmt: skip
    with warehouse.connect() as database:
        found = failing_tutors(database, [suite], list(VALUES), AS_OF)
    assert found == dict.fromkeys(
        {"below", "above"} | at_a_bound, "marts/fct_sessions: in_range: It holds."
    )
    (in_full,) = run_suite(suite, warehouse, AS_OF)
    assert {row["tutor_id"] for row in in_full.sample} == found.keys()
