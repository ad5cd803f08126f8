"""The command `tutor-pipeline`, composed of its verbs."""

from __future__ import annotations

import typer

from tutor_pipeline.cli import (
    alerts,
    attention,
    desk,
    enrich,
    events,
    excuses,
    export,
    forget,
    incidents,
    notify,
    platform_data,
    quarantine,
    rules,
    scores,
    server,
    simulate,
    source,
    validate,
)

app = typer.Typer(
    name="tutor-pipeline",
    help="Who is about to leave, who needs a call today, and why: from a tutoring platform's"
    " session tables to alerts that people act on.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)

for verbs in (
    server,
    platform_data,
    source,
    events,
    simulate,
    enrich,
    quarantine,
    validate,
    incidents,
    notify,
    attention,
    alerts,
    excuses,
    desk,
    rules,
    scores,
    export,
    forget,
):
    verbs.register(app)
