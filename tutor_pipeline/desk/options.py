"""What a desk is told when it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from tutor_pipeline.core.audiences import Audience


class StudentNames(StrEnum):
    """How students are named."""

    FULL = "full"
    SHORT = "short"
    ID = "id"


@dataclass(frozen=True, slots=True)
class Options:
    """Where a desk listens and how it names students. `public_url`: where people reach it, None =
    there. `ui_url`: where admins reach Dagster, '' = nowhere. `proxies`: whose word
    on a visitor's address is taken. `reports`: the folder of the validation reports, None = they
    are on another machine. `keys`: those of links in mails, the newest first. `rule_profile`: a
    name or a file. `addresses`: those of messages, which hold secrets.
    """

    host: str
    port: int
    public_url: str | None = None
    student_names: StudentNames = StudentNames.SHORT
    ui_url: str = ""
    proxies: str = ""
    reports: Path | None = None
    keys: tuple[str, ...] = field(default=(), repr=False)
    rule_profile: str = "adaptive"
    addresses: Mapping[Audience, Sequence[str]] = field(default_factory=dict, repr=False)

    @property
    def url(self) -> str:
        """The address for people, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.public_url or f"http://{host}:{self.port}").rstrip("/")

    @property
    def is_https(self) -> bool:
        """Whether people reach it encrypted."""
        return self.url.startswith("https://")

    @property
    def cookie(self) -> str:
        """The name of the cookie of a sign-in. With the port: browsers send cookies to all ports of
        a host.
        """
        return f"__Host-tutor_desk_{self.port}" if self.is_https else f"tutor_desk_{self.port}"

    def is_our_host(self, header: str) -> bool:
        """Whether a Host header names this desk. A foreign page could otherwise point its own name
        at this address and read along (DNS rebinding); an IP address is nobody's name.
        """
        try:
            name = urlsplit(f"//{header}").hostname or ""
        except ValueError:
            return False
        return name in {"localhost", self.host, urlsplit(self.url).hostname} or _is_address(name)

    def is_our_origin(self, origin: str, host: str) -> bool:
        """Whether an Origin header is a page of this desk, asked under a Host header."""
        if origin == self.url:
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme == ("https" if self.is_https else "http") and parts.netloc == host


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
