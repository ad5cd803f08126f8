"""Runs jobs, each in a process of its own that need not load the definitions anew.

One JSON request per line on stdin, answered with one line:
{"job", "config", "result", "stderr"} -> the pid of a process that runs the job. Once it has ended
    by itself, the file `result` says how.
{"pid"} -> waits for that process; its exit status, negative where a signal ended it.
Each process is a fork of this one, which has loaded everything and opened nothing.
"""

import importlib
import json
import os
import sys
import threading
import traceback
from pathlib import Path

LOADED_BY_A_RUN = (
    "dbt.cli.main", "dbt.adapters.postgres", "google.protobuf.json_format", "alembic.command",
    "sqlalchemy.dialects.postgresql", "great_expectations",
    "tutor_pipeline.judgement.quality.expectations",
)  # fmt: skip


def run(defs, request):
    """In the fork: run the job. Never returns."""
    status = 1
    try:
        descriptor = os.open(request["stderr"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(descriptor, stream.fileno())
        import dagster as dg

        with dg.DagsterInstance.ephemeral() as instance:
            result = defs.resolve_job_def(request["job"]).execute_in_process(
                instance=instance, run_config=request["config"], raise_on_error=False
            )
        outcome = {
            "run_id": result.run_id,
            "success": result.success,
            "materializations": [
                {
                    "asset": event.asset_key.to_user_string(),
                    **{
                        name: each.value
                        for name, each in event.materialization.metadata.items()
                        if isinstance(each.value, str | int | float)
                    },
                }
                for event in result.all_events
                if event.event_type_value == "ASSET_MATERIALIZATION"
            ],
        }
        path = Path(request["result"])
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(outcome), encoding="utf-8")
        partial.replace(path)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main():
    for name in LOADED_BY_A_RUN:
        importlib.import_module(name)
    from tutor_pipeline.definitions import defs

    assert threading.active_count() == 1, "a fork would lose the other threads"
    for line in sys.stdin:
        request = json.loads(line)
        if "pid" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["pid"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                run(defs, request)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
