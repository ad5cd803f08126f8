"""Verbs on scores: backtest, judge, accept, crossval."""

from __future__ import annotations

import typer

from tutor_pipeline.cli.scores_accept import accept
from tutor_pipeline.cli.scores_backtest import backtest
from tutor_pipeline.cli.scores_crossval import crossval
from tutor_pipeline.cli.scores_judge import judge


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    group = typer.Typer(help="Scores: evaluate scorers and learning.", no_args_is_help=True)
    group.callback()(_group)
    group.command()(backtest)
    group.command()(judge)
    group.command()(accept)
    group.command()(crossval)
    app.add_typer(group, name="scores")


def _group() -> None:
    """Scores: evaluate scorers and learning."""
