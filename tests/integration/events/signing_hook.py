"""Signs the requests that Schemathesis makes up, with SECRET of the source SOURCE."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import time
from typing import Any

import requests
import schemathesis
from requests.auth import AuthBase
from schemathesis.core.parameters import ParameterLocation

_NAMES = ("webhook-id", "webhook-timestamp", "webhook-signature")


class Signature(AuthBase):
    """Signs a request as it is sent."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        # A made-up id may come again, with another body.
        id_, at = f"evt-{time.monotonic_ns()}", str(int(time.time()))
        secret = base64.b64decode(os.environ["SECRET"].removeprefix("whsec_"))
        text = hmac.digest(secret, f"{id_}.{at}.".encode() + body, hashlib.sha256)
        values = (id_, at, f"v1,{base64.b64encode(text).decode()}")
        request.headers.update(zip(_NAMES, values, strict=True))
        return request


@schemathesis.serializer("application/x-ndjson")
def lines(_: Any, value: Any) -> bytes:
    """Events are made up for single requests; here several lines of what is none."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@schemathesis.hook
def before_call(_: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """What is wrong on purpose with the address or the headers stays wrong."""
    if not case.meta.is_negative_at(ParameterLocation.PATH):
        case.path_parameters["source"] = os.environ["SOURCE"]
    if not case.meta.is_negative_at(ParameterLocation.HEADER):
        kwargs["auth"] = Signature()
