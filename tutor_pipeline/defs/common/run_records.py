"""Reads runs from the Dagster instance: those in progress, how the last ones ended, and why."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
import psutil
from dagster import DagsterRunStatus as Status

IN_PROGRESS = (
    Status.QUEUED,
    Status.NOT_STARTED,
    Status.STARTING,
    Status.STARTED,
    Status.CANCELING,
)
ENDED = (Status.SUCCESS, Status.FAILURE, Status.CANCELED)
_WORDS = {Status.QUEUED: "queued", Status.CANCELING: "being cancelled", Status.STARTED: "running"}
_AD_HOC = "__ASSET_JOB"
"""Dagster's implicit job: runs of assets selected in the UI."""

MAX_MESSAGE = 300
PROCESS_TAG = "tutor_pipeline/process"
"""Tag of the runs of the command line: the host, the process, and when it began."""

_CLOCK_SECONDS = 5

FIRST_WAIT, LONGEST_WAIT = 10, 300
"""Seconds to wait after one failure, and after many."""
_COUNTED = 8  # failures; after fewer the wait is at its longest


def in_progress(instance: dg.DagsterInstance, job: str) -> dg.RunRecord | None:
    """The oldest run of a job that is queued, starting or running."""
    records = all_in_progress(instance, job)
    return records[0] if records else None


def all_in_progress(instance: dg.DagsterInstance, job: str) -> Sequence[dg.RunRecord]:
    """The runs of a job that are queued, starting or running, oldest first."""
    return instance.get_run_records(
        dg.RunsFilter(job_name=job, statuses=list(IN_PROGRESS)), ascending=True
    )


def this_process() -> str:
    """The value of PROCESS_TAG for a run of this process."""
    own = psutil.Process()
    return f"{socket.gethostname()} {own.pid} {own.create_time()}"


def is_dead(record: dg.RunRecord) -> bool:
    """Whether the run is one of a command on this host whose process is gone."""
    host, _, process = record.dagster_run.tags.get(PROCESS_TAG, "").partition(" ")
    if host != socket.gethostname():
        return False
    pid, _, began = process.partition(" ")
    try:
        # The moment is computed from the machine's clock, which may be set meanwhile.
        return abs(psutil.Process(int(pid)).create_time() - float(began)) > _CLOCK_SECONDS
    except (psutil.NoSuchProcess, ValueError):
        return True


def last(instance: dg.DagsterInstance, job: str) -> dg.RunRecord | None:
    """The newest run of a job that has ended."""
    records = instance.get_run_records(dg.RunsFilter(job_name=job, statuses=list(ENDED)), limit=1)
    return records[0] if records else None


def has_succeeded(instance: dg.DagsterInstance, job: str, about: str, after: datetime) -> bool:
    """Whether a run of a job on that subject succeeded after a moment."""
    records = instance.get_run_records(
        dg.RunsFilter(job_name=job, statuses=[Status.SUCCESS], updated_after=after), limit=100
    )
    return any(
        subject(record.dagster_run) == about and (ended_at(record) or after) > after
        for record in records
    )


@dataclass(frozen=True, slots=True)
class Failures:
    """The consecutive failed runs of a job: their number (up to a limit), the newest, and the
    seconds to wait after it.
    """

    count: int
    newest: dg.RunRecord | None
    wait_seconds: float

    def remaining(self, now: datetime) -> float:
        """Remaining seconds of the wait; 0 when it is over."""
        ended = None if self.newest is None else ended_at(self.newest)
        return 0.0 if ended is None else self.wait_seconds - (now - ended).total_seconds()


def failures_in_a_row(instance: dg.DagsterInstance, job: str) -> Failures:
    """Return the consecutive failures of a job. The wait doubles with each."""
    records = instance.get_run_records(
        dg.RunsFilter(job_name=job, statuses=list(ENDED)), limit=_COUNTED
    )
    count = next(
        (n for n, each in enumerate(records) if each.dagster_run.status is not Status.FAILURE),
        len(records),
    )
    if count == 0:
        return Failures(0, None, 0.0)
    return Failures(count, records[0], min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (count - 1)))


def ended_at(record: dg.RunRecord) -> datetime | None:
    """When a run ended."""
    return None if record.end_time is None else datetime.fromtimestamp(record.end_time, UTC)


def since(record: dg.RunRecord) -> datetime:
    """When a run started, or when it was requested if it has not started."""
    if record.start_time is None:
        return record.create_timestamp.astimezone(UTC)
    return datetime.fromtimestamp(record.start_time, UTC)


def state(record: dg.RunRecord) -> str:
    """The state of a run in progress, in a word."""
    return _WORDS.get(record.dagster_run.status, "starting")


def short(run_id: str) -> str:
    """A run's id as the UI shows it."""
    return run_id[:8]


def subject(run: dg.DagsterRun) -> str:
    """The subject of a run: its job, or the selected assets."""
    if run.job_name != _AD_HOC:
        return run.job_name
    chosen = sorted(key.to_user_string() for key in run.asset_selection or ())
    return ", ".join(chosen) or run.job_name


def failed_steps(instance: dg.DagsterInstance, run_id: str) -> dict[str, str]:
    """{step: short error} of a run, in order of failure."""
    records = instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.STEP_FAILURE, limit=20
    ).records
    found = {}
    for record in records:
        event = record.event_log_entry.dagster_event
        if event is not None and event.step_key is not None:
            found[event.step_key] = _step_message(event)
    return found


def why(instance: dg.DagsterInstance, run_id: str) -> str:
    """Why a run failed, in a line: the error of its first failed step, else what ended it."""
    for step, message in failed_steps(instance, run_id).items():
        return f"{step}: {message}"
    said = _last_message(instance, run_id, dg.DagsterEventType.RUN_FAILURE)
    if _FROM_OUTSIDE in said:
        # The process was killed; the Dagster server knows how.
        said = _last_message(instance, run_id, dg.DagsterEventType.ENGINE_EVENT) or said
    return _line(said.removeprefix(_OF_THE_SERVER)) or "it left no reason"


_FROM_OUTSIDE = "marked as failed from outside"
_OF_THE_SERVER = "[DagsterApiServer] "


def _last_message(instance: dg.DagsterInstance, run_id: str, kind: dg.DagsterEventType) -> str:
    records = instance.get_records_for_run(run_id, of_type=kind, limit=1, ascending=False).records
    event = records[0].event_log_entry.dagster_event if records else None
    return "" if event is None else event.message or ""


def _step_message(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return _line(data.user_failure_data.description)
    error = data.error
    if error is None:
        return "it left no reason"
    return _line((error.cause or error).message)


def _line(text: str) -> str:
    """The first line, without the module path of the error class."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    name, found, said = first.partition(": ")
    if found and "." in name and " " not in name:
        first = said
    return first if len(first) <= MAX_MESSAGE else first[:MAX_MESSAGE] + "…"
