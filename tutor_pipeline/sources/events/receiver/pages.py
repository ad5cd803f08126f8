"""What the API says of itself: OpenAPI, and a page of it that needs nothing from elsewhere.

Belongs here: descriptions for whoever sends. Does not belong here: handling requests (app.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from tutor_pipeline.core.templates import environment
from tutor_pipeline.sources.events import aliases
from tutor_pipeline.sources.events.catalogue import EventType, Field, load_types

_TEMPLATES = Path(__file__).parent / "templates"

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of the page."""

_DESCRIPTION = (
    "Events that a tutoring platform pushes, signed as Standard Webhooks 1.0.0 says. An event that"
    " is answered with 2xx is stored and need not be sent again; sent again it has no effect. What"
    " names a tutor or session that is not known yet is applied once they are; what is malformed is"
    " kept, and does not count. Of each field the latest event counts, by the"
    " `timestamp` in its body; a field that an event does not carry is left as it is."
)
_KINDS = {
    "text": "text",
    "timestamptz": "moment",
    "date": "day",
    "integer": "whole number",
    "double precision": "number",
    "numeric": "number",
    "boolean": "true, false",
    "jsonb": "JSON",
}
_STATUS = {
    "type": "string",
    "enum": ["accepted", "duplicate", "conflict", "too_long"],
    "description": "accepted: stored; duplicate: it was there; conflict: another event has this"
    " id, and counts; too_long: over 20 kB, and not stored.",
}
_TOLD = {
    "type": "object",
    "required": ["id", "status"],
    "properties": {
        "id": {"type": "string"},
        "status": _STATUS,
        "problems": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Why the event is kept and does not count: <field>_<what is wrong>.",
        },
        "ignored": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Fields of the data that no type of events has.",
        },
    },
}
_MESSAGE = {
    "type": "object",
    "required": ["message"],
    "properties": {"message": {"type": "string"}},
}
_RETRY = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}


def _answer(description: str, schema: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}, **more}


_ANSWERS: dict[int | str, dict[str, Any]] = {
    401: _answer("The signature was not accepted; one text for every cause.", _MESSAGE),
    403: _answer("No events are taken at this address.", _MESSAGE),
    404: {"description": "There is no such address."},
    408: _answer("The request did not come in within 10 seconds.", _MESSAGE),
    409: _answer("Another event has this webhook-id.", _MESSAGE),
    413: _answer("Too long: an event over 20 kB, a batch over 5 MB or 1,000 lines.", _MESSAGE),
    415: _answer("The body is compressed.", _MESSAGE),
    429: _answer("Too many events a second.", _MESSAGE, headers=_RETRY),
    503: _answer("Nothing was stored; send it again.", _MESSAGE, headers=_RETRY),
}
_HEADERS = [
    {"name": "webhook-id", "in": "header", "required": True,
     "description": "The event's id, the same when it is sent again.",
     "schema": {"type": "string", "pattern": "^[\\x21-\\x7e]{1,256}$"}},
    {"name": "webhook-timestamp", "in": "header", "required": True,
     "description": "When this attempt is made: seconds since 1970, within 5 minutes of now.",
     "schema": {"type": "string", "pattern": "^[0-9]{10}$"}},
    {"name": "webhook-signature", "in": "header", "required": True,
     "description": "`v1,` and the base64 of HMAC-SHA256 over id.timestamp.body; several with"
     " blanks between, while a secret is exchanged.",
     "schema": {"type": "string"}},
]  # fmt: skip


def _route(summary: str, content: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "summary": summary,
        "response_model": None,
        "responses": {200: _answer("Stored, or there already.", answer), **_ANSWERS},
        "openapi_extra": {
            "parameters": _HEADERS,
            "requestBody": {"required": True, "content": content},
        },
    }


SINGLE = _route(
    "Take one event",
    {"application/json": {"schema": {"$ref": "#/components/schemas/Event"}}},
    _TOLD,
)
"""Options of the route for one event."""
BATCH = _route(
    "Take up to 1,000 events, one a line, each with an `id` of its own",
    {"application/x-ndjson": {"schema": {"type": "string"}}},
    {
        "type": "object",
        "required": ["events"],
        "properties": {"events": {"type": "array", "items": _TOLD}},
    },
)
"""Options of the route for many."""


def described(app: FastAPI) -> dict[str, Any]:
    """Returns the OpenAPI document, with a schema for each type of events."""
    made = get_openapi(
        title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes
    )
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    for name in [name for name in schemas if "Validation" in name]:
        del schemas[name]
    for path in made["paths"].values():
        path["post"]["responses"].pop("422", None)
        for parameter in path["post"]["parameters"]:
            if parameter["name"] == "source":
                parameter["description"] = "The name that the secret was made for."
                parameter["schema"] = {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,39}$"}
    types = load_types().types
    schemas["Event"] = {
        "oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in types],
        "discriminator": {
            "propertyName": "type",
            "mapping": {name: f"#/components/schemas/{name}" for name in types},
        },
    }
    for name, each in types.items():
        schemas[name] = {
            "type": "object",
            "title": name,
            "description": each.says,
            "required": ["type", "timestamp", "data"],
            "properties": {
                "type": {"const": name},
                "timestamp": {
                    "type": "string",
                    "format": "date-time",
                    "description": "When it happened: of two events the later one counts.",
                },
                "data": each.schema(),
            },
            "example": example(each),
        }
    return made


def example(of: EventType) -> dict[str, Any]:
    """Returns an event of a type as it may be sent."""
    return {
        "type": of.name,
        "timestamp": datetime(2026, 3, 2, 17, 4, tzinfo=UTC).isoformat(),
        "data": {name: _value(of.fields[name]) for name in of.usual},
    }


def _value(of: Field) -> Any:
    if of.accepted:
        return of.accepted[0]
    if of.is_id:
        return f"{of.name.removesuffix('_id')}-1"
    low = of.column.minimum or 0
    high = of.column.maximum
    middle = low + 1 if high is None else (low + high) / 2
    return {
        "timestamptz": "2026-03-02T16:00:00+00:00",
        "date": "2026-03-02",
        "integer": 60 if of.is_whole else int(middle),
        "double precision": middle,
        "numeric": middle,
        "boolean": True,
        "jsonb": {},
    }.get(of.column.type, of.name.replace("_", " "))


def html(document: Mapping[str, Any]) -> str:
    """Returns a page of the API: every type with its fields, and how to sign."""
    template = environment(_TEMPLATES, {}).get_template("docs.html.j2")
    types = load_types().types
    return template.render(
        document=document,
        types=types,
        examples={name: json.dumps(example(each), indent=2) for name, each in types.items()},
        aliases=aliases.NAMES,
        kinds=_KINDS,
    )


def style() -> str:
    """Returns the page's style sheet."""
    return (_TEMPLATES / "docs.css").read_text(encoding="utf-8")
