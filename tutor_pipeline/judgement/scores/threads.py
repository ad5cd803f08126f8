"""How many threads learning may use.

Belongs here: the limit for libraries that start threads of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit numeric libraries to one thread. On small tables more threads cost far more on a busy
    machine than they gain, and they sum in no fixed order.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield
