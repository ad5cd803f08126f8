"""Bodies of events: what is the same to us, and what is no JSON to us."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutor_pipeline.sources.events.bodies import Body, again, canonical, parse

TEXTS = st.text(st.characters(codec=None), max_size=8)  # lone surrogates too
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | TEXTS
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda each: st.lists(each, max_size=4) | st.dictionaries(TEXTS, each, max_size=4),
    max_leaves=12,
)  # fmt: skip
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=5)


def raw(value: Any, **options: Any) -> bytes:
    return json.dumps(value, **options).encode("utf-8", "surrogatepass")


@given(OBJECTS)
def test_what_is_stored_reads_as_what_came(value: dict[str, Any]) -> None:
    body = parse(raw(value))
    assert body.value is not None
    stored = again(body.text)
    assert (stored.value, stored.text, stored.digest) == (body.value, body.text, body.digest)
    assert body.text.isascii()
    assert body.value == {name: each for name, each in value.items() if name != "id"}


@given(OBJECTS, st.booleans(), st.sampled_from([None, 1, "\t"]), st.randoms())
def test_the_same_in_another_form_is_the_same(
    value: dict[str, Any], ascii_: bool, indent: Any, chance: Any
) -> None:
    def shuffled(each: Any) -> Any:
        if isinstance(each, dict):
            names = list(each)
            chance.shuffle(names)
            return {name: shuffled(each[name]) for name in names}
        return [shuffled(one) for one in each] if isinstance(each, list) else each

    other = json.dumps(shuffled(value), ensure_ascii=ascii_, indent=indent)
    try:
        text = f" {other}\r\n".encode()
    except UnicodeEncodeError:
        text = raw(shuffled(value))  # a lone surrogate can only be escaped
    assert parse(text).digest == parse(raw(value)).digest


@given(OBJECTS, OBJECTS)
def test_another_content_is_another_one(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = (parse(raw(each)) for each in (one, other))
    # To Python 1 is True.
    assert (first.digest == second.digest) == (repr_of(first) == repr_of(second))


def repr_of(body: Body) -> str:
    def told(each: Any) -> str:
        if isinstance(each, dict):
            return str(sorted((name, told(value)) for name, value in each.items()))
        return str(list(map(told, each))) if isinstance(each, list) else repr(each)

    return told(body.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a":1,"b":2}', b'{"b":2,"a":1}'),
        (b'{"a":1}', b'{"a":1.0}'),
        (b'{"a":0}', b'{"a":-0.0}'),
        (b'{"a":100}', b'{"a":1e2}'),
        (b'{"a":"\\u00e9"}', '{"a":"é"}'.encode()),
        (b'{"a":"\\/"}', b'{"a":"/"}'),
        (b'{"\\u0061":1}', b'{"a":1}'),
        (b'{"a":"\\ud83d\\ude00"}', '{"a":"😀"}'.encode()),
        (b'{"id":"x","a":1}', b'{"a":1}'),
        (b'{"id":"x","a":1}', b'{"id":"y","a":1}'),
    ],
)
def test_one_meaning(one: bytes, other: bytes) -> None:
    assert parse(one).digest == parse(other).digest
    assert parse(one).value == parse(other).value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a":1}', b'{"a":"1"}'),
        (b'{"a":1}', b'{"a":true}'),
        (b'{"a":null}', b"{}"),
        (b'{"a":[1,2]}', b'{"a":[2,1]}'),
        (b'{"a":"x"}', b'{"a":"x "}'),
        ('{"a":"é"}'.encode(), '{"a":"e\u0301"}'.encode()),
        (b'{"a":9007199254740993}', b'{"a":9007199254740992}'),
        (b'{"data":{"id":1}}', b'{"data":{"id":2}}'),
    ],
)
def test_two_meanings(one: bytes, other: bytes) -> None:
    assert parse(one).digest != parse(other).digest


NO_JSON = [
    b"", b" ", b"x", b"null", b"1", b'"text"', b"[]", b'[{"type":"x"}]', b"{", b"{}x", b"{}{}",
    b"{'a':1}", b'{"a":1,}', b'{"a":01}', b'{"a":.5}', b'{"a":NaN}', b'{"a":Infinity}',
    b'{"a":-Infinity}', b'{"a":1e999}', b'{"a":1,"a":1}', b'{"b":{"a":1,"\\u0061":2}}',
    b'{"a":"\x00"}', b'{"a":"\n"}', b'\xef\xbb\xbf{"a":1}', b'{"a":"\xff"}',
    b'{"a":"\xed\xa0\x80"}',
    '{"a":1}'.encode("utf-16"), b'{"a":' + b"9" * 5_000 + b"}", b"[" * 100_000,
    b'{"a":' * 50_000 + b"1" + b"}" * 50_000, b'{"a":' * 65 + b"1" + b"}" * 65,
    b'{"a":"\\x41"}', b'{"a":"\\ud8"}', "{\u00a0}".encode(),
]  # fmt: skip


@pytest.mark.parametrize("text", NO_JSON, ids=lambda each: repr(each[:30]))
def test_what_is_no_json_object_is_kept_as_text(text: bytes) -> None:
    body = parse(text)
    assert (body.value, body.type, body.data, body.id) == (None, "", {}, None)
    assert "\0" not in body.text
    # Where its text was mended so that it can be stored, it means nothing still.
    assert again(body.text).value is None
    assert again(body.text).text == body.text


def test_texts_that_are_no_json_are_told_apart_byte_by_byte() -> None:
    assert parse(b"\xff").digest != parse(b"\xfe").digest
    assert parse(b"\xff").text == parse(b"\xfe").text


def test_how_deep_depends_on_nothing_else() -> None:
    """Whoever reads it, from however deep a call."""
    deep = b'{"a":' * 64 + b"1" + b"}" * 64
    digests = []

    def read(levels: int) -> None:
        if levels:
            read(levels - 1)
        else:
            digests.append((parse(deep).digest, parse(deep).value is not None))

    for levels in (0, 400, sys.getrecursionlimit() - 250):
        thread = threading.Thread(target=read, args=(levels,))
        thread.start()
        thread.join()
    assert digests == [(parse(deep).digest, True)] * 3


@pytest.mark.parametrize(
    ("said", "expected"),
    [("evt-1", "evt-1"), ("", None), ("a b", None), ("é", None), ("x" * 256, "x" * 256),
     ("x" * 257, None), (1, None), (None, None), (["a"], None), ("\n", None), ("a\n", None)],
)  # fmt: skip
def test_an_id(said: Any, expected: str | None) -> None:
    assert parse(raw({"id": said, "type": "x"})).id == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [("session.completed", "session.completed"), (1, ""), (None, ""), ("", ""), ("a\0b", ""),
     ("\ud800", ""), ("x" * 300, "x" * 200), ({}, "")],
)  # fmt: skip
def test_a_type(said: Any, expected: str) -> None:
    assert parse(raw({"type": said})).type == expected


def test_a_number_is_read_as_it_is_stored() -> None:
    """What its sender is told at once holds later, too."""
    body = parse(b'{"data":{"tutor_id":7.0,"rate":25.50,"huge":1e300}}')
    assert body.data == {"tutor_id": 7, "rate": 25.5, "huge": 1e300}
    assert isinstance(body.data["tutor_id"], int)
    assert again(body.text).data == body.data


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_number_of_json(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical({"a": value})
