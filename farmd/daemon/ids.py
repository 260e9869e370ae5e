"""Where ids come from: one seedable source, so that a seed gives the same journal.

Job and build ids count up and are short to type. Run and permit ids are random, because a
machine may remember a run id for longer than any one database.
"""

from __future__ import annotations

import random
import secrets

from farmd.model.farm import Farm

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class IdSource:
    """Gives out ids; `seed` None takes the system's randomness."""

    def __init__(self, seed: int | None = None) -> None:
        self._random: random.Random = secrets.SystemRandom() if seed is None else random.Random(seed)
        self._given: dict[str, int] = {}

    def run(self) -> str:
        """Fifty random bits: `R-` and ten letters that are hard to mistake."""
        return "R-" + self._letters(10)

    def permit(self) -> str:
        return "P-" + self._letters(10)

    def boot(self) -> str:
        """Names one start of the daemon."""
        return self._letters(16)

    def job(self, farm: Farm) -> str:
        return f"J-{self._count('job', farm)}"

    def build(self, farm: Farm) -> str:
        return f"B-{self._count('build', farm)}"

    def _count(self, kind: str, farm: Farm) -> int:
        # Ids may be drawn for several facts of one batch before the first is applied.
        value = max(self._given.get(kind, 0), farm.counters.get(kind, 0)) + 1
        self._given[kind] = value
        return value

    def _letters(self, count: int) -> str:
        return "".join(self._random.choice(_ALPHABET) for _ in range(count))
