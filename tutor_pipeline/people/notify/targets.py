"""The addresses of the settings TUTOR_NOTIFY_…, and how to send a message to each.

An address is a URL of Apprise and usually holds a password or a token. It is never stored, logged
or shown. Its name is: the service, its host, the recipient.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.core.formatting import visible
from tutor_pipeline.people.notify import mail

MAIL_TO = re.compile(r"email to (.+) via ")
"""The name of an address of mail begins like this; the group is the recipient."""

FILE = "file"
"""The address that every audience has: a folder of messages on this machine."""

CONNECT_SECONDS, READ_SECONDS = 10.0, 120.0
"""Timeouts are long, because a message whose answer is missed is sent again."""

KEPT = 1_000
"""How many messages stay in the folder, the newest ones."""

_MAX_REASON = 300
_MIN_SECRET = 4


class DeliveryError(Exception):
    """A message did not reach an address. The text says why, without secrets."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message of `ops.messages`."""

    message_id: str
    audience: Audience
    kind: str
    subject: str
    text: str
    html: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Target:
    """An address. `name` holds no secret; `send` raises DeliveryError.

    Addresses with the same `host` are slow or down together. `problem` says what is wrong with the
    setting, None = nothing. `is_mail`: one recipient alone reads it.
    """

    name: str
    send: Callable[[Outgoing], None] = field(repr=False)  # it holds the address
    host: str = ""
    problem: str | None = None
    is_mail: bool = False


Targets = Mapping[str, Target]


def read(urls: Mapping[Audience, Sequence[str]], folder: Path) -> dict[Audience, dict[str, Target]]:
    """Returns {audience: {name: target}}; each audience has the folder.

    Keeps an invalid address as a target that reports the error when used, so no message is lost.
    """
    found: dict[Audience, dict[str, Target]] = {}
    named: dict[str, str] = {}
    for audience in Audience:
        targets: dict[str, Target] = {FILE: Target(FILE, partial(_file, folder))}
        for number, url in enumerate(urls.get(audience, ()), 1):
            if url == FILE:
                continue  # the setting says that files are enough
            for target in _targets(audience, number, url):
                name = _unique_name(target.name, url, named)
                targets[name] = replace(target, name=name)
        found[audience] = targets
    return found


def _unique_name(name: str, url: str, named: dict[str, str]) -> str:
    """Returns the name, with a number when another address differs only in its secret part.

    `named` has the URL of each name given so far.
    """
    number = 1
    while named.setdefault(own := name if number == 1 else f"{name} ({number})", url) != url:
        number += 1
    return own


def _targets(audience: Audience, number: int, url: str) -> Iterator[Target]:
    """Yields the targets of an address: for mail one per recipient, and one for each problem."""
    # Takes about 0.2 s, which commands without messages need not pay.
    from apprise import Apprise
    from apprise.plugins.email.base import NotifyEmail

    name = f"address {number} of TUTOR_NOTIFY_{audience.upper()}"
    with _captured_warnings() as said:
        plugin = Apprise.instantiate(url, asset=_asset(), suppress_exceptions=True)
    if plugin is None:
        problem = (
            f"Apprise can't use it (it begins with {_scheme(url)}): no service of that name, or"
            " something in it is missing or malformed; docs/notifications.md has examples"
        )
        yield Target(name, partial(_refuse, problem), problem=problem)
        return
    box = mail.Mailbox.of(plugin) if isinstance(plugin, NotifyEmail) else None
    if wrong := [*said, *(_ignored_recipients(url, box) if box is not None else ())]:
        # Apprise ignores a part of the address, so somebody would not be told.
        secrets = _secrets(url) if box is None else [box.password or ""]
        problem = _masked(wrong[-1], secrets)
        yield Target(f"a part of {name}", partial(_refuse, problem), problem=problem)
    if box is not None:
        for recipient in box.recipients:
            own = f"email to {recipient} via {box.host}"
            yield Target(own, partial(_mail, box, recipient), host=box.host, is_mail=True)
        return
    plugin.socket_connect_timeout = max(plugin.socket_connect_timeout, CONNECT_SECONDS)
    plugin.socket_read_timeout = max(plugin.socket_read_timeout, READ_SECONDS)
    yield Target(_name(plugin), partial(_notify, plugin, url), host=_name(plugin))


def _ignored_recipients(url: str, box: mail.Mailbox) -> Iterator[str]:
    """Yields what is wrong with recipients, which Apprise ignores without a warning."""
    asked = parse_qs(urlsplit(url).query)
    named = [each for name in ("to", "cc", "bcc") for part in asked.get(name, ())
             for each in re.split(r"[,;]", part) if each.strip()]  # fmt: skip
    for each in named:
        if not any(recipient in each for recipient in box.recipients):
            yield f"it names a recipient that is no mail address: {each.strip()}"
    if not box.recipients:
        yield "it names no recipient"


def _asset() -> Any:
    from apprise import AppriseAsset

    # Empty URLs: messages must not link to images on Apprise's site.
    return AppriseAsset(
        app_id="Tutor pipeline",
        app_desc="Tutor pipeline",
        app_url="",
        image_url_mask="",
        image_url_logo="",
    )


def _name(plugin: Any) -> str:
    """Returns the service with its host, or without it where the host part is a token."""
    service = str(plugin.service_name)
    if "host" not in plugin.template_tokens or not plugin.host:
        return service
    port = f":{plugin.port}" if plugin.port else ""
    return f"{service} at {plugin.host}{port}"


def _scheme(url: str) -> str:
    found = re.match(r"[A-Za-z][A-Za-z0-9+.-]{0,20}://", url)
    return found.group() if found else "no scheme"


def _file(folder: Path, message: Outgoing) -> None:
    """Writes a message as HTML and as text. The file names begin with the moment, so they sort."""
    at = message.made_at.astimezone(UTC)
    stem = f"{at:%Y%m%dT%H%M%SZ}-{message.audience}-{message.message_id[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, body in (
            ("html", message.html),
            ("txt", f"{message.subject}\n\n{message.text}"),
        ):
            partial_file = folder / f".{stem}.{suffix}.part"
            partial_file.write_text(body, encoding="utf-8")
            partial_file.replace(folder / f"{stem}.{suffix}")
    except OSError as error:
        raise DeliveryError(f"cannot write to {folder}: {error.strerror}") from None


def prune(folder: Path) -> None:
    """Removes all but the newest KEPT messages of the folder."""
    for suffix in ("html", "txt"):
        # The names begin with the moment, so they sort by age.
        for old in sorted(folder.glob(f"*.{suffix}"))[:-KEPT]:
            old.unlink(missing_ok=True)


def _mail(box: mail.Mailbox, recipient: str, message: Outgoing) -> None:
    built = mail.build(
        box, message.message_id, message.subject, message.text, message.html, message.made_at
    )
    try:
        mail.send(box, recipient, built)
    except mail.MailError as error:
        raise DeliveryError(_masked(str(error), [box.password or ""])) from None


def _notify(plugin: Any, url: str, message: Outgoing) -> None:
    from apprise import NotifyFormat, NotifyType
    from apprise.common import OverflowMode

    # Some services cut off long messages; several short ones keep the end.
    if plugin.overflow_mode == OverflowMode.UPSTREAM:
        plugin.overflow_mode = OverflowMode.SPLIT
    with _captured_warnings() as said:
        try:
            arrived = plugin.notify(
                title=plain(message.subject),
                body=plain(message.text),
                notify_type=_TYPES.get(message.audience, NotifyType.INFO),
                body_format=NotifyFormat.TEXT,
            )
        except Exception as error:  # third-party plugins raise anything
            raise DeliveryError(
                _masked(f"{type(error).__name__}: {error}", _secrets(url))
            ) from None
    if not arrived:
        why = said[-1] if said else "the service did not take it"
        raise DeliveryError(_masked(why, _secrets(url)))


def _refuse(problem: str, message: Outgoing) -> None:
    raise DeliveryError(problem)


_TYPES: Mapping[Audience, Any] = {Audience.CRITICAL: "warning", Audience.OPS: "failure"}

_NEUTRAL = str.maketrans({"@": "＠", "<": "‹", ">": "›"})


def plain(text: str) -> str:
    """Returns text for a chat that mentions nobody and hides no link behind other words."""
    return text.translate(_NEUTRAL).replace("](", "] (")


def _secrets(url: str) -> list[str]:
    """Returns every part of an address except its scheme."""
    rest = url.partition("://")[2]
    parts = {url, *re.split(r"[/@:?&=]+", rest)}
    return sorted({*parts, *map(unquote, parts)}, key=len, reverse=True)


def _masked(text: str, secrets: Sequence[str]) -> str:
    """Returns a text in one line, without the secrets."""
    for secret in secrets:
        if len(secret) >= _MIN_SECRET:
            text = text.replace(secret, "****")
    return visible(" ".join(text.split()), _MAX_REASON)


class _WarningCapture(logging.Filter):
    """Takes the log records of a thread that captures, so that they reach no log."""

    def __init__(self) -> None:
        super().__init__()
        self._local = threading.local()

    @contextmanager
    def capturing(self) -> Iterator[list[str]]:
        self._local.said = said = list[str]()
        try:
            yield said
        finally:
            self._local.said = None

    def filter(self, record: logging.LogRecord) -> bool:
        said: list[str] | None = getattr(self._local, "said", None)
        if said is None:
            return True
        if record.levelno >= logging.WARNING:
            said.append(record.getMessage())
        return False


_CAPTURE = _WarningCapture()
_LOGGERS = ("apprise", "urllib3.connectionpool")


@contextmanager
def _captured_warnings() -> Iterator[list[str]]:
    """Yields a list that fills with Apprise's warnings in this thread.

    They reach no log, because they may repeat an address.
    """
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_CAPTURE)  # adding it again has no effect
    with _CAPTURE.capturing() as said:
        yield said
