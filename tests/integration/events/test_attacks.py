"""Requests that are almost right: none is taken that a strict verifier of our own refuses, none
breaks the receiver, and a right one is taken however its headers are written.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.events.conftest import Receiver
from tests.integration.events.signing import (
    Answer,
    Connection,
    Headers,
    Sender,
    chunked,
    head,
    is_signed,
)
from tutor_pipeline.sources.events import secrets

ID, TIME, SIGNATURE = b"webhook-id", b"webhook-timestamp", b"webhook-signature"
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


@dataclass
class Sources:
    """A source with two secrets, one whose secret has ended, another one, and one without any."""

    shop: Sender
    good: list[bytes]
    ended: bytes
    other: bytes


@dataclass
class Attempt:
    """A request in the making: signed rightly, until a mutation changes it."""

    chance: random.Random
    sources: Sources
    id: bytes
    body: bytes
    time: bytes
    secret: bytes
    source: str = "shop"
    is_batch: bool = False
    headers: Headers = field(default_factory=list)
    is_chunked: bool = False
    length: int | None = None
    """What it says of its length, where that is a lie."""

    def sign(self) -> None:
        self.headers = [(ID, self.id), (TIME, self.time), (SIGNATURE, self.signature())]

    def signature(self, secret: bytes | None = None, **changed: bytes) -> bytes:
        part = {"id": self.id, "time": self.time, "body": self.body} | changed
        message = b".".join([part["id"], part["time"], part["body"]])
        made = hmac.digest(secret or self.secret, message, hashlib.sha256)
        return b"v1," + base64.b64encode(made)

    def put(self, name: bytes, value: bytes) -> None:
        self.headers = [(each, value if each == name else old) for each, old in self.headers]

    def said(self, name: bytes) -> bytes:
        return dict(self.headers)[name]

    @property
    def path(self) -> str:
        return f"/v1/events/{self.source}{'/batch' if self.is_batch else ''}"

    def send(self, connection: Connection) -> Answer | None:
        """None: the receiver answered nothing, as to a body that does not come."""
        if self.is_chunked:
            start = head(self.path, [*self.headers, (b"transfer-encoding", b"chunked")])
            return connection.send(start, chunked(self.body, self.chance.choice([1, 7, 1000])))
        if self.length is None:
            return connection.post(self.path, self.headers, self.body)
        start = head(self.path, [*self.headers, (b"content-length", b"%d" % self.length)])
        try:
            connection.open().sendall(start + self.body)
            if self.length > len(self.body):
                connection.open().shutdown(1)  # nothing more comes
            return connection.answer()
        except (OSError, ValueError, EOFError):
            return None
        finally:
            connection.close()


Mutation = Callable[[Attempt], None]
MUTATIONS: list[Mutation] = []


def mutation(times: int = 1) -> Callable[[Mutation], Mutation]:
    """Adds a mutation, of which some happen more often."""

    def add(made: Mutation) -> Mutation:
        MUTATIONS.extend([made] * times)
        return made

    return add


@mutation(4)
def nothing(_: Attempt) -> None:
    pass


@mutation(2)
def case_of_names(attempt: Attempt) -> None:
    """Counts for nothing."""
    attempt.headers = [
        (bytes(attempt.chance.choice([byte, byte ^ 32 if chr(byte).isalpha() else byte])
               for byte in name), value)
        for name, value in attempt.headers
    ]  # fmt: skip
    attempt.chance.shuffle(attempt.headers)


@mutation(3)
def byte_of_body(attempt: Attempt) -> None:
    at = attempt.chance.randrange(len(attempt.body))
    changed = attempt.chance.randrange(256)
    attempt.body = attempt.body[:at] + bytes([changed]) + attempt.body[at + 1 :]


@mutation()
def length_of_body(attempt: Attempt) -> None:
    body = attempt.body
    choices = [b"", body + b" ", body + b"\n", b" " + body, body[:-1], body + b"\0", body * 2,
               b"\xef\xbb\xbf" + body]  # fmt: skip
    attempt.body = attempt.chance.choice(choices)


@mutation()
def same_meaning(attempt: Attempt) -> None:
    """Another text of the same JSON is not what was signed."""
    attempt.body = json.dumps(json.loads(attempt.body), indent=1).encode()


@mutation()
def not_utf8(attempt: Attempt) -> None:
    """Signed as it is."""
    attempt.body = attempt.body[:-2] + attempt.chance.choice(
        [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"]
    )
    attempt.sign()


@mutation()
def no_json(attempt: Attempt) -> None:
    """Signed as it is: taken, and kept as malformed."""
    attempt.body = attempt.chance.choice(
        [b"", b"{", b"[]", b"null", b"0", b"NaN", b'"text"', b"[" * 3000, b'{"a":' * 3000,
         b'{"type":"tutor.updated","type":"x"}', b'{"a":1e999}', b'{"a":' + b"9" * 5000 + b"}",
         b'{"a":"\x00"}', b'{"a":"\\ud800"}', "{\u2003}".encode(), b'{"type":1}']
    )  # fmt: skip
    attempt.sign()


@mutation(2)
def other_id(attempt: Attempt) -> None:
    attempt.put(ID, attempt.chance.choice(
        [attempt.id + b"x", attempt.id[:-1], attempt.id.upper(), b"", b"other", attempt.id + b".",
         attempt.id + b"." + attempt.time]
    ))  # fmt: skip


@mutation(2)
def odd_id(attempt: Attempt) -> None:
    """Signed as it is."""
    attempt.id += attempt.chance.choice(
        [b"x" * 300, b" x", b"\xe4", b"\xc2\xa0x", b"\x7f", b"%00", b"'; drop table x --", b'"\\',
         b"/../", b"$(x)", b"[red]", b"x" * (256 - len(attempt.id)),
         b"x" * (257 - len(attempt.id))]
    )  # fmt: skip
    attempt.sign()


@mutation(3)
def other_time(attempt: Attempt) -> None:
    """Not what was signed."""
    moved = int(attempt.time) + attempt.chance.choice([-1, 1, 60, -600, 2**31])
    attempt.put(TIME, b"%d" % moved)


@mutation(4)
def moved_time(attempt: Attempt) -> None:
    """Signed as it is, near the bounds of five minutes and far from them."""
    seconds = [-10_000_000, -3600, -330, -315, -285, -200, 200, 285, 315, 330, 3600, 10_000_000]
    attempt.time = b"%d" % (int(attempt.time) + attempt.chance.choice(seconds))
    attempt.sign()


@mutation(4)
def odd_time(attempt: Attempt) -> None:
    """Signed as it is: a number to Python, and no timestamp."""
    now = attempt.time
    attempt.time = attempt.chance.choice(
        [now + b".0", now + b".5", b"-" + now, b"+" + now, b"0" + now, now + b"0", now[:9],
         now + b"e0", b"%.3e" % int(now), now[:4] + b"_" + now[4:], b"0x%x" % int(now), b"", b"nan",
         b"inf", now + b"000", str(int(now)).translate(
             {ord("0") + digit: 0x660 + digit for digit in range(10)}).encode(),
         bytes(0xB2 if byte == 0x32 else byte for byte in now), now + b"\xa0", b"1e9",
         datetime.now(UTC).isoformat().encode()]
    )  # fmt: skip
    attempt.sign()


@mutation()
def blanks_around(attempt: Attempt) -> None:
    """They are no part of a header's value."""
    name = attempt.chance.choice([ID, TIME, SIGNATURE])
    before, after = (attempt.chance.choice([b"", b" ", b"\t", b"  \t "]) for _ in range(2))
    attempt.put(name, before + attempt.said(name) + after)


@mutation()
def odd_blanks(attempt: Attempt) -> None:
    name = attempt.chance.choice([ID, TIME, SIGNATURE])
    odd = attempt.chance.choice([b"\x0b", b"\x0c", b"\xa0", b"\x85", b"\x1f", b"\0", b"\r"])
    attempt.put(name, attempt.chance.choice([odd + attempt.said(name), attempt.said(name) + odd]))


@mutation(3)
def doubled(attempt: Attempt) -> None:
    """A header comes twice: with the same value, or another one that is right."""
    name = attempt.chance.choice([ID, TIME, SIGNATURE])
    value = attempt.chance.choice([attempt.said(name), b"x", b""])
    attempt.headers.insert(
        attempt.chance.randrange(4), (attempt.chance.choice([name, name.upper()]), value)
    )


@mutation(2)
def left_out(attempt: Attempt) -> None:
    name = attempt.chance.choice([ID, TIME, SIGNATURE])
    attempt.headers = [each for each in attempt.headers if each[0] != name]


@mutation()
def named_otherwise(attempt: Attempt) -> None:
    """Names of other products, and such as look alike."""
    prefix = attempt.chance.choice([b"svix-", b"webhook_", b"x-webhook-", b"webhook--", b"Webhook"])
    attempt.headers = [
        (name.replace(b"webhook-", prefix), value) for name, value in attempt.headers
    ]


@mutation(4)
def other_secret(attempt: Attempt) -> None:
    """One that has ended, that of another source, or nearly the right one."""
    good = attempt.secret
    attempt.secret = attempt.chance.choice(
        [attempt.sources.ended, attempt.sources.other, good[:-1], good + b"\0", good[::-1], b"\0",
         base64.b64encode(good), secrets.shown(good).encode(), hashlib.sha256(good).digest()]
    )  # fmt: skip
    attempt.sign()


@mutation(2)
def other_source(attempt: Attempt) -> None:
    attempt.source = attempt.chance.choice(
        ["other", "former", "nobody", "SHOP", "shop%20", "shop%00", "%73hop", "shop%2f", "batch",
         "%F0%9F%92%A9", "..", "x" * 3000]
    )  # fmt: skip


@mutation(4)
def odd_signature(attempt: Attempt) -> None:
    """The right one, written as it must not be."""
    made = attempt.signature()[3:]
    raw = base64.b64decode(made)
    last = _ALPHABET.index(made[42:43])
    attempt.put(SIGNATURE, attempt.chance.choice(
        [made, b"v1," + made[:-1], b"v1," + made + b"=", b"v1," + made[:-1] + b"%3D",
         b"v1, " + made, b"V1," + made, b"v1=" + made, b"v1;" + made, b"v1," + raw.hex().encode(),
         b"v1," + base64.urlsafe_b64encode(raw).replace(b"=", b""), b"v1,whsec_" + made,
         b"v1," + made[:42] + _ALPHABET[last ^ 1 : (last ^ 1) + 1] + b"=",
         b"v1," + made[:42] + _ALPHABET[last ^ 2 : (last ^ 2) + 1] + b"=",
         b"v1," + made[:20] + b"\n" + made[20:], b"v1," + made[:20] + b" " + made[20:],
         b"v1," + made[:20] + b"!" + made[20:], b'"v1,' + made + b'"', b"v1," + made.swapcase(),
         b"v1,,"  + made, b"v1," + made + b",", b"v1a," + made, b"v2," + made, b"v0," + made,
         b"v01," + made, b"v1.0," + made, b"hmac-sha256=" + raw.hex().encode(),
         b"v1,\xef\xbc\xa1" + made[1:]]
    ))  # fmt: skip


@mutation(3)
def byte_of_signature(attempt: Attempt) -> None:
    made = attempt.signature()
    at = attempt.chance.randrange(3, len(made))
    put = attempt.chance.choice([_ALPHABET[attempt.chance.randrange(64)], ord("=")])
    attempt.put(SIGNATURE, made[:at] + bytes([put]) + made[at + 1 :])


@mutation(4)
def several_signatures(attempt: Attempt) -> None:
    """The right one, or none of them, among others."""
    right, chance = attempt.signature(), attempt.chance
    others = [
        attempt.signature(attempt.sources.other), attempt.signature(attempt.sources.ended),
        b"v1a," + base64.b64encode(bytes(64)), b"v2," + base64.b64encode(bytes(32)),
        b"v1,", b"", b",", b"x", b"v1,x", right.replace(b"v1", b"v2"),
    ]  # fmt: skip
    made = chance.choices(others, k=chance.randrange(4))
    made += [right] * chance.randrange(3)
    chance.shuffle(made)
    made += [attempt.signature(attempt.sources.other)] * chance.choice([0, 0, 7, 8, 9, 10])
    attempt.put(SIGNATURE, chance.choice([b" ", b" ", b"  ", b",", b"\t"]).join(made))


@mutation(2)
def parts_moved(attempt: Attempt) -> None:
    """What is signed is one text: its parts must not be cut in another way."""
    signed = b".".join([attempt.id, attempt.time, attempt.body])
    id_, _, rest = signed.partition(b".")
    choices = [
        (attempt.id, attempt.time + b"." + attempt.body[:1], attempt.body[1:]),
        (id_ + b"." + attempt.time, attempt.body[:10], attempt.body[10:]),
        (b"", attempt.id + b"." + attempt.time, attempt.body),
        (id_[:3], id_[3:] + rest[:10], rest[10:]),
    ]
    id_, time_, attempt.body = attempt.chance.choice(choices)
    attempt.put(ID, id_)
    attempt.put(TIME, time_)


@mutation(2)
def in_chunks(attempt: Attempt) -> None:
    attempt.is_chunked, attempt.length = True, None


@mutation()
def said_compressed(attempt: Attempt) -> None:
    kind = attempt.chance.choice([b"gzip", b"br", b"deflate", b"identity", b"identity, gzip"])
    attempt.headers.append((b"content-encoding", kind))


@mutation()
def other_headers(attempt: Attempt) -> None:
    """None of them counts."""
    attempt.headers += attempt.chance.sample(
        [(b"content-type", b"text/plain"), (b"content-type", b"\xff"), (b"accept", b"*/*"),
         (b"authorization", b"Bearer x"), (b"x-forwarded-for", b"127.0.0.1"),
         (b"content-type", b"application/json; charset=utf-16"), (b"expect", b"100-continue"),
         (b"webhook-other", b"a"), (b"webhook-other", b"b"), (b"forwarded", b"for=x")], 3
    )  # fmt: skip


@mutation(2)
def lie_about_length(attempt: Attempt) -> None:
    attempt.is_chunked = False
    attempt.length = max(0, len(attempt.body) + attempt.chance.choice([-20, -1, 1, 20, 30_000]))


@dataclass
class Attack:
    """Sends attempts and keeps what came of them."""

    receiver: Receiver
    sources: Sources
    chance: random.Random
    taken: set[str] = field(default_factory=set)
    statuses: Counter[int] = field(default_factory=Counter)

    def attempt(self, number: int) -> Attempt:
        # Each id is new to the inbox: what is answered is about the signature alone.
        id_ = b"a%d-%s" % (number, os.urandom(4).hex().encode())
        event = {"type": "tutor.updated", "timestamp": datetime.now(UTC).isoformat(),
                 "data": {"tutor_id": f"T{number % 7}", "name": "\u00c5da"}}  # fmt: skip
        made = Attempt(
            self.chance,
            self.sources,
            id_,
            json.dumps(event, ensure_ascii=self.chance.random() < 0.5).encode(),
            b"%d" % int(time.time()),
            self.chance.choice(self.sources.good),
            is_batch=self.chance.random() < 0.2,
        )
        made.sign()
        return made

    def run(self, number: int, connection: Connection) -> None:
        attempt = self.attempt(number)
        mutations = self.chance.choices(MUTATIONS, k=self.chance.choice([1, 1, 1, 2, 3]))
        for each in mutations:
            # What one left may be nothing that another can change.
            with suppress(ValueError, KeyError, RecursionError):
                each(attempt)
        names = [each.__name__ for each in mutations]
        before = time.time()
        try:
            answer = attempt.send(connection)
        except OSError:
            answer = None  # it is seen below whether it was taken
        self._judge(attempt, names, answer, (before, time.time()))

    def _judge(
        self, attempt: Attempt, names: list[str], answer: Answer | None, times: tuple[float, float]
    ) -> None:
        what = f"{names}: {attempt.path} {attempt.headers} {attempt.body[:300]!r}: {answer}"
        good = {"shop": self.sources.good, "%73hop": self.sources.good,
                "other": [self.sources.other]}.get(attempt.source, [])  # fmt: skip
        body = attempt.body if attempt.length is None else attempt.body[: attempt.length]
        said = {is_signed(attempt.headers, body, good, at) for at in times}
        is_whole = attempt.length is None or attempt.length <= len(attempt.body)
        if answer is None:
            assert not is_whole, what
            return
        self.statuses[answer.status] += 1
        assert answer.status < 500, what
        if said == {True} and is_whole:
            assert answer.status in (200, 413, 415), what
        elif said == {False}:
            assert answer.status in (400, 401, 404, 413, 415), what
            if answer.status == 401:
                assert answer.json["message"].startswith("The signature was not accepted."), what
        if answer.status == 200:
            told = answer.json["events"] if attempt.is_batch else [answer.json]
            self.taken |= {each["id"] for each in told if each["status"] == "accepted"}

    @property
    def stored(self) -> set[str]:
        rows = self.receiver.rows("select event_id from ops.event_inbox where event_id <> 'after'")
        return {row["event_id"] for row in rows}


@pytest.fixture(scope="module")
def sources(receiver: Receiver) -> Sources:
    shop = receiver.sender("shop")
    now = datetime.now(UTC)
    with receiver.warehouse.connect() as database:
        secrets.add(database, "shop", now)
        secrets.add(database, "other", now)
        # It had a secret that ended before.
        secrets.add(database, "shop", now - timedelta(days=9))
        number = max(row["number"] for row in secrets.listed(database))
        secrets.revoke(database, "shop", now - timedelta(days=3), number)
        secrets.add(database, "former", now - timedelta(days=9))
        secrets.revoke(database, "former", now - timedelta(days=3))
        kept = database.execute(
            "select source, secret, ends_at is null from ops.event_secrets order by secret_id"
        ).fetchall()
    good = [bytes(secret) for source, secret, is_good in kept if source == "shop" and is_good]
    (ended,) = (bytes(secret) for source, secret, is_good in kept
                if source == "shop" and not is_good)  # fmt: skip
    (other,) = (bytes(secret) for source, secret, _ in kept if source == "other")
    assert len(good) == 2
    # The receiver has read all of them once it knows the last one.
    for secret in good:
        sender = replace(shop, secret=secrets.shown(secret))
        deadline = time.monotonic() + 60
        while sender.batch("nothing", []).status != 200:
            assert time.monotonic() < deadline
    return Sources(shop, good, ended, other)


def attack(receiver: Receiver, sources: Sources, seed: int, requests: int) -> Attack:
    made = Attack(receiver, sources, random.Random(seed))
    before = made.stored
    with Connection(receiver.port) as connection:
        for number in range(requests):
            made.run(number, connection)
    assert made.stored - before == made.taken
    # It answers still, and a right request is taken.
    assert sources.shop.event("after", {"type": "x"}).said in ("accepted", "duplicate")
    assert receiver.process is not None
    assert receiver.process.poll() is None
    assert "Traceback" not in receiver.log, receiver.log
    return made


@pytest.fixture
def seed() -> Iterator[int]:
    """A seed that is told when a test fails."""
    drawn = int(os.environ.get("SEED", random.SystemRandom().getrandbits(32)))
    print(f"repeat it with SEED={drawn}")  # noqa: T201
    yield drawn


def test_what_is_not_rightly_signed_is_not_taken(
    receiver: Receiver, sources: Sources, seed: int
) -> None:
    made = attack(receiver, sources, seed, 1_500)
    # All kinds of answers were seen, or the attack is none.
    assert made.statuses.keys() >= {200, 400, 401, 413, 415}, made.statuses
    assert made.taken


@pytest.mark.long
def test_ten_thousand_requests(receiver: Receiver, sources: Sources, seed: int) -> None:
    attack(receiver, sources, seed, 10_000)
