"""The command line: thin verbs over the other packages.

Verbs that compute run Dagster assets, so the UI shows their runs; reads are plain SQL.
Exit status: 0 done, 1 failed, 2 wrong usage, 3 data refused.
"""

from __future__ import annotations

import sys

import psycopg

from tutor_pipeline.core.errors import TutorPipelineError


def main() -> None:
    """Entry point of `tutor-pipeline`."""
    from rich.markup import escape

    from tutor_pipeline.cli.app import app
    from tutor_pipeline.cli.console import err

    try:
        app()
    except TutorPipelineError as error:
        err.print(f"[bold red]error:[/bold red] {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except psycopg.Error as error:
        err.print(
            f"[bold red]error:[/bold red] the database said: {escape(str(error).strip())}\n"
            "Its tables may have changed since they were built; `tutor-pipeline enrich` builds"
            " them anew, `tutor-pipeline status` shows where it is.",
            soft_wrap=True,
        )
        sys.exit(1)
    except UnicodeEncodeError:
        err.print("[bold red]error:[/bold red] an argument is not text in UTF-8")
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("interrupted; nothing is half done: run the same command again to go on")
        sys.exit(130)
