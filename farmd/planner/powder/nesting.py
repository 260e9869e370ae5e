"""Whether boxes lie together on a plate, found out exactly: by the heuristic where it will do, else by CP-SAT.

Knows boxes in mm, which may be turned by a quarter. What cannot be decided in time stays unknown, and what was
rounded is only ever believed where it lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from ortools.sat.python import cp_model

from farmd.planner.budget import Meter
from farmd.planner.powder.boxes import Box, Place, place
from farmd.planner.solver import run

GRAINS_PER_MM = 1000
WHOLE = 1e-6
CORE_SHARE = 0.1
"""Of what is left, for each look at whether a smaller set cannot lie together either."""


class Verdict(Enum):
    """`IMPOSSIBLE` is proven; `UNKNOWN` is nothing."""

    IMPOSSIBLE = 0
    UNKNOWN = 1


def nested(boxes: Sequence[Box], plate: Box, meter: Meter, seed: int) -> list[Place] | Verdict:
    """For each box where it lies, or that none lie so together, or that it is not known."""
    spots = place(boxes, plate)
    if spots is not None:
        return spots
    if sum(width * length for width, length in boxes) > plate[0] * plate[1] * (1 + WHOLE):
        return Verdict.IMPOSSIBLE
    model = _Layout(boxes, plate)
    answer = run(model.cp, meter, seed, 1.0)
    if answer is None:
        return Verdict.UNKNOWN
    if answer.found:
        return model.spots(answer.solver)
    return Verdict.IMPOSSIBLE if answer.impossible and model.exact else Verdict.UNKNOWN


def core(boxes: Sequence[Box], plate: Box, meter: Meter, seed: int) -> list[int]:
    """Of boxes that cannot lie together, by number, fewer of which that is proven too; the small ones go first."""
    kept = sorted(range(len(boxes)), key=lambda i: boxes[i][0] * boxes[i][1])
    for i in list(kept):
        fewer = [j for j in kept if j != i]
        if not meter.spend():
            break
        answer = nested([boxes[j] for j in fewer], plate, spent(meter, CORE_SHARE), seed)
        if answer is Verdict.IMPOSSIBLE:
            kept = fewer
    return kept


def spent(meter: Meter, share: float) -> Meter:
    """A share of a meter that is taken from it at once: a solver counts nothing by itself."""
    part = meter.share(share)
    meter.spend(part.units_left())
    return part


class _Layout:
    """Each box at x and y, upright or turned; sizes are rounded up and the plate down, so what lies here lies there."""

    def __init__(self, boxes: Sequence[Box], plate: Box) -> None:
        self.cp = cp_model.CpModel()
        self.exact = all(_is_whole(side) for box in (*boxes, plate) for side in box)
        wide, high = (_down(side) for side in plate)
        self.places: list[tuple[cp_model.IntVar, cp_model.IntVar, cp_model.IntVar]] = []
        across, along = [], []
        for i, box in enumerate(boxes):
            width, length = (_up(side) for side in box)
            x = self.cp.new_int_var(0, max(0, wide - min(width, length)), f"x{i}")
            y = self.cp.new_int_var(0, max(0, high - min(width, length)), f"y{i}")
            turned = self.cp.new_bool_var(f"turned{i}")
            if width == length:
                self.cp.add(turned == 0)
            for there, (w, h) in ((turned.negated(), (width, length)), (turned, (length, width))):
                across.append(self.cp.new_optional_fixed_size_interval_var(x, w, there, f"w{i}"))
                along.append(self.cp.new_optional_fixed_size_interval_var(y, h, there, f"h{i}"))
                self.cp.add(x + w <= wide).only_enforce_if(there)
                self.cp.add(y + h <= high).only_enforce_if(there)
            self.places.append((x, y, turned))
        self.cp.add_no_overlap_2d(across, along)
        # What stands beside each other anywhere is no longer than the plate.
        self.cp.add_cumulative(across, [_up(s) for box in boxes for s in (box[1], box[0])], high)
        self.cp.add_cumulative(along, [_up(s) for box in boxes for s in (box[0], box[1])], wide)

    def spots(self, solver: cp_model.CpSolver) -> list[Place]:
        return [
            (
                solver.value(x) / GRAINS_PER_MM,
                solver.value(y) / GRAINS_PER_MM,
                bool(solver.value(turned)),
            )
            for x, y, turned in self.places
        ]


def _is_whole(side: float) -> bool:
    grains = side * GRAINS_PER_MM
    return abs(grains - round(grains)) < WHOLE


def _up(side: float) -> int:
    grains = side * GRAINS_PER_MM
    return round(grains) if _is_whole(side) else int(grains) + 1


def _down(side: float) -> int:
    grains = side * GRAINS_PER_MM
    return round(grains) if _is_whole(side) else int(grains)
