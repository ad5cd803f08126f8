"""Mail over a real SMTP server that behaves, and one that doesn't."""

import shutil
import smtplib
import socket
import ssl
import subprocess
import threading
import time
from datetime import UTC, datetime

import pytest
from aiosmtpd.smtp import AuthResult

from tests.servers import MailServer, free_port, part
from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.people.notify import mail, targets
from tutor_pipeline.people.notify.targets import FILE, DeliveryError, Outgoing

pytestmark = pytest.mark.usefixtures("starts_something")

MADE_AT = datetime(2026, 3, 18, 9, 0, tzinfo=UTC)
MESSAGE = Outgoing(
    "0123456789abcdef", Audience.CRITICAL, "alert", "Critical: Zoë Müller (T1): No-Show",
    "Zoë Müller needs a call → today\n" + "x" * 2_000 + "\n", "<p>Zoë <b>Müller</b></p>\n", MADE_AT,
)  # fmt: skip


def addresses(tmp_path, *urls):
    found = targets.read({Audience.CRITICAL: urls}, tmp_path)[Audience.CRITICAL]
    return {name: target for name, target in found.items() if name != FILE}


def send(tmp_path, url, message=MESSAGE):
    for target in addresses(tmp_path, url).values():
        target.send(message)


def test_it_arrives_whole_in_text_and_html(mail_server, tmp_path):
    send(tmp_path, mail_server.url("ana@example.com"))
    (found,) = mail_server.mails
    assert found["Subject"] == MESSAGE.subject
    assert found["To"] == "ana@example.com"
    assert found["From"] == "Tutor pipeline <pipeline@example.com>"
    assert found["Message-ID"] == "<0123456789abcdef@example.com>"
    assert found.get_all("Message-ID") == [found["Message-ID"]]
    assert found["Auto-Submitted"] == "auto-generated"
    assert found["Date"].datetime == MADE_AT
    assert part(found, "plain").replace("\r\n", "\n") == MESSAGE.text
    assert part(found, "html").replace("\r\n", "\n") == MESSAGE.html
    assert mail_server.envelopes[0].content.isascii()


def test_sent_again_it_is_the_same_message_to_the_byte(mail_server, tmp_path):
    for _ in range(2):
        send(tmp_path, mail_server.url())
    first, second = (each.content for each in mail_server.envelopes)
    assert first == second


def test_each_recipient_is_an_address_of_its_own(mail_server, tmp_path):
    url = mail_server.url("a@example.com", "b@example.com", options="&cc=c@example.com"
                          "&bcc=d@example.com")  # fmt: skip
    found = addresses(tmp_path, url)
    assert list(found) == [f"email to {letter}@example.com via 127.0.0.1" for letter in "abcd"]
    mail_server.refuses.add("b@example.com")
    results = {}
    for name, target in found.items():
        try:
            target.send(MESSAGE)
        except DeliveryError as error:
            results[name] = str(error)
    assert results == {
        "email to b@example.com via 127.0.0.1": "the server refused b@example.com: 550 5.1.1 no"
        " such user"
    }
    assert [each.rcpt_tos for each in mail_server.envelopes] == [
        ["a@example.com"], ["c@example.com"], ["d@example.com"],
    ]  # fmt: skip
    for each in mail_server.mails:
        assert each["To"] == "a@example.com, b@example.com"
        assert each["Cc"] == "c@example.com"
        assert each["Bcc"] is None
        assert "d@example.com" not in each.as_string()


def test_headers_cannot_be_broken_out_of(mail_server, tmp_path):
    hostile = Outgoing(
        "m1", Audience.CRITICAL, "alert", "Sarah\\r\\nBcc: x@example.com", "t", "h", MADE_AT
    )
    send(tmp_path, mail_server.url(), hostile)
    assert mail_server.mails[0]["Bcc"] is None
    broken = Outgoing("m1", Audience.CRITICAL, "alert", "Sarah\r\nBcc: x@e.com", "t", "h", MADE_AT)
    with pytest.raises(ValueError, match=r"linefeed|carriage"):
        send(tmp_path, mail_server.url(), broken)
    assert len(mail_server.mails) == 1


def test_a_server_that_is_not_there(tmp_path):
    with pytest.raises(DeliveryError, match="Connection refused"):
        send(tmp_path, f"mailto://127.0.0.1:{free_port()}?from=a@example.com&to=b@example.com")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("451 4.3.0 try later", "the server said 451 4.3.0 try later"),
        ("554 5.7.1 spam", "the server said 554 5.7.1 spam"),
    ],
)
def test_a_server_that_says_no(mail_server, tmp_path, answer, why):
    mail_server.answer = lambda envelope: answer
    with pytest.raises(DeliveryError, match=why):
        send(tmp_path, mail_server.url())
    assert mail_server.mails == []


class Scripted:
    """A server that says what a test tells it to, line by line, and may go away."""

    def __init__(self, handle):
        self.port = free_port()
        self._socket = socket.create_server(("127.0.0.1", self.port))
        self._handle = handle
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        database, _ = self._socket.accept()
        with database, database.makefile("rwb", buffering=0) as stream:
            self._handle(stream)
        self._socket.close()

    @property
    def url(self):
        return f"mailto://127.0.0.1:{self.port}?from=a@example.com&to=b@example.com"


def say(stream, text):
    stream.write(text.encode() + b"\r\n")


def until_data(stream):
    """Greet, and agree to everything until the message is to come."""
    say(stream, "220 hello")
    while line := stream.readline():
        if line.upper().startswith(b"DATA"):
            say(stream, "354 go on")
            return
        say(stream, "250 OK")


def read_message(stream):
    lines = []
    while (line := stream.readline()) not in (b".\r\n", b""):
        lines.append(line)
    return lines


def test_a_server_that_dies_in_the_middle_of_the_message(tmp_path):
    def handle(stream):
        until_data(stream)
        stream.readline()

    with pytest.raises(DeliveryError, match=r"closed|reset|Broken pipe"):
        send(tmp_path, Scripted(handle).url)


def test_a_server_that_dies_before_it_answers(tmp_path):
    """Here SMTP itself can't say: it may have the message. It counts as not delivered."""

    def handle(stream):
        until_data(stream)
        read_message(stream)

    with pytest.raises(DeliveryError, match=r"closed|reset"):
        send(tmp_path, Scripted(handle).url)


@pytest.mark.parametrize("farewell", ["", "421 4.3.2 shutting down", "500 what?"])
def test_once_taken_it_is_delivered_whatever_follows(tmp_path, farewell):
    def handle(stream):
        until_data(stream)
        read_message(stream)
        say(stream, "250 taken")
        if farewell:
            stream.readline()
            say(stream, farewell)

    send(tmp_path, Scripted(handle).url)


def test_a_slow_server_is_waited_for(tmp_path, monkeypatch):
    """The answer to the whole message has more time than any other."""
    monkeypatch.setattr(mail, "COMMAND_SECONDS", 0.5)
    monkeypatch.setattr(mail, "FINAL_SECONDS", 20)
    taken = []

    def handle(stream):
        until_data(stream)
        taken.append(read_message(stream))
        time.sleep(1.5)
        say(stream, "250 at last")

    send(tmp_path, Scripted(handle).url)
    assert len(taken) == 1

    def too_slow(stream):
        say(stream, "220 hello")
        time.sleep(2)

    with pytest.raises(DeliveryError, match="timed out"):
        send(tmp_path, Scripted(too_slow).url)


def login(accepts):
    def authenticate(server, session, envelope, mechanism, data):
        return AuthResult(success=accepts(data), handled=False)

    return authenticate


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of its own for 127.0.0.1."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate of this test")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key",
         "-out", folder / "cert"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def tls_server(certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "cert", certificate / "key")
    server = MailServer(
        tls_context=context,
        require_starttls=True,
        auth_required=True,
        authenticator=login(lambda data: data.password == b"se/cret@1"),
    )
    server.start()
    yield server
    server.stop()


def tls_url(server, password, options=""):
    return (
        f"mailtos://user:{password}@127.0.0.1:{server.port}?mode=starttls&from=a@example.com"
        f"&to=b@example.com{options}"
    )


def test_encrypted_with_a_login(tls_server, tmp_path):
    send(tmp_path, tls_url(tls_server, "se%2Fcret%401", "&verify=no"))
    assert len(tls_server.mails) == 1


def test_a_certificate_that_nobody_vouches_for_is_refused(tls_server, tmp_path):
    with pytest.raises(DeliveryError, match="CERTIFICATE_VERIFY_FAILED"):
        send(tmp_path, tls_url(tls_server, "se%2Fcret%401"))


def test_a_wrong_password_is_refused_and_not_repeated(tls_server, tmp_path):
    with pytest.raises(DeliveryError, match="refused the login: 535") as caught:
        send(tmp_path, tls_url(tls_server, "wrong-one", "&verify=no"))
    assert "wrong-one" not in str(caught.value)


def test_a_password_that_smtp_cannot_take_is_not_repeated(tls_server, tmp_path):
    with pytest.raises(DeliveryError, match="SMTP can't take") as caught:
        send(tmp_path, tls_url(tls_server, "p%C3%A4ssword", "&verify=no"))
    assert "ssword" not in str(caught.value)


def test_what_smtplib_says_is_told_in_a_line():
    said = mail._reason(smtplib.SMTPServerDisconnected("Connection unexpectedly closed"))
    assert said == "Connection unexpectedly closed"
