"""Find the few tutors that make a batch fail, so that the others go on. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

HOPELESS_AFTER = 30
"""So many attempts in a row that failed, of whatever size: it is not their data."""


def find_failing(
    items: Sequence[str],
    attempt: Callable[[Sequence[str]], str | None],
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, str]:
    """Attempt all items at once; where that fails, halve the batch until the broken are alone.

    `attempt` returns None when a batch worked, else what went wrong. Returns item -> message for
    those that did not work. The larger batches come first, so that those who can go on do soon.
    Gives up on what is left, with the last message, after `HOPELESS_AFTER` failures in a row.
    """
    broken: dict[str, str] = {}
    waiting = deque([list(items)])
    failures = 0
    while waiting:
        batch = waiting.popleft()
        message = attempt(batch)
        if message is None:
            failures = 0
            continue
        failures += 1
        if len(batch) > 1:
            tell(f"{len(batch)} tutors together failed; trying them in two halves")
            middle = len(batch) // 2
            waiting += [batch[:middle], batch[middle:]]
        else:
            broken[batch[0]] = message
        if failures >= HOPELESS_AFTER:
            broken |= {item: f"not tried alone; {message}" for rest in waiting for item in rest}
            break
    return {item: broken[item] for item in items if item in broken}
