"""What machines have run lately, and for whom: what makes worn machines dearer and owners fair to each other.

Pure. Knows the runs that it was told of, by day; what it says of them changes in steps, so that plans do not flutter.
Wear: a machine that ran more than the mean of its kind in these days costs `wear_price` for each second, times by how
much more that is, at most once. Fairness: an owner who had less than the mean of the owners with open work weighs as
much more, and one who had more as much less, at most `fair_share` times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from farmd.daemon.estimates import kind_of
from farmd.model.machine import MachineSpec

DAYS = 30
DAY_S = 86400.0
WEAR_STEP = 0.1
SHARE_STEP = 0.25
"""Factors of fairness are so far apart: 1, 1.25, 1.5 and so on, and what is 1 divided by these."""


@dataclass(frozen=True, slots=True)
class Use:
    """Prices of a second's running by machine, and factors of weight by owner; what is not named is 0, and 1."""

    wear: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)


NO_USE = Use()


class Usage:
    """Seconds of running, by day, machine and owner."""

    def __init__(self) -> None:
        self._days: dict[int, Counter[tuple[str, str]]] = {}

    def saw(self, machine: str, owner: str, ended_at: float, seconds: float) -> None:
        """A run is over that took so long."""
        day = int(ended_at // DAY_S)
        self._days.setdefault(day, Counter())[machine, owner] += round(seconds)
        for old in [each for each in self._days if each <= day - DAYS]:
            del self._days[old]

    def use(
        self, specs: Mapping[str, MachineSpec], owners: Iterable[str], *, wear_price: float, fair_share: float
    ) -> Use:
        """What follows for machines and for these owners, who have open work."""
        total = sum(self._days.values(), Counter())
        wear = _wear(specs, total, wear_price) if wear_price > 0 else {}
        weights = _weights(set(owners), total, fair_share) if fair_share > 1 else {}
        return Use(wear, weights)


def _wear(
    specs: Mapping[str, MachineSpec], total: Counter[tuple[str, str]], price: float
) -> dict[str, float]:
    seconds: Counter[str] = Counter()
    for (machine, _), ran in total.items():
        seconds[machine] += ran
    kinds: dict[str, list[str]] = {}
    for name, spec in specs.items():
        kinds.setdefault(kind_of(spec), []).append(name)
    prices = {}
    for names in kinds.values():
        mean = sum(seconds[name] for name in names) / len(names)
        for name in names:
            over = min(1.0, seconds[name] / mean - 1.0) if mean > 0 else 0.0
            steps = int(over / WEAR_STEP + 1e-9)
            if steps > 0:
                prices[name] = price * steps * WEAR_STEP
    return prices


def _weights(owners: set[str], total: Counter[tuple[str, str]], most: float) -> dict[str, float]:
    had = {owner: sum(ran for (_, of), ran in total.items() if of == owner) for owner in owners}
    mean = sum(had.values()) / len(had) if had else 0.0
    if mean <= 0:
        return {}
    found = {}
    for owner, seconds in sorted(had.items()):
        ratio = mean / seconds if seconds > 0 else most
        more = min(most, max(ratio, 1.0 / ratio))
        more = 1.0 + SHARE_STEP * int((more - 1.0) / SHARE_STEP + 1e-9)
        if more > 1.0:
            found[owner] = more if ratio > 1.0 else 1.0 / more
    return found
