"""Templates of pages and messages: HTML is escaped, and a missing value is an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, select_autoescape

from tutor_pipeline.core import formatting


def template(folder: Path, file: str, **filters: Callable[..., Any]) -> Template:
    """Returns a template of a folder, with our formats and `filters` as filters. Files other than
    *.txt.j2 are HTML.
    """
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=select_autoescape(disabled_extensions=("txt.j2",), default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": formatting.count,
        "label": formatting.label,
        "moment": formatting.moment,
        "percent": formatting.percent,
        "text": formatting.visible,
        **filters,
    }
    return environment.get_template(file)
