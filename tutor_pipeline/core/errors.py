"""Errors that people read: what is wrong, where, and what to do next.

The command line prints the message without a traceback and exits with `exit_code`.
"""


class TutorPipelineError(Exception):
    """Something failed. Exit status 1."""

    exit_code = 1


class UsageError(TutorPipelineError):
    """The command was called wrongly. Exit status 2."""

    exit_code = 2


class RefusedError(TutorPipelineError):
    """The data, or where it should go, was refused; nothing was changed. Exit status 3."""

    exit_code = 3
