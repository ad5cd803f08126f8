"""Finds the few tutors that make a batch fail, so that the others continue. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.formatting import count


def find_failing(
    items: Sequence[str],
    attempt: Callable[[Sequence[str]], str | None],
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, str]:
    """Attempt all items at once; on failure, halve the batch until each broken item is alone.

    `attempt` returns None if a batch worked, else the error. Returns item -> error for the items
    that failed. Larger batches come first, so that sound items finish soon. After the first
    failure no item at all is attempted: if that fails too, the cause is not in the items.
    Raises TutorPipelineError with that error.
    """
    broken: dict[str, str] = {}
    waiting = deque([list(items)])
    is_of_items = False
    while waiting:
        batch = waiting.popleft()
        message = attempt(batch)
        if message is None:
            continue
        if not is_of_items and attempt(()) is not None:
            raise TutorPipelineError(f"no tutor is the cause, it fails without any: {message}")
        is_of_items = True
        if len(batch) > 1:
            tell(f"{count(len(batch), 'tutor')} together failed; trying them in two halves")
            middle = len(batch) // 2
            waiting += [batch[:middle], batch[middle:]]
        else:
            broken[batch[0]] = message
    return {item: broken[item] for item in items if item in broken}
