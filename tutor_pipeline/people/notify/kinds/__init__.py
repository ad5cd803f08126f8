"""The kinds of messages: a module each, with templates of its name in `templates/`.

A module notes what people must be told (`note`), in the transaction that changes it, and makes
messages of the notes that are due (`draft`). The kind of an outbox row is the module's name.

Belongs here: the subject of a message, its data and its words.
Does not belong here: when and to which addresses it is sent (`compose`, `deliver`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from tutor_pipeline.people.notify.message import Drafted

Drafter = Callable[..., Drafted]
"""draft(database, audience, rows, setting): makes messages of outbox rows of one audience."""


@cache
def drafters() -> Mapping[str, Drafter]:
    """Returns the function `draft` of every kind."""
    return {
        each.name: import_module(f"{__name__}.{each.name}").draft for each in iter_modules(__path__)
    }
