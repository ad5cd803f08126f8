"""Reads YAML files into pydantic models, with errors that name file, line and key.

Belongs here: reading a file into a model. Does not belong here: the models, and the files of rules,
which people write (`judgement/rules/yaml_nodes`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from tutor_pipeline.core.errors import TutorPipelineError

# The parsers written in C, where PyYAML was built with it: 10 times faster.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TextLoader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)

_EXPECTED = {
    "missing": "is missing",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping",
    "mapping_type": "must be a mapping",
    "model_type": "must be a mapping",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
}


class YamlModel(BaseModel):
    """A mapping of a YAML file, immutable. It has the keys of its fields and no others."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Coded(YamlModel):
    """An entry of a mapping whose key is the entry's `code`."""

    code: str


def _with_codes(entries: Any) -> Any:
    if not isinstance(entries, dict):
        return entries
    return {
        code: {**entry, "code": code} if isinstance(entry, dict) else entry
        for code, entry in entries.items()
    }


CODES = BeforeValidator(_with_codes)
"""Gives the entries of a `dict[str, Coded]` their keys."""

Model = TypeVar("Model", bound=BaseModel)


Fault = tuple[Sequence[int | str], str]
"""The way to an entry of a file, by keys and positions, and what is wrong with it."""


def read_yaml(path: Path, model: type[Model], what: str, *, as_text: bool = False) -> Model:
    """Returns the file as a model. `what` names the expected content, as "platform contract".
    `as_text`: every scalar is a text as it is written, so that `no` and 01 stay what they are.

    Raises TutorPipelineError when the file cannot be read, or with the line and the key of every
    fault, and the nearest right key for an unknown one.
    """
    loader = _TextLoader if as_text else _Loader
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, loader)
        if twice := [*_repeated(root, [])]:
            raise faulty(path, what, twice)
        return model.model_validate(yaml.load(text, loader))  # noqa: S506 (a safe one)
    except OSError as error:
        raise TutorPipelineError(f"cannot read the {what} {path}: {error.strerror}") from error
    except ValidationError as error:
        faults = [_fault(root, model, each) for each in error.errors(include_url=False)]
        raise TutorPipelineError(f"{path} is no {what}:\n  " + "\n  ".join(faults)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TutorPipelineError(f"{path} is no {what}: {_not_yaml(error)}") from error


def faulty(path: Path, what: str, faults: Sequence[Fault]) -> TutorPipelineError:
    """Returns an error that names the line and the key of each fault of a file."""
    return TutorPipelineError(f"{path} is no {what}:\n  " + "\n  ".join(placed(path, faults)))


def placed(path: Path, faults: Sequence[Fault]) -> list[str]:
    """Returns each fault of a file with its line and its key."""
    root = yaml.compose(path.read_text(encoding="utf-8"), _TextLoader)
    return [_placed(root, steps, message) for steps, message in faults]


def _placed(root: yaml.Node | None, steps: Sequence[int | str], message: str) -> str:
    line, names = _place(root, steps)
    where = ".".join(names)
    return f"line {line}: {where + ': ' if where else ''}{message}"


def _repeated(node: yaml.Node | None, steps: list[int | str]) -> Iterator[Fault]:
    """A key that stands twice in one mapping: YAML would take the last one, without a word."""
    if isinstance(node, yaml.SequenceNode):
        for number, each in enumerate(node.value):
            yield from _repeated(each, [*steps, number])
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            if key.value in seen and key.value != "<<":
                lines = f"{seen[key.value]} and {key.start_mark.line + 1}"
                yield [*steps, key.value], f"it stands twice, in lines {lines}"
            seen[str(key.value)] = key.start_mark.line + 1
            yield from _repeated(value, [*steps, key.value])


def _not_yaml(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}: this is not YAML: {error.problem}" if mark else str(error)  # type: ignore[attr-defined]


def _fault(root: yaml.Node | None, model: Any, error: Any) -> str:
    _, names = _place(root, error["loc"])
    if error["type"] == "extra_forbidden":
        near = get_close_matches(names[-1], _keys_at(model, error["loc"][:-1]), n=1, cutoff=0.5)
        message = "there is no such key" + (f"; did you mean {near[0]}?" if near else "")
    elif error["type"] == "literal_error":
        message = f"must be {error['ctx']['expected'].replace(chr(39), '')}"
    else:
        message = _EXPECTED.get(error["type"], error["msg"].removeprefix("Value error, "))
    return _placed(root, error["loc"], message)


def _place(node: yaml.Node | None, steps: Sequence[int | str]) -> tuple[int, list[str]]:
    """Returns the line of the deepest key or entry on the way, from 1, and the way in names.

    An entry of a list is named by its `name`, if it has one.
    """
    line = 0 if node is None else node.start_mark.line
    names = []
    for step in steps:
        name, found = str(step), None
        if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            found = node.value[step]
            line = found.start_mark.line
            name = _name(found) or name
        elif isinstance(node, yaml.MappingNode):
            # A model may turn a mapping into a list: then the step is the place of the entry.
            for number, (key, value) in enumerate(node.value):
                if step in (key.value, number):
                    line, name, found = key.start_mark.line, key.value, value
        node = found
        names.append(name)
    return line + 1, names


def _name(node: yaml.Node) -> str | None:
    entries = node.value if isinstance(node, yaml.MappingNode) else []
    return next((str(value.value) for key, value in entries if key.value == "name"), None)


def _given(model: Any) -> Any:
    """The type of a value that is there: without None and what validates it."""
    if hasattr(model, "__metadata__"):
        return _given(get_args(model)[0])
    if get_origin(model) in (Union, UnionType):
        return _given(next(each for each in get_args(model) if each is not type(None)))
    return model


def _keys_at(model: Any, steps: Sequence[int | str]) -> list[str]:
    """Returns the keys that an entry may have, by the way to it."""
    for step in steps:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[str(step)].annotation
        elif issubclass(getattr(model, "__origin__", object), (Mapping, Sequence)):
            model = next(each for each in reversed(get_args(model)) if each is not Ellipsis)
        model = _given(model)
    is_model = isinstance(model, type) and issubclass(model, BaseModel)
    return [name for name in model.model_fields if name != "code"] if is_model else []
