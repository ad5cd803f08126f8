"""Parts of the receiver: lines of a batch, pace, counts of what was not accepted, its pages."""

from __future__ import annotations

import asyncio
import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from schemathesis.specs.openapi.definitions import OPENAPI_31

from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.pool import Pool
from tutor_pipeline.sources.events import aliases, rejections
from tutor_pipeline.sources.events.catalogue import load_types
from tutor_pipeline.sources.events.receiver import lines
from tutor_pipeline.sources.events.receiver.app import Receiver
from tutor_pipeline.sources.events.receiver.limits import Limits, Pace

NOW = datetime(2026, 3, 2, 17, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", []), (b"\n\n", []), (b"a", [(1, b"a")]), (b"a\n", [(1, b"a")]),
        (b"a\nb", [(1, b"a"), (2, b"b")]), (b"a\r\nb\r\n", [(1, b"a"), (2, b"b")]),
        (b"\n a \n\n\tb", [(2, b"a"), (4, b"b")]), (b"a\rb", [(1, b"a\rb")]),
        ("a\u2028b\x85c".encode(), [(1, "a\u2028b\x85c".encode())]),
    ],
)  # fmt: skip
def test_lines(body: bytes, expected: Any) -> None:
    assert lines.cut(body, 1_000) == expected


def test_of_more_lines_than_may_be_one_too_many_is_cut() -> None:
    assert len(lines.cut(b"a\n" * 10, 10)) == 10
    assert len(lines.cut(b"a\n" * 1_000_000, 10)) == 11


def test_a_line_is_called_after_its_batch_where_it_has_no_id() -> None:
    cut = lines.cut(b'{"id":"e1"}\n{"id":5}\n\n{"id":"a b"}\nno\n' + b"x" * 50, 1_000)
    found = lines.read(cut, "shop", "b1", 40)
    assert [line.id for line in found] == ["e1", "b1:2", "b1:4", "b1:5", "b1:6"]
    assert [line.event is None for line in found] == [False] * 4 + [True]


def test_the_pace_of_each_source() -> None:
    now = [0.0]
    pace = Pace(Limits(per_second=10, burst=100), lambda: now[0])
    assert pace.wait_for("a", 100) == 0
    assert pace.wait_for("a", 1) == pytest.approx(0.1)
    assert pace.wait_for("b", 100) == 0
    now[0] = 0.05
    assert pace.wait_for("a", 1) == pytest.approx(0.05)
    # Who was refused took nothing.
    now[0] = 0.5
    assert pace.wait_for("a", 6) == pytest.approx(0.1)
    assert pace.wait_for("a", 5) == 0
    now[0] = 1_000
    assert pace.wait_for("a", 100) == 0
    assert pace.wait_for("a", 0) == 0
    assert pace.wait_for("a", 50) == pytest.approx(5)


def test_counts_of_what_was_not_accepted_are_bounded() -> None:
    counts = rejections.Counts()
    for number in range(3):
        counts.add("shop", "x" * 1_000, "i" * 1_000, NOW + timedelta(minutes=number))
    counts.add("shop", "a conflict", "evt-1", NOW)
    taken = counts.taken()
    hour = NOW.replace(minute=0)
    assert set(taken) == {(hour, "shop", "x" * 200), (hour, "shop", "a conflict")}
    assert taken[hour, "shop", "x" * 200].requests == 3
    assert taken[hour, "shop", "x" * 200].last_id == "i" * 200
    assert taken[hour, "shop", "a conflict"].requests == 1
    assert counts.taken() == {}
    for number in range(2_000):
        counts.add("shop", str(number), "", NOW)
    assert len(counts.taken()) == 500


@pytest.fixture(scope="module")
def pages() -> dict[str, httpx.Response]:
    """What the receiver says of itself. It needs no database for that."""
    warehouse = Warehouse("postgresql://nobody@127.0.0.1:1/none")
    pool = Pool(warehouse, size=1, seconds=1, longest=1)
    app = Receiver(warehouse, pool, lambda: NOW).app

    async def get(path: str) -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://receiver") as client:
            return await client.get(path)

    thread = ThreadPoolExecutor(1)
    return {
        # In a thread: a browser of another test may have a loop running in this one.
        name: thread.submit(asyncio.run, get(f"/v1/{name}")).result()
        for name in ("openapi.json", "docs", "docs.css", "redoc", "docs/oauth2-redirect")
    }


def test_the_api_is_valid_openapi(pages: dict[str, httpx.Response]) -> None:
    document = pages["openapi.json"].json()
    assert document["openapi"].startswith("3.1.")
    Draft202012Validator(OPENAPI_31).validate(document)
    assert set(document["paths"]) == {"/v1/events/{source}", "/v1/events/{source}/batch"}
    for path in document["paths"].values():
        assert list(path) == ["post"]
        assert set(path["post"]["responses"]) == {
            "200", "401", "403", "404", "408", "409", "413", "415", "429", "503",
        }  # fmt: skip
        names = {each["name"] for each in path["post"]["parameters"]}
        assert names == {"source", "webhook-id", "webhook-timestamp", "webhook-signature"}


def test_every_reference_of_the_api_leads_somewhere(pages: dict[str, httpx.Response]) -> None:
    text = pages["openapi.json"].text
    schemas = json.loads(text)["components"]["schemas"]
    references = set(re.findall(r'"(#/components/schemas/[^"]+)"', text))
    assert references == {f"#/components/schemas/{name}" for name in schemas}
    for name, schema in schemas.items():
        whole = {**schema, "components": {"schemas": schemas}}
        Draft202012Validator.check_schema(whole)
        if name != "Event":
            Draft202012Validator(whole).validate(schema["example"])
    # An example is one event, of one type.
    event = Draft202012Validator({**schemas["Event"], "components": {"schemas": schemas}})
    for name in load_types().types:
        event.validate(schemas[name]["example"])


def test_the_page_needs_nothing_from_elsewhere(pages: dict[str, httpx.Response]) -> None:
    page, style = pages["docs"], pages["docs.css"]
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'self';")
    assert page.headers["x-content-type-options"] == "nosniff"
    assert re.findall(r'(?:src|href|action)="([^"#]*)"', page.text) == ["docs.css", "openapi.json"]
    assert not re.search(r"//|@import|url\(", style.text)
    assert not re.search(r"<script|<iframe|<img|<form|style=|\son\w+=|javascript:", page.text)
    assert not re.search(r"https?://", page.text)
    assert style.headers["content-type"].startswith("text/css")


def test_the_page_names_every_type_and_alias(pages: dict[str, httpx.Response]) -> None:
    text = pages["docs"].text
    for name, kind in load_types().types.items():
        assert f'id="{name}"' in text
        for field in kind.fields:
            assert f"<code>{field}</code>" in text
    for name in aliases.NAMES:
        assert f"<code>{name}</code>" in text
    for status in (200, 401, 403, 404, 408, 409, 413, 415, 429, 503):
        assert f"<td>{status}</td>" in text


def test_other_pages_are_none(pages: dict[str, httpx.Response]) -> None:
    """Those of the framework load scripts from elsewhere."""
    assert pages["redoc"].status_code == pages["docs/oauth2-redirect"].status_code == 404
    assert "/v1/events/SOURCE" in pages["redoc"].json()["message"]
