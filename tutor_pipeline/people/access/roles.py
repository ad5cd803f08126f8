"""What an account may do: each role may all that the ones before it may."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """A role, from the least rights to the most."""

    VIEWER = "viewer"
    COACH = "coach"
    ADMIN = "admin"

    def may(self, least: Role) -> bool:
        """Whether this role may do what `least` may."""
        order = list(Role)
        return order.index(self) >= order.index(least)


MEANING = {
    Role.VIEWER: "reads, but no feedback texts and no notes",
    Role.COACH: "reads everything, acts on alerts, writes notes",
    Role.ADMIN: "as a coach, and changes accounts and settings",
}
