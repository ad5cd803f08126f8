"""The little server: the reports of one folder, to read, and nothing else."""

import os
import socket
from contextlib import closing
from http.client import HTTPConnection

import pytest

from tutor_pipeline.people.reports.serve import serve

NAME = "validation-20260310T185000Z-7722bbe8.html"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("home")
    folder = root / "reports"
    folder.mkdir()
    (folder / NAME).write_text("<p>é of a run", encoding="utf-8")
    (folder / "notes.txt").write_text("no report")
    (folder / f"{NAME}.12.part").write_text("half a report")
    (folder / ".hidden.html").write_text("hidden")
    (root / "secret.html").write_text("secret")
    (folder / "link.html").symlink_to(root / "secret.html")
    (folder / "folder.html").mkdir()
    (folder / "folder.html" / "inner.html").write_text("inner")
    os.mkfifo(folder / "pipe.html")
    return folder


@pytest.fixture(scope="module")
def port(folder, starts_something):
    server = serve(folder, "127.0.0.1", 0)
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def ask(port, path, method="GET", host="127.0.0.1:3030"):
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as database:
        database.putrequest(method, path, skip_host=True)
        database.putheader("Host", host)
        database.endheaders()
        response = database.getresponse()
        return response.status, dict(response.getheaders()), response.read()


def test_a_report(port):
    status, headers, body = ask(port, f"/{NAME}?from=ui")
    assert (status, body.decode()) == (200, "<p>é of a run")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    status, headers, body = ask(port, f"/{NAME}", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, "14", b"")


@pytest.mark.parametrize("host", ["localhost", "localhost:3030", "[::1]:3030", "10.0.0.7"])
def test_by_its_own_names(port, host):
    assert ask(port, f"/{NAME}", host=host)[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:3030", "", "[", "a b"])
def test_a_name_that_was_turned_to_our_address_reads_nothing(port, host):
    status, _, body = ask(port, f"/{NAME}", host=host)
    assert status == 421
    assert b"run" not in body


@pytest.mark.usefixtures("starts_something")
def test_by_the_name_of_the_reverse_proxy(folder):
    with serve(folder, "127.0.0.1", 0, "https://reports.example.com/quality") as server:
        assert ask(server.server_address[1], f"/{NAME}", host="reports.example.com")[0] == 200
        server.shutdown()


def test_what_is_no_path_is_not_found(port, capfd):
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as client:
        client.sendall(b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 404 " in client.recv(1_000)
    assert capfd.readouterr().err == ""


def test_the_root_is_the_newest(port, folder):
    status, _, body = ask(port, "/")
    assert status == 404
    assert b"run tutor-pipeline enrich" in body
    (folder / "validation.html").write_text("newest")
    try:
        assert ask(port, "/")[2] == b"newest"
    finally:
        (folder / "validation.html").unlink()


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.html",
        "/..%2fsecret.html",
        "/%2e%2e/secret.html",
        "/..%5csecret.html",
        "//etc/passwd",
        "/%2fetc%2fpasswd",
        "/link.html",
        "/folder.html",
        "/folder.html/",
        "/folder.html/inner.html",
        "/pipe.html",
        "/notes.txt",
        f"/{NAME}.12.part",
        "/.hidden.html",
        f"/{NAME}%00",
        f"/{NAME}%00.html",
        f"/{NAME}/",
        "/" + "a" * 5_000 + ".html",
        "/%ff.html",
        "/.",
        "/none.html",
    ],
)
def test_nothing_else(port, path):
    status, _, body = ask(port, path)
    assert status == 404
    assert not any(word in body for word in (b"secret", b"inner", b"hidden", b"half", b"root:"))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"])
def test_it_is_read_only(port, folder, method):
    before = sorted(folder.iterdir())
    status, _, _ = ask(port, f"/{NAME}", method)
    assert status in (405, 501)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("path", "method"), [(f"/{NAME}", "GET"), ("/none.html", "GET"), ("/", "POST")]
)
def test_every_answer_runs_nothing_and_is_kept_by_nobody(port, path, method):
    _, headers, _ = ask(port, path, method)
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "Python" not in headers["Server"]


def test_rubbish_is_refused_and_the_next_one_answered(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"\x16\x03\x01\x02\x00\r\n\r\n")
        client.recv(4096)
    assert ask(port, f"/{NAME}")[0] == 200


def test_a_port_that_is_taken_is_an_error(port, folder):
    with pytest.raises(OSError, match="in use"):
        serve(folder, "127.0.0.1", port)
