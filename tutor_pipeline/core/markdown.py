"""Markdown tables for the docs and for Dagster's UI."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numbers: Collection[str] = (),
    limit: int | None = None,
) -> str:
    """Returns a Markdown table. `numbers` names the right-aligned columns. After `limit` rows, a
    last row says how many more there are.
    """
    cells = [[str(value) for value in row] for row in rows]
    shown = cells[:limit]
    if len(cells) > len(shown):
        shown.append([f"… {len(cells) - len(shown)} more", *[""] * (len(columns) - 1)])
    rule = ["---:" if name in numbers else "---" for name in columns]
    return "\n".join(f"| {' | '.join(line)} |" for line in [columns, rule, *shown])


def cell(text: str) -> str:
    """Escapes a text from outside for a cell, so that it is neither markup nor HTML."""
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", " ").replace("\r", " ")
