"""A person to erase, and how to find and mask mentions of them in texts and JSON. Pure.

An id is matched as a whole: T1 matches neither T10 nor T1-2. Inside a text it must not touch other
word characters. An id of digits alone counts only where the text says whose number it is; otherwise
every count of 5 would name student 5.
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
"""Replaces an id in texts that stay because they are about others too."""

_LONGEST_KEPT = (120, 255, 256)
"""Characters of a long id that samples of checks, the inbox of events, and staging keep."""

# Keys and columns whose values are ids. Elsewhere "5" may be a rating.
_OF_IDS = re.compile(r"(^|_)(id|ids|tutors?|students?|subject|key|skipped|unreadable)$")


class Role(StrEnum):
    """The role of a person on the platform."""

    TUTOR = "tutor"
    STUDENT = "student"

    @property
    def other(self) -> Role:
        """The other role."""
        return Role.STUDENT if self is Role.TUTOR else Role.TUTOR


@dataclass(frozen=True)
class Person:
    """A tutor or a student. `sessions` are a tutor's, `lessons` those in which a student took part:
    they stay their tutors', without the student's words.

    `contact` is a name and an e-mail address. Only messages and files are searched for them,
    because others may have the same name.
    """

    role: Role
    id: str
    sessions: frozenset[str] = field(default=frozenset(), repr=False)
    contact: tuple[str, ...] = field(default=(), repr=False)
    lessons: frozenset[str] = field(default=frozenset(), repr=False)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The id, and the shortened forms that are kept of a long one."""
        sample, *whole = _LONGEST_KEPT
        cut = [f"{self.id[:sample]}…"] if len(self.id) > sample else []
        cut += [self.id[:kept] for kept in whole if len(self.id) > kept]
        return (self.id, *cut)

    @cached_property
    def forms(self) -> tuple[str, ...]:
        """The id as written in JSON, CSV and HTML. A text without any of these does not name the
        person.
        """
        return _forms(self.ids)

    @property
    def is_number(self) -> bool:
        """Whether the id looks like a number."""
        return self.id.isdigit()

    @property
    def may_name(self) -> str:
        """A regular expression (PostgreSQL, case-insensitive) for the texts to check exactly. Of
        all texts that contain a 5, few may name the person 5.
        """
        return rf"^{self.id}$|\"{self.id}\"|tutor|student|[|]" if self.is_number else ""

    def masked(self, value: Any, key: str = "", *, strictly: bool = False) -> Any:
        """Returns a text or JSON without mentions of the person. `key` is the key of the value.

        Values under a key of the other role stay: the same id is another person there. `strictly`:
        ids of sessions and of other things stand beside it, so an id of digits counts only under a
        key of the person's role.
        """
        if self.role.other in key:
            return value
        if isinstance(value, str):
            return self._masked_text(value, key, strictly)
        if isinstance(value, list | tuple):
            return [self.masked(each, key, strictly=strictly) for each in value]
        if isinstance(value, dict):
            return {
                ERASED if self._is_named(name, key, strictly) else name: self.masked(
                    each, str(name), strictly=strictly
                )
                for name, each in value.items()
            }
        if strictly and type(value) is int and self._is_named(str(value), key, strictly):
            return ERASED
        return value

    def is_named_in(self, value: Any, key: str = "", *, strictly: bool = False) -> bool:
        """Whether a text or JSON names the person."""
        return bool(self.masked(value, key, strictly=strictly) != value)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """`forms`, and those of the name and the address."""
        return (*self.forms, *_forms(self.contact))

    def is_meant_in(self, text: str, *, numbers_count: bool = False) -> bool:
        """Whether a page, message or file mentions the person by id, session, name or address.

        With `numbers_count`, any cell that equals a numeric id counts.
        """
        if self._pattern.search(text) or (self._contact and self._contact.search(text)):
            return True
        cell = rf"[>,\"\s]{self.id}[<,\"\s]"
        if numbers_count and self.is_number and re.search(cell, text):
            return True
        told = {each for each in self.sessions if not each.isdigit()}
        return not told.isdisjoint(re.findall(r"[\w-]+", text)) if told else False

    def _masked_text(self, text: str, key: str, strictly: bool) -> str:
        if self._is_named(text, key, strictly) or (
            text in self.sessions and (not text.isdigit() or _OF_IDS.search(key))
        ):
            return ERASED
        return self._pattern.sub(lambda found: found[0][: -len(found["id"])] + ERASED, text)

    def _is_named(self, text: object, key: str, strictly: bool) -> bool:
        if text not in self.ids or not self.is_number:
            return text in self.ids
        return bool(_OF_IDS.search(key)) and (not strictly or self.role in key)

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
        # A single word is too ambiguous.
        told = [each for each in self.contact if " " in each.strip() or "@" in each]
        return _whole(_forms(told)) if told else None


_NOTHING_AFTER = r"(?!\w|[-.@]\w)"
# JSON writes a line break as \n, which ends in a letter.
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
