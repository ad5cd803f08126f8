"""What a list is asked for: read from an address, written as an address and as a sentence. Pure.

An address holds what was asked for and nothing else, so it can be sent to a colleague.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from typing import Any, Self
from urllib.parse import urlencode

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.formatting import count, either, label, visible
from tutor_pipeline.desk.words import RISK

MAX_TEXT = 200
PAGE = 50
"""Rows of a page."""

STATES = {
    "active": "open",
    "new": "open, nobody acted",
    "acknowledged": "acknowledged",
    "snoozed": "snoozed",
    "resolved": "resolved",
    "all": "open or resolved",
}
SEVERITIES = {"critical": "critical", "warning": "warning"}
ABOUT = {"tutor": "about tutors", "student": "about students", "subject": "about subjects"}
AGES = {"1": "older than 1 day", "3": "older than 3 days", "7": "older than 7 days",
        "30": "older than 30 days"}  # fmt: skip
ALERT_ORDERS = {"urgent": "most urgent first", "newest": "newest first", "oldest": "oldest first",
                "name": "by name"}  # fmt: skip
NOBODY = "nobody"

GROUPS = {"all": "all tutors", "attention": "who need a call", "best": "the best"}
LEVELS = {"any": "may or is likely to leave", **RISK, "unknown": "not known yet"}
TUTOR_ORDERS = {"name": "by name", "score": "best score first", "risk": "highest risk first",
                "sessions": "most sessions first", "rating": "best rating first",
                "moved": "most moved first"}  # fmt: skip

STUDENT_GROUPS = {"risk": "who may leave", "at_risk": "in poor health", "healthy": "healthy",
                  "churned": "who left", "unknown": "not known yet",
                  "all": "all students"}  # fmt: skip
STUDENT_ORDERS = {"risk": "highest risk first", "silent": "longest silent first",
                  "name": "by name"}  # fmt: skip
SESSION_ORDERS = {"newest": "newest first", "score": "lowest score first"}
SESSION_KINDS = {"all": "all", "notable": "with something notable", "first": "first sessions",
                 "missed": "missed or moved"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Filter:
    """Texts of an address, '' = not asked for. `page` counts from 1."""

    q: str = ""
    page: int = 1

    @classmethod
    def of(cls, asked: Mapping[str, str]) -> Self:
        """Reads an address. Raises UsageError for what is no choice."""
        found: dict[str, Any] = {}
        for name in (each.name for each in fields(cls)):
            value = " ".join(asked.get(name, "").replace("\0", "").split())
            if len(value) > MAX_TEXT:
                raise UsageError(f"{name} is too long: {MAX_TEXT} characters are the most")
            if name == "page":
                found[name] = _page(value)
            elif value:
                allowed = cls.choices().get(name)
                if allowed is not None and value not in allowed:
                    raise UsageError(
                        f"the address asks for {name}={visible(value, 40)}, which there is not;"
                        f" there is {either(list(allowed))}"
                    )
                found[name] = value
        return cls(**found)

    @classmethod
    def choices(cls) -> Mapping[str, Mapping[str, str]]:
        """The fields of which only some values are allowed, with the words for them."""
        return {}

    def address(self, **changes: Any) -> str:
        """Returns the query of an address with some fields changed: '?state=all', or ''."""
        # What changes the list leads to its beginning.
        changed = replace(self, **({"page": 1} | changes))
        default = asdict(type(self)())
        asked = {name: value for name, value in asdict(changed).items() if value != default[name]}
        return f"?{urlencode(asked)}" if asked else ""

    @property
    def is_plain(self) -> bool:
        """Whether nothing is asked for."""
        return not self.address()

    @property
    def offset(self) -> int:
        """How many rows stand before the page."""
        return PAGE * (self.page - 1)


@dataclass(frozen=True, slots=True)
class AlertFilter(Filter):
    """Which alerts."""

    state: str = "active"
    severity: str = ""
    type: str = ""
    about: str = ""
    tutor: str = ""
    teaches: str = ""
    owner: str = ""
    older: str = ""
    order: str = "urgent"

    @classmethod
    def choices(cls) -> Mapping[str, Mapping[str, str]]:
        """See `Filter`."""
        return {"state": STATES, "severity": SEVERITIES, "about": ABOUT, "older": AGES,
                "order": ALERT_ORDERS}  # fmt: skip

    def sentence(self, tutor: str = "") -> str:
        """Returns what is asked for as a sentence: 'critical and open, older than 3 days'."""
        words = [STATES[self.state]]
        if self.severity:
            words = [f"{self.severity} and {words[0]}"]
        words += [label(self.type).lower()] if self.type else []
        words += [ABOUT[self.about]] if self.about else []
        words += [f"of {tutor or self.tutor}"] if self.tutor else []
        words += [f"of tutors in {self.teaches}"] if self.teaches else []
        if self.owner:
            words.append("that nobody works on" if self.owner == NOBODY else f"of {self.owner}")
        words += [AGES[self.older]] if self.older else []
        return _with_search([*words, ALERT_ORDERS[self.order]], self.q)


@dataclass(frozen=True, slots=True)
class TutorFilter(Filter):
    """Which tutors."""

    group: str = "all"
    level: str = ""
    teaches: str = ""
    certified: str = ""
    order: str = ""

    @classmethod
    def choices(cls) -> Mapping[str, Mapping[str, str]]:
        """See `Filter`."""
        return {"group": GROUPS, "level": LEVELS, "order": TUTOR_ORDERS}

    @property
    def sorted_by(self) -> str:
        """The order; without a wish by what the group is about."""
        return self.order or {"best": "score", "attention": "risk"}.get(self.group, "name")

    def sentence(self) -> str:
        """Returns what is asked for as a sentence."""
        words = [GROUPS[self.group]]
        words += [LEVELS[self.level]] if self.level else []
        words += [f"in {self.teaches}"] if self.teaches else []
        words += [f"certified {self.certified}"] if self.certified else []
        return _with_search([*words, TUTOR_ORDERS[self.sorted_by]], self.q)


@dataclass(frozen=True, slots=True)
class StudentFilter(Filter):
    """Which students."""

    group: str = "risk"
    tutor: str = ""
    order: str = "risk"

    @classmethod
    def choices(cls) -> Mapping[str, Mapping[str, str]]:
        """See `Filter`."""
        return {"group": STUDENT_GROUPS, "order": STUDENT_ORDERS}

    def sentence(self) -> str:
        """Returns what is asked for as a sentence."""
        words = [STUDENT_GROUPS[self.group]]
        words += [f"of {self.tutor}"] if self.tutor else []
        return _with_search([*words, STUDENT_ORDERS[self.order]], self.q)


@dataclass(frozen=True, slots=True)
class SessionFilter(Filter):
    """Which sessions: those of a day ('' = the newest day with sessions)."""

    day: str = ""
    tutor: str = ""
    kind: str = "all"
    order: str = "newest"

    @classmethod
    def choices(cls) -> Mapping[str, Mapping[str, str]]:
        """See `Filter`."""
        return {"kind": SESSION_KINDS, "order": SESSION_ORDERS}

    @property
    def on(self) -> date | None:
        """The day. Raises UsageError."""
        try:
            found = date.fromisoformat(self.day) if self.day else None
        except ValueError:
            found = date.min
        if found is not None and not 1900 < found.year < 3000:
            raise UsageError(f"day={visible(self.day, 20)} is no day: write 2026-01-31")
        return found


def pages(filter_: Filter, rows: int) -> Sequence[tuple[str, str]]:
    """Returns the addresses to the pages before and after, with their words."""
    last = max(1, -(-rows // PAGE))
    found = []
    if filter_.page > 1:
        found.append((filter_.address(page=min(filter_.page - 1, last)), "Previous"))
    if filter_.page < last:
        found.append((filter_.address(page=filter_.page + 1), "Next"))
    return found


def shown(filter_: Filter, rows: int, noun: str) -> str:
    """Returns which rows of how many a page shows."""
    first, last = filter_.offset + 1, min(rows, filter_.offset + PAGE)
    if rows <= PAGE and filter_.page == 1:
        return count(rows, noun)
    if first > rows:
        return f"nothing more, of {count(rows, noun)}"
    return f"{first:,} to {last:,} of {count(rows, noun)}"


def listing(filter_: Filter, rows: Sequence[Any], total: int, noun: str) -> dict[str, Any]:
    """Returns what the page of a list says of its rows."""
    return {
        "asked": filter_,
        "rows": rows,
        "total": total,
        "shown": shown(filter_, total, noun),
        "pages": pages(filter_, total),
    }


def _with_search(words: Sequence[str], search: str) -> str:
    found = [*words, f"with “{search}”"] if search else words
    return visible(", ".join(found), 4 * MAX_TEXT)


def _page(value: str) -> int:
    if not value:
        return 1
    if not value.isdecimal() or len(value) > 6 or int(value) < 1:
        raise UsageError(f"page={visible(value, 20)} is no page: it is a number from 1 on")
    return int(value)
