"""Who is to be erased, and how to find and mask what names them. Pure: texts and JSON.

An id is matched whole: T1 is neither T10 nor T1-2. Inside a text it counts where nothing of a word
touches it; an id of digits alone only where the text says whose number it is, because otherwise
every count of 5 would be student 5.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from tutor_pipeline.core.findings import Step

ERASED = "(erased)"
"""Stands where an id stood, in what stays because it is about others too."""

_LONGEST_KEPT = (120, 256)
"""Characters that samples of checks, and staging, keep of a long id."""

# Keys and columns whose values are ids. Elsewhere "5" is a rating.
_OF_IDS = re.compile(r"(^|_)(id|ids|tutors?|students?|subject|key|skipped|unreadable)$")


class Role(StrEnum):
    """As what the platform knows the person."""

    TUTOR = "tutor"
    STUDENT = "student"

    @property
    def other(self) -> Role:
        """The other one."""
        return Role.STUDENT if self is Role.TUTOR else Role.TUTOR


@dataclass(frozen=True)
class Person:
    """A tutor or a student. `sessions` are a tutor's; `contact` is a name and an e-mail address,
    by which only messages and files are searched: others may bear the name too.
    """

    role: Role
    id: str
    sessions: frozenset[str] = field(default=frozenset(), repr=False)
    contact: tuple[str, ...] = field(default=(), repr=False)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The id, and what is kept of it where it is longer than an id may be."""
        sample, staged = _LONGEST_KEPT
        cut = [f"{self.id[:sample]}…"] if len(self.id) > sample else []
        cut += [self.id[:staged]] if len(self.id) > staged else []
        return (self.id, *cut)

    @cached_property
    def forms(self) -> tuple[str, ...]:
        """The id as it may be written in JSON, CSV and HTML: a text without any of these does not
        name the person.
        """
        return _forms(self.ids)

    @property
    def is_number(self) -> bool:
        """Whether the id can't be told from a number."""
        return self.id.isdigit()

    @property
    def may_name(self) -> str:
        """A regular expression (PostgreSQL's, in any case) of the texts that are to be looked at:
        of all with a 5 in them, few may name the person 5.
        """
        return rf"^{self.id}$|\"{self.id}\"|tutor|student|[|]" if self.is_number else ""

    def masked(self, value: Any, key: str = "") -> Any:
        """A text or JSON in which the person is no longer named. `key`: what it is the value of. As
        the id of a student, a tutor's id is somebody else's.
        """
        if self.role.other in key:
            return value
        if isinstance(value, str):
            return self._masked_text(value, key)
        if isinstance(value, list | tuple):
            return [self.masked(each, key) for each in value]
        if isinstance(value, dict):
            return {
                ERASED if self._is_named(name, key) else name: self.masked(each, str(name))
                for name, each in value.items()
            }
        return value

    def is_named_in(self, value: Any, key: str = "") -> bool:
        """Whether a text or JSON names the person."""
        return bool(self.masked(value, key) != value)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """`forms`, and those of the name and the address."""
        return (*self.forms, *_forms(self.contact))

    def is_meant_in(self, text: str, *, numbers_count: bool = False) -> bool:
        """Whether a page, a message or a file is about the person: by id, session, name or address.
        `numbers_count`: any cell with the number is about whoever has it as an id.
        """
        if self._pattern.search(text) or (self._contact and self._contact.search(text)):
            return True
        cell = rf"[>,\"\s]{self.id}[<,\"\s]"
        if numbers_count and self.is_number and re.search(cell, text):
            return True
        told = {each for each in self.sessions if not each.isdigit()}
        return not told.isdisjoint(re.findall(r"[\w-]+", text)) if told else False

    def _masked_text(self, text: str, key: str) -> str:
        if self._is_named(text, key) or (
            text in self.sessions and (not text.isdigit() or _OF_IDS.search(key))
        ):
            return ERASED
        return self._pattern.sub(lambda found: found[0][: -len(found["id"])] + ERASED, text)

    def _is_named(self, text: object, key: str) -> bool:
        return text in self.ids and (not self.is_number or bool(_OF_IDS.search(key)))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        if self.is_number:
            before = "|".join(
                (
                    rf"\b{self.role} ",  # tutor 5
                    rf"{self.role}_ids?\W{{1,8}}",  # tutor_id = '5', "tutor_id": "5"
                    rf"{self.role}(?:s|_ids)\W{{1,6}}\[[\W\d]*?(?<!\w)",  # "tutors": ["3", "5"]
                    rf"\|\s\**(?:{'|'.join(Step)})\**\s\|\s",  # | **opened** | 5 |
                )
            )
            return re.compile(f"(?:{before}){_any_of([self.id])}{_NOTHING_AFTER}", re.IGNORECASE)
        return _whole(self.forms)

    @cached_property
    def _contact(self) -> re.Pattern[str] | None:
        # A single word may be anything.
        told = [each for each in self.contact if " " in each.strip() or "@" in each]
        return _whole(_forms(told)) if told else None


_NOTHING_AFTER = r"(?!\w|[-.@]\w)"
# A line break that JSON has written as \n ends in a letter.
_NOTHING_BEFORE = r"(?:(?<!\w)(?<!\w[-.@])|(?<=\\[bfnrt]))"


def _whole(words: Iterable[str]) -> re.Pattern[str]:
    return re.compile(_NOTHING_BEFORE + _any_of(words) + _NOTHING_AFTER)


def _any_of(words: Iterable[str]) -> str:
    longest_first = sorted(words, key=len, reverse=True)
    return f"(?P<id>{'|'.join(map(re.escape, longest_first))})"


def _forms(words: Iterable[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for word in words:
        once = json.dumps(word)[1:-1]
        for form in (
            word,
            once,
            json.dumps(word, ensure_ascii=False)[1:-1],
            json.dumps(once)[1:-1],  # JSON in JSON
            word.replace('"', '""'),
            html.escape(word),
            html.escape(word).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
        ):
            found[form] = None
    return tuple(found)
