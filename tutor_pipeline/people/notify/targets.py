"""Addresses: what the settings TUTOR_NOTIFY_… hold, and how a message gets to each.

An address is a URL of Apprise and mostly holds a password or a token. It is read here and shown
nowhere: what is stored and shown of it is its name (the service, its host, the recipient).
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

FILE = "file"
"""The address that is always there: a folder of messages that anybody here can open."""

CONNECT_SECONDS, READ_SECONDS = 10.0, 120.0
"""Whoever gives up on an answer sends again."""

KEPT = 1_000
"""Messages that stay in the folder, the newest."""

_SHOWN = 300
_MIN_SECRET = 4


class DeliveryError(Exception):
    """A message did not get to an address; why, without anything secret."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message as `ops.messages` has it."""

    message_id: str
    audience: Audience
    kind: str
    subject: str
    text: str
    html: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Target:
    """An address. `name` may be shown; `send` raises DeliveryError; `host` is what it shares with
    others that are slow when it is; `problem` says what is wrong with the setting.
    """

    name: str
    send: Callable[[Outgoing], None] = field(repr=False)  # it holds the address
    host: str = ""
    problem: str | None = None


Targets = Mapping[str, Target]


def read(urls: Mapping[Audience, Sequence[str]], folder: Path) -> dict[Audience, dict[str, Target]]:
    """{audience: {name: target}}, the folder among them. What is no address is a target that says
    so when it is used: nothing is lost for a slip of the pen.
    """
    found: dict[Audience, dict[str, Target]] = {}
    named: dict[str, str] = {}
    for audience in Audience:
        targets: dict[str, Target] = {FILE: Target(FILE, partial(_file, folder))}
        for number, url in enumerate(urls.get(audience, ()), 1):
            if url == FILE:
                continue  # somebody says that files are enough
            for target in _targets(audience, number, url):
                name = _name_of_its_own(target.name, url, named)
                targets[name] = replace(target, name=name)
        found[audience] = targets
    return found


def _name_of_its_own(name: str, url: str, named: dict[str, str]) -> str:
    """The name; with a number where another address differs from it in what is secret alone."""
    number = 1
    while named.setdefault(own := name if number == 1 else f"{name} ({number})", url) != url:
        number += 1
    return own


def _targets(audience: Audience, number: int, url: str) -> Iterator[Target]:
    # Some 0.2 s with what it imports: only whoever sends or looks at addresses pays.
    from apprise import Apprise
    from apprise.plugins.email.base import NotifyEmail

    name = f"address {number} of TUTOR_NOTIFY_{audience.upper()}"
    with _heard() as said:
        plugin = Apprise.instantiate(url, asset=_asset(), suppress_exceptions=True)
    if plugin is None:
        problem = (
            f"Apprise can't use it (it begins with {_scheme(url)}): no service of that name, or"
            " something in it is missing or malformed; docs/notifications.md has examples"
        )
        yield Target(name, partial(_refuse, problem), problem=problem)
        return
    box = mail.Mailbox.of(plugin) if isinstance(plugin, NotifyEmail) else None
    if wrong := [*said, *(_no_recipients(url, box) if box is not None else ())]:
        # A part of it is left out: somebody would not be told.
        secrets = _secrets(url) if box is None else [box.password or ""]
        problem = _masked(wrong[-1], secrets)
        yield Target(f"a part of {name}", partial(_refuse, problem), problem=problem)
    if box is not None:
        for recipient in box.recipients:
            own = f"email to {recipient} via {box.host}"
            yield Target(own, partial(_mail, box, recipient), host=box.host)
        return
    plugin.socket_connect_timeout = max(plugin.socket_connect_timeout, CONNECT_SECONDS)
    plugin.socket_read_timeout = max(plugin.socket_read_timeout, READ_SECONDS)
    yield Target(_name(plugin), partial(_notify, plugin, url), host=_name(plugin))


def _no_recipients(url: str, box: mail.Mailbox) -> Iterator[str]:
    """What Apprise left out without a word: whom the address names that is no mail address."""
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

    # No picture is fetched from Apprise's own site.
    return AppriseAsset(
        app_id="Tutor pipeline",
        app_desc="Tutor pipeline",
        app_url="",
        image_url_mask="",
        image_url_logo="",
    )


def _name(plugin: Any) -> str:
    """The service, and its host where that is no secret (of some services it is a token)."""
    service = str(plugin.service_name)
    if "host" not in plugin.template_tokens or not plugin.host:
        return service
    port = f":{plugin.port}" if plugin.port else ""
    return f"{service} at {plugin.host}{port}"


def _scheme(url: str) -> str:
    found = re.match(r"[A-Za-z][A-Za-z0-9+.-]{0,20}://", url)
    return found.group() if found else "no scheme"


def _file(folder: Path, message: Outgoing) -> None:
    """Write both parts; the name begins with the moment, so that a listing is in order."""
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
    """Remove the oldest messages of the folder beyond the newest KEPT."""
    for suffix in ("html", "txt"):
        # Their names begin with the moment.
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

    # Cut off by the service, the end of a message would be missing.
    if plugin.overflow_mode == OverflowMode.UPSTREAM:
        plugin.overflow_mode = OverflowMode.SPLIT
    with _heard() as said:
        try:
            arrived = plugin.notify(
                title=plain(message.subject),
                body=plain(message.text),
                notify_type=_TYPES.get(message.audience, NotifyType.INFO),
                body_format=NotifyFormat.TEXT,
            )
        except Exception as error:  # a plugin of somebody else's: whatever it raises
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
    """Text for a chat: nobody is mentioned by it, and no link hides behind other words."""
    return text.translate(_NEUTRAL).replace("](", "] (")


def _secrets(url: str) -> list[str]:
    """Every part of an address but its scheme."""
    rest = url.partition("://")[2]
    parts = {url, *re.split(r"[/@:?&=]+", rest)}
    return sorted({*parts, *map(unquote, parts)}, key=len, reverse=True)


def _masked(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        if len(secret) >= _MIN_SECRET:
            text = text.replace(secret, "****")
    return visible(" ".join(text.split()), _SHOWN)


class _Ear(logging.Filter):
    """Hears what is logged in a thread that listens, so that nobody else does."""

    def __init__(self) -> None:
        super().__init__()
        self._local = threading.local()

    @contextmanager
    def listening(self) -> Iterator[list[str]]:
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


_EAR = _Ear()
_LOGGERS = ("apprise", "urllib3.connectionpool")


@contextmanager
def _heard() -> Iterator[list[str]]:
    """What Apprise warns of in this thread. It reaches no log: it may repeat an address."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_EAR)  # once, however often it is added
    with _EAR.listening() as said:
        yield said
