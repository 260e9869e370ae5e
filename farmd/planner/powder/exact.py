"""CP-SAT on powder beds, for up to 50 parts, boxes or without layouts, and no crewed chambers.

Slots are the batches of a machine in order; a part is in one slot; a slot's time is linear in its
parts. The hint is complete, because the solver's strength here is to polish. Boxes are nested by logic-based
Benders decomposition: the slots know areas only, and what is proven not to lie together is cut off.
"""

from __future__ import annotations

import math

from ortools.sat.python import cp_model

from farmd.planner.budget import Meter
from farmd.planner.compiled import Compiled
from farmd.planner.powder.board import AREA_ONLY, OUTLINES
from farmd.planner.powder.nesting import Verdict, core, nested, spent
from farmd.planner.powder.plates import Plates
from farmd.planner.powder.rows import Rows, row_cost, sort_row, value
from farmd.planner.solver import LARGEST_OBJECTIVE, grain, run, weight_scale

MOST_PARTS = 50
MOST_SLOTS = 60
MOST_PROOF_SLOTS = 24
FINEST = 10**6
AREA_GRAINS = 10**6
WHOLE = 1e-6
MASTER_SHARE, LAYOUT_SHARE = 0.4, 0.2
"""With boxes: what each answer gets of the time that is left, and each layout of what is left then."""


def fits(c: Compiled, plates: Plates) -> bool:
    """Whether the model holds the parts."""
    parts = c.problem.parts
    crewed = any(c.crewed(m) for m in range(len(c.ready)))
    return 0 < len(parts) <= MOST_PARTS and plates.how != OUTLINES and not crewed


def polish(
    c: Compiled, plates: Plates, rows: Rows, least: float, meter: Meter, seed: int
) -> tuple[Rows, float | None] | None:
    """Rows at least as good as these, and a proven lower bound of their cost; None if the model holds them not.

    The cost is the makespan of the chambers, or the weighted tardiness with broken wishes; `least` is a bound of
    it that is known.
    """
    model = _Model.make(c, plates, rows, least)
    if model is None:
        return None
    wished = any(machine >= 0 for machine in c.part_wish) and not c.makespan
    complete, proof = model.complete and not wished, 0.0
    while True:
        # Without boxes the first answer is the last; with them a part of the time is kept for layouts and cuts.
        answer = run(
            model.cp, meter if plates.how == AREA_ONLY else spent(meter, MASTER_SHARE), seed, model.per_second
        )
        if answer is None or not answer.found:
            return (rows, proof) if complete and proof > 0.0 else None
        if complete:
            proof = max(proof, answer.proof - model.slack_s)
        made = model.rows(answer.solver)
        if plates.how == AREA_ONLY or value(c, made) >= value(c, rows):
            better = min(rows, made, key=lambda each: value(c, each)) if plates.how != AREA_ONLY else made
            return better, proof if complete else None
        decided = True
        for m, row in enumerate(made):
            for batch in row:
                decided = _laid(plates, model, m, batch.parts, meter, seed) and decided
        complete = complete and decided
        if all(plates.hold(m, batch.parts) for m, row in enumerate(made) for batch in row):
            return made, proof if complete else None


def _laid(plates: Plates, model: _Model, m: int, parts: tuple[int, ...], meter: Meter, seed: int) -> bool:
    """Place a batch's boxes, or cut it off; False where it is cut off and may be possible."""
    plate = plates.size[m]
    if plate is None or plates.hold(m, parts):
        return True
    boxed = [(p, box) for p in sorted(parts) if (box := plates.box[p]) is not None]
    boxes = [box for _, box in boxed]
    answer = nested(boxes, plate, spent(meter, LAYOUT_SHARE), seed)
    if isinstance(answer, list):
        plates.nested[m, frozenset(p for p, _ in boxed)] = dict(
            zip((p for p, _ in boxed), answer, strict=True)
        )
        return True
    if answer is Verdict.IMPOSSIBLE:
        model.cut([boxed[i][0] for i in core(boxes, plate, meter, seed)], plate)
        return True
    model.cut([p for p, _ in boxed], plate)
    return False


class _Model:
    """x[p, m, k] part in slot, used[m, k], height[m, k], start and end of each slot.

    For the makespan the slots of a machine are in order of release, and machines that are alike in order of
    their ends, so that no plan is there twice; and nothing later than what is known is looked at.
    """

    @staticmethod
    def make(c: Compiled, plates: Plates, rows: Rows, least: float) -> _Model | None:
        parts = c.problem.parts
        machines = sorted({m for fit in plates.fits for m in fit})
        count = len(parts)
        slots = {m: sum(m in can for can in plates.can) for m in machines}
        if sum(slots.values()) > MOST_PROOF_SLOTS:
            slots = {m: min(n, len(rows[m]) + 2) for m, n in slots.items()}
        if sum(slots.values()) > MOST_SLOTS:
            return None
        alone = [
            max(c.batch(m, (p,)).duration_s + c.cooldown[m] for m in plates.fits[p]) for p in range(count)
        ]
        horizon = max([*c.ready, *(part.release_s for part in parts)]) + sum(alone) + 1.0
        scale = grain(horizon, FINEST)
        weights = weight_scale(
            [part.weight for part in parts if part.due_s is not None] + [c.stability_price_s]
        )
        if scale is None or weights is None:
            return None
        total = sum(part.weight for part in parts) + count * (1.0 + c.stability_price_s)
        if horizon * scale * total * weights > LARGEST_OBJECTIVE:
            return None
        if c.makespan:
            rows = _in_order(c, plates, rows)
        return _Model(c, plates, rows, slots, scale, weights, horizon, least)

    def __init__(
        self,
        c: Compiled,
        plates: Plates,
        rows: Rows,
        slots: dict[int, int],
        scale: int,
        weights: int,
        horizon: float,
        least: float,
    ) -> None:
        self.c, self.plates, self.slots = c, plates, slots
        self.scale, self.weights = scale, weights
        self.cp = cp_model.CpModel()
        self.most = round(horizon * scale)
        self.per_second = float(scale if c.makespan else scale * weights)
        parts = c.problem.parts
        total = 1.0 if c.makespan else sum(part.weight for part in parts)
        self.slack_s = total * (4 * len(parts) + 3) / scale
        self.complete = all(slots[m] == sum(m in can for can in plates.can) for m in slots)
        self.x: dict[tuple[int, int, int], cp_model.IntVar] = {}
        self.end: dict[tuple[int, int], cp_model.IntVar] = {}
        self.used: dict[tuple[int, int], cp_model.IntVar] = {}
        for m, n in slots.items():
            rows_m = [rows[m][k] if k < len(rows[m]) else None for k in range(n)]
            self._machine(m, [batch.parts if batch is not None else () for batch in rows_m])
        for p in range(len(parts)):
            self.cp.add_exactly_one(lit for (q, _, _), lit in self.x.items() if q == p)
        self._objective(least, value(c, rows))
        if c.makespan:
            self._alike()

    def _machine(self, m: int, hints: list[tuple[int, ...]]) -> None:
        """The slots of one machine, in order, from the time when it is ready."""
        c, cp, scale = self.c, self.cp, self.scale
        chamber = c.problem.machines[m].chamber
        assert chamber is not None
        parts = c.problem.parts
        mine = [p for p in range(len(parts)) if m in self.plates.can[p]]
        stacked = chamber.mm_per_mm3 * sum(parts[p].volume_mm3 for p in mine)
        tallest = round(chamber.s_per_mm * max(stacked, *(parts[p].height_mm for p in mine)) * scale)
        tallest += len(mine)
        free: cp_model.LinearExprT = round(c.ready[m] * scale)
        known, latest = c.ready[m], 0.0
        used_before: cp_model.IntVar | None = None
        released_before: cp_model.IntVar | None = None
        for k, members in enumerate(hints):
            used = cp.new_bool_var(f"used{m},{k}")
            height = cp.new_int_var(0, tallest, f"height{m},{k}")
            start = cp.new_int_var(0, self.most, f"start{m},{k}")
            end = cp.new_int_var(0, self.most, f"end{m},{k}")
            released = cp.new_int_var(0, self.most, f"released{m},{k}")
            self.end[m, k] = end
            self.used[m, k] = used
            area, length = [], [height, round(chamber.setup_s * scale) * used]
            for p in mine:
                part = parts[p]
                lit = cp.new_bool_var(f"x{p},{m},{k}")
                self.x[p, m, k] = lit
                cp.add_hint(lit, p in members)
                cp.add_implication(lit, used)
                cp.add(height >= round(chamber.s_per_mm * part.height_mm * scale) * lit)
                cp.add(released >= round(part.release_s * scale) * lit)
                area.append(math.ceil(part.area_mm2 * AREA_GRAINS - WHOLE) * lit)
                length.append(round(chamber.s_per_mm3 * part.volume_mm3 * scale) * lit)
            if chamber.packing_density is None:
                cp.add(sum(area) <= math.floor(chamber.area_mm2 * AREA_GRAINS + WHOLE) * used)
            else:
                self._stacked(m, k, height, used)
            cp.add(start >= free)
            cp.add(start >= released)
            if released_before is not None and c.makespan:
                cp.add(released >= released_before)
            released_before = released
            cp.add(end == start + sum(length))
            free = end + round(c.cooldown[m] * scale) * used
            if used_before is not None:
                cp.add_implication(used, used_before)
            used_before = used
            cp.add_hint(used, bool(members))
            known = self._hint_slot(m, members, known, (height, start, end))
            latest = max([latest, *(parts[p].release_s for p in members)])
            cp.add_hint(released, round(latest * scale) if c.makespan or members else 0)

    def _hint_slot(
        self, m: int, members: tuple[int, ...], free: float, slot: tuple[cp_model.IntVar, ...]
    ) -> float:
        """The times of a known batch; returns when the machine is free again."""
        c, scale = self.c, self.scale
        chamber = c.problem.machines[m].chamber
        assert chamber is not None
        height, start, end = slot
        if not members:
            for var, value in ((height, 0.0), (start, free), (end, free)):
                self.cp.add_hint(var, round(value * scale))
            return free
        batch = c.batch(m, members)
        begin = max(free, batch.release_s)
        tall = max(max(c.problem.parts[p].height_mm for p in members), batch.volume_mm3 * chamber.mm_per_mm3)
        for var, value in (
            (height, chamber.s_per_mm * tall),
            (start, begin),
            (end, begin + batch.duration_s),
        ):
            self.cp.add_hint(var, round(value * scale))
        return begin + batch.duration_s + c.cooldown[m]

    def _stacked(self, m: int, k: int, height: cp_model.IntVar, used: cp_model.IntVar) -> None:
        """Parts that lie above each other: their volume in the room of the slot, and what it makes of its height."""
        chamber = self.c.problem.machines[m].chamber
        assert chamber is not None
        volume = {p: lit for (p, mm, kk), lit in self.x.items() if (mm, kk) == (m, k)}
        per_mm3 = AREA_GRAINS / self.plates.most_volume[m]
        self.cp.add(
            sum(math.ceil(self.plates.volume[p] * per_mm3 - WHOLE) * lit for p, lit in volume.items())
            <= AREA_GRAINS * used
        )
        lift = chamber.s_per_mm * chamber.mm_per_mm3 * self.scale
        self.cp.add(height >= sum(round(lift * self.plates.volume[p]) * lit for p, lit in volume.items()))

    def cut(self, parts: list[int], plate: tuple[float, float]) -> None:
        """These parts do not go together into any slot of a plate that lies inside the given one."""
        for m, n in self.slots.items():
            size = self.plates.size[m]
            if size is not None and min(size) <= min(plate) and max(size) <= max(plate):
                for k in range(n):
                    lits = [self.x[p, m, k] for p in parts if (p, m, k) in self.x]
                    if len(lits) == len(parts):
                        self.cp.add_bool_or(lit.negated() for lit in lits)

    def _alike(self) -> None:
        """Of machines that are alike, the one before ends no later."""
        for m, n in zip(self.slots, list(self.slots)[1:], strict=False):
            if _kind(self.c, self.plates, m) == _kind(self.c, self.plates, n):
                self.cp.add(self.end[m, self.slots[m] - 1] <= self.end[n, self.slots[n] - 1])

    def _objective(self, least: float, most: float) -> None:
        c, cp = self.c, self.cp
        if c.makespan:
            lowest = max(0, math.floor((least - self.slack_s) * self.scale))
            highest = min(self.most, math.ceil((most + self.slack_s) * self.scale))
            top = cp.new_int_var(min(lowest, highest), highest, "makespan")
            for slot, end in self.end.items():
                cp.add(top >= end).only_enforce_if(self.used[slot])
            cp.minimize(top)
            return
        terms: list[cp_model.LinearExprT] = []
        for p, part in enumerate(c.problem.parts):
            if part.due_s is not None:
                late = cp.new_int_var(0, self.most, f"late{p}")
                for (q, m, k), lit in self.x.items():
                    if q == p:
                        due = round(part.due_s * self.scale)
                        cp.add(late >= self.end[m, k] - due).only_enforce_if(lit)
                terms.append(round(part.weight * self.weights) * late)
            wish = c.part_wish[p]
            if wish >= 0:
                moved = round(c.stability_price_s * self.weights * self.scale)
                terms += [moved * lit for (q, m, _), lit in self.x.items() if q == p and m != wish]
        cp.minimize(sum(terms))

    def rows(self, solver: cp_model.CpSolver) -> Rows:
        """The batches of the solution, in order."""
        rows: Rows = [[] for _ in self.c.ready]
        for m, n in self.slots.items():
            for k in range(n):
                members = tuple(
                    p
                    for (p, mm, kk), lit in self.x.items()
                    if (mm, kk) == (m, k) and solver.boolean_value(lit)
                )
                if members:
                    rows[m].append(self.c.batch(m, members))
            rows[m] = sort_row(self.c, rows[m])
        return rows


def _kind(c: Compiled, plates: Plates, m: int) -> tuple[object, ...]:
    """The same for machines on which every batch is done at the same time."""
    fit = tuple(p for p, can in enumerate(plates.can) if m in can)
    return c.problem.machines[m].chamber, c.ready[m], fit


def _in_order(c: Compiled, plates: Plates, rows: Rows) -> Rows:
    """The rows, those of machines that are alike exchanged so that their ends are in order."""
    out = list(rows)
    kinds: dict[tuple[object, ...], list[int]] = {}
    for m in plates.beds:
        kinds.setdefault(_kind(c, plates, m), []).append(m)
    for machines in kinds.values():
        ends = {m: row_cost(c, m, rows[m])[1] for m in machines}
        for target, source in zip(machines, sorted(machines, key=lambda m: (ends[m], m)), strict=True):
            out[target] = [c.batch(target, batch.parts) for batch in rows[source]]
    return out
