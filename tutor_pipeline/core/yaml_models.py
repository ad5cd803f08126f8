"""Reads YAML files into pydantic models, with errors that name file, line and place.

Belongs here: reading a file into a model. Does not belong here: the models.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from tutor_pipeline.core.errors import TutorPipelineError

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlModel(BaseModel):
    """A mapping of a YAML file, immutable. Rejects unknown keys and suggests the nearest name."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _reject_unknown_keys(cls, value: Any) -> Any:
        if isinstance(value, dict) and cls.model_config.get("extra") == "forbid":
            for key in value.keys() - cls.model_fields.keys():
                near = get_close_matches(str(key), cls.model_fields, n=1)
                hint = f"did you mean {near[0]}?" if near else f"use {', '.join(cls.model_fields)}"
                raise ValueError(f"unknown key {key}; {hint}")
        return value


Model = TypeVar("Model", bound=YamlModel)


def read_yaml(path: Path, model: type[Model], what: str) -> Model:
    """Returns the file as a model. `what` names the expected content, as "platform contract".

    Raises TutorPipelineError when the file cannot be read, or is not what the model expects.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return model.model_validate(yaml.load(text, _Loader))  # noqa: S506 (a safe one)
    except OSError as error:
        raise TutorPipelineError(f"cannot read the {what} {path}: {error.strerror}") from error
    except ValidationError as error:
        root = yaml.compose(text, _Loader)
        problems = [_problem(root, each["loc"], each["msg"]) for each in error.errors()]
        raise TutorPipelineError(f"{path} is no {what}:\n  " + "\n  ".join(problems)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TutorPipelineError(f"{path} is no {what}: {error}") from error


def _problem(root: Any, place: tuple[int | str, ...], message: str) -> str:
    names = ".".join(map(str, place))
    line = f"line {_line(root, place)}: " if root is not None else ""
    return f"{line}{names + ': ' if names else ''}{message.removeprefix('Value error, ')}"


def _line(node: yaml.Node, place: tuple[int | str, ...]) -> int:
    """Returns the line of the innermost node on the way to `place`, counted from 1."""
    line = node.start_mark.line
    for step in place:
        if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = node.value[step]
        elif isinstance(node, yaml.MappingNode):
            # A model may turn a mapping into a list: then `step` is the place of the entry.
            found = [
                (key, value)
                for number, (key, value) in enumerate(node.value)
                if step in (key.value, number)
            ]
            if not found:
                break
            key, node = found[0]
            line = key.start_mark.line
            continue
        else:
            break
        line = node.start_mark.line
    return int(line) + 1
