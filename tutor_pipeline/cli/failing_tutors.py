"""Finds the few tutors that make a batch fail, so that the others continue. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

HOPELESS_AFTER = 30
"""After this many consecutive failures, of any batch size, the cause is not the tutors' data."""


def find_failing(
    items: Sequence[str],
    attempt: Callable[[Sequence[str]], str | None],
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, str]:
    """Attempt all items at once; on failure, halve the batch until each broken item is alone.

    `attempt` returns None if a batch worked, else the error. Returns item -> error for the items
    that failed. Larger batches come first, so that sound items finish soon. Gives up on the
    remaining items, with the last error, after `HOPELESS_AFTER` consecutive failures.
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
