"""The pages: a module per place, each with functions from a visit to an answer.

A module names its routes in `PLACES`; nothing else has to know it.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from tutor_pipeline.desk.site import Place


def places() -> tuple[Place, ...]:
    """Returns the routes of all modules."""
    modules = (import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__))
    return tuple(place for module in modules for place in getattr(module, "PLACES", ()))
