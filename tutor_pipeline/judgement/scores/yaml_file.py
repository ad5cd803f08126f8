"""Reads the YAML files beside the scorers: the weights and the words that they work with.

Belongs here: a file as a checked model, and an error that says where it is wrong.
Does not belong here: what any file says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from tutor_pipeline.core.errors import TutorPipelineError


class Entry(BaseModel):
    """A mapping in a YAML file. It has the keys of its fields and no others."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Coded(Entry):
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

Content = TypeVar("Content", bound=Entry)


def read(path: Path, model: type[Content]) -> Content:
    """Returns the content of a YAML file. Raises TutorPipelineError with the file, the line and the
    key of every fault, and the nearest right key for an unknown one.
    """
    text = path.read_text(encoding="utf-8")
    try:
        return model.model_validate(yaml.safe_load(text))
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise TutorPipelineError(f"{path}{line}: this is not YAML: {error.problem}") from error
    except ValidationError as error:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        faults = [
            f"{path}, line {_line(root, fault['loc'])}: {_words(model, fault)}"
            for fault in error.errors()
        ]
        raise TutorPipelineError("\n".join(faults)) from error


def _line(node: yaml.Node | None, keys: Sequence[int | str]) -> int:
    """Returns the line of the deepest key that the file has."""
    line = 1 if node is None else node.start_mark.line + 1
    for key in keys:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = [(name, value) for name, value in pairs if name.value == str(key)]
        if not found:
            break
        name, node = found[0]
        line = name.start_mark.line + 1
    return line


def _words(model: type[Entry], fault: Any) -> str:
    keys = [str(key) for key in fault["loc"]]
    where = ".".join(keys)
    if fault["type"] != "extra_forbidden":
        message = fault["msg"].removeprefix("Value error, ")
        return f"{where}: {message}" if where else message
    near = get_close_matches(keys[-1], _keys_at(model, keys[:-1]), n=1, cutoff=0.5)
    return f"{where}: there is no such key" + (f"; did you mean {near[0]}?" if near else "")


def _keys_at(model: Any, keys: Sequence[str]) -> list[str]:
    """Returns the keys that an entry may have, by the path to it."""
    for key in keys:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[key].annotation
        elif issubclass(getattr(model, "__origin__", object), Mapping):
            model = get_args(model)[-1]
    is_entry = isinstance(model, type) and issubclass(model, BaseModel)
    return [name for name in model.model_fields if name != "code"] if is_entry else []
