"""Values read from YAML nodes, so that every error names the file and line it is about.

Belongs here: what a node must be, and the base of the pydantic models that read nodes.
Does not belong here: what a profile or a rule may say (`profiles`, `rule_schema`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError, model_validator
from yaml.constructor import SafeConstructor

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.judgement.rules.inputs import nearest

# The parser written in C, where PyYAML was built with it: 10 times faster.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = "tag:yaml.org,2002:null"
_MAX_NUMBER = 1e15
"""Up to here a float represents every whole number, and every column can hold the number."""
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class Entry(NamedTuple):
    """A key of a mapping and its value."""

    key: yaml.Node
    value: yaml.Node


class NodeError(ValueError):
    """What is wrong with one node. Its text is `file:line: message`."""

    def __init__(self, node: yaml.Node, message: str) -> None:
        super().__init__(f"{place(node)}: {message}")
        self.node = node
        self.message = message


class MappingModel(BaseModel):
    """Base of models that read a YAML mapping. Fields take nodes.

    An unknown or missing key raises NodeError. The description of a required field says why it is
    required, where its name does not tell.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _entries(cls, given: Any) -> dict[str, yaml.Node]:
        return cls.values_of(given, mapping(given))

    @classmethod
    def values_of(
        cls, node: yaml.Node, entries: Mapping[str, Entry], hint: str = ""
    ) -> dict[str, yaml.Node]:
        """Return the values by key. A missing key is reported at `node`, followed by `hint`."""
        for name, entry in entries.items():
            if name not in cls.model_fields:
                raise NodeError(entry.key, f"unknown key {name}{nearest(name, cls.model_fields)}")
        missing = [
            f"{name} ({field.description})" if field.description else name
            for name, field in cls.model_fields.items()
            if field.is_required() and name not in entries
        ]
        if missing:
            raise NodeError(node, f"missing: {', '.join(missing)}{hint}")
        return {name: entry.value for name, entry in entries.items()}


_Model = TypeVar("_Model", bound=MappingModel)


def validate(model: type[_Model], given: Any, context: Any = None) -> _Model:
    """Return the model of a node. Raises NodeError for the first thing that is wrong."""
    try:
        return model.model_validate(given, context=context)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        cause = first["ctx"]["error"]
        if isinstance(cause, NodeError):
            raise cause from None
        raise NodeError(first["input"], str(cause)) from None


def place(node: yaml.Node) -> str:
    """Return `file:line` of a node."""
    return f"{node.start_mark.name}:{node.start_mark.line + 1}"


def compose(path: Path) -> yaml.Node:
    """Return the root node of a file. Raises TutorPipelineError if it is empty or not YAML."""
    try:
        with path.open(encoding="utf-8") as stream:
            root: yaml.Node | None = yaml.compose(stream, _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TutorPipelineError(f"{path} is not YAML: {error}") from error
    if root is None:
        raise TutorPipelineError(f"{path} is empty: it needs at least one rule")
    return root


def pairs(node: yaml.Node) -> list[tuple[str, Entry]]:
    """Return the names and entries of a mapping, in its order. A name may appear twice."""
    if not isinstance(node, yaml.MappingNode):
        raise NodeError(node, "a mapping (key: value) is expected here")
    return [(scalar(key, (str,), "a key"), Entry(key, value)) for key, value in node.value]


def mapping(node: yaml.Node) -> dict[str, Entry]:
    """Return the entries of a mapping by name."""
    entries: dict[str, Entry] = {}
    for name, entry in pairs(node):
        if name in entries:
            raise NodeError(entry.key, f"key {name} is there twice")
        entries[name] = entry
    return entries


def items(node: yaml.Node) -> list[yaml.Node]:
    """Return the entries of a list, which must not be empty."""
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        raise NodeError(node, "a list with at least one entry is expected here")
    found: list[yaml.Node] = node.value
    return found


def is_null(node: yaml.Node) -> bool:
    """Whether the node is empty or says null."""
    return bool(node.tag == _NULL)


def scalar(node: yaml.Node, types: tuple[type, ...], expected: str) -> Any:
    """Return a value of one of the types that the database can hold: no NaN, no NUL in a text.

    True and false are not numbers.
    """
    # Checked before the value is constructed: a few lines of aliases can expand to gigabytes.
    if not isinstance(node, yaml.ScalarNode):
        raise NodeError(node, f"a list or a mapping is not {expected}")
    try:
        value = SafeConstructor().construct_object(node)
    # All that the constructor raises when a text does not fit its explicit tag (`!!int x`).
    except (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        reason = getattr(error, "problem", None) or error
        raise NodeError(node, f"this is not {expected}: {reason}") from error
    is_flag = isinstance(value, bool)
    if not isinstance(value, types) or (is_flag and bool not in types):
        written = repr(value) if isinstance(value, str) else node.value or "nothing"
        raise NodeError(node, f"{written} is not {expected}")
    if isinstance(value, (int, float)) and not abs(value) <= _MAX_NUMBER:  # NaN fails this too
        raise NodeError(node, f"{node.value} is not {expected} from -1e15 to 1e15")
    if isinstance(value, str) and _UNSTORABLE.search(value):
        raise NodeError(node, f"{value!r} has a character that PostgreSQL can't store")
    return value


def of_type(types: tuple[type, ...], expected: str) -> PlainValidator:
    """Return the validator of a scalar field; `expected` is what its errors ask for."""
    return PlainValidator(lambda node: scalar(node, types, expected))


Flag = Annotated[bool, of_type((bool,), "true or false")]
