"""Delivery in Dagster: the messages as an asset, the weekly digest, and the sensor `outbox`.

Messages are sent in a run of their own, so an address that is down or slow neither fails nor delays
a refresh, and deliveries appear in the UI.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import psycopg

from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.formatting import count, span
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.defs.common import run_records
from tutor_pipeline.defs.common.assets import (
    OWNER,
    cadence,
    table,
    table_asset,
    with_code_references,
)
from tutor_pipeline.defs.common.project import load_project
from tutor_pipeline.defs.common.warehouse_resource import WarehouseResource
from tutor_pipeline.people.notify import compose, deliver, delivery_status
from tutor_pipeline.steps import tell
from tutor_pipeline.steps.names import Cadence, Group, Job

DIGEST = "digest"
NO_DEAD_LETTERS = "no_dead_letters"

_NO_DEAD_LETTERS_SAYS = "Every message reached all its addresses, or is still being retried."

HELPED_AFTER = timedelta(seconds=90)
"""If a message waits this long during a run, another run starts: the first is busy with a slow
address, or its process is gone.
"""
MOST_AT_ONCE = 2
GONE_AFTER = timedelta(minutes=45)
"""A run takes nothing new after ten minutes, and no message takes this long."""


@dg.definitions
def definitions() -> dg.Definitions:
    """The messages, the digest, the sensor `outbox`."""
    return dg.Definitions(
        assets=with_code_references(messages, digest),
        sensors=[build_outbox_sensor(load_project().sensors)],
    )


class DeliverConfig(dg.Config):
    """Duration of a run."""

    max_seconds: float = 600
    """After this time a run takes nothing new."""
    linger_seconds: float = 30
    """How long a run waits for something to send."""


@table_asset(
    "ops/messages",
    Group.DELIVERY,
    made=Cadence.DELIVERY,
    deps=("ops/alerts", DIGEST),
    check_specs=[
        dg.AssetCheckSpec(
            NO_DEAD_LETTERS,
            asset=["ops", "messages"],
            description=f"{_NO_DEAD_LETTERS_SAYS} `tutor-pipeline notify status` says which did"
            " not; `notify retry` tries them again.",
        )
    ],
)
def messages(
    context: dg.AssetExecutionContext, config: DeliverConfig, warehouse: WarehouseResource
) -> Iterator[dg.MaterializeResult[None]]:
    """Messages to people: made from the outbox and delivered to their addresses. A failed delivery
    is tried again later, eight times in all. A failing address does not fail the run; an outbox row
    that gives no message does, after all others are sent.
    """
    sent = tell.send(
        warehouse.warehouse,
        warehouse.settings,
        context.log.info,
        max_seconds=config.max_seconds,
        linger_seconds=config.linger_seconds,
    )
    yield dg.MaterializeResult(
        metadata={
            "sent": sent.tally.sent.total(),
            "failed": sent.tally.failed.total(),
            "dead": sent.tally.dead.total(),
            "waiting": sent.left["waiting"],
            "dead_letters": sent.left["dead"],
            "what_was_sent": table(
                (
                    {"message": subject, "address": address, "what became of it": what}
                    for subject, address, what in sent.tally.lines
                ),
                none="Nothing was sent.",
            ),
        },
        check_results=[_no_dead_letters(sent)],
    )
    if sent.broken.broken:
        raise dg.Failure(
            f"no message could be made of {count(sent.broken.broken, 'thing')} (ops.outbox says of"
            f" which): {sent.broken.error}",
            allow_retries=False,
        )


def _no_dead_letters(sent: tell.Sent) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=NO_DEAD_LETTERS,
        passed=not sent.dead,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={
            "rule": _NO_DEAD_LETTERS_SAYS,
            "dead_letters": sent.left["dead"],
            "addresses": table(
                {
                    "address": row["target"],
                    "messages": row["messages"],
                    "last error": row["last_error"] or "",
                }
                for row in sent.dead
            ),
        },
    )


class DigestConfig(dg.Config):
    """Which week."""

    week: str | None = None
    """The Monday of the week, as 2026-01-26; None = the last whole week."""


@dg.asset(
    key=[DIGEST],
    deps=[["ops", "alerts"], ["ops", "achievements"], ["marts", "platform_metrics"]],
    group_name=Group.DELIVERY,
    kinds={"python"},
    owners=[OWNER],
    tags=cadence(Cadence.DELIVERY),
)
def digest(
    context: dg.AssetExecutionContext, config: DigestConfig, warehouse: WarehouseResource
) -> dg.MaterializeResult[None]:
    """A week on one page: who needs attention, new, resolved and oldest alerts, movers, badges, the
    platform's trend. Noted here once per week; the next step makes and sends it.
    """
    week, is_new = tell.digest(warehouse.warehouse, config.week, context.run.run_id)
    if not is_new:
        context.log.info(f"the digest of the week of {week} was made before")
    return dg.MaterializeResult(metadata={"week": week.isoformat(), "is_new": is_new})


def build_outbox_sensor(status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """The sensor `outbox`: starts `deliver_messages` when there is something to send."""

    @dg.sensor(
        name="outbox",
        job_name=Job.DELIVER_MESSAGES,
        minimum_interval_seconds=5,
        default_status=status,
        description=f"Starts {Job.DELIVER_MESSAGES} when a message is to be made or sent. The"
        " reason of a skip says how many messages wait and how many are dead.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, warehouse: WarehouseResource
    ) -> dg.RunRequest | dg.SkipReason:
        try:
            urls = warehouse.settings.addresses
            return _look(context.instance, warehouse.warehouse, urls, _clock())
        except (TutorPipelineError, psycopg.OperationalError) as error:
            return dg.SkipReason(str(error).strip().splitlines()[0])

    return sensor


def _clock() -> datetime:
    return datetime.now(UTC)


def _look(
    instance: dg.DagsterInstance,
    warehouse: Warehouse,
    urls: Mapping[Audience, Sequence[str]],
    now: datetime,
) -> dg.RunRequest | dg.SkipReason:
    with warehouse.connect(autocommit=True) as database:
        tell.remind(database, now)
        told = compose.may_tell(database, urls, now)
        notes, noted_since = compose.anything_due(database, told, now)
        due, due_since = deliver.anything_due(database, now)
        left = delivery_status.counts(database)
    since = min((each for each in (noted_since, due_since) if each is not None), default=None)
    if since is None:
        return dg.SkipReason(f"nothing to send; {_left(left)}")
    waits = f"{count(notes, 'thing')} to tell, {count(due, 'delivery', 'deliveries')} due"
    running = run_records.all_in_progress(instance, Job.DELIVER_MESSAGES)
    if running and _is_gone(running[0], now):
        instance.report_run_failed(running[0].dagster_run, "Its process is gone.")
        running = running[1:]
    if running and (len(running) >= MOST_AT_ONCE or not _needs_help(running[-1], since, now)):
        first = running[0]
        for_ = span((now - run_records.since(first)).total_seconds())
        return dg.SkipReason(
            f"{Job.DELIVER_MESSAGES} {run_records.short(first.dagster_run.run_id)} is"
            f" {run_records.state(first)} since {for_}: {waits}; {_left(left)}"
        )
    failures = run_records.failures_in_a_row(instance, Job.DELIVER_MESSAGES)
    if (remaining := failures.remaining(now)) > 0:
        return dg.SkipReason(
            f"{count(failures.count, 'run')} in a row failed; tried again in {span(remaining)};"
            f" {waits}"
        )
    return dg.RunRequest()


def _is_gone(run: dg.RunRecord, now: datetime) -> bool:
    is_started = run.dagster_run.status is dg.DagsterRunStatus.STARTED
    return is_started and now - run_records.since(run) > GONE_AFTER


def _needs_help(newest: dg.RunRecord, since: datetime, now: datetime) -> bool:
    """Whether something has been due too long, also counted from the start of the newest run."""
    return now - max(since, run_records.since(newest)) >= HELPED_AFTER


def _left(left: dict[str, Any]) -> str:
    later = f"{count(left['noted'], 'thing')} to be told later"
    return f"{later}, {left['failing']} to be tried again, {left['dead']} dead"
