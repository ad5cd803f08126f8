"""The words of a draft: names and texts in SQL and in YAML, and comments."""

from __future__ import annotations

import re

from tutor_pipeline.sources.mapping.draft.catalog import TEXTS, Found

_SHOWN = 200
"""Letters of values that a comment shows."""


def as_text(found: Found) -> str:
    """Returns a column as a text in SQL."""
    name = sql_name(found.name)
    return name if found.type in TEXTS else f"{name}::text"


def is_set(found: Found) -> str:
    """Returns the condition that a flag is set."""
    name = sql_name(found.name)
    return name if found.type == "boolean" else f"{name} = 1"


def is_any(named: str, meant: dict[str, str | None], outcome: str) -> str:
    """Returns the condition that a column has one of the values that mean an outcome."""
    values = [literal(value) for value, each in meant.items() if each == outcome]
    return f"{named} = {values[0]}" if len(values) == 1 else f"{named} in ({', '.join(values)})"


def of_student(name: str) -> str:
    """Returns the id of a student where tutors have numbers of their own."""
    return f"'s' || {name}"


def shown(counts: dict[str, int]) -> str:
    """Returns the first values of a column with their counts, for a comment."""
    text = ", ".join(f"{scalar(value)} ({rows:,})" for value, rows in counts.items())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN].rsplit(', ', 1)[0]} …"


def commented(text: str, sureness: float, why: str) -> str:
    """Returns a line with how sure it is and why."""
    return f"{text}  # {sureness:.1f}{f' {why}' if why else ''}"


def literal(text: str) -> str:
    """Returns a text in SQL."""
    return "'" + text.replace("'", "''") + "'"


def sql_name(name: str) -> str:
    """Returns a name in SQL, in double quotes where it needs them."""
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else f'"{name}"'


def expression(text: str) -> str:
    """An entry with an expression, in one line."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    quoted = f'"{escaped}"' if '"' not in text else literal(text)
    return f"{{expression: {quoted}}}"


def scalar(text: str) -> str:
    """A scalar of YAML, in quotes where it needs them."""
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_ .]*", text) and text == text.strip()
    if plain and text.lower() not in ("null", "true", "false", "yes", "no", "on", "off", "y", "n"):
        return text
    return literal(text)
