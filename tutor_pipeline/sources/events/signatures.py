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
_OF_ANOTHER_VERSION = re.compile(rb"v(?!1,)[0-9]{1,2}[a-z]?,[A-Za-z0-9+/]{1,200}={0,2}")
_NAMES = (b"webhook-id", b"webhook-timestamp", b"webhook-signature")


class BadSignatureError(Exception):
    """A request is not accepted. The text is the true reason, which its sender is not told."""


@dataclass(frozen=True, slots=True)
class Signed:
    """The headers of a signed request, each in its form, and its signatures of version 1."""

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
        if name in _NAMES:
            if name in found:
                raise BadSignatureError(f"{name.decode()} comes twice")
            found[name] = value
    id_ = _in_form(found, b"webhook-id", _ID)
    timestamp = _in_form(found, b"webhook-timestamp", _TIMESTAMP)
    texts = found.get(b"webhook-signature", b"").split(b" ")
    # One of another version may stand beside ours: whoever sends may serve others too.
    ours = [each for each in texts if not _OF_ANOTHER_VERSION.fullmatch(each)]
    if len(texts) > MOST_SIGNATURES:
        raise BadSignatureError("webhook-signature has too many signatures")
    if not ours or not all(map(_SIGNATURE.fullmatch, ours)):
        raise BadSignatureError("webhook-signature is malformed, or of another version")
    return Signed(id_, timestamp, tuple(each.decode() for each in ours))


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
        self._parts: list[bytes] = []

    def update(self, part: bytes) -> None:
        """Takes the next part of the body."""
        self._parts.append(part)
        for each in self._sums:
            each.update(part)

    def body(self) -> bytes:
        """Returns the body. Raises BadSignatureError unless a secret signed it within five minutes
        of now.
        """
        secret = self._signing_secret()
        body = b"".join(self._parts)
        try:
            Webhook(secret).verify(body, self._signed.headers(), json_parse=False)
        except UnicodeDecodeError as error:
            raise BadSignatureError("the body is not UTF-8") from error
        except Exception as error:
            raise BadSignatureError(str(error) or type(error).__name__) from error
        return body

    def _signing_secret(self) -> bytes:
        """Returns the secret that made one of the signatures. Their texts are compared: base64 has
        several for the same bytes.
        """
        if not self._secrets:
            raise BadSignatureError("the source has no secret")
        given = [each.encode() for each in self._signed.signatures]
        for secret, made in zip(self._secrets, self._sums, strict=True):
            text = b"v1," + base64.b64encode(made.digest())
            if any(hmac.compare_digest(text, each) for each in given):
                return secret
        raise BadSignatureError("no secret of the source makes this signature")
