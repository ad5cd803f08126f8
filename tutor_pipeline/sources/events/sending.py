"""Sends events to a receiver, signed as Standard Webhooks 1.0.0 says, one or many at a time.

Every attempt is signed anew: a signature is good for five minutes. What is sent twice, because
nobody knows whether the first attempt arrived, is a duplicate there and has no effect.

Belongs here: signatures, HTTP, what is tried again. Does not belong here: what is sent (saying.py).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import urllib3
from standardwebhooks import Webhook
from urllib3.exceptions import HTTPError, InvalidHeader, LocationParseError

from tutor_pipeline.core.errors import TutorPipelineError, UsageError
from tutor_pipeline.core.formatting import visible
from tutor_pipeline.sources.events.saying import Event
from tutor_pipeline.sources.events.secrets import PREFIX

MOST_LINES = 1_000
MOST_BYTES = 5 * 1024 * 1024
"""What one batch holds at most."""

_TIMEOUT = urllib3.Timeout(connect=5, read=30)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0
_LONGEST_ASKED = 60.0  # seconds of Retry-After that are waited at once
_UNREACHED_SECONDS = 3.0  # how long an address that never answered is tried
_TRY_AGAIN = (408, 429)
_LONGEST_MESSAGE = 1_000


class NotTakenError(TutorPipelineError):
    """The receiver does not take what is sent; sending it again would not help."""


class StoppedError(Exception):
    """Told to stop while the receiver was away. What was being sent may have arrived or not."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the receiver did with an event: accepted, duplicate, conflict or too_long. `problems`:
    why one that it accepted does not count as it is.
    """

    event_id: str
    status: str
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: Any
    text: str


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


class Sender:
    """Sends the events of a source to the receiver at an address.

    While it is away, or asks to come later, sending goes on until `wait` returns True: it takes the
    seconds to wait. `tell` hears when the receiver goes and comes back.
    """

    def __init__(
        self,
        url: str,
        source: str,
        secret: str,
        *,
        clock: Callable[[], datetime],
        tell: Callable[[str], None] = lambda _: None,
        wait: Callable[[float], bool] = _sleep,
    ) -> None:
        """Raises UsageError: the address or the secret is none."""
        self.url = f"{_address(url)}/v1/events/{source}"
        self._webhook = _webhook(secret)
        self._tell, self._wait, self._clock = tell, wait, clock
        self._pool = urllib3.PoolManager(retries=False, timeout=_TIMEOUT)
        self._has_answered = False

    def send(self, event: Event) -> Receipt:
        """Sends one event. Raises NotTakenError and StoppedError."""
        body = json.dumps({name: each for name, each in event.items() if name != "id"})
        answer = self._post(self.url, event["id"], body, "application/json")
        if answer.status == 409:
            return Receipt(event["id"], "conflict")
        return _receipt(answer, answer.body)

    def send_all(self, events: Iterable[Event]) -> Iterator[list[Receipt]]:
        """Sends events in batches. Yields the receipts of each. Raises NotTakenError and
        StoppedError.
        """
        for lines in batches(events):
            body = "".join(lines)
            name = f"batch_{hashlib.sha256(body.encode()).hexdigest()[:32]}"
            answer = self._post(f"{self.url}/batch", name, body, "application/x-ndjson")
            told = answer.body.get("events") if isinstance(answer.body, dict) else answer.body
            if not isinstance(told, list) or len(told) != len(lines):
                raise _no_receiver(self.url, answer)
            yield [_receipt(answer, each) for each in told]

    def _post(self, url: str, name: str, body: str, kind: str) -> _Answer:
        """Posts until it is answered."""
        pause, away_since = _FIRST_PAUSE, None
        while True:
            answer, reason, asked = self._attempt(url, name, body, kind)
            if answer is not None:
                break
            now = time.monotonic()
            if away_since is None:
                away_since = now
                if self._has_answered:
                    self._tell(f"the receiver takes nothing just now ({reason}); waiting for it")
            elif not self._has_answered and now - away_since > _UNREACHED_SECONDS:
                raise NotTakenError(f"{url} does not answer: {reason}")
            if self._wait(pause if asked is None else min(asked, _LONGEST_ASKED)):
                raise StoppedError
            pause = min(pause * 2, _LONGEST_PAUSE)
        if away_since is not None and self._has_answered:
            away = time.monotonic() - away_since
            self._tell(f"the receiver takes events again after {away:.0f} s; going on")
        self._has_answered = True
        if answer.status not in (200, 201, 202, 204, 409):
            raise _not_taken(url, answer)
        return answer

    def _attempt(
        self, url: str, name: str, body: str, kind: str
    ) -> tuple[_Answer | None, str, float | None]:
        """Posts once. Returns the answer; without one that counts, why, and when to come again."""
        now = self._clock().astimezone(UTC)
        headers = {
            "content-type": kind,
            "webhook-id": name,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._webhook.sign(name, now, body),
        }
        try:
            response = self._pool.request(
                "POST", url, body=body.encode(), headers=headers, redirect=False
            )
        except HTTPError as error:
            return None, _reason(error), None
        text = response.data.decode("utf-8", "replace")
        said = None
        with suppress(ValueError):
            said = json.loads(text)
        answer = _Answer(response.status, said, text)
        if response.status in _TRY_AGAIN or response.status >= 500:
            asked = None
            with suppress(InvalidHeader):
                asked = urllib3.Retry().get_retry_after(response)
            return None, f"{response.status}: {_message(answer)}", asked
        return answer, "", None


def batches(events: Iterable[Event]) -> Iterator[list[str]]:
    """Yields the lines of batches, as many in each as a batch may hold."""
    lines: list[str] = []
    size = 0
    for event in events:
        line = json.dumps(event) + "\n"
        if lines and (len(lines) == MOST_LINES or size + len(line) > MOST_BYTES):
            yield lines
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    if lines:
        yield lines


def _address(url: str) -> str:
    try:
        parsed = urllib3.util.parse_url(url)
    except LocationParseError:
        parsed = urllib3.util.parse_url("")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query:
        raise UsageError(f"{url} is no address; write one such as http://127.0.0.1:3040")
    return url.rstrip("/")


def _webhook(secret: str) -> Webhook:
    try:
        if not secret.startswith(PREFIX):
            raise ValueError(PREFIX)
        return Webhook(secret)
    except Exception as error:
        raise UsageError(
            "the secret is none: it begins with whsec_, and base64 follows. Make one where the"
            " receiver runs: tutor-pipeline events secrets add SOURCE"
        ) from error


def _receipt(answer: _Answer, told: Any) -> Receipt:
    try:
        return Receipt(told["id"], told["status"], tuple(told.get("problems", ())))
    except (TypeError, KeyError, AttributeError) as error:
        raise _no_receiver("", answer) from error


def _not_taken(url: str, answer: _Answer) -> NotTakenError:
    why = {
        401: "the signature was not accepted",
        404: "nothing takes events at this address",
    }.get(answer.status, "the receiver takes no such events")
    return NotTakenError(f"{url}: {why} ({answer.status}). It says: {_message(answer)}")


def _no_receiver(url: str, answer: _Answer) -> NotTakenError:
    return NotTakenError(
        f"{url}: this is no receiver of events. It says: {_message(answer)}".removeprefix(": ")
    )


def _message(answer: _Answer) -> str:
    said = answer.body.get("message") if isinstance(answer.body, dict) else None
    return visible(str(said or answer.text).strip(), _LONGEST_MESSAGE) or "nothing"


def _reason(error: HTTPError) -> str:
    """Returns the cause without the names of objects that urllib3 puts in front."""
    said = str(error.__cause__ or error).strip()
    return said.rpartition(">: ")[2] or type(error).__name__
