"""The guard: when it allows deriving, its objections otherwise, and what it records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun, write_header
from tutor_pipeline.judgement.quality.guard import Required, is_superseded, objections, require
from tutor_pipeline.judgement.quality.outcome import Outcome, Status
from tutor_pipeline.judgement.quality.results import record

AS_OF = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)
START = datetime(2026, 3, 18, 16, 0, tzinfo=UTC)
KNOWN = Required("marts/things", "known")
COUNT = Required("marts/others", "there_are_some")
OUTCOME = Outcome(
    "marts/things", "known", "suite", "Every thing is known.", "error", True, Status.PASSED
)


class Day:
    """What happens one after the other, a minute apart."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._minute = 0
        self._run = 0

    def refresh(self, at: int | None = None, *, built: bool = True, **of: Any) -> str:
        """A refresh begins, and its tables stand at once unless it is not `built` yet."""
        self._run += 1
        run_id = f"refresh {self._run}"
        write_header(self._warehouse, RefreshRun(run_id, AS_OF, **of))
        moment = self._moment(at)
        self._execute(
            "update {ops}.refresh_runs set started_at = %s, built_at = %s where run_id = %s",
            moment, moment if built else None, run_id,
        )  # fmt: skip
        return run_id

    def built(self, run_id: str) -> None:
        """The tables of a refresh stand."""
        self._execute(
            "update {ops}.refresh_runs set built_at = %s where run_id = %s",
            self._moment(None), run_id,
        )  # fmt: skip

    def check(
        self,
        status: str,
        required: Required = KNOWN,
        *,
        run_id: str = "r1",
        at: int | None = None,
        **of: Any,
    ) -> None:
        """A check is evaluated."""
        outcome = replace(
            OUTCOME, asset=required.asset, check=required.check, status=Status(status), **of
        )
        with self._warehouse.connect() as database:
            record(database, run_id, AS_OF, [outcome])
        self._execute(
            "update {ops}.dq_results set evaluated_at = %s"
            " where run_id = %s and asset = %s and check_name = %s",
            self._moment(at), run_id, required.asset, required.check,
        )  # fmt: skip

    def objections(self, *required: Required) -> list[str]:
        with self._warehouse.connect() as database:
            return objections(database, required or [KNOWN])

    def require(self, *required: Required, forced_by: str | None = None) -> list[str]:
        with self._warehouse.connect() as database:
            return require(
                database, required,
                asset="ops/alerts", run_id="this run", forced_by=forced_by)  # fmt: skip

    def overrides(self) -> list[tuple[Any, ...]]:
        with self._warehouse.connect() as database:
            return database.execute(
                "select run_id, asset, forced_by, objections from {ops}.dq_overrides"
                " order by override_no"
            ).fetchall()

    def _moment(self, at: int | None) -> datetime:
        self._minute = self._minute + 1 if at is None else at
        return START + timedelta(minutes=self._minute)

    def _execute(self, statement: str, *parameters: Any) -> None:
        with self._warehouse.connect() as database:
            assert database.execute(statement, parameters).rowcount == 1


@pytest.fixture
def day(warehouse: Warehouse) -> Iterator[Day]:
    yield Day(warehouse)
    with warehouse.connect() as database:
        database.execute(
            "truncate {ops}.dq_results, {ops}.dq_overrides, {ops}.refresh_runs, {ops}.refresh_scope"
        )


def test_what_passed_is_no_objection(day: Day) -> None:
    day.refresh()
    day.check("passed")
    assert day.objections() == []
    assert day.require(KNOWN) == []


def test_a_table_made_by_hand_is_evaluated_again_and_the_others_go_on_counting(day: Day) -> None:
    day.refresh()
    day.check("passed")
    day.check("passed", COUNT)
    by_hand = day.refresh(tables=("marts/others",), built=False)
    assert day.objections() == []
    (said,) = day.objections(KNOWN, COUNT)
    assert said.startswith("marts/others: there_are_some was not evaluated since")
    day.check("passed", COUNT, run_id="too early")
    assert len(day.objections(COUNT)) == 1
    day.built(by_hand)
    assert len(day.objections(COUNT)) == 1
    day.check("passed", COUNT, run_id="in time")
    assert day.objections(KNOWN, COUNT) == []


def test_a_full_refresh_makes_up_for_what_was_made_by_hand(day: Day) -> None:
    day.refresh()
    day.refresh(tables=("marts/things",), built=False)
    run_id = day.refresh()
    day.check("passed", run_id=run_id)
    assert day.objections() == []


def test_nothing_required_is_no_objection(day: Day) -> None:
    assert day.require() == []


@pytest.mark.parametrize(
    ("status", "of", "objection"),
    [
        ("failed", {"rows_failing": 1234}, "Every thing is known. (1,234 rows do not)"),
        ("failed", {"observed": "2.04"}, "Every thing is known. (observed 2.04)"),
        ("failed", {}, "Every thing is known. (does not hold)"),
        (
            "errored",
            {"message": 'column "known" does not exist'},
            'could not be evaluated: column "known" does not exist',
        ),
    ],
)
def test_what_did_not_pass_is_said(
    day: Day, status: str, of: dict[str, Any], objection: str
) -> None:
    day.refresh()
    day.check(status, **of)
    (said,) = day.objections()
    assert said.startswith("marts/things: known")
    assert said.endswith(objection)


def test_never_evaluated(day: Day) -> None:
    assert day.objections() == ["marts/things: known was never evaluated"]
    day.refresh()
    assert day.objections() == ["marts/things: known was never evaluated"]
    # Neither another check of the table nor that check of another table stands for it.
    day.check("passed", Required("marts/things", "other"))
    day.check("passed", Required("marts/others", "known"))
    assert day.objections() == ["marts/things: known was never evaluated"]


def test_evaluated_before_the_tables_were_rebuilt(day: Day) -> None:
    day.check("passed")
    day.refresh()
    assert day.objections() == [
        "marts/things: known was not evaluated since the tables were rebuilt (2026-03-18 16:02 UTC)"
    ]
    day.check("passed", run_id="r2")
    assert day.objections() == []


def test_an_evaluation_of_the_old_tables_is_none_of_the_new(day: Day) -> None:
    """Begun by another run after the refresh began, and before its tables stood."""
    refresh = day.refresh(built=False)
    day.check("passed", run_id="another")
    (said,) = day.objections()
    assert "was not evaluated since" in said
    day.built(refresh)
    (said,) = day.objections()
    assert "was not evaluated since" in said
    day.check("passed", run_id="another")
    assert day.objections() == []


def test_what_the_refresh_itself_evaluated_counts(day: Day) -> None:
    refresh = day.refresh(built=False)
    day.check("passed", run_id=refresh)
    day.built(refresh)
    assert day.objections() == []


def test_of_a_refresh_that_never_ended_nothing_is_known(day: Day) -> None:
    day.refresh()
    day.check("passed")
    day.refresh(built=False)
    day.check("passed", run_id="another")
    (said,) = day.objections()
    assert "was not evaluated since" in said


def test_a_failure_of_before_is_stale_first(day: Day) -> None:
    day.check("failed")
    day.refresh()
    (said,) = day.objections()
    assert "was not evaluated since" in said


def test_without_any_refresh_the_newest_evaluation_counts(day: Day) -> None:
    day.check("passed")
    assert day.objections() == []


@pytest.mark.parametrize(
    "of",
    [
        {"tutors": ("t1",)},
        {"tutors": ()},
        {"snapshot_from": date(2026, 3, 1), "snapshot_until": date(2026, 3, 2)},
    ],
)
def test_a_refresh_of_some_or_of_other_tables_makes_nothing_stale(
    day: Day, of: dict[str, Any]
) -> None:
    day.refresh()
    day.check("passed")
    day.refresh(**of)
    assert day.objections() == []


@pytest.mark.parametrize("run_id", ["r0", "r2"])
def test_of_several_runs_the_newest_evaluation_counts(day: Day, run_id: str) -> None:
    day.refresh()
    day.check("failed", run_id="r1")
    day.check("passed", run_id=run_id)
    assert day.objections() == []
    day.check("errored", run_id="r3", message="why")
    assert len(day.objections()) == 1
    day.check("passed", run_id="r1")  # again, in an older run
    assert day.objections() == []


def test_of_the_same_moment_one_run_counts_always(day: Day) -> None:
    day.refresh(at=1)
    day.check("passed", run_id="b", at=2)
    day.check("failed", run_id="a", at=2)
    assert day.objections() == []
    day.check("failed", run_id="c", at=2)
    assert len(day.objections()) == 1


def test_evaluated_at_the_moment_of_the_refresh_is_new_enough(day: Day) -> None:
    day.refresh(at=5)
    day.check("passed", at=5)
    assert day.objections() == []


def test_each_objection_is_said_in_order(day: Day) -> None:
    day.refresh()
    day.check("failed", rows_failing=3)
    assert day.objections(COUNT, KNOWN) == [
        "marts/others: there_are_some was never evaluated",
        "marts/things: known: Every thing is known. (3 rows do not)",
    ]
    with pytest.raises(RefusedError) as refused:
        day.require(COUNT, KNOWN)
    message = str(refused.value)
    assert message.startswith("ops/alerts was not derived")
    for objection in day.objections(COUNT, KNOWN):
        assert f"\n  {objection}\n" in message
    for way_out in ("tutor-pipeline validate", "tutor-pipeline enrich", "--force"):
        assert way_out in message
    assert day.overrides() == []


def test_forced_it_goes_on_and_is_recorded(day: Day) -> None:
    day.refresh()
    day.check("failed", rows_failing=3)
    overridden = day.require(COUNT, KNOWN, forced_by="O'Neil; --")
    assert overridden == day.objections(COUNT, KNOWN)
    assert day.overrides() == [("this run", "ops/alerts", "O'Neil; --", overridden)]
    # Every time it is forced.
    day.require(KNOWN, forced_by="somebody else")
    assert [row[2:] for row in day.overrides()[1:]] == [("somebody else", overridden[1:])]


def test_forced_without_need_nothing_is_recorded(day: Day) -> None:
    day.refresh()
    day.check("passed")
    assert day.require(KNOWN, forced_by="somebody") == []
    assert day.overrides() == []


def test_what_is_forced_once_is_refused_again(day: Day) -> None:
    day.refresh()
    day.check("failed")
    day.require(KNOWN, forced_by="somebody")
    with pytest.raises(RefusedError):
        day.require(KNOWN)


ONE_DAY = {"snapshot_from": date(2026, 3, 1), "snapshot_until": date(2026, 3, 1)}


@pytest.mark.parametrize(
    ("began", "other_began", "of", "expected"),
    [
        (3, None, {}, False),  # not by itself
        (10, 4, {}, True),
        (10, 6, {}, False),  # it may have died
        (3, 4, {}, False),
        (3, 3, {}, False),
        (10, 4, {"tutors": ("T1",)}, False),
        (10, 4, {"tables": ("marts/things",)}, False),
        (10, 4, ONE_DAY, False),
    ],
)
def test_superseded_is_who_sees_another_full_refresh_begin(
    day: Day,
    warehouse: Warehouse,
    began: int,
    other_began: int | None,
    of: dict[str, Any],
    expected: bool,
) -> None:
    """Minutes ago."""
    minutes = {day.refresh(): began}
    if other_began is not None:
        minutes[day.refresh(**of)] = other_began
    with warehouse.connect() as database:
        for run_id, ago in minutes.items():
            database.execute(
                "update {ops}.refresh_runs set started_at = now() - make_interval(mins => %s)"
                " where run_id = %s",
                (ago, run_id),
            )
        assert is_superseded(database, next(iter(minutes))) is expected
        database.rollback()
