"""What no plan can beat: a lower bound of the objective, and the builds and parts that no plan can hold.

Knows each build and part alone on an empty shop, and the total of the shortest durations.
"""

from __future__ import annotations

from farmd.planner.compiled import INFINITY, Compiled

TOLERANCE_S = 1.0
"""As much may a plan miss a deadline by for the checker."""


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
        out.append(f"{build.id}: no window of any crew is left for {work:g} s of work from {begin:.10g} s on")
    for part in c.problem.parts:
        machines = [m for m, machine in enumerate(c.problem.machines) if part.fits(machine)]
        if all(_batch_start(c, m, part.release_s) == INFINITY for m in machines):
            out.append(
                f"{part.id}: no window of any crew is left for {c.clear:g} s of clearing before its batch"
            )
    return tuple(out)


def too_late(c: Compiled) -> dict[str, str]:
    """Of each build or part that cannot end by its deadline even alone on an empty shop, by id, why."""
    c.people.reset()
    c.terms.reset()
    into = [min(row[s] for row in c.change) for s in range(len(c.setups))]
    out = {}
    for b, build in enumerate(c.problem.builds):
        if build.deadline_s is not None:
            run = c.first_run[b]
            work = c.clear + into[c.setups[build.setup]]
            times = c.jobs.durations[run]
            end = min(
                _end(c, m, build.release_s, work, times[c.class_of[m]], attended=True)
                for m in c.machines_of[run]
            )
            if end > build.deadline_s + TOLERANCE_S:
                out[build.id] = _why(end, build.deadline_s)
    for p, part in enumerate(c.problem.parts):
        if part.deadline_s is not None:
            machines = [m for m, machine in enumerate(c.problem.machines) if part.fits(machine)]
            end = min(
                _end(c, m, part.release_s, c.clear, c.batch(m, (p,)).duration_s, attended=c.crewed(m))
                for m in machines
            )
            if end > part.deadline_s + TOLERANCE_S:
                out[part.id] = _why(end, part.deadline_s)
    return out


def _end(c: Compiled, m: int, release: float, work: float, takes: float, *, attended: bool) -> float:
    at = max(c.ready[m], release)
    return c.terms.begin(c.people, m, at, work if attended else 0.0, takes, attended=attended)[2] + takes


def _why(end_s: float, deadline_s: float) -> str:
    return (
        f"alone on an empty shop it ends at {end_s:.10g} at the earliest; its deadline is {deadline_s:.10g}"
    )


def _batch_start(c: Compiled, machine: int, release: float) -> float:
    at = max(c.ready[machine], release)
    return c.people.earliest(at, c.clear)[0] + c.clear if c.crewed(machine) else at


def lower_bound(c: Compiled) -> float:
    """A value of the objective that no plan can be below (0 at least)."""
    c.people.reset()
    tardiness, makespan, operator, total, wear = 0.0, c.problem.now_s, 0.0, 0.0, 0.0
    into = [min(row[s] for row in c.change) for s in range(len(c.setups))]
    first: dict[int, float] = {}
    price: dict[int, float] = {}
    for m, k in enumerate(c.class_of):
        first[k] = min(first.get(k, INFINITY), c.ready[m])
        price[k] = min(price.get(k, INFINITY), c.wear[m])
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
        wear += build.count * min(price[k] * times[k] for k in first if times[k] < INFINITY)
        total += build.count * (work + min(times))
    for p, part in enumerate(c.problem.parts):
        machines = [m for m, machine in enumerate(c.problem.machines) if part.fits(machine)]
        end = min(_batch_start(c, m, part.release_s) + c.batch(m, (p,)).duration_s for m in machines)
        makespan = max(makespan, end)
        if part.due_s is not None:
            tardiness += part.weight * max(0.0, end - part.due_s)
    if not c.makespan:
        return tardiness + c.price * operator + wear
    return max(makespan, min(c.ready) + total / len(c.ready)) if c.ready else makespan
