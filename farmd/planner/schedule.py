"""A schedule in positions, what it costs, and how it becomes a `Plan`.

Knows how jobs in given orders are put on the clock (`replay`) and how a schedule is valued. Knows
no rule of choosing orders.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from typing import NamedTuple

from farmd.planner.compiled import INFINITY, Compiled, Jobs
from farmd.planner.people import NOBODY
from farmd.planner.plans import Assignment, Placement, Plan, Value

MISSED_S = 0.1
"""Less is no missed deadline, but what a solver's grain has rounded; the checker allows a second."""
Layout = Callable[[int, tuple[int, ...]], tuple[Placement, ...]]


class Placed(NamedTuple):
    """One job on the clock; `work_at` is when the person's work starts (`start` where nobody is needed)."""

    job: int
    machine: int
    crew: int
    work_at: float
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """All jobs placed. `objective` is what the problem asks for, `cost` adds the price of broken wishes and buffers.

    `flow_s` is the sum of all ends: of two plans that cost the same, the one that is sooner done with
    everything leaves more room for what comes. `missed_s` is by how much deadlines are missed in all.
    """

    jobs: Jobs
    placed: list[Placed]
    value: Value
    objective: float
    cost: float
    flow_s: float
    missed_s: float = 0.0

    @property
    def rank(self) -> tuple[float, float, float]:
        """What makes one schedule better than another: deadlines, then cost, both to a millionth, then flow."""
        return (round(self.missed_s, 6), round(self.cost, 6), self.flow_s)

    def sequences(self, machines: int) -> list[list[int]]:
        """The jobs of each machine in time order."""
        rows: list[list[int]] = [[] for _ in range(machines)]
        for p in sorted(self.placed, key=lambda p: (p.start, p.end)):
            rows[p.machine].append(p.job)
        return rows


def valued(c: Compiled, jobs: Jobs, placed: list[Placed]) -> Schedule:
    """The schedule of these placements, with its value. Each machine's placements come in time order."""
    setup = list(c.setup0)
    tardiness = operator = moved = flow = early = wear = missed = 0.0
    makespan = c.problem.now_s
    changeovers = 0
    dues, of_job, clear, change, deadline = jobs.dues, jobs.setup, c.clear, c.change, jobs.deadline
    left, spools = list(c.left0), c.spools
    for job, machine, _crew, _at, start, end in placed:
        if end > makespan:
            makespan = end
        if end > deadline[job] + MISSED_S:
            missed += end - deadline[job]
        flow += end
        wear += c.wear[machine] * (end - start)
        batch = jobs.batch[job]
        for i, (due, weight) in enumerate(dues[job]):
            if end > due:
                if i > 0 and batch is None:
                    early += weight * (end - due)
                else:
                    tardiness += weight * (end - due)
        if batch is None:
            after = of_job[job]
            changed = after != setup[machine]
            operator += clear + change[setup[machine]][after]
            if spools:
                operator += c.spool_s(left, machine, job, changed=changed)
            changeovers += changed
            setup[machine] = after
            moved += c.moved(job, machine)
        else:
            moved += batch.moved
            if c.crewed(machine):
                operator += clear
    objective = makespan if c.makespan else tardiness + c.price * operator + wear
    value = Value(tardiness, makespan, changeovers, operator, wear)
    return Schedule(jobs, placed, value, objective, objective + moved + early, flow, missed)


def replay(
    c: Compiled, jobs: Jobs, sequences: Sequence[Sequence[int]], limit: float = INFINITY
) -> list[Placed] | None:
    """The jobs in the order of each machine, each as early as it and the people allow.

    Machines that could begin their next job first are served first. None when the windows do not
    suffice, or as soon as the weighted tardiness reaches `limit`.
    """
    people, terms = c.people, c.terms
    people.reset()
    terms.reset()
    free, clear, change, binding, spools = people.free, c.clear, c.change, terms.binding, c.spools
    release, setup_of, durations, dues, batch = (
        jobs.release, jobs.setup, jobs.durations, jobs.dues, jobs.batch,
    )  # fmt: skip
    setup, left = list(c.setup0), list(c.left0)
    class_of = c.class_of
    out: dict[int, list[float]] = {}
    position = [0] * len(sequences)
    heap = [(max(c.ready[m], release[row[0]]), m) for m, row in enumerate(sequences) if row]
    heapify(heap)
    placed: list[Placed] = []
    tardiness = 0.0
    while heap:
        at, m = heap[0]
        row = sequences[m]
        i = position[m]
        job = row[i]
        crew, work = NOBODY, 0.0
        attended = batch[job] is None or c.crewed(m)
        if attended:
            work = clear
            if batch[job] is None:
                work += change[setup[m]][setup_of[job]]
                if spools:
                    work += c.spool_s(left, m, job, changed=setup[m] != setup_of[job])
                setup[m] = setup_of[job]
        takes = durations[job][class_of[m]]
        if binding:
            at, crew, start = terms.begin(people, m, at, work, takes, attended=attended)
            if at == INFINITY:
                return None
            people.take(crew, at, work)
            terms.take(m, start, takes)
        else:
            if attended and not free:
                at, crew = people.soonest(at, work)
                if at == INFINITY:
                    return None
                people.take(crew, at, work)
            start = at + work
        end = start + takes
        if limit < INFINITY:
            for due, weight in dues[job]:
                if end > due:
                    tardiness += weight * (end - due)
            if tardiness >= limit:
                return None
        placed.append(Placed(job, m, crew, at, start, end))
        position[m] = i = i + 1
        if i < len(row):
            ready = c.free_again(m, end, out)
            later = release[row[i]]
            heapreplace(heap, (later if later > ready else ready, m))
        else:
            heappop(heap)
    return placed


def to_plan(c: Compiled, schedule: Schedule, status: str, bound: float | None, layout: Layout) -> Plan:
    """The schedule under the problem's names; `layout` says where a batch's parts lie on the plate."""
    problem = c.problem
    assignments = []
    for p in sorted(schedule.placed, key=lambda p: (p.start, p.machine)):
        batch = schedule.jobs.batch[p.job]
        worked = batch is None or c.crewed(p.machine)
        assignments.append(
            Assignment(
                machine=problem.machines[p.machine].name,
                start_s=p.start,
                end_s=p.end,
                build=c.run_name[p.job] if batch is None else None,
                parts=tuple(problem.parts[i].id for i in batch.parts) if batch is not None else (),
                crew=c.people.names[p.crew] if p.crew != NOBODY else None,
                operator_start_s=p.work_at if worked else None,
                placements=layout(p.machine, batch.parts) if batch is not None else (),
            )
        )
    return Plan(status, bound, schedule.value, tuple(assignments))
