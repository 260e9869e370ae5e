"""What no plan can beat: a lower bound of the objective, and the builds and parts that no plan can hold.

Knows each build and part alone on an empty shop, and the total of the shortest durations.
"""

from __future__ import annotations

from farmd.planner.compiled import INFINITY, Compiled


def impossible(c: Compiled) -> tuple[str, ...]:
    """Of each build or part that no plan can hold, its id and why; empty when each alone can be planned."""
    c.people.reset()
    out = []
    begins: dict[int, float] = {}
    enter = [min(row[s] for t, row in enumerate(c.change) if t != s) for s in range(len(c.setups))]
    for b, build in enumerate(c.problem.builds):
        machines = c.machines_of[c.first_run[b]]
        setup = c.setups[build.setup]
        least = enter[setup]
        if any(c.setup0[m] == setup for m in machines):
            least = min(least, c.change[setup][setup])
        work = c.clear + least
        key = id(machines)
        if key not in begins:
            begins[key] = min(c.ready[m] for m in machines)
        begin = begins[key]
        if c.people.earliest(max(begin, build.release_s), c.clear)[0] == INFINITY:
            work = c.clear
        elif c.people.earliest(begin, work)[0] < INFINITY:
            continue
        out.append(f"{build.id}: no window of any crew is left for {work:g} s of work from {begin:g} s on")
    for part in c.problem.parts:
        machines = [m for m, machine in enumerate(c.problem.machines) if part.fits(machine)]
        if all(_batch_start(c, m, part.release_s) == INFINITY for m in machines):
            out.append(
                f"{part.id}: no window of any crew is left for {c.clear:g} s of clearing before its batch"
            )
    return tuple(out)


def _batch_start(c: Compiled, machine: int, release: float) -> float:
    at = max(c.ready[machine], release)
    return c.people.earliest(at, c.clear)[0] + c.clear if c.crewed(machine) else at


def lower_bound(c: Compiled) -> float:
    """A value of the objective that no plan can be below (0 at least)."""
    c.people.reset()
    tardiness, makespan, operator, total = 0.0, c.problem.now_s, 0.0, 0.0
    into = [min(row[s] for row in c.change) for s in range(len(c.setups))]
    first: dict[int, float] = {}
    for m, k in enumerate(c.class_of):
        first[k] = min(first.get(k, INFINITY), c.ready[m])
    for b, build in enumerate(c.problem.builds):
        times = c.jobs.durations[c.first_run[b]]
        work = c.clear + into[c.setups[build.setup]]
        end = min(
            c.people.earliest(max(first[k], build.release_s), work)[0] + work + times[k]
            for k in first
            if times[k] < INFINITY
        )
        makespan = max(makespan, end)
        if build.due_s is not None:
            tardiness += build.count * build.weight * max(0.0, end - build.due_s)
        operator += build.count * work
        total += build.count * (work + min(times))
    for p, part in enumerate(c.problem.parts):
        machines = [m for m, machine in enumerate(c.problem.machines) if part.fits(machine)]
        end = min(_batch_start(c, m, part.release_s) + c.batch(m, (p,)).duration_s for m in machines)
        makespan = max(makespan, end)
        if part.due_s is not None:
            tardiness += part.weight * max(0.0, end - part.due_s)
    if not c.makespan:
        return tardiness + c.price * operator
    return max(makespan, min(c.ready) + total / len(c.ready)) if c.ready else makespan
