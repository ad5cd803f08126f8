"""Mail over SMTP: one message to one recipient.

Apprise only parses the address (server, port, kind of TLS, login). Its own mail has a new
Message-ID at each try, and a text part made from the HTML. This module sends the same bytes at each
try, so a mail program shows a repeated mail once.

The server has accepted a mail when it answers the final dot. A sender that dies or loses the
connection before it reads that answer does not know, and the mail is sent again. SMTP cannot
prevent this. The sender therefore waits for that answer as long as RFC 5321 asks; errors after it
no longer count.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, formataddr
from typing import Any

CONNECT_SECONDS = 20
COMMAND_SECONDS = 120
FINAL_SECONDS = 600
"""RFC 5321, 4.5.3.2: ten minutes, because a mail whose final answer is missed is sent twice."""

# A server need not accept 8-bit content unless it offers 8BITMIME.
_POLICY = SMTP.clone(cte_type="7bit")
_PORTS: Mapping[str, int] = {"insecure": 25, "starttls": 587, "ssl": 465}


class MailError(Exception):
    """The server could not be reached, or refused. The text says which, without secrets."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """The content of an email address of Apprise: server, login, sender and recipients."""

    host: str
    port: int
    security: str
    user: str | None
    password: str | None = field(repr=False)
    verifies: bool
    sender: tuple[str, str]
    to: tuple[tuple[str, str], ...]
    copies: tuple[tuple[str, str], ...]
    blind: tuple[str, ...]
    reply_to: tuple[str, ...]

    @classmethod
    def of(cls, plugin: Any) -> Mailbox:
        """Returns the mailbox of an instance of Apprise's email plugin."""
        names = plugin.names or {}
        return cls(
            host=plugin.smtp_host or plugin.host,
            port=plugin.port or _PORTS[plugin.secure_mode],
            security=plugin.secure_mode,
            user=plugin.user,
            password=plugin.password,
            verifies=plugin.verify_certificate,
            sender=(plugin.from_addr[0] or plugin.app_id, plugin.from_addr[1]),
            to=tuple((name or "", address) for name, address in plugin.targets),
            copies=tuple((names.get(each) or "", each) for each in sorted(plugin.cc)),
            blind=tuple(sorted(plugin.bcc)),
            reply_to=tuple(sorted(plugin.reply_to)),
        )

    @property
    def recipients(self) -> tuple[str, ...]:
        """All recipients, each once."""
        named = (address for _, address in (*self.to, *self.copies))
        return tuple(dict.fromkeys((*named, *self.blind)))


def build(
    box: Mailbox, message_id: str, subject: str, text: str, html: str, made_at: datetime
) -> EmailMessage:
    """Returns the mail; the same arguments give the same bytes. Values cannot add headers."""
    mail = EmailMessage(policy=_POLICY)
    mail["Message-ID"] = f"<{message_id}@{box.sender[1].rpartition('@')[2] or box.host}>"
    mail["Date"] = format_datetime(made_at)
    mail["From"] = formataddr(box.sender)
    mail["To"] = ", ".join(map(formataddr, box.to))
    if box.copies:
        mail["Cc"] = ", ".join(map(formataddr, box.copies))
    if box.reply_to:
        mail["Reply-To"] = ", ".join(box.reply_to)
    mail["Subject"] = subject
    # Asks automatic responders not to answer (RFC 3834).
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(text)
    mail.add_alternative(html, subtype="html")
    mail.set_boundary(f"=_{message_id}")
    return mail


def send(box: Mailbox, recipient: str, mail: EmailMessage) -> None:
    """Sends a mail to one recipient. Raises MailError."""
    try:
        server = _connect(box)
        try:
            server.send_message(mail, box.sender[1], [recipient])
        finally:
            # The result is known; an error while closing does not change it.
            with suppress(smtplib.SMTPException, OSError):
                if server.sock is not None:
                    server.sock.settimeout(CONNECT_SECONDS)
                    server.quit()
            server.close()
    except smtplib.SMTPException as error:
        raise MailError(_reason(error)) from None
    except UnicodeError:
        # The text of the error would repeat the password.
        raise MailError("the login or an address holds characters that SMTP can't take") from None
    except OSError as error:
        raise MailError(f"{box.host}:{box.port}: {error.strerror or error}") from None


class _LongFinalWait:
    """Waits longer for the answer to the whole message than for other answers."""

    sock: Any

    def data(self, msg: Any) -> Any:
        self.sock.settimeout(FINAL_SECONDS)
        return super().data(msg)  # type: ignore[misc]


class _Plain(_LongFinalWait, smtplib.SMTP):
    pass


class _Tls(_LongFinalWait, smtplib.SMTP_SSL):
    pass


def _connect(box: Mailbox) -> smtplib.SMTP:
    """Returns an open connection, encrypted and logged in as the address says."""
    context = ssl.create_default_context()
    if not box.verifies:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    server: smtplib.SMTP
    if box.security == "ssl":
        server = _Tls(box.host, box.port, timeout=CONNECT_SECONDS, context=context)
    else:
        server = _Plain(box.host, box.port, timeout=CONNECT_SECONDS)
    try:
        assert server.sock is not None
        server.sock.settimeout(COMMAND_SECONDS)
        if box.security == "starttls":
            server.starttls(context=context)
        if box.user and box.password:
            server.login(box.user, box.password)
    except BaseException:
        server.close()
        raise
    return server


def _reason(error: smtplib.SMTPException) -> str:
    """Returns the server's answer in one line."""
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"the server refused the login: {_text(error.smtp_code, error.smtp_error)}"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        ((recipient, (code, said)),) = error.recipients.items()
        return f"the server refused {recipient}: {_text(code, said)}"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"the server said {_text(error.smtp_code, error.smtp_error)}"
    return str(error) or type(error).__name__


def _text(code: int, said: bytes | str) -> str:
    words = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return f"{code} {' '.join(words.split())}".strip()
