"""Local search on the orders of the machines, by simulated annealing.

Knows moves and acceptance. A move changes one or two machines. Where people are unlimited the
machines do not meet, and only what comes after a change is put on the clock again; with limited
people the whole schedule is replayed.
"""

from __future__ import annotations

import math
from random import Random
from typing import Protocol

from farmd.planner.budget import Meter
from farmd.planner.compiled import INFINITY, Compiled, Jobs
from farmd.planner.schedule import Schedule, replay, valued

Row = list[int]
SECONDARY = 1e-3


class _Model(Protocol):
    """The cost of the rows as they are, and of rows in which those of some machines are others."""

    rows: list[Row]
    cost: float

    def trial(self, changed: dict[int, Row], limit: float) -> float: ...

    def accept(self, changed: dict[int, Row], cost: float) -> None: ...


class _Whole:
    """Limited people: every trial replays all machines."""

    def __init__(self, c: Compiled, jobs: Jobs, rows: list[Row]) -> None:
        self.c, self.jobs, self.rows = c, jobs, rows
        self.cost = self.trial({}, INFINITY)

    def trial(self, changed: dict[int, Row], limit: float) -> float:
        rows = [changed.get(m, row) for m, row in enumerate(self.rows)]
        placed = replay(self.c, self.jobs, rows, INFINITY if self.c.makespan else limit)
        if placed is None:
            return INFINITY
        schedule = valued(self.c, self.jobs, placed)
        if not self.c.makespan:
            return schedule.cost
        last = [self.c.problem.now_s] * len(rows)
        for p in placed:
            last[p.machine] = p.end
        return schedule.cost + SECONDARY * sum(last) / len(last)

    def accept(self, changed: dict[int, Row], cost: float) -> None:
        for m, row in changed.items():
            self.rows[m] = row
        self.cost = cost


class _Chains:
    """Unlimited people: each machine is a chain of its own, with its state kept before every job."""

    def __init__(self, c: Compiled, jobs: Jobs, rows: list[Row]) -> None:
        self.c, self.jobs, self.rows = c, jobs, rows
        c.people.reset()
        self.tried: dict[int, list[tuple[float, int, float, float]]] = {}
        self.before = [self._chain(m, row, 0, INFINITY) for m, row in enumerate(rows)]
        self.cost = self._total({})

    def _chain(self, m: int, row: Row, kept: int, limit: float) -> list[tuple[float, int, float, float]]:
        """(free, setup, cost, end) before each job of the row and after the last; `kept` jobs are as they were."""
        c, jobs = self.c, self.jobs
        out = self.before[m][: kept + 1] if kept else [(c.ready[m], c.setup0[m], 0.0, c.ready[m])]
        free, setup, cost, end = out[-1]
        people, clear, price = c.people, c.clear, c.price
        k, cooldown = c.class_of[m], c.cooldown[m]
        for job in row[kept:]:
            at = jobs.release[job]
            if at < free:
                at = free
            batch = jobs.batch[job]
            if batch is None:
                after = jobs.setup[job]
                work = clear + c.change[setup][after]
                setup = after
                cost += price * work + c.moved(job, m)
                at = people.earliest(at, work)[0] + work
            else:
                cost += batch.moved
                if c.crewed(m):
                    cost += price * clear
                    at = people.earliest(at, clear)[0] + clear
            end = at + jobs.durations[job][k]
            for due, weight in jobs.dues[job]:
                if end > due:
                    cost += weight * (end - due)
            free = end + cooldown
            out.append((free, setup, cost, end))
            if cost > limit or end == INFINITY:
                out.append((INFINITY, setup, INFINITY, INFINITY))
                break
        return out

    def _total(self, ends: dict[int, tuple[float, int, float, float]]) -> float:
        last = [ends.get(m) or states[-1] for m, states in enumerate(self.before)]
        cost = 0.0
        for state in last:
            cost += state[2]
        if not self.c.makespan:
            return cost if max((s[3] for s in last), default=0.0) < INFINITY else INFINITY
        return max(s[3] for s in last) + SECONDARY * sum(s[3] for s in last) / len(last)

    def trial(self, changed: dict[int, Row], limit: float) -> float:
        old = sum(self.before[m][-1][2] for m in changed)
        room = INFINITY if self.c.makespan else limit - self.cost + old
        self.tried = {}
        ends = {}
        for m, row in changed.items():
            states = self._chain(m, row, _same(self.rows[m], row), room)
            if states[-1][0] == INFINITY:
                return INFINITY
            self.tried[m] = states
            ends[m] = states[-1]
            room -= states[-1][2]
        if self.c.makespan:
            return self._total(ends)
        return self.cost - old + sum(state[2] for state in ends.values())

    def accept(self, changed: dict[int, Row], cost: float) -> None:
        for m, row in changed.items():
            self.rows[m] = row
            self.before[m] = self.tried[m]
        self.cost = cost


def _same(old: Row, new: Row) -> int:
    """How many jobs at the front are as they were."""
    n = 0
    for a, b in zip(old, new, strict=False):
        if a != b:
            break
        n += 1
    return n


def improve(c: Compiled, schedule: Schedule, meter: Meter, rng: Random, goal: float) -> Schedule:
    """The best schedule found until the meter ends or the cost is down to `goal`; never a worse one."""
    if meter.progress() >= 1.0:
        return schedule
    jobs = schedule.jobs
    rows = schedule.sequences(len(c.ready))
    model: _Model = _Whole(c, jobs, rows) if c.people.limited else _Chains(c, jobs, rows)
    best, best_rows = model.cost, [list(row) for row in rows]
    total = len(jobs.release)
    moves = 0
    heat = hot = max(model.cost, 1.0) / (5.0 * total)
    while best > goal and meter.spend():
        if moves % 32 == 0:
            heat = hot * (0.001 ** meter.progress())
        moves += 1
        changed = _move(c, jobs, model.rows, rng)
        if changed is None:
            continue
        limit = model.cost - heat * math.log(1.0 - rng.random())
        cost = model.trial(changed, limit)
        if cost <= limit and cost < INFINITY:
            model.accept(changed, cost)
            if cost < best - 1e-9:
                best, best_rows = cost, [list(row) for row in model.rows]
    placed = replay(c, jobs, best_rows)
    if placed is None:
        return schedule
    found = valued(c, jobs, placed)
    return found if found.cost < schedule.cost else schedule


def _move(c: Compiled, jobs: Jobs, rows: list[Row], rng: Random) -> dict[int, Row] | None:
    """A job to another place, or two jobs in each other's; None where the drawn move does not exist."""
    m = int(rng.random() * len(rows))
    if not rows[m]:
        return None
    i = int(rng.random() * len(rows[m]))
    job = rows[m][i]
    if jobs.batch[job] is not None:
        target = m
    else:
        machines = c.machines_of[job]
        target = m if rng.random() < 0.2 else machines[int(rng.random() * len(machines))]
    if rng.random() < 0.4 and rows[target]:
        return _swapped(c, jobs, rows, (m, i), (target, int(rng.random() * len(rows[target]))))
    row = rows[m][:i] + rows[m][i + 1 :]
    changed = {m: row}
    other = changed.setdefault(target, list(rows[target]))
    k = int(rng.random() * (len(other) + 1))
    if target == m and k == i:
        return None
    other.insert(k, job)
    return changed


def _swapped(
    c: Compiled, jobs: Jobs, rows: list[Row], here: tuple[int, int], there: tuple[int, int]
) -> dict[int, Row] | None:
    (m, i), (n, k) = here, there
    job, other = rows[m][i], rows[n][k]
    if job == other or (m != n and (jobs.batch[other] is not None or m not in c.machines_of[other])):
        return None
    changed = {m: list(rows[m])}
    changed.setdefault(n, list(rows[n]))
    changed[m][i] = other
    changed[n][k] = job
    return changed
