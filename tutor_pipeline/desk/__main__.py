"""Serves the desk: `python -m tutor_pipeline.desk --port 3040`, which `tutor-pipeline desk` runs.

Everything else is a setting. Logs no address: addresses hold search words and secrets of links.
"""

from __future__ import annotations

import argparse
import sys

import uvicorn

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.settings import load_settings
from tutor_pipeline.desk.app import create_app
from tutor_pipeline.desk.options import Options, StudentNames

_END_SECONDS = 3


def main() -> None:
    """Serves until it is asked to end."""
    parser = argparse.ArgumentParser(prog="python -m tutor_pipeline.desk", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    asked = parser.parse_args()
    try:
        settings = load_settings()
        app = create_app(
            settings.locate().warehouse,
            Options(
                asked.host, asked.port, settings.desk_url,
                StudentNames(settings.desk_student_names),
                settings.ui_url or f"http://127.0.0.1:{settings.ui_port}",
            ),
        )  # fmt: skip
    except TutorPipelineError as error:
        print(f"✗ {error}", file=sys.stderr)  # noqa: T201 (a program's own output)
        raise SystemExit(error.exit_code) from None
    uvicorn.run(
        app,
        host=asked.host,
        port=asked.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_END_SECONDS,
    )


if __name__ == "__main__":
    main()
