"""Find the few that break a batch, so that the others can go on. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

HOPELESS_AFTER = 3
"""So many broken alone and none that worked: it is not their data."""


def isolate(
    items: Sequence[str],
    attempt: Callable[[Sequence[str]], str | None],
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, str]:
    """Attempt all items at once; where that fails, halve the batch until the broken are alone.

    `attempt` returns None when a batch worked, else what went wrong. Returns item -> message for
    those that did not work. Gives up, with the same message for all that are left, when
    `HOPELESS_AFTER` failed alone before anything worked.
    """
    broken: dict[str, str] = {}
    waiting = [list(items)]
    worked = False
    while waiting:
        batch = waiting.pop()
        message = attempt(batch)
        if message is None:
            worked = True
        elif len(batch) > 1:
            tell(f"{len(batch)} tutors together failed; trying them in two halves")
            middle = len(batch) // 2
            waiting += [batch[middle:], batch[:middle]]
        else:
            broken[batch[0]] = message
            if not worked and len(broken) >= HOPELESS_AFTER:
                broken |= {item: f"not tried; {message}" for rest in waiting for item in rest}
                break
    return {item: broken[item] for item in items if item in broken}
