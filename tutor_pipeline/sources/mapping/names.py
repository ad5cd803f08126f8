"""Names that are nearly right."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns a question that names the nearest known name, or what there is."""
    known = list(known)
    folded = {each.replace("_", "").lower(): each for each in known}
    near = get_close_matches(name.replace("_", "").lower(), folded, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {folded[near[0]]}?"
    return f"; there is {', '.join(known)}" if 0 < len(known) <= 12 else ""
