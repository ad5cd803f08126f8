"""Signatures: the forms of headers, the edges of five minutes, what a wrong one costs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pytest
from standardwebhooks import Webhook, webhooks

from tutor_pipeline.sources.events import signatures
from tutor_pipeline.sources.events.signatures import (
    BadSignatureError,
    Signed,
    Verifier,
    read_headers,
)

NOW = datetime(2026, 3, 2, 17, 4, 30, tzinfo=UTC)
SECRET, OTHER = bytes(range(32)), bytes(range(1, 33))
BODY = b'{"type":"session.completed"}'
GOOD = b"v1," + b"A" * 43 + b"="


class Clock(datetime):
    """The library asks this one."""

    @classmethod
    def now(cls, tz: Any = None) -> Self:
        return cls(2026, 3, 2, 17, 4, 30, tzinfo=tz)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "datetime", Clock)


def headers(at: datetime = NOW, secret: bytes = SECRET, body: bytes = BODY) -> Any:
    text = Webhook(secret).sign("evt-1", at, body.decode())
    time = str(int(at.timestamp())).encode()
    return [
        (b"host", b"x"), (b"webhook-id", b"evt-1"), (b"webhook-timestamp", time),
        (b"webhook-signature", text.encode()),
    ]  # fmt: skip


def verified(signed: Signed, body: bytes, *secrets: bytes, part: int = 7) -> bytes:
    verifier = Verifier(signed, secrets)
    for at in range(0, len(body), part):
        verifier.update(body[at : at + part])
    return verifier.body()


def with_signature(value: bytes) -> Any:
    return [*headers()[:3], (b"webhook-signature", value)]


def reason(*arguments: Any) -> str:
    with pytest.raises(BadSignatureError) as caught:
        verified(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("part", [1, 7, 1_000])
@pytest.mark.parametrize("secrets", [(SECRET,), (OTHER, SECRET), (SECRET, OTHER)])
def test_the_body_comes_in_parts(secrets: tuple[bytes, ...], part: int) -> None:
    assert verified(read_headers(headers()), BODY, *secrets, part=part) == BODY


def test_an_empty_body() -> None:
    assert verified(read_headers(headers(body=b"")), b"", SECRET) == b""


@pytest.mark.parametrize("seconds", [-300, -299, 0, 299, 300])
def test_within_five_minutes(seconds: int) -> None:
    at = NOW + timedelta(seconds=seconds)
    assert verified(read_headers(headers(at)), BODY, SECRET) == BODY


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-301, "too old"), (-86_400, "too old"), (301, "too new"), (10**9, "too new")],
)
def test_beyond_five_minutes(seconds: int, said: str) -> None:
    signed = read_headers(headers(NOW + timedelta(seconds=seconds)))
    assert reason(signed, BODY, SECRET) == f"Message timestamp {said}"


def test_a_source_without_a_secret_and_a_wrong_one() -> None:
    assert reason(read_headers(headers()), BODY) == "the source has no secret"
    wrong = "no secret of the source makes this signature"
    assert reason(read_headers(headers()), BODY, OTHER) == wrong
    assert reason(read_headers(headers()), BODY + b" ", SECRET) == wrong


def test_what_is_not_utf8_has_a_reason_of_its_own() -> None:
    body = b"\xff"
    at = str(int(NOW.timestamp())).encode()
    text = hmac.digest(SECRET, b"evt-1." + at + b"." + body, hashlib.sha256)
    signed = read_headers(with_signature(b"v1," + base64.b64encode(text)))
    assert reason(signed, body, SECRET) == "the body is not UTF-8"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((b"webhook-id", each) for each in (
            b"", b"a b", b"\xe9", b"\x7f", b"x" * 257, b"a\n", b"\ta",
        )),
        *((b"webhook-timestamp", each) for each in (
            b"", b"177247107", b"17724710700", b"+772471070", b"-772471070", b"1772471070.0",
            b"1772471070 ", b" 1772471070", b"1_72471070", b"1e9", b"nan", b"\xb9772471070",
            "\u0661772471070".encode(), b"1772471070\n",
        )),
        *((b"webhook-signature", each) for each in (
            b"", b" ", b"v1", b"v1,", b"v1,x", b"v1a,x", b"v2," + b"A" * 43 + b"=", GOOD[:-1],
            GOOD + b"=", GOOD + b" ", b" " + GOOD, GOOD + b"  " + GOOD, GOOD + b"," + GOOD,
            GOOD.replace(b"v1", b"V1"), GOOD.replace(b"A=", b"-="), GOOD + b"\n",
            GOOD + b" v1,short", GOOD + b" other", b" ".join([GOOD] * 11),
        )),
    ],
)  # fmt: skip
def test_a_header_that_is_not_in_its_form(name: bytes, value: bytes) -> None:
    made = [(each, value if each == name else old) for each, old in headers()]
    with pytest.raises(BadSignatureError, match=f"^{name.decode()} (is malformed|has too many)"):
        read_headers(made)


@pytest.mark.parametrize("name", [b"webhook-id", b"webhook-timestamp", b"webhook-signature"])
def test_a_header_that_is_missing_or_comes_twice(name: bytes) -> None:
    with pytest.raises(BadSignatureError, match=f"^{name.decode()} is (missing|malformed)"):
        read_headers([each for each in headers() if each[0] != name])
    with pytest.raises(BadSignatureError, match=f"^{name.decode()} comes twice"):
        read_headers([*headers(), (name, dict(headers())[name])])


def test_other_headers_do_not_count() -> None:
    """However they are called: only what counts can be told as a reason."""
    odd = [(b"webhook-\xff", b"1"), (b"webhook-\xff", b"2"), (b"webhook-attempt", b"1")]
    assert read_headers(odd + headers() + odd) == read_headers(headers())


def test_signatures_of_other_versions_may_stand_beside_ours() -> None:
    """A sender that serves others with keys of another kind sends both."""
    right = dict(headers())[b"webhook-signature"]
    v1a = b"v1a," + base64.b64encode(bytes(64))
    for value in (right + b" " + v1a, v1a + b" " + right, GOOD + b" v2,AAAA " + right):
        signed = read_headers(with_signature(value))
        assert verified(signed, BODY, SECRET) == BODY
    assert reason(read_headers(with_signature(GOOD + b" " + v1a)), BODY, SECRET)


def test_one_signature_has_one_text() -> None:
    """Base64 has four for 32 bytes."""
    right = dict(headers())[b"webhook-signature"].decode()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    at = alphabet.index(right[-2])
    texts = [right[:-2] + alphabet[at - at % 4 + each] + "=" for each in range(4)]
    assert len({base64.b64decode(each[3:]) for each in texts}) == 1
    taken = []
    for text in texts:
        try:
            verified(read_headers(with_signature(text.encode())), BODY, SECRET)
            taken.append(text)
        except BadSignatureError:
            pass
    assert taken == [right]


def test_a_wrong_signature_over_five_megabytes_costs_nothing_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither a copy of the body nor the library: all was computed while it came in."""

    def never(*_: object) -> None:
        raise AssertionError("the library was asked")

    monkeypatch.setattr(signatures, "Webhook", never)
    body = b"x" * (5 * 1024 * 1024)
    verifier = Verifier(read_headers(with_signature(GOOD)), [SECRET, OTHER])
    for at in range(0, len(body), 65_536):
        verifier.update(body[at : at + 65_536])
    tracemalloc.start()
    try:
        with pytest.raises(BadSignatureError, match="no secret"):
            verifier.body()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 64 * 1024
