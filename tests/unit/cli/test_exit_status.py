"""What ends a command: its exit status, and a sentence instead of a traceback."""

import psycopg
import pytest

from tutor_pipeline import cli
from tutor_pipeline.core.errors import RefusedError, TutorPipelineError, UsageError


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (TutorPipelineError("it [bold]failed[/bold]"), 1, "error: it [bold]failed[/bold]"),
        (UsageError("say which"), 2, "error: say which"),
        (RefusedError("too old"), 3, "error: too old"),
        (psycopg.errors.UndefinedTable("no [table]\n"), 1, "the database said: no [table]"),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "no"), 2, "is not text in UTF-8"),
        (KeyboardInterrupt(), 130, "interrupted; nothing is half done"),
    ],
)
def test_an_error_ends_with_its_status(monkeypatch, capsys, error, status, said):
    def fail():
        raise error

    monkeypatch.setattr("tutor_pipeline.cli.app.app", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    shown = capsys.readouterr()
    assert ended.value.code == status
    assert said in shown.err
    assert shown.out == ""
