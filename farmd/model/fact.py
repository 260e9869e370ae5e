"""What all facts have; see `facts`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Base of all facts."""

    at: float
    actor: str
