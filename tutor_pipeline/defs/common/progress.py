"""A Dagster logger that passes finished tables and checks, and messages of steps, to the process
that launched a run.
"""

import logging
from collections.abc import Callable

import dagster as dg

Listener = Callable[[dg.DagsterEvent | str], None]

_listeners: list[Listener] = []


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        meta = getattr(record, "dagster_meta", None) or {}
        event = meta.get("dagster_event")
        told = event if isinstance(event, dg.DagsterEvent) else meta.get("orig_message")
        if told is not None and (told is event or record.levelno == logging.INFO):
            for listener in _listeners:
                listener(told)


def _make_logger(_: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.Logger("progress", level=logging.DEBUG)
    logger.addHandler(_Handler())
    return logger


progress_logger = dg.LoggerDefinition(
    _make_logger, description="Reports what has finished to the command that launched the run."
)


def listen(listener: Listener) -> Callable[[], None]:
    """Register a listener. Returns the function that removes it."""
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)
