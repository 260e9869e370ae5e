"""What no batching can beat: the linear relaxation over all batches that a chamber could hold.

Every batch is a column; columns are made as they are needed, by a knapsack over area for each machine
(Gilmore and Gomory's). A machine's batches follow each other, and those with late parts follow their release.
Knows nothing of layouts: leaving them out can only lower the bound.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from ortools.linear_solver import pywraplp  # type: ignore[import-untyped]

from farmd.planner.budget import Meter
from farmd.planner.compiled import INFINITY, Compiled
from farmd.planner.jit import Floats, Ints, compiled
from farmd.planner.powder.plates import Plates

GRAINS = 600
"""Of a chamber's area, in the knapsack. Parts are rounded down, so the bound stays one."""
LEVELS = 4
"""How many releases the relaxation looks at."""
MOST_PARTS = 400
WORK_PER_UNIT = 400_000
"""Steps of the knapsack that cost about as much as a unit of a counted budget."""
LEAST_GAIN = 1e-7


class _Kind(NamedTuple):
    """Alike: how many `machines`, the first of them, when they are ready, and parts' `weight` in grains (-1: unfit)."""

    machines: int
    machine: int
    ready: float
    weight: Ints


@compiled
def _price(
    by_height: Ints,
    weight: Ints,
    volume: Floats,
    height: Floats,
    level: Ints,
    worth: Floats,
    most: int,
    rate: float,
    setup: float,
    per_mm3: float,
    per_mm: float,
    value: Floats,
    taken: Ints,
) -> tuple[float, int, int]:
    """The batch that is worth most above what its time costs at `rate`, of the parts up to release level `most`.

    Returns its gain, and its tallest part and the room below that one in `taken` (as places and grains).
    """  # fmt: skip
    best, last, left = 0.0, -1, 0
    value[:] = 0.0
    for k in range(len(by_height)):
        p = by_height[k]
        w = weight[p]
        if w < 0 or level[p] > most:
            continue
        gain = worth[p] - rate * per_mm3 * volume[p]
        top = gain + value[GRAINS - w] - rate * (setup + per_mm * height[p])
        if top > best:
            best, last, left = top, k, GRAINS - w
        for c in range(GRAINS, -1, -1):
            taken[k, c] = 0
            if gain > 0.0 and c >= w and value[c - w] + gain > value[c]:
                value[c] = value[c - w] + gain
                taken[k, c] = 1
    return best, last, left


class _Relaxation:
    """The linear program so far, and what its duals say.

    Where parts lie above each other a build is as high as its highest part, or as their volume makes it: the height
    counts as the former, or `by_volume` as the latter; it is never less than both.
    """

    def __init__(self, c: Compiled, plates: Plates, least: float, *, by_volume: bool = False) -> None:
        self.c, self.plates, self.by_volume = c, plates, by_volume
        parts = c.problem.parts
        self.volume = np.array([part.volume_mm3 for part in parts], dtype=float)
        self.height = np.array([part.height_mm for part in parts], dtype=float)
        self.release = np.array([part.release_s for part in parts], dtype=float)
        self.by_height = np.argsort(self.height, kind="stable").astype(np.int32)
        early = np.minimum(self.release, least)
        steps = np.unique(np.quantile(early, np.linspace(0.0, 1.0, LEVELS + 1)[:-1], method="lower"))
        self.steps = [float(step) for step in steps]
        self.level = (np.searchsorted(steps, early, side="right") - 1).astype(np.int32)
        self.kinds = self._kinds(least)
        self.value = np.zeros(GRAINS + 1)
        self.taken = np.zeros((len(parts), GRAINS + 1), np.int32)
        self._program()

    def _kinds(self, least: float) -> list[_Kind]:
        """Machines with the same chamber that are ready at the same time; no later than `least` matters."""
        c = self.c
        alike: dict[tuple[object, float, tuple[int, ...]], list[int]] = {}
        for m in sorted({m for fit in self.plates.fits for m in fit}):
            fit = tuple(p for p in range(len(self.volume)) if m in self.plates.can[p])
            ready = min(c.ready[m], least)
            alike.setdefault((c.problem.machines[m].chamber, ready, fit), []).append(m)
        kinds = []
        for (_, ready, fit), machines in alike.items():
            weight = np.full(len(self.volume), -1, np.int32)
            for p in fit:
                weight[p] = int(self.plates.share(p, machines[0]) * GRAINS)
            kinds.append(_Kind(len(machines), machines[0], ready, weight))
        return kinds

    def _program(self) -> None:
        self.lp: Any = pywraplp.Solver.CreateSolver("GLOP")
        top = self.lp.NumVar(0.0, self.lp.infinity(), "")
        self.lp.Minimize(top)
        infinity = self.lp.infinity()
        self.cover = [self.lp.Constraint(1.0, infinity) for _ in self.volume]
        self.load = []
        for kind in self.kinds:
            cooldown = self.c.cooldown[kind.machine]
            rows = [
                self.lp.Constraint(kind.machines * (max(kind.ready, step) - cooldown), infinity)
                for step in self.steps
            ]
            for row in rows:
                row.SetCoefficient(top, float(kind.machines))
            self.load.append(rows)
        for p in range(len(self.volume)):
            for j, kind in enumerate(self.kinds):
                if kind.weight[p] >= 0:
                    self._add(j, [p])

    def _rates(self, kind: _Kind) -> tuple[float, float, float]:
        """Seconds of any batch on the machine, and for each mm3 and mm."""
        chamber = self.c.problem.machines[kind.machine].chamber
        assert chamber is not None
        before = self.c.clear if chamber.crewed else 0.0
        setup = before + chamber.setup_s + self.c.cooldown[kind.machine]
        if self.by_volume and chamber.packing_density is not None:
            return setup, chamber.s_per_mm3 + chamber.s_per_mm * chamber.mm_per_mm3, 0.0
        return setup, chamber.s_per_mm3, chamber.s_per_mm

    def _add(self, j: int, members: list[int]) -> None:
        setup, per_mm3, per_mm = self._rates(self.kinds[j])
        took = (
            setup + per_mm3 * float(self.volume[members].sum()) + per_mm * float(self.height[members].max())
        )
        column = self.lp.NumVar(0.0, self.lp.infinity(), "")
        for p in members:
            self.cover[p].SetCoefficient(column, 1.0)
        for row in self.load[j][: int(self.level[members].max()) + 1]:
            row.SetCoefficient(column, -took)

    def round(self) -> tuple[float, bool]:
        """Solve, add the best new batches: a lower bound of the makespan, and whether it is the last."""
        if self.lp.Solve() != pywraplp.Solver.OPTIMAL:
            return 0.0, True
        worth = np.array([max(0.0, row.dual_value()) for row in self.cover])
        prices = [[max(0.0, row.dual_value()) for row in rows] for rows in self.load]
        gained, bound, share = False, float(worth.sum()), 0.0
        for j, kind in enumerate(self.kinds):
            setup, per_mm3, per_mm = self._rates(kind)
            shortest = self._shortest(kind)
            if shortest <= 0.0:
                # What costs no time has no price, and the others prove nothing without it.
                return 0.0, True
            missing = 0.0
            for most in range(len(self.steps)):
                rate = sum(prices[j][: most + 1])
                gain, last, left = _price(
                    self.by_height, kind.weight, self.volume, self.height, self.level, worth,
                    most, rate, setup, per_mm3, per_mm, self.value, self.taken,
                )  # fmt: skip
                missing = max(missing, gain / shortest)
                if gain > LEAST_GAIN * max(1.0, bound):
                    gained = True
                    self._add(j, self._members(kind, most, last, left))
            # A dearer machine makes up for what the new batches gain: then the prices are dual feasible.
            prices[j][0] += missing
            cooldown = self.c.cooldown[kind.machine]
            share += kind.machines * sum(prices[j])
            bound += kind.machines * sum(
                price * (max(kind.ready, step) - cooldown)
                for price, step in zip(prices[j], self.steps, strict=True)
            )
        return (bound / share if share > 0.0 else 0.0), not gained

    def _shortest(self, kind: _Kind) -> float:
        setup, per_mm3, per_mm = self._rates(kind)
        fit = kind.weight >= 0
        return setup + float((per_mm3 * self.volume[fit] + per_mm * self.height[fit]).min())

    def _members(self, kind: _Kind, most: int, last: int, left: int) -> list[int]:
        members = [int(self.by_height[last])]
        for k in range(last - 1, -1, -1):
            p = int(self.by_height[k])
            if kind.weight[p] >= 0 and self.level[p] <= most and self.taken[k, left]:
                members.append(p)
                left -= int(kind.weight[p])
        return members

    @property
    def work(self) -> int:
        """Steps of a round."""
        return len(self.kinds) * len(self.steps) * len(self.volume) * GRAINS


def makespan_bound(c: Compiled, plates: Plates, least: float, meter: Meter) -> float:
    """A makespan that no plan of the parts is below; `least` is one that is known already."""
    if not 0 < len(plates.area) <= MOST_PARTS or not 0.0 < least < INFINITY:
        return least
    stacked = any(machine.chamber and machine.chamber.packing_density for machine in c.problem.machines)
    for by_volume in (False, True) if stacked else (False,):
        relaxation = _Relaxation(c, plates, least, by_volume=by_volume)
        units = 1 + relaxation.work // WORK_PER_UNIT
        while meter.spend(units):
            bound, last = relaxation.round()
            least = max(least, bound)
            if last:
                break
    return least
