"""Who stands by: one process is ready for the next change, and its successor loads before it ends.

A process that is present holds a lock of its own name, in a transaction that stays open on a
connection of its own: whoever wants to know whether it lives asks the server, and a killed one
is gone at once. An idle transaction that wrote nothing holds back no vacuum.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.core.warehouse.locks import hold, is_held

_POLL_SECONDS = 0.25
_PLACE, _SUCCESSOR = "place of who stands by", "successor of who stands by"


@dataclass(frozen=True, slots=True)
class Presence:
    """A process that is present. `database`: its connection."""

    database: Database

    def take_place(self) -> None:
        """Waits until whoever stands by has ended, whom this tells that its successor is ready."""
        while not hold(self.database, _PLACE):
            with self.database.transaction(force_rollback=True):
                hold(self.database, _SUCCESSOR)
                while is_held(self.database, _PLACE):
                    time.sleep(_POLL_SECONDS)

    def is_relieved(self) -> bool:
        """Whether a successor is ready. Raises OperationalError: the connection is lost, and with
        it the place.
        """
        # Undone, so that the open transaction keeps no lock on what was read.
        with self.database.transaction(force_rollback=True):
            return is_held(self.database, _SUCCESSOR)


@contextmanager
def present(warehouse: Warehouse, name: str) -> Iterator[Presence]:
    """Is present under a name until the context ends."""
    with warehouse.connect() as database:
        hold(database, _key(name))
        yield Presence(database)


def stands_by(database: Database) -> bool:
    """Whether a process is ready for the next change."""
    return is_held(database, _PLACE)


def is_present(database: Database, name: str) -> bool:
    """Whether a process is present under a name."""
    return is_held(database, _key(name))


def _key(name: str) -> str:
    return f"presence of {name}"
