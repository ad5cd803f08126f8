"""A receiver as `tutor-pipeline events serve` runs one, with bounds of a test's own.

With `dies_at`, it kills itself before it runs that many statements after a signal SIGUSR1.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from datetime import UTC, datetime
from typing import Any

import psycopg
import uvicorn

from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.sources.events.receiver.alone import create_app
from tutor_pipeline.sources.events.receiver.limits import Limits


def die_at(number: int) -> None:
    """Kills this process before it runs that many statements, counted from SIGUSR1 on."""
    execute = psycopg.Cursor.execute
    ran: list[int] = []

    def counted(self: Any, *arguments: Any, **options: Any) -> Any:
        if ran:
            ran[0] += 1
            if ran[0] > number:
                os.kill(os.getpid(), signal.SIGKILL)
        return execute(self, *arguments, **options)

    psycopg.Cursor.execute = counted  # type: ignore[method-assign]
    signal.signal(signal.SIGUSR1, lambda *_: ran.append(0))


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    if asked.get("dies_at") is not None:
        die_at(asked["dies_at"])
    uvicorn.run(
        create_app(Warehouse(asked["url"]), lambda: datetime.now(UTC), Limits(**asked["limits"])),
        host="127.0.0.1",
        port=asked["port"],
        http="h11",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=500,
        timeout_graceful_shutdown=3,
    )
