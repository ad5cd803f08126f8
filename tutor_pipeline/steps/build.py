"""Build: dbt builds and tests the tables; the outcomes of the tests are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import psycopg
from psycopg import sql

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun
from tutor_pipeline.judgement.quality import results
from tutor_pipeline.judgement.quality.outcome import Outcome, Status, first_rows, plain
from tutor_pipeline.metrics import dbt

Node = Mapping[str, Any]
Event = Mapping[str, Any]

_STATUSES = {"pass": Status.PASSED, "fail": Status.FAILED, "warn": Status.FAILED}


@dataclass(frozen=True, slots=True)
class Check:
    """A dbt test by its names as a check: the asset (`marts/dim_tutors`) and its own name."""

    asset: str
    name: str


@dataclass(frozen=True, slots=True)
class Built:
    """A table that was built: its node in dbt's manifest, its rows, and the seconds it took."""

    node: Node
    rows: int
    seconds: float


def build(
    warehouse: Warehouse,
    home: Path,
    run: RefreshRun,
    manifest: Mapping[str, Any],
    models: Sequence[str],
    checks_of: Callable[[Event], Sequence[Check]],
    tell: Callable[[str], None],
) -> Iterator[Built | Outcome]:
    """Run `dbt build` on some models; yield each table and each test outcome as it ends.

    `checks_of` returns the checks that a test event answers, or none for a test of others.
    `tell` receives dbt's progress. Test outcomes are stored even if the build fails later.
    Raises TutorPipelineError naming the nodes that failed.
    """
    arguments = ["build", "--exclude-resource-type", "unit_test", "--select", *sorted(models)]
    events: SimpleQueue[dict[str, Any] | BaseException | None] = SimpleQueue()

    def work() -> None:
        try:
            dbt.run(arguments, on_event=events.put)
            events.put(None)
        except BaseException as error:
            events.put(error)

    outcomes: list[Outcome] = []
    worker = Thread(target=work, name="dbt", daemon=True)
    with dbt.hold_environment(dbt.dbt_environment(warehouse, run.run_id, home)):
        worker.start()
        try:
            while (event := events.get()) is not None:
                if isinstance(event, BaseException):
                    raise event
                if event["info"]["name"] == dbt.PROGRESS:
                    tell(event["data"]["msg"])
                    continue
                node = manifest["nodes"].get(event["data"]["node_info"]["unique_id"])
                if node is None or node["config"]["materialized"] == "ephemeral":
                    continue
                if node["resource_type"] == "model":
                    if event["data"]["node_info"]["node_status"] == "success":
                        yield _built(warehouse, node, event)
                    continue
                for check in checks_of(event):
                    outcomes.append(outcome_of(warehouse, home, node, event, check))
                    yield outcomes[-1]
        finally:
            # After an error here, dbt must not continue writing once the writers' lock is
            # released, nor run in a changed environment.
            worker.join()
            with warehouse.connect() as database:
                results.record(database, run.run_id, run.as_of, outcomes)


def outcome_of(warehouse: Warehouse, home: Path, node: Node, event: Event, check: Check) -> Outcome:
    """The outcome of a dbt test. Severity error blocks, severity warn does not."""
    data = event["data"]
    status = _STATUSES.get(data["node_info"]["node_status"], Status.ERRORED)
    severity = (node["config"].get("severity") or "error").lower()
    query = dbt.compiled_sql(home, node)
    sample: list[dict[str, Any]] = []
    message = f"see {dbt.log_file(home)}" if status is Status.ERRORED else None
    if status is Status.FAILED and query is not None:
        try:
            with warehouse.connect() as database:
                sample = [plain(row) for row in first_rows(database, query)]
        except (psycopg.Error, TutorPipelineError) as error:
            message = f"its rows could not be listed: {error}"  # it has failed all the same
    return Outcome(
        check.asset,
        check.name,
        "dbt",
        node["config"]["meta"]["description"],
        severity,
        severity == "error",
        status,
        rows_failing=None if status is Status.ERRORED else int(data.get("num_failures") or 0),
        sample=sample,
        query=query,
        message=message,
        seconds=round(float(data["execution_time"]), 3),
    )


def _built(warehouse: Warehouse, node: Node, event: Event) -> Built:
    with warehouse.connect() as database:
        rows = database.value(
            sql.SQL("select count(*) from {}").format(sql.Identifier(node["schema"], node["name"]))
        )
    return Built(node, rows, round(float(event["data"]["execution_time"]), 3))
