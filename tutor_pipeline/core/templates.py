"""Templates of pages and messages: HTML is escaped, and a missing value is an error.

References to thresholds (`core.thresholds`) are filled in when a template is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, select_autoescape

from tutor_pipeline.core import formatting
from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.thresholds import Threshold, fill_lines


class _Loader(FileSystemLoader):
    """Loads a template with its references to thresholds filled in."""

    def __init__(self, folder: Path, thresholds: Mapping[str, Threshold]) -> None:
        super().__init__(folder)
        self._thresholds = thresholds

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str, Callable[[], bool]]:
        source, path, is_current = super().get_source(environment, template)
        return _filled(source, path, self._thresholds), path, is_current


def template(
    folder: Path, file: str, thresholds: Mapping[str, Threshold], **filters: Callable[..., Any]
) -> Template:
    """Returns a template of a folder. Raises TutorPipelineError for a reference to an unknown
    threshold.
    """
    return environment(folder, thresholds, **filters).get_template(file)


def environment(
    folder: Path, thresholds: Mapping[str, Threshold], **filters: Callable[..., Any]
) -> Environment:
    """Returns what loads the templates of a folder, with our formats and `filters` as filters.
    Files other than *.txt.j2 are HTML.
    """
    made = Environment(
        loader=_Loader(folder, thresholds),
        autoescape=select_autoescape(disabled_extensions=("txt.j2",), default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "agree": formatting.agree,
        "count": formatting.count,
        "label": formatting.label,
        "moment": formatting.moment,
        "number": formatting.number,
        "percent": formatting.percent,
        "text": formatting.visible,
        **filters,
    }
    return made


def check_references(folder: Path, thresholds: Mapping[str, Threshold]) -> None:
    """Checks the references to thresholds in all templates of a folder, without loading them.

    Raises TutorPipelineError with file and line, and the nearest name.
    """
    for path in sorted(folder.glob("*.j2")):
        _filled(path.read_text(encoding="utf-8"), str(path), thresholds)


def _filled(source: str, path: str, thresholds: Mapping[str, Threshold]) -> str:
    try:
        return fill_lines(source, thresholds, path)
    except ValueError as error:
        raise TutorPipelineError(str(error)) from error
