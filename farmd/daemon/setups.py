"""Setups as the planner knows them: a material and a nozzle, and the work from one to the next.

Pure. Knows names and what the machines have loaded. Knows no plan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from farmd.daemon.shop import Shop, satisfies
from farmd.model.machine import Machine
from farmd.planner import problem as p


def likely_setup(material: str | None, nozzle_mm: float | None, machines: Iterable[Machine]) -> str:
    """The setup to plan with. A family, or no wish at all, is what most of the machines have loaded now."""
    loaded = Counter(
        (machine.material, machine.nozzle_mm)
        for machine in machines
        if machine.material is not None and satisfies(machine.material, material)
    )
    mounted = {pair: count for pair, count in loaded.items() if nozzle_mm in (None, pair[1])}
    best = max(mounted or loaded, key=lambda pair: (loaded[pair], setup_name(*pair)), default=None)
    if best is None:
        return setup_name(material, nozzle_mm)
    return setup_name(best[0], best[1] if nozzle_mm is None else nozzle_mm)


def setup_name(material: str | None, nozzle_mm: float | None) -> str:
    return f"{material or '-'}|{nozzle_mm:g}" if nozzle_mm is not None else (material or "-")


def changeovers(shop: Shop, builds: Iterable[p.Build]) -> p.Changeover:
    """The configured pairs of materials, for every nozzle in use; the same setup costs nothing."""
    if not shop.changeovers:
        return p.Changeover(shop.changeover_s)
    nozzles = {build.setup.rpartition("|")[2] for build in builds if "|" in build.setup}
    pairs = tuple(
        (f"{before}|{nozzle}", f"{after}|{nozzle}", seconds)
        for before, after, seconds in shop.changeovers
        for nozzle in sorted(nozzles)
    ) + tuple((before, after, seconds) for before, after, seconds in shop.changeovers)
    return p.Changeover(shop.changeover_s, pairs)
