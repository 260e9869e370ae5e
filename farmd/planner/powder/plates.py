"""What goes together into a chamber: area, and the nesting of footprints where sizes are known.

Knows which parts fit where, the shapes on the boards and where the parts of known batches lie.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from farmd.planner.compiled import Compiled
from farmd.planner.plans import Placement
from farmd.planner.powder.board import AREA_ONLY, BOXES, OUTLINES, TURNS, Ground
from farmd.planner.powder.boxes import Place, place
from farmd.planner.powder.data import NONE
from farmd.planner.powder.footprints import Point, Run, runs_of, turned
from farmd.planner.problem import Chamber, Part

AREA_TOLERANCE = 1e-9
CELLS, FEW_CELLS = 256, 128
"""Along the longest side of all plates; fewer where there are very many parts, because every batch has its board."""
MANY = 3000


class Plates:
    """By part its `area`, `volume`, `box` and machines (`fits`, as a set `can`); by machine the `limit` of area and
    `most_volume`, and the `size` of the plate that parts are laid on.

    `lain` says of a machine and the parts of a batch where each lies on the board: (part, x, y, turn); `nested`
    where boxes lie that only an exact search could place.
    """

    def __init__(self, c: Compiled) -> None:
        self.c = c
        parts = c.problem.parts
        chambers = [machine.chamber for machine in c.problem.machines]
        self.beds = [m for m, chamber in enumerate(chambers) if chamber is not None]
        self.area = [part.area_mm2 for part in parts]
        self.box = [_box(part) for part in parts]
        self.fits = [[m for m in self.beds if part.fits(c.problem.machines[m])] for part in parts]
        self.can = [frozenset(machines) for machines in self.fits]
        self.limit = [0.0 if chamber is None else _most_area(chamber) for chamber in chambers]
        self.size = [
            chamber.size_mm if chamber is not None and chamber.packing_density is None else None
            for chamber in chambers
        ]
        self.volume = [part.volume_mm3 for part in parts]
        self.most_volume = [
            chamber.most_volume_mm3 * (1 + AREA_TOLERANCE) if chamber is not None else 0.0
            for chamber in chambers
        ]
        self.lain: dict[tuple[int, frozenset[int]], tuple[tuple[int, int, int, int], ...]] = {}
        self.nested: dict[tuple[int, frozenset[int]], dict[int, Place]] = {}

    @cached_property
    def how(self) -> int:
        """How parts are laid: not at all, as boxes, or as outlines."""
        if all(size is None for size in self.size) or all(box is None for box in self.box):
            return AREA_ONLY
        return OUTLINES if any(part.outline_mm is not None for part in self.c.problem.parts) else BOXES

    def lays_outlines(self, machine: int) -> bool:
        return self.how == OUTLINES and self.size[machine] is not None

    @cached_property
    def cell_mm(self) -> float:
        longest = max((max(size) for size in self.size if size is not None), default=1.0)
        return longest / (CELLS if len(self.area) <= MANY else FEW_CELLS)

    @cached_property
    def ground(self) -> Ground:
        """The plates and the shapes of all parts, for the kernel; machines are those with a chamber."""
        plate = np.array([self.size[m] or (0.0, 0.0) for m in self.beds], dtype=float).reshape(-1, 2)
        turns = np.full((len(self.box), TURNS), NONE, np.int32)
        runs: list[tuple[int, int, int]] = []
        shape: list[tuple[int, int, int, int]] = []
        known: dict[tuple[Point, ...], list[int]] = {}
        if self.how == OUTLINES:
            for p, part in enumerate(self.c.problem.parts):
                outline = part.outline_mm or _rectangle(self.box[p])
                if outline and outline not in known:
                    known[outline] = self._shapes(outline, runs, shape)
                if outline:
                    turns[p] = known[outline]
        return Ground(
            how=np.array([self.how], np.int32),
            plate=plate,
            cells=np.floor(plate / self.cell_mm + 1e-9).astype(np.int32),
            box=np.array([box or (0.0, 0.0) for box in self.box], dtype=float).reshape(-1, 2),
            runs=np.array(runs, np.int32).reshape(-1, 3),
            shape=np.array(shape, np.int32).reshape(-1, 4),
            turns=turns,
        )

    def _shapes(
        self,
        outline: Sequence[Point],
        runs: list[tuple[int, int, int]],
        shape: list[tuple[int, int, int, int]],
    ) -> list[int]:
        """The numbers of an outline's turns, whose cells are added to all others'."""
        numbers = []
        seen: set[frozenset[Point]] = set()
        for turn in range(TURNS):
            points = turned(outline, turn)
            corners = frozenset((round(x, 6), round(y, 6)) for x, y in points)
            if corners in seen:
                numbers.append(NONE)
                continue
            seen.add(corners)
            cells = runs_of(points, self.cell_mm)
            numbers.append(len(shape))
            wide, high = (
                max(start + length for _, start, length in cells),
                1 + max(row for row, _, _ in cells),
            )
            shape.append((len(runs), len(runs) + len(cells), wide, high))
            runs += _scattered(cells)
        return numbers

    def share(self, part: int, machine: int) -> float:
        """Of what a batch may hold on the machine."""
        return max(self.area[part] / self.limit[machine], self.volume[part] / self.most_volume[machine])

    def hold(self, machine: int, parts: tuple[int, ...]) -> bool:
        """Whether these parts, each of which fits alone, lie side by side in the machine's chamber."""
        if sum(self.area[p] for p in parts) > self.limit[machine]:
            return False
        if sum(self.volume[p] for p in parts) > self.most_volume[machine]:
            return False
        if self.lays_outlines(machine):
            return (machine, frozenset(parts)) in self.lain
        return self._boxes(machine, parts) is not None

    def layout(self, machine: int, parts: tuple[int, ...]) -> tuple[Placement, ...]:
        """Where the parts with a footprint lie; empty where the chamber's size is not known."""
        if not self.lays_outlines(machine):
            return self._boxes(machine, parts) or ()
        return tuple(
            Placement(
                self.c.problem.parts[p].id,
                x * self.cell_mm,
                y * self.cell_mm,
                rotated=turn % 2 == 1,
                turn_deg=90.0 * (turn - turn % 2),
            )
            for p, x, y, turn in self.lain.get((machine, frozenset(parts)), ())
            if self.box[p] is not None
        )

    def _boxes(self, machine: int, parts: tuple[int, ...]) -> tuple[Placement, ...] | None:
        size = self.size[machine]
        if size is None:
            return ()
        boxes = [(p, box) for p in sorted(parts) if (box := self.box[p]) is not None]
        spots = place([box for _, box in boxes], size)
        if spots is None:
            known = self.nested.get((machine, frozenset(p for p, _ in boxes)))
            if known is None:
                return None
            spots = [known[p] for p, _ in boxes]
        return tuple(
            Placement(self.c.problem.parts[p].id, x, y, is_turned)
            for (p, _), (x, y, is_turned) in zip(boxes, spots, strict=True)
        )


def _scattered(cells: Sequence[Run]) -> list[Run]:
    """The longest run first, then rows far from each other: so it shows soonest that a shape does not fit somewhere."""
    longest = max(cells, key=lambda run: run[2])
    return sorted(cells, key=lambda run: (run != longest, _reversed(run[0]), -run[2]))


def _reversed(row: int) -> int:
    """The bits of a row's number backwards."""
    return int(format(row, "016b")[::-1], 2)


def _most_area(chamber: Chamber) -> float:
    return math.inf if chamber.packing_density is not None else chamber.area_mm2 * (1 + AREA_TOLERANCE)


def _box(part: Part) -> tuple[float, float] | None:
    if part.outline_mm is None:
        return part.size_mm
    xs, ys = zip(*part.outline_mm, strict=True)
    return (max(xs) - min(xs), max(ys) - min(ys))


def _rectangle(box: tuple[float, float] | None) -> tuple[Point, ...]:
    return () if box is None else ((0.0, 0.0), (box[0], 0.0), box, (0.0, box[1]))
