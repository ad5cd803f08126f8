"""`up` serves the reports beside the UI, on a port that links can rely on."""

import socket
from contextlib import closing
from http.client import HTTPConnection
from typing import Any, cast

import pytest

from tutor_pipeline.cli.installation import Session
from tutor_pipeline.cli.server import _serve_reports
from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.settings import load_settings

pytestmark = pytest.mark.usefixtures("starts_something")

HOST = "127.0.0.1"


@pytest.fixture
def session(monkeypatch, tmp_path):
    monkeypatch.setenv("TUTOR_HOME", str(tmp_path))

    def make() -> Session:
        return Session(load_settings(), cast("Any", None))

    return make


@pytest.fixture
def taken():
    with socket.socket() as busy:
        busy.bind((HOST, 0))
        busy.listen()
        yield busy.getsockname()[1]


def test_a_taken_port_is_left_and_links_follow(session, taken):
    session().settings.reports_port_file.write_text(str(taken))
    address = _serve_reports(session(), HOST, ui_port=taken + 1)
    port = int(address.rstrip("/").rpartition(":")[2])
    assert port > taken + 1
    folder = session().settings.reports_dir
    folder.mkdir(parents=True)
    (folder / "validation.html").write_text("newest")
    with closing(HTTPConnection(HOST, port, timeout=10)) as database:
        database.request("GET", "/")
        assert database.getresponse().read() == b"newest"
    assert session().settings.report_address("a.html") == f"http://{HOST}:{port}/a.html"


def test_a_port_that_somebody_asked_for_is_not_changed(session, taken, monkeypatch):
    monkeypatch.setenv("TUTOR_REPORTS_PORT", str(taken))
    with pytest.raises(TutorPipelineError, match=f"port {taken} on .* TUTOR_REPORTS_PORT"):
        _serve_reports(session(), HOST, ui_port=1)
