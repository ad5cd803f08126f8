"""Errors with messages for people: what is wrong, where, and what to do next.

The command line prints the message without a traceback, and exits with `exit_code`.
"""


class TutorPipelineError(Exception):
    """Something failed. Exit status 1."""

    exit_code = 1


class UsageError(TutorPipelineError):
    """The arguments of a command are wrong. Exit status 2."""

    exit_code = 2


class RefusedError(TutorPipelineError):
    """The data or its destination was refused; nothing was changed. Exit status 3."""

    exit_code = 3
