"""Every text that people read, as it is written in the sources, and the numbers in it.

A text here is a literal: what a placeholder or a reference stands for is left out. So a number in
it stays what it is, whatever somebody sets.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

PROJECT = Path(__file__).parents[2]
PACKAGE = PROJECT / "tutor_pipeline"
DBT = PROJECT / "dbt_project"
RULES = PACKAGE / "judgement" / "rules" / "catalogue"
SUITES = PACKAGE / "judgement" / "quality" / "suites"
SCORES = PACKAGE / "judgement" / "scores"

# The made-up platform has parameters of its own, and what a migration says was said once.
_NO_TEXTS = {"synthetic", "migrations"}
_SQL = re.compile(
    r"\bselect\s[^.]*\sfrom\s|\b(insert into|update|delete from|from|join) \{|::|\bcase "
)
_NO_SQL_TEXT = re.compile(r"\{[{%#].*?[}%#]\}|--.*?$", re.DOTALL | re.MULTILINE)
_CRON = re.compile(r"[\d*/, -]+")
_EXAMPLE = re.compile(r"\[bold\]tutor-pipeline .*?\[/bold\]", re.DOTALL)
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_MARKUP = re.compile(
    r"<style.*?</style>|\{#.*?#\}|<(svg|path|line|rect|text)\b[^>]*>|"
    r'\b(style|width|height|cell\w+|border|content|charset|colspan|class)="[^"]*"',
    re.DOTALL,
)
_NUMBER = re.compile(r"(?<![\w.:/#-])(?<!\d,)(\d[\d,]*(?:\.\d+)?)( ?%)?(?![\w:])(?:[- ]([a-z]+))?")
_WORDS = ("one two three four five six seven eight nine ten eleven twelve").split()
_WORD = re.compile(rf"\b({'|'.join(_WORDS[1:])})\b")


@dataclass(frozen=True)
class Text:
    """A literal: where it is, the words, the thresholds beside it (`own`), and the lengths of
    windows that are part of the metrics it is about.

    In a `strict` one, of a rule, no number at all is beyond suspicion.
    """

    place: str
    words: str
    own: Mapping[str, float] = field(default_factory=dict)
    windows: frozenset[float] = frozenset()
    strict: bool = False


class Stale(NamedTuple):
    """A number in a text that is the value of some threshold, with the words around it."""

    place: str
    number: str
    around: str
    thresholds: tuple[str, ...]


def stale(texts: Iterable[Text], thresholds: Mapping[str, float]) -> list[Stale]:
    """The numbers in the texts that would be wrong if one of the thresholds changed."""
    found = []
    for text in texts:
        for number, value, unit, around in _numbers(text):
            if unit in ("day", "days", "") and value in text.windows:
                continue
            named = tuple(
                name
                for name, threshold in thresholds.items()
                if _is_written_so(name, threshold, value, unit)
            )
            named += tuple(
                name
                for name, threshold in text.own.items()
                if value in (abs(threshold), round(100 * abs(threshold), 9))
            )
            if named or text.strict:
                found.append(Stale(text.place, number, around, named))
    return found


def _numbers(text: Text) -> Iterator[tuple[str, float, str, str]]:
    """(as written, value, % or the word after it, the words around) of each number."""
    words = " ".join(_PLACEHOLDER.sub("{}", text.words).split())
    for match in _NUMBER.finditer(words):
        unit = "%" if match[2] else match[3] or ""
        around = words[max(0, match.start() - 40) : match.end() + 30]
        number = match[1].rstrip(",")
        yield number + (match[2] or ""), float(number.replace(",", "")), unit, around
    if text.strict:
        for match in _WORD.finditer(words):
            around = words[max(0, match.start() - 40) : match.end() + 30]
            yield match[0], _WORDS.index(match[1]) + 1, "", around


def _is_written_so(name: str, threshold: float, value: float, unit: str) -> bool:
    """Whether a number with its unit may be this threshold: shares as 15 % or 0.15, days as days,
    weeks as weeks, anything else without such a unit.
    """
    if unit == "%":
        return round(100 * threshold, 9) == value and abs(threshold) <= 1
    if value != abs(threshold):
        return False
    of_time = {"days": ("day", "days"), "weeks": ("week", "weeks", "full")}
    for word, units in of_time.items():
        if name.endswith(f"_{word}"):
            return unit in units
    return all(unit not in units for units in of_time.values())


def variables(file: Path = DBT / "dbt_project.yml") -> dict[str, float]:
    """The vars of the dbt project."""
    found: dict[str, float] = yaml.safe_load(file.read_text("utf-8"))["vars"]
    return found


def every_text() -> list[Text]:
    """All of them."""
    return [
        *of_rules(RULES),
        *of_checks(SUITES),
        *of_recommendations(SCORES / "recommendations.yml"),
        *of_yaml(SCORES, "name", "says", "short"),
        *of_yaml(DBT / "models", "description"),
        *of_yaml(DBT / "macros", "description"),
        *of_templates(PACKAGE),
        *of_python(PACKAGE),
        *of_models(DBT / "models"),
    ]


def of_rules(folder: Path) -> Iterator[Text]:
    """The sentences of rules, each with the thresholds that the rule has in that file."""
    for path in sorted(folder.glob("*.yml")):
        rules = yaml.safe_load(path.read_text("utf-8"))
        for section in ("alerts", "insights", "achievements"):
            for rule_id, rule in (rules.get(section) or {}).items():
                told = " ".join(map(str, rule.values()))
                windows = frozenset(map(float, re.findall(r"_(\d+)d(?![a-z])", told)))
                for key in _SENTENCES & set(rule):
                    place = f"{_short(path)}:{rule_id}.{key}"
                    yield Text(place, rule[key], dict(numbers_of(rule)), windows, strict=True)


_SENTENCES = {"title", "description", "recommended_action", "display_text", "coaching_tip"}


def numbers_of(entry: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """(name, number) of all numbers in an entry of a YAML file."""
    if isinstance(entry, dict):
        metric = entry.get("metric")
        for key, value in entry.items():
            yield from numbers_of(value, f"{metric}.{key}" if isinstance(metric, str) else key)
    elif isinstance(entry, list):
        for value in entry:
            yield from numbers_of(value, name)
    elif type(entry) in (int, float):
        yield name, entry


def of_checks(folder: Path) -> Iterator[Text]:
    """The sentences of checks, each with the numbers of its kwargs."""
    for path in sorted(folder.glob("*.yml")):
        suite = yaml.safe_load(path.read_text("utf-8"))
        yield Text(_short(path), f"{suite['about']} {suite.get('may_be_empty', '')}")
        for check in suite["checks"]:
            own = dict(numbers_of(check["kwargs"]))
            yield Text(f"{_short(path)}:{check['name']}", check["says"], own)


def of_recommendations(path: Path) -> Iterator[Text]:
    """The texts of recommendations, each with its threshold."""
    for people in yaml.safe_load(path.read_text("utf-8")).values():
        for code, entry in people.items():
            own = dict(numbers_of(entry))
            yield Text(f"{_short(path)}:{code}", entry["text"], own, strict=True)


def of_yaml(folder: Path, *keys: str) -> Iterator[Text]:
    """The values of some keys in all YAML files of a folder. A column's own windows are known."""
    for path in sorted(folder.rglob("*.yml")):
        if not path.stem.endswith("unit_tests"):
            for name, words in _values(yaml.safe_load(path.read_text("utf-8")), keys, ""):
                windows = frozenset(map(float, re.findall(r"_(\d+)d(?![a-z])", name)))
                yield Text(f"{_short(path)}:{name}", words, windows=windows)


def _values(node: Any, keys: tuple[str, ...], name: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        name = str(node.get("name", name))
        for key, value in node.items():
            if isinstance(value, str) and key in keys:
                yield name, value
            else:
                yield from _values(value, keys, name if isinstance(node.get("name"), str) else key)
    elif isinstance(node, list):
        for value in node:
            yield from _values(value, keys, name)


def of_templates(folder: Path) -> Iterator[Text]:
    """The lines of messages and pages, without what only a browser reads."""
    for path in sorted(folder.rglob("*.j2")):
        for line in _MARKUP.sub("", path.read_text("utf-8")).splitlines():
            yield Text(_short(path), line)


def of_python(folder: Path) -> Iterator[Text]:
    """The strings of modules that may be sentences, and the docstrings of commands: their help."""
    for path in sorted(folder.rglob("*.py")):
        if not _NO_TEXTS & set(path.relative_to(folder).parts):
            for words in python_strings(path.read_text("utf-8"), is_cli="cli" in path.parts):
                yield Text(_short(path), _EXAMPLE.sub("", words))


def python_strings(source: str, is_cli: bool = False) -> Iterator[str]:
    """The strings of a module, without docstrings (but those of a command) and SQL."""
    tree = ast.parse(source)
    unread = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    if is_cli:
        unread -= {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef)
            and isinstance(node.body[0], ast.Expr)
            and not node.name.startswith("_")
        }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = node.value
            is_text = " " in words and not _SQL.search(words) and not _CRON.fullmatch(words)
            if is_text and id(node) not in unread:
                yield words


def of_models(folder: Path) -> Iterator[Text]:
    """The words that SQL of dbt puts into columns."""
    for path in sorted(folder.rglob("*.sql")):
        for words in re.findall(r"'([^'\n]*)'", _NO_SQL_TEXT.sub("", path.read_text("utf-8"))):
            if " " in words:
                yield Text(_short(path), words)


def _short(path: Path) -> str:
    return str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else path.name
