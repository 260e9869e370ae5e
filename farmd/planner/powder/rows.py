"""Batches in order: what a machine's row of them costs, and the orders in which parts are taken up.

Knows the time of a batch. People are seen as their windows only; where batches and builds fight for the same
people, `schedule.replay` settles it afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator

from farmd.planner.compiled import INFINITY, Batch, Compiled

Rows = list[list[Batch]]
ORDERS = ("due", "height", "release", "area")


def sort_row(c: Compiled, row: list[Batch]) -> list[Batch]:
    """For the makespan, order of release is the best order of given batches."""
    return sorted(row, key=lambda b: b.release_s) if c.makespan else row


def ends(c: Compiled, machine: int, row: list[Batch]) -> Iterator[float]:
    """The end of each of one machine's batches in order; infinite where no window holds the clearing before one."""
    free = c.ready[machine]
    for batch in row:
        start = max(batch.release_s, free)
        if c.crewed(machine):
            start = c.people.earliest(start, c.clear)[0] + c.clear
        end = start + batch.duration_s
        yield end
        free = end + c.cooldown[machine]


def row_cost(c: Compiled, machine: int, row: list[Batch]) -> tuple[float, float]:
    """Weighted tardiness plus broken wishes, and the last end, of one machine's batches in order.

    All infinite where no window holds the clearing before one.
    """
    end, cost = c.ready[machine], 0.0
    for batch, end in zip(row, ends(c, machine, row), strict=True):
        if end == INFINITY:
            return INFINITY, INFINITY
        cost += c.price * c.clear if c.crewed(machine) else 0.0
        cost += batch.moved + sum(weight * (end - due) for due, weight in batch.dues if end > due)
    return cost, end


def spread(c: Compiled, rows: Rows) -> float:
    """The ends of all batches together: less where there are fewer, or shorter ones."""
    c.people.reset()
    return sum(end for m, row in enumerate(rows) for end in ends(c, m, row))


def value(c: Compiled, rows: Rows) -> float:
    """The makespan of these batches, or their cost."""
    c.people.reset()
    known = [row_cost(c, m, row) for m, row in enumerate(rows) if row]
    return max((end for _, end in known), default=0.0) if c.makespan else sum(cost for cost, _ in known)


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
