"""The command line: thin verbs over the other packages.

Verbs that compute run Dagster assets, so the UI shows their runs; reads are plain SQL.
Exit status: 0 done, 1 failed, 2 wrong usage, 3 data refused.
"""

from __future__ import annotations

import sys

import psycopg

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse import remedies

_STORAGE = {"dagster_postgres", "sqlalchemy", "psycopg2"}
"""Libraries through which an error of Dagster's database passes."""


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
        said = str(error).strip()
        err.print(
            f"[bold red]error:[/bold red] the database said: {escape(said)}\n"
            f"{remedies.of_statement(said) or '`tutor-pipeline status` shows where it is.'}",
            soft_wrap=True,
        )
        sys.exit(1)
    except UnicodeEncodeError:
        err.print("[bold red]error:[/bold red] an argument is not text in UTF-8")
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("interrupted; nothing is half done: run the same command again to go on")
        sys.exit(130)
    except Exception as error:
        found = _of_storage(error)
        if found is None:
            raise
        err.print(
            f"[bold red]error:[/bold red] Dagster's database said: {escape(found)}\n"
            f"{remedies.of_statement(found) or '`tutor-pipeline status` shows where it is.'}",
            soft_wrap=True,
        )
        sys.exit(1)


def _of_storage(error: BaseException | None) -> str | None:
    """The message of the database under an error of Dagster's storage; None = another error."""
    while error is not None and (library := type(error).__module__.partition(".")[0]) in _STORAGE:
        if library == "psycopg2":
            return str(error).strip().splitlines()[0]
        error = error.__cause__ or error.__context__
    return None
