"""Verifies that a request comes from whoever has a secret, as Standard Webhooks 1.0.0 says.

The library `standardwebhooks` decides. Before it, every header must be exactly in its form, for
the library reads numbers and base64 generously; and the signature is compared while the body comes
in, so that a wrong one costs nothing once it is there.

Belongs here: headers and HMAC. Does not belong here: requests (receiver).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from standardwebhooks import Webhook

MOST_SIGNATURES = 10
_ID = re.compile(rb"[\x21-\x7e]{1,256}")
_TIMESTAMP = re.compile(rb"[0-9]{10}")
_SIGNATURE = re.compile(rb"v1,[A-Za-z0-9+/]{43}=")


class BadSignatureError(Exception):
    """A request is not accepted. The text is the true reason, which its sender is not told."""


@dataclass(frozen=True, slots=True)
class Signed:
    """The headers of a signed request, each in its form."""

    id: str
    timestamp: str
    signatures: tuple[str, ...]

    def headers(self) -> dict[str, str]:
        """Returns them as the library takes them."""
        return {
            "webhook-id": self.id,
            "webhook-timestamp": self.timestamp,
            "webhook-signature": " ".join(self.signatures),
        }


def read_headers(headers: Iterable[tuple[bytes, bytes]]) -> Signed:
    """Returns the headers of a request, of which names are in lower case. Raises
    BadSignatureError.
    """
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name.startswith(b"webhook-"):
            if name in found:
                raise BadSignatureError(f"{name.decode('latin-1')} comes twice")
            found[name] = value
    id_ = _in_form(found, b"webhook-id", _ID)
    timestamp = _in_form(found, b"webhook-timestamp", _TIMESTAMP)
    texts = found.get(b"webhook-signature", b"").split(b" ")
    # A later version of the scheme may stand beside ours.
    ours = [each for each in texts if each.startswith(b"v1,")]
    if not ours or len(texts) > MOST_SIGNATURES:
        raise BadSignatureError("webhook-signature has no signature of version 1, or too many")
    if not all(map(_SIGNATURE.fullmatch, texts)):
        raise BadSignatureError("webhook-signature is malformed")
    return Signed(id_, timestamp, tuple(each.decode() for each in texts))


def _in_form(found: dict[bytes, bytes], name: bytes, form: re.Pattern[bytes]) -> str:
    if name not in found:
        raise BadSignatureError(f"{name.decode()} is missing")
    if form.fullmatch(found[name]) is None:
        raise BadSignatureError(f"{name.decode()} is malformed")
    return found[name].decode()


class Verifier:
    """Takes the body of one request, part by part, then says whether it is signed."""

    def __init__(self, signed: Signed, secrets: Sequence[bytes]) -> None:
        self._signed = signed
        self._secrets = secrets
        start = f"{signed.id}.{signed.timestamp}.".encode()
        self._sums = [hmac.new(secret, start, hashlib.sha256) for secret in secrets]

    def update(self, part: bytes) -> None:
        """Takes the next part of the body."""
        for each in self._sums:
            each.update(part)

    def verify(self, body: bytes) -> None:
        """Raises BadSignatureError unless a secret signed the body within five minutes of now."""
        given = [base64.b64decode(each.partition(",")[2]) for each in self._signed.signatures]
        matching = [
            secret
            for secret, made in zip(self._secrets, self._sums, strict=True)
            if any(hmac.compare_digest(made.digest(), each) for each in given)
        ]
        if not matching:
            raise BadSignatureError("no secret of the source makes this signature")
        try:
            Webhook(matching[0]).verify(body, self._signed.headers(), json_parse=False)
        except Exception as error:
            raise BadSignatureError(str(error) or type(error).__name__) from error
