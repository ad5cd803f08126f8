"""`notify`: the exit status of sending, and weeks that are not over."""

from types import SimpleNamespace

import pytest
import typer

from tutor_pipeline.cli import notify
from tutor_pipeline.cli.console import out
from tutor_pipeline.core.errors import UsageError


def told(why, **made):
    """The exit status, and what was printed."""
    metadata = {"ops/messages": {"sent": 3, "failed": 0, "dead_letters": 0} | made} if made else {}
    status = 0
    with out.capture() as shown:
        try:
            notify._tell(SimpleNamespace(metadata=metadata, failed=why))
        except typer.Exit as exit_:
            status = exit_.exit_code
    return status, shown.get()


@pytest.mark.parametrize(
    ("made", "status"),
    [({"failed": 0}, 0), ({"failed": 1}, 1), ({"dead_letters": 1}, 1)],
)
def test_what_did_not_arrive_is_status_1(made, status):
    found, said = told({}, **made)
    assert found == status
    assert said.startswith("3 deliveries made")
    assert ("Why: tutor-pipeline notify status" in said) == bool(status)


def test_a_run_that_sent_nothing_is_status_1():
    assert told({"ops__messages": "the server is gone"}) == (1, "")


@pytest.mark.parametrize("week", ["9999-12-31", "2999-01-01"])
def test_a_week_that_is_not_over_has_no_digest(week):
    with pytest.raises(UsageError, match=f"--week {week}: that week is not over"):
        notify.digest(week)
