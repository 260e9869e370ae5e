"""Which machines can make the same work: with thousands of jobs and hundreds of machines there are few such sets.

Pure. Knows machines as configured. Knows no job, and no rule of who can make what.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from farmd.model.machine import MachineSpec


@dataclass(eq=False, slots=True)
class Able:
    """Machines that can make the same work. There is one of these for each such set."""

    specs: tuple[MachineSpec, ...]
    names: frozenset[str]
    of_type: dict[str, MachineSpec] = field(default_factory=dict)
    """One machine of each type; filled in when the types are known."""
    ratio_of: dict[str, float] = field(default_factory=dict)
    """How much longer runs take on each type than their estimates; filled in with the types."""


class Ables:
    """Finds them."""

    def __init__(self, specs: Mapping[str, MachineSpec]) -> None:
        self._specs = specs
        self._known: dict[int, tuple[tuple[MachineSpec, ...], Able]] = {}
        self._by_names: dict[tuple[str, ...], Able] = {}

    def of(self, found: tuple[MachineSpec, ...]) -> Able:
        """Of these machines those that are available."""
        known = self._known.get(id(found))
        if known is None:
            specs = tuple(spec for spec in found if spec.name in self._specs)
            names = tuple(spec.name for spec in specs)
            able = self._by_names.setdefault(names, Able(specs, frozenset(names)))
            # With the tuple, which keeps its id as long as it is known.
            known = self._known[id(found)] = (found, able)
        return known[1]
