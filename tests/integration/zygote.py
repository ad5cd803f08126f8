"""Runs commands as processes of their own that need not import Dagster and dbt anew.

One JSON request per line on stdin: program, arguments, environment, folder, files for stdout and
stderr. It is answered with the exit status. Each command is a fork of this process, which has
imported what takes long and opened nothing: no connection, no thread.
"""

import importlib
import json
import os
import sys
import threading
import traceback

SLOW_TO_IMPORT = (
    "dagster", "dagster_dbt", "dagster_postgres", "dbt.cli.main", "dbt.adapters.postgres",
    "alembic.command", "sqlalchemy.dialects.postgresql", "tutor_pipeline.cli.app",
    "tutor_pipeline.defs.metrics", "tutor_pipeline.defs.findings", "tutor_pipeline.metrics.dbt",
    "tutor_pipeline.sources.synthetic.generator", "great_expectations",
    "tutor_pipeline.judgement.quality.expectations", "tutor_pipeline.defs.learning",
    "tutor_pipeline.judgement.scores.tutor_scorers", "tutor_pipeline.judgement.scores.weighted",
    "scipy.special",
    "tutor_pipeline.judgement.scores.crossval", "tutor_pipeline.judgement.scores.refinement",
)  # fmt: skip

ENTRY_POINTS = {
    "tutor-pipeline": ("tutor_pipeline.cli", "main"),
    "dbt": ("dbt.cli.main", "cli"),
}


def run(request):
    """In the fork: become the command. Never returns."""
    os.environ.clear()
    os.environ.update(request["env"])
    for descriptor, path in ((0, os.devnull), (1, request["stdout"]), (2, request["stderr"])):
        file = os.open(path, os.O_RDONLY if descriptor == 0 else os.O_WRONLY)
        os.dup2(file, descriptor)
    os.chdir(request["folder"])
    sys.argv = [request["program"], *request["arguments"]]
    status = 1
    try:
        module, function = ENTRY_POINTS[request["program"]]
        getattr(importlib.import_module(module), function)()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main():
    for name in SLOW_TO_IMPORT:
        importlib.import_module(name)
    assert threading.active_count() == 1, "a fork would lose the other threads"
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            run(json.loads(line))
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
