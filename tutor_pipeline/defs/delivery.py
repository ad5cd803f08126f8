"""Delivery in Dagster: the messages as an asset, the weekly digest, and the sensor `outbox`.

Messages are sent by a run of their own: an address that is down or slow fails no refresh and
delays none, and what was sent to whom is seen where everything else is.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import psycopg

from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.core.errors import TutorPipelineError, UsageError
from tutor_pipeline.core.formatting import count, span
from tutor_pipeline.core.settings import Settings
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.refresh_runs import built_moment
from tutor_pipeline.defs import run_records
from tutor_pipeline.defs.guarded import cell
from tutor_pipeline.defs.metrics import OWNER
from tutor_pipeline.defs.resources import WarehouseResource
from tutor_pipeline.people.notify import compose, deliver, delivery_status, outbox, targets
from tutor_pipeline.people.notify.render import Setting

JOB = "deliver_messages"
DIGEST, DIGEST_JOB = "digest", "weekly_digest"
GROUP = "delivery"
NO_DEAD_LETTERS = "no_dead_letters"

_NO_DEAD_LETTERS_SAYS = "Every message got to every address it was meant for, or is still tried."

HELPED_AFTER = timedelta(seconds=90)
"""What waits so long while a run is at work is taken by another one: the first is busy with an
address that is slow, or its process is gone.
"""
MOST_AT_ONCE = 2
GONE_AFTER = timedelta(minutes=45)
"""A run takes nothing new after ten minutes, and no message takes as long as this."""

_SHOWN = 50


class DeliverConfig(dg.Config):
    """How long a run goes on."""

    max_seconds: float = 600
    """After that it takes nothing new."""
    linger_seconds: float = 30
    """How long it waits for something to send."""


@dg.asset(
    key=["ops", "messages"],
    deps=[["ops", "alerts"], [DIGEST]],
    group_name=GROUP,
    kinds={"python", "postgres"},
    owners=[OWNER],
    metadata={"dagster/table_name": "ops.messages"},
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
    """What people were told: the outbox made into messages, and each brought to its addresses.
    One that fails is tried again later, eight times in all; a failing address fails no run, but
    what no message can be made of does, once the others have gone.
    """
    settings, target = warehouse.settings, warehouse.warehouse
    addresses = targets.read(settings.addresses, settings.messages_dir)
    sender = deliver.Sender(target, addresses, _clock, context.log.info)

    broken = compose.Composed()

    def make_messages() -> None:
        now = _clock()
        with target.connect() as database:
            told = compose.may_tell(database, settings.addresses, now)
            made = compose.compose(
                database,
                {audience: list(addresses[audience]) for audience in told},
                setting(settings, now),
            )
        if made.broken:
            broken.broken += made.broken
            broken.error = made.error
        if made.messages or made.dropped:
            context.log.info(
                f"{count(made.messages, 'message')} made,"
                f" {made.dropped} not told (ops.outbox says why)"
            )

    tally = sender.run(
        make_messages, max_seconds=config.max_seconds, linger_seconds=config.linger_seconds
    )
    targets.prune(settings.messages_dir)
    with target.connect() as database:
        left = delivery_status.counts(database)
        dead = delivery_status.dead(database)
    yield dg.MaterializeResult(
        metadata={
            "sent": tally.sent.total(),
            "failed": tally.failed.total(),
            "dead": tally.dead.total(),
            "waiting": left["waiting"],
            "dead_letters": left["dead"],
            "what_was_sent": dg.MetadataValue.md(_table(tally.lines)),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name=NO_DEAD_LETTERS,
                passed=not dead,
                severity=dg.AssetCheckSeverity.ERROR,
                metadata={
                    "rule": _NO_DEAD_LETTERS_SAYS,
                    "dead_letters": left["dead"],
                    "addresses": dg.MetadataValue.md(
                        "\n".join(
                            f"- {cell(row['target'])}: {count(row['messages'], 'message')},"
                            f" {cell(row['last_error'] or '')}"
                            for row in dead
                        )
                        or "none"
                    ),
                },
            )
        ],
    )
    if broken.broken:
        raise dg.Failure(
            f"of {count(broken.broken, 'thing')} no message could be made (ops.outbox says of"
            f" which): {broken.error}",
            allow_retries=False,
        )


class DigestConfig(dg.Config):
    """Which week."""

    week: str | None = None
    """Its Monday, as 2026-01-26; None = the last whole week."""


@dg.asset(
    key=[DIGEST],
    deps=[["ops", "alerts"], ["ops", "achievements"], ["marts", "platform_metrics"]],
    group_name=GROUP,
    kinds={"python"},
    owners=[OWNER],
)
def digest(
    context: dg.AssetExecutionContext, config: DigestConfig, warehouse: WarehouseResource
) -> dg.MaterializeResult[None]:
    """A week in a page: who needs attention, new, resolved and oldest alerts, movers, badges, the
    platform's trend. Noted here once per week; the step after this one makes it and sends it.
    """
    target = warehouse.warehouse
    now = _clock()
    newest = last_week(now, target.timezone)
    week = newest if config.week is None else monday(config.week)
    if week > newest:
        raise UsageError(f"the week of {week} is not over: its digest comes when it is")
    with target.connect() as database:
        built_moment(database)  # nothing can be told of a platform that was never read
        is_new = outbox.note_digest(
            database, week.isoformat(), {}, now=now, run_id=context.run.run_id
        )
    if not is_new:
        context.log.info(f"the digest of the week of {week} was made before")
    return dg.MaterializeResult(metadata={"week": week.isoformat(), "is_new": is_new})


def build_delivery_jobs() -> list[Any]:
    """The jobs `deliver_messages` and `weekly_digest`."""
    return [
        dg.define_asset_job(
            JOB,
            selection=dg.AssetSelection.assets(messages),
            description="Make messages of what people are to be told, and send them.",
            # A person waits for it.
            tags={"dagster/priority": "5", "dagster/max_retries": "0"},
        ),
        dg.define_asset_job(
            DIGEST_JOB,
            selection=dg.AssetSelection.assets(digest, messages),
            description="The digest of the last whole week, made and sent.",
        ),
    ]


def build_outbox_sensor(job: Any, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """The sensor `outbox`: starts `deliver_messages` when there is something to send."""

    @dg.sensor(
        name="outbox",
        job=job,
        minimum_interval_seconds=5,
        default_status=status,
        description=f"What people are to be told: starts {JOB} when a message is to be made or"
        " sent. What it says on skipping holds how much waits, and how much is dead.",
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


def setting(settings: Settings, now: datetime) -> Setting:
    """What messages say of where they come from."""
    return Setting(settings.ui_address, settings.report_address(""), settings.timezone, now)


def last_week(now: datetime, timezone: str) -> date:
    """The Monday of the last week that is over."""
    today = now.astimezone(ZoneInfo(timezone)).date()
    return today - timedelta(days=today.weekday() + 7)


def monday(day: str) -> date:
    """The Monday of the week of a day. Raises ValueError."""
    found = date.fromisoformat(day)
    return found - timedelta(days=found.weekday())


def _clock() -> datetime:
    return datetime.now(UTC)


def _look(
    instance: dg.DagsterInstance,
    warehouse: Warehouse,
    urls: Mapping[Audience, Sequence[str]],
    now: datetime,
) -> dg.RunRequest | dg.SkipReason:
    with warehouse.connect(autocommit=True) as database:
        told = compose.may_tell(database, urls, now)
        notes, noted_since = compose.anything_due(database, told, now)
        due, due_since = deliver.anything_due(database, now)
        left = delivery_status.counts(database)
    since = min((each for each in (noted_since, due_since) if each is not None), default=None)
    if since is None:
        return dg.SkipReason(f"nothing to send; {_left(left)}")
    waits = f"{count(notes, 'thing')} to tell, {count(due, 'delivery', 'deliveries')} due"
    running = run_records.all_in_progress(instance, JOB)
    if running and _is_gone(running[0], now):
        instance.report_run_failed(running[0].dagster_run, "Its process is gone.")
        running = running[1:]
    if running and (len(running) >= MOST_AT_ONCE or not _needs_help(running[-1], since, now)):
        first = running[0]
        for_ = span((now - run_records.since(first)).total_seconds())
        return dg.SkipReason(
            f"{JOB} {run_records.short(first.dagster_run.run_id)} is {run_records.state(first)}"
            f" since {for_}: {waits}; {_left(left)}"
        )
    failures = run_records.failures_in_a_row(instance, JOB)
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
    """Whether something has been due for long, and for long since the newest run began."""
    return now - max(since, run_records.since(newest)) >= HELPED_AFTER


def _left(left: dict[str, Any]) -> str:
    later = f"{count(left['noted'], 'thing')} to be told later"
    return f"{later}, {left['failing']} to be tried again, {left['dead']} dead"


def _table(lines: Sequence[tuple[str, str, str]]) -> str:
    if not lines:
        return "Nothing was sent."
    rows = [
        f"| {cell(subject)} | {cell(target)} | {cell(what)} |"
        for subject, target, what in lines[:_SHOWN]
    ]
    head = ["| message | address | what became of it |", "| --- | --- | --- |"]
    more = [f"| … | | {len(lines) - _SHOWN} more |"] if len(lines) > _SHOWN else []
    return "\n".join(head + rows + more)
