"""The answer to a request, kept in one transaction with what the request did.

A request that may be repeated (it carries a key) claims the first facts that are recorded in its course:
the ledger writes them together with the claim's answer, so that no crash can come between the two.
Knows no request and no HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from farmd.model.farm import Entity
from farmd.store import Answer

MakeAnswer = Callable[[tuple[Entity, ...]], Answer]
"""The answer by what the facts have changed. Called at once, inside `Ledger.record`."""


class Claim:
    """Of one request. `answer` is what was kept with its first facts; None while it has recorded none."""

    def __init__(self, make: MakeAnswer) -> None:
        self._make = make
        self.answer: Answer | None = None

    def take(self, changed: tuple[Entity, ...]) -> Answer | None:
        """The answer to keep with these facts; None for all but the first."""
        if self.answer is not None:
            return None
        self.answer = self._make(changed)
        return self.answer


claimed: ContextVar[Claim | None] = ContextVar("claimed", default=None)
"""The claim of the request in whose course something is done now."""
