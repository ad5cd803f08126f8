"""Serves the desk: `python -m tutor_pipeline.desk --port 3040`, which `tutor-pipeline desk` runs.

Everything else is a setting. Logs no address: addresses hold search words and secrets of links.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from threading import Thread

import uvicorn

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.settings import load_settings
from tutor_pipeline.desk.app import create_app
from tutor_pipeline.desk.options import Options, StudentNames

_END_SECONDS = 3
_MOST_CONNECTIONS = 200
_LOOK_SECONDS = 1


def main() -> None:
    """Serves until it is asked to end."""
    parser = argparse.ArgumentParser(prog="python -m tutor_pipeline.desk", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--with-parent", action="store_true", help="end when the parent ends")
    asked = parser.parse_args()
    try:
        settings = load_settings()
        options = Options(
            asked.host,
            asked.port,
            settings.desk_url,
            StudentNames(settings.desk_student_names),
            settings.ui_url or f"http://127.0.0.1:{settings.ui_port}",
            settings.desk_proxies,
            settings.reports_dir,
            settings.secret_keys,
            settings.rule_profile,
            settings.addresses,
        )
        app = create_app(settings.locate().warehouse, options)
    except TutorPipelineError as error:
        print(f"✗ {error}", file=sys.stderr)  # noqa: T201 (a program's own output)
        raise SystemExit(error.exit_code) from None
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=asked.host,
            port=asked.port,
            # It bounds the headers of a request, which the faster one does not.
            http="h11",
            limit_concurrency=_MOST_CONNECTIONS,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=bool(options.proxies),
            forwarded_allow_ips=options.proxies or None,
            timeout_graceful_shutdown=_END_SECONDS,
        )
    )
    if asked.with_parent:
        Thread(target=_end_with_parent, args=(server, os.getppid()), daemon=True).start()
    server.run()


def _end_with_parent(server: uvicorn.Server, parent: int) -> None:
    """Ends the server when the process that started it is gone, also if that was killed."""
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    server.should_exit = True


if __name__ == "__main__":
    main()
