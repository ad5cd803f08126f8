"""Values read from YAML nodes, so that every error can tell the file and line it is about.

Belongs here: what a node must be. Does not belong here: what a profile says.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from yaml.constructor import SafeConstructor

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.judgement.rules.inputs import nearest

# The parser written in C, where PyYAML was built with it: 10 times faster.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = "tag:yaml.org,2002:null"
_GREATEST = 1e15
"""Up to here a float tells whole numbers apart, and every column can hold the number."""
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class Entry(NamedTuple):
    """A key of a mapping and what stands under it."""

    key: yaml.Node
    value: yaml.Node


class NodeError(Exception):
    """What is wrong with one node. As text: `file:line: message`."""

    def __init__(self, node: yaml.Node, message: str) -> None:
        super().__init__(f"{place(node)}: {message}")
        self.node = node
        self.message = message


def place(node: yaml.Node) -> str:
    """`file:line` of a node."""
    return f"{node.start_mark.name}:{node.start_mark.line + 1}"


def compose(path: Path) -> yaml.Node:
    """The root node of a file. Raises TutorPipelineError when it is empty or not YAML."""
    try:
        with path.open(encoding="utf-8") as stream:
            root: yaml.Node | None = yaml.compose(stream, _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TutorPipelineError(f"{path} is not YAML: {error}") from error
    if root is None:
        raise TutorPipelineError(f"{path} is empty: it needs at least one rule")
    return root


def pairs(node: yaml.Node) -> list[tuple[str, Entry]]:
    """The names and entries of a mapping, in its order; a name may be there twice."""
    if not isinstance(node, yaml.MappingNode):
        raise NodeError(node, "a mapping (key: value) is expected here")
    return [(scalar(key, (str,), "a key"), Entry(key, value)) for key, value in node.value]


def mapping(node: yaml.Node) -> dict[str, Entry]:
    """The entries of a mapping by name."""
    entries: dict[str, Entry] = {}
    for name, entry in pairs(node):
        if name in entries:
            raise NodeError(entry.key, f"key {name} is there twice")
        entries[name] = entry
    return entries


def check_names(entries: Mapping[str, Entry], known: Collection[str]) -> None:
    """Raise NodeError at the first name that is not a known one."""
    for name, entry in entries.items():
        if name not in known:
            raise NodeError(entry.key, f"unknown key {name}{nearest(name, known)}")


def items(node: yaml.Node) -> list[yaml.Node]:
    """The entries of a list that is not empty."""
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        raise NodeError(node, "a list with at least one entry is expected here")
    found: list[yaml.Node] = node.value
    return found


def is_null(node: yaml.Node) -> bool:
    """Whether nothing, or the word null, stands here."""
    return bool(node.tag == _NULL)


def scalar(node: yaml.Node, types: tuple[type, ...], expected: str) -> Any:
    """A value of one of the types, which the database can hold: no NaN, no NUL in a text.

    True and false are no numbers.
    """
    # Before it is constructed: a few lines of aliases can stand for gigabytes.
    if not isinstance(node, yaml.ScalarNode):
        raise NodeError(node, f"a list or a mapping is not {expected}")
    try:
        value = SafeConstructor().construct_object(node)
    # All that the constructor raises where a text does not fit its explicit tag (`!!int x`).
    except (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        reason = getattr(error, "problem", None) or error
        raise NodeError(node, f"this is not {expected}: {reason}") from error
    is_flag = isinstance(value, bool)
    if not isinstance(value, types) or (is_flag and bool not in types):
        written = repr(value) if isinstance(value, str) else node.value or "nothing"
        raise NodeError(node, f"{written} is not {expected}")
    if isinstance(value, (int, float)) and not abs(value) <= _GREATEST:  # NaN is not
        raise NodeError(node, f"{node.value} is not {expected} from -1e15 to 1e15")
    if isinstance(value, str) and _UNSTORABLE.search(value):
        raise NodeError(node, f"{value!r} has a character that PostgreSQL can't store")
    return value
