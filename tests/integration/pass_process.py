"""Refreshes after sessions, each in a process that is killed at a statement of it.

One number per line on stdin, answered with one line: the exit status of a process that was killed
before it ran its statement of that number; 0 where it ended before. Each process is a fork of this
one, which has loaded everything.
"""

import logging
import os
import signal
import sys
import traceback
from datetime import UTC, datetime

import psycopg

from tutor_pipeline.defs.common.project import load_project
from tutor_pipeline.defs.common.required import required
from tutor_pipeline.defs.common.warehouse_resource import WarehouseResource
from tutor_pipeline.metrics import dbt
from tutor_pipeline.metrics.compiled import ScopedBuilds
from tutor_pipeline.steps.order import FINDINGS_REST_ON, MODELS_OF_A_TUTOR
from tutor_pipeline.steps.refresh_after_sessions import Plan, Refresh


def die_at(number):
    """Kills this process before it runs that many statements."""
    execute, ran = psycopg.Cursor.execute, 0

    def counted(self, *arguments, **options):
        nonlocal ran
        ran += 1
        if ran == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return execute(self, *arguments, **options)

    psycopg.Cursor.execute = counted


def refresh(number, run_id, warehouse, plan, builds):
    """In the fork. Never returns."""
    status = 1
    try:
        die_at(number)
        this = Refresh(run_id, warehouse, plan, logging.getLogger(__name__))
        this.__dict__["_builds"] = builds  # compiled once, in the process that forks
        this._loop(None)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def main():
    project, resource = load_project(), WarehouseResource()
    plan = Plan(
        project.catalogue,
        project.suites,
        required(project, FINDINGS_REST_ON),
        project.scoring,
        resource.loss_limits,
        resource.settings.home,
        linger_seconds=0,
        max_seconds=600,
    )
    warehouse = resource.warehouse
    with dbt.hold_environment(dbt.dbt_environment(warehouse, "-", resource.settings.home)):
        builds = ScopedBuilds(warehouse, dbt.parse())
        builds.prepare(tuple(MODELS_OF_A_TUTOR), datetime.now(UTC))
        for line in sys.stdin:
            pid = os.fork()
            if pid == 0:
                refresh(int(line), f"killed at {line.strip()}", warehouse, plan, builds)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            sys.stdout.write(f"{status}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
