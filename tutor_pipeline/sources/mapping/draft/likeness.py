"""How platforms call what the contract has: names and values compared with known words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from tutor_pipeline.core.yaml_models import YamlModel, read_yaml

SURE, LIKELY, WEAK = 0.9, 0.7, 0.5
_COMMON_PREFIX = 0.6
"""The share of tables whose names begin alike, from which on that word says nothing."""


class _Gone(YamlModel):
    moments: tuple[str, ...]
    flags: tuple[str, ...]
    kept: tuple[str, ...]


class _Moments(YamlModel):
    end: tuple[str, ...]
    day: tuple[str, ...]
    time: tuple[str, ...]
    end_day: tuple[str, ...]
    end_time: tuple[str, ...]


class Words(YamlModel):
    """The file `words.yml`, which says what each list is."""

    tables: dict[str, tuple[str, ...]]
    columns: dict[str, dict[str, tuple[str, ...]]]
    moments: _Moments
    first_name: tuple[str, ...]
    last_name: tuple[str, ...]
    statuses: dict[str, tuple[str, ...]]
    perhaps_completed: tuple[str, ...]
    outcomes: dict[str, tuple[str, ...]]
    absent: tuple[str, ...]
    teaches: tuple[str, ...]
    gone: _Gone


@cache
def known_words() -> Words:
    """Returns the words of the file."""
    return read_yaml(Path(__file__).with_name("words.yml"), Words, "list of words")


def words_of(name: str, prefixes: Iterable[str] = ()) -> str:
    """Returns a name as words in lower case and singular: `lessonStartsAt` → `lesson starts at`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z0-9]+", " ", name)
    words = [_singular(word) for word in spaced.lower().split()]
    for prefix in prefixes:
        parts = prefix.split()
        if len(words) > len(parts) and words[: len(parts)] == parts:
            words = words[len(parts) :]
    return " ".join(words)


def common_prefix(tables: Iterable[str]) -> str:
    """Returns the first word of most tables' names: `mdl` of `mdl_user`."""
    firsts = [words_of(name).split()[0] for name in tables if " " in words_of(name)]
    if not firsts:
        return ""
    most = max(set(firsts), key=firsts.count)
    number = len(list(tables))
    return most if number > 2 and firsts.count(most) >= _COMMON_PREFIX * number else ""


def place_in(words: str, known: Sequence[str]) -> float:
    """Returns how sure a name is: 1 for the first of the known ones, less further back, less again
    if only its last words are known.
    """
    bare = words.replace(" ", "")
    for number, each in enumerate(known):
        sureness = 1 - 0.3 * number / len(known)
        if bare == words_of(each).replace(" ", ""):
            return sureness
    for number, each in enumerate(known):
        sureness = 1 - 0.3 * number / len(known)
        if f" {words} ".endswith(f" {words_of(each)} ") or f" {words} ".startswith(f" {each} "):
            return sureness * 0.7
    return 0


def meaning(
    value: str, known: Mapping[str, Sequence[str]], accepted: Sequence[str]
) -> tuple[str | None, float]:
    """Returns what a value of the platform is in the contract, and how sure that is."""
    # Who moved or cancelled a session stands elsewhere.
    words = words_of(value).split(" by ", maxsplit=1)[0]
    for meant, names in known.items():
        if meant in accepted and words in (words_of(name) for name in names):
            return meant, SURE
    for meant, names in known.items():
        if meant in accepted and any(words_of(name) in words for name in names if " " in name):
            return meant, WEAK
    return None, 0


def mover(value: str) -> str | None:
    """Returns which side a value names that says who moved a session: `moved by provider`."""
    words = f" {words_of(value)} "
    for side in ("tutor", "student"):
        names = known_words().tables[f"{side}s"]
        if any(f" by {words_of(name)} " in words for name in names):
            return side
    return None


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if word.endswith(("sses", "xes", "ches")):
        return word[:-2]
    # starts (at) and status are no plurals.
    if word.endswith("s") and not word.endswith(("ss", "us", "starts", "begins", "is")):
        return word[:-1]
    return word
