"""Powder beds: which parts go into which batch on which machine, and in what order.

Knows parts, chambers, plates and the time of a batch. People are seen as their windows only; where
batches and builds fight for the same people, `schedule.replay` settles it afterwards.
"""

from __future__ import annotations

import math
from random import Random

from farmd.planner.budget import Meter
from farmd.planner.compiled import INFINITY, Batch, Compiled
from farmd.planner.nest import place
from farmd.planner.plans import Placement

NORM = 12
HOTTEST, HEAT_OF_A_PART, COOLING = 0.02, 0.5, 0.015
AREA_TOLERANCE = 1e-9

Rows = list[list[Batch]]
State = tuple[float, float, float]
"""Of a machine behind some of its batches: when it is free, the cost so far, the last end."""


class Plates:
    """What goes together into a chamber: area, and the nesting of footprints where sizes are known."""

    def __init__(self, c: Compiled) -> None:
        self.c = c
        parts = c.problem.parts
        self.area = [part.area_mm2 for part in parts]
        self.box = [part.box_mm() for part in parts]
        self.fits = [
            [m for m, machine in enumerate(c.problem.machines) if part.fits(machine)] for part in parts
        ]
        self.can = [frozenset(machines) for machines in self.fits]
        self.limit = [
            m.chamber.area_mm2 * (1 + AREA_TOLERANCE) if m.chamber is not None else 0.0
            for m in c.problem.machines
        ]
        self.size = [m.chamber.size_mm if m.chamber is not None else None for m in c.problem.machines]
        self.known: dict[tuple[int, frozenset[int]], tuple[Placement, ...] | None] = {}

    def hold(self, machine: int, parts: tuple[int, ...]) -> bool:
        """Whether these parts, each of which fits alone, lie side by side in the machine's chamber."""
        area = self.area
        total = 0.0
        for p in parts:
            total += area[p]
        return total <= self.limit[machine] and (
            self.size[machine] is None or self._nested(machine, parts) is not None
        )

    def layout(self, machine: int, parts: tuple[int, ...]) -> tuple[Placement, ...]:
        """Where the parts with a footprint lie; empty where the chamber's size is not known."""
        return (self._nested(machine, parts) or ()) if self.size[machine] is not None else ()

    def _nested(self, machine: int, parts: tuple[int, ...]) -> tuple[Placement, ...] | None:
        key = (machine, frozenset(parts))
        if key not in self.known:
            boxes = [(p, box) for p in sorted(parts) if (box := self.box[p]) is not None]
            size = self.size[machine]
            spots = place([box for _, box in boxes], size) if size is not None else None
            self.known[key] = (
                None
                if spots is None
                else tuple(
                    Placement(self.c.problem.parts[p].id, x, y, turned)
                    for (p, _), (x, y, turned) in zip(boxes, spots, strict=True)
                )
            )
        return self.known[key]


def sort_row(c: Compiled, row: list[Batch]) -> list[Batch]:
    """For the makespan, order of release is the best order of given batches."""
    return sorted(row, key=lambda b: b.release_s) if c.makespan else row


def row_cost(c: Compiled, machine: int, row: list[Batch]) -> tuple[float, float]:
    """Weighted tardiness plus broken wishes, and the last end, of one machine's batches in order."""
    state = _begin(c, machine)
    for batch in row:
        state = _behind(c, machine, state, batch)
    return state[1], state[2]


def _begin(c: Compiled, machine: int) -> State:
    return c.ready[machine], 0.0, c.ready[machine]


def _behind(c: Compiled, machine: int, state: State, batch: Batch) -> State:
    """The state behind one more batch; all infinite where no window holds the clearing before it."""
    free, cost, _ = state
    start = batch.release_s if batch.release_s > free else free
    if c.crewed(machine):
        start = c.people.earliest(start, c.clear)[0] + c.clear
        if start == INFINITY:
            return INFINITY, INFINITY, INFINITY
        cost += c.price * c.clear
    end = start + batch.duration_s
    for due, weight in batch.dues:
        if end > due:
            cost += weight * (end - due)
    cost += batch.moved
    return end + c.cooldown[machine], cost, end


def energy(c: Compiled, ends: list[float], costs: list[float]) -> float:
    """What the search minimises: the cost; for the makespan a norm without plateaus."""
    if not c.makespan:
        return sum(costs) + 1e-6 * sum(ends)
    top = max(ends)
    if not 0 < top < INFINITY:
        return top
    return float(top * sum((end / top) ** NORM for end in ends) ** (1 / NORM)) + 1e-9 * sum(costs)


def sequence(c: Compiled, order: str) -> tuple[int, ...]:
    """The parts by due date, height, release or area."""
    parts = c.problem.parts
    keys = {
        "due": lambda p: (parts[p].due_s if parts[p].due_s is not None else INFINITY, parts[p].release_s, p),
        "height": lambda p: (-parts[p].height_mm, -parts[p].area_mm2, p),
        "release": lambda p: (parts[p].release_s, parts[p].due_s or INFINITY, p),
        "area": lambda p: (-parts[p].area_mm2, -parts[p].height_mm, p),
    }
    return tuple(sorted(range(len(parts)), key=keys[order]))


def greedy(c: Compiled, plates: Plates, parts: tuple[int, ...]) -> Rows:
    """Each part in turn goes where it costs least: into an open batch, or into a new one at a machine's end."""
    rows: Rows = [[] for _ in c.ready]
    c.people.reset()
    states = [[_begin(c, m)] for m in range(len(rows))]
    used = [m for m, machine in enumerate(c.problem.machines) if machine.chamber is not None]
    slot = {m: i for i, m in enumerate(used)}
    costs = [states[m][-1][1] for m in used]
    ends = [states[m][-1][2] for m in used]
    for p in parts:
        best: tuple[float, int, list[Batch]] | None = None
        for m in plates.fits[p]:
            row, u = rows[m], slot[m]
            kept = costs[u], ends[u]
            for i in range(len(row) + 1):
                if i < len(row) and not plates.hold(m, (*row[i].parts, p)):
                    continue
                batch = c.grown(row[i], p) if i < len(row) else c.batch(m, (p,))
                trial = sort_row(c, [*row[:i], batch, *row[i + 1 :]])
                same = 0 if c.makespan else i
                state = states[m][same]
                for later in trial[same:]:
                    state = _behind(c, m, state, later)
                _, costs[u], ends[u] = state
                cost = energy(c, ends, costs)
                if best is None or cost < best[0]:
                    best = (cost, m, trial)
            costs[u], ends[u] = kept
        assert best is not None
        _, m, row = best
        rows[m] = row
        states[m] = _states(c, m, row)
        _, costs[slot[m]], ends[slot[m]] = states[m][-1]
    return rows


def _states(c: Compiled, machine: int, row: list[Batch]) -> list[State]:
    """The state before each batch of a row, and behind the last."""
    out = [_begin(c, machine)]
    for batch in row:
        out.append(_behind(c, machine, out[-1], batch))
    return out


class Anneal:
    """Simulated annealing on the batches: parts move and swap, batches merge, move and change places."""

    def __init__(self, c: Compiled, plates: Plates, rows: Rows, rng: Random) -> None:
        self.c, self.plates, self.rng = c, plates, rng
        self.rows = [list(row) for row in rows]
        self.machines = [m for m, machine in enumerate(c.problem.machines) if machine.chamber is not None]
        self.slot = {m: i for i, m in enumerate(self.machines)}
        c.people.reset()
        state = [row_cost(c, m, self.rows[m]) for m in self.machines]
        self.costs = [cost for cost, _ in state]
        self.ends = [end for _, end in state]
        self.now = self.best = energy(c, self.ends, self.costs)
        self.best_rows = [list(row) for row in self.rows]
        self.where = {p: m for m, row in enumerate(self.rows) for batch in row for p in batch.parts}

    def run(self, meter: Meter, goal: float) -> Rows:
        """The best rows found until the meter ends or the energy is down to `goal`."""
        hot = min(HOTTEST, HEAT_OF_A_PART / max(len(self.where), 1)) * max(self.best, 1.0)
        moves = 0
        heat = hot
        while self.best > goal and meter.spend():
            if moves % 64 == 0:
                heat = hot * (COOLING ** meter.progress())
            moves += 1
            changed = self._move()
            if changed:
                self._judge(changed, heat)
        return self.best_rows

    def _judge(self, changed: dict[int, list[Batch]], heat: float) -> None:
        """Take the changed rows if the energy is low enough for this heat."""
        costs, ends = list(self.costs), list(self.ends)
        for m, row in changed.items():
            row = changed[m] = sort_row(self.c, [batch for batch in row if batch.parts])
            costs[self.slot[m]], ends[self.slot[m]] = row_cost(self.c, m, row)
        new = energy(self.c, ends, costs)
        if new < self.now or self.rng.random() < math.exp((self.now - new) / heat):
            self.now, self.costs, self.ends = new, costs, ends
            for m, row in changed.items():
                self.rows[m] = row
                for batch in row:
                    for p in batch.parts:
                        self.where[p] = m
            if new < self.best - 1e-9:
                self.best = new
                self.best_rows = [list(row) for row in self.rows]

    def _move(self) -> dict[int, list[Batch]] | None:
        """New rows for one or two machines, or None where the drawn move does not exist."""
        draw = self.rng.random()
        p = int(self.rng.random() * len(self.where))
        if draw < 0.5:
            return self._move_part(p)
        if draw < 0.88:
            return self._swap(p, int(self.rng.random() * len(self.where)))
        return self._move_batch(p)

    def _find(self, p: int) -> tuple[int, int]:
        m = self.where[p]
        for i, batch in enumerate(self.rows[m]):
            if p in batch.parts:
                return m, i
        raise AssertionError("a part is in no batch")

    def _without(self, batch: Batch, p: int) -> Batch:
        return self.c.batch(batch.machine, tuple(q for q in batch.parts if q != p))

    def _move_part(self, p: int) -> dict[int, list[Batch]] | None:
        m, i = self._find(p)
        target = self.rng.choice(self.plates.fits[p])
        rows = {m: list(self.rows[m])}
        rows[m][i] = self._without(rows[m][i], p)
        row = rows.setdefault(target, list(self.rows[target]))
        k = int(self.rng.random() * (len(row) + 1))
        if k == len(row):
            row.insert(int(self.rng.random() * (len(row) + 1)), self.c.batch(target, (p,)))
            return rows
        members = (*row[k].parts, p)
        if (target, k) == (m, i) or not self.plates.hold(target, members):
            return None
        row[k] = self.c.batch(target, members)
        return rows

    def _swap(self, p: int, q: int) -> dict[int, list[Batch]] | None:
        m, i = self._find(p)
        n, k = self._find(q)
        if (m, i) == (n, k) or n not in self.plates.can[p] or m not in self.plates.can[q]:
            return None
        first = (*(x for x in self.rows[m][i].parts if x != p), q)
        second = (*(x for x in self.rows[n][k].parts if x != q), p)
        if not self.plates.hold(m, first) or not self.plates.hold(n, second):
            return None
        rows = {m: list(self.rows[m])}
        rows.setdefault(n, list(self.rows[n]))
        rows[m][i] = self.c.batch(m, first)
        rows[n][k] = self.c.batch(n, second)
        return rows

    def _move_batch(self, p: int) -> dict[int, list[Batch]] | None:
        """A whole batch to another place or machine, or into another batch."""
        m, i = self._find(p)
        members = self.rows[m][i].parts
        target = self.rng.choice(self.plates.fits[p])
        if any(target not in self.plates.can[q] for q in members):
            return None
        rows = {m: list(self.rows[m])}
        rows[m].pop(i)
        row = rows.setdefault(target, list(self.rows[target]))
        if row and self.rng.random() < 0.3:
            k = int(self.rng.random() * len(row))
            merged = (*row[k].parts, *members)
            if not self.plates.hold(target, merged):
                return None
            row[k] = self.c.batch(target, merged)
        elif target == m or self.plates.hold(target, members):
            row.insert(int(self.rng.random() * (len(row) + 1)), self.c.batch(target, members))
        else:
            return None
        return rows
