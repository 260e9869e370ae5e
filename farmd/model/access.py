"""Who may ask for what: the roles, and the tokens that carry them.

Four roles that people have form a ladder with the administrator on top: each may do all that those below
it may. A machine's role stands beside the ladder. Knows no route, no request and no secret: of a token
only its SHA-256 is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What its holder may do; see the table of routes in docs/ROLES.md."""

    VIEWER = "viewer"
    TECHNICIAN = "technician"
    PLANNER = "planner"
    ENGINEER = "engineer"
    ADMIN = "admin"
    MACHINE = "machine"

    def includes(self, least: Role) -> bool:
        """Whether this role may do what takes at least `least`."""
        if self is least:
            return True
        return self in LADDER and least in LADDER and LADDER.index(self) > LADDER.index(least)


LADDER = (Role.VIEWER, Role.TECHNICIAN, Role.PLANNER, Role.ENGINEER, Role.ADMIN)


@dataclass(frozen=True, slots=True)
class Token:
    """A token by its name. `sha256` is of the secret, which nobody keeps; times are UTC seconds."""

    name: str
    role: Role
    sha256: str
    added_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    def is_good(self, at: float) -> bool:
        """Whether it opens anything at a time."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)
