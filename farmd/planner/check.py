"""The independent judge of plans: replays a plan on the problem's own numbers and names every broken rule.

Knows the rules of `farmd-problem/1` as sentences, one function each. Must never know how plans are
made: it shares no code with any scheduler and imports only the problem, the plan and the standard
library, so that an error in a scheduler cannot hide here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from farmd.planner.check_layout import (
    Point,
    build_height_mm,
    footprint,
    laid,
    overfull,
    overlap,
    too_large,
)
from farmd.planner.check_terms import Lot, Span, broken_terms
from farmd.planner.plans import Assignment, Plan, Value
from farmd.planner.problem import Build, Crew, Machine, Part, Problem
from farmd.planner.routes.check import Work, broken_routes, routed, works_of, worth

TOLERANCE_S = 1.0
LENGTH_TOLERANCE_MM = 1e-6


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: a stable code in kebab case, and a sentence with names and numbers."""

    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


@dataclass(frozen=True, slots=True)
class _Step:
    """An assignment with what it stands for; `work_s` is the person's work it needs, None for none."""

    assignment: Assignment
    machine: Machine
    build: Build | None
    parts: tuple[Part, ...]
    work_s: float | None
    changed: bool
    name: str

    @property
    def begins_s(self) -> float:
        operator = self.assignment.operator_start_s
        return self.assignment.start_s if self.work_s is None or operator is None else operator


def check(problem: Problem, plan: Plan) -> tuple[Violation, ...]:
    """Every rule that the plan breaks; empty when it holds. Times are allowed 1 s of tolerance."""
    found: list[Violation] = []
    steps = _steps(problem, plan, found)
    found += _everything_once(problem, plan)
    for chain in steps.values():
        found += _order_on_machine(chain)
        for step in chain:
            found += _not_too_early(problem, step)
            found += _duration(step)
            found += _work(problem, step)
            found += _chamber(step)
            found += _layout(step)
    every = [step for chain in steps.values() for step in chain]
    found += _people(problem, every, works_of(problem, plan))
    found += (Violation(*broken) for broken in broken_terms(problem, [_span(step) for step in every]))
    found += (Violation(*broken) for broken in broken_routes(problem, plan))
    found += _value(problem, plan, steps)
    return tuple(found)


def _span(step: _Step) -> Span:
    a = step.assignment
    return Span(step.name, step.machine, step.build, step.parts, step.begins_s, a.start_s, a.end_s)


def measure(problem: Problem, plan: Plan) -> Value:
    """The plan's value, recomputed from its assignments. Unknown names count for nothing."""
    return _measured(problem, plan, _steps(problem, plan, []))


def _steps(problem: Problem, plan: Plan, found: list[Violation]) -> dict[str, list[_Step]]:
    """The assignments of each machine in time order, with the setup change that each one makes."""
    machines = {machine.name: machine for machine in problem.machines}
    runs = {run: build for build in problem.builds for run in build.run_ids()}
    parts = {part.id: part for part in problem.parts}
    by_machine: dict[str, list[Assignment]] = {}
    for a in plan.assignments:
        name = a.build if a.build is not None else ", ".join(a.parts)
        if a.machine not in machines:
            found.append(Violation("unknown-machine", f"{name}: there is no machine {a.machine}"))
        elif (a.build is not None) == bool(a.parts):
            found.append(
                Violation("empty-assignment", f"{a.machine} at {a.start_s:.10g}: no build and no parts")
            )
        else:
            by_machine.setdefault(a.machine, []).append(a)
    pairs = {(source, target): seconds for source, target, seconds in problem.changeover_s.pairs}
    steps: dict[str, list[_Step]] = {}
    for machine_name, assignments in by_machine.items():
        machine = machines[machine_name]
        setup, lot = machine.setup, Lot(machine)
        chain = steps.setdefault(machine_name, [])
        for a in sorted(assignments, key=lambda a: (a.start_s, a.end_s)):
            if a.build is None:
                crewed = machine.chamber is not None and machine.chamber.crewed
                batch = tuple(parts[p] for p in a.parts if p in parts)
                work = problem.clear_s if crewed else None
                chain.append(_Step(a, machine, None, batch, work, False, f"batch of {', '.join(a.parts)}"))
            elif a.build in runs:
                build = runs[a.build]
                work = problem.clear_s + _changeover(pairs, problem.changeover_s.default, setup, build.setup)
                if lot.is_short(build, changed=setup != build.setup):
                    work += problem.spool_change_s
                chain.append(_Step(a, machine, build, (), work, setup != build.setup, a.build))
                setup = build.setup
    return steps


def _changeover(pairs: dict[tuple[str, str], float], default: float, before: str | None, after: str) -> float:
    """A listed pair has its seconds; the same setup costs 0 unless listed; all else the default."""
    if before is None:
        return default
    return pairs.get((before, after), 0.0 if before == after else default)


def _everything_once(problem: Problem, plan: Plan) -> Iterator[Violation]:
    """Every run of every build and every part is in the plan exactly once, and nothing else is."""
    seen: dict[str, int] = {}
    for a in plan.assignments:
        for name in (a.build,) if a.build is not None else a.parts:
            seen[name] = seen.get(name, 0) + 1
    wanted = [(run, "run") for build in problem.builds for run in build.run_ids()]
    wanted += [(part.id, "part") for part in problem.parts]
    for name, kind in wanted:
        times = seen.pop(name, 0)
        if times == 0:
            yield Violation("not-scheduled", f"{kind} {name} is not in the plan")
        elif times > 1:
            yield Violation("scheduled-twice", f"{kind} {name} is in the plan {times} times")
    for name in seen:
        yield Violation("unknown-name", f"the problem has no run or part {name}")


def _order_on_machine(chain: list[_Step]) -> Iterator[Violation]:
    """A machine does one thing at a time, and a chamber cools down before it is touched again, or its box does."""
    free = -math.inf
    before = ""
    ends: list[float] = []
    for step in chain:
        chamber = step.machine.chamber
        boxes = 1 if chamber is None else chamber.boxes
        if step.begins_s < free - TOLERANCE_S:
            yield Violation(
                "overlap",
                f"{step.machine.name}: {step.name} begins at {step.begins_s:.10g}, "
                f"but {before} keeps the machine until {free:.10g}",
            )
        cooldown = chamber.cooldown_s if chamber is not None and boxes == 1 else 0.0
        if chamber is not None and 1 < boxes <= len(ends):
            cool = ends[-boxes] + chamber.cooldown_s
            if step.begins_s < cool - TOLERANCE_S:
                yield Violation(
                    "no-box",
                    f"{step.machine.name}: {step.name} begins at {step.begins_s:.10g}, but its {boxes} boxes "
                    f"are full until {cool:.10g}",
                )
        ends.append(step.assignment.end_s)
        if step.assignment.end_s + cooldown >= free:
            free = step.assignment.end_s + cooldown
            before = step.name


def _not_too_early(problem: Problem, step: _Step) -> Iterator[Violation]:
    """Nothing begins before now, before its release, or before its machine is available."""
    if step.begins_s < problem.now_s - TOLERANCE_S:
        yield Violation(
            "before-now", f"{step.name} begins at {step.begins_s:.10g}; now is {problem.now_s:.10g}"
        )
    release = step.build.release_s if step.build else max((p.release_s for p in step.parts), default=0.0)
    if step.begins_s < release - TOLERANCE_S:
        yield Violation(
            "before-release", f"{step.name} begins at {step.begins_s:.10g}; it is released at {release:.10g}"
        )
    if step.begins_s < step.machine.available_s - TOLERANCE_S:
        yield Violation(
            "before-available",
            f"{step.name} begins at {step.begins_s:.10g}; "
            f"{step.machine.name} is available at {step.machine.available_s:.10g}",
        )


def _duration(step: _Step) -> Iterator[Violation]:
    """A build takes its duration on the machine's type; a batch takes what its parts and chamber give."""
    if step.build is not None:
        if step.machine.type not in step.build.duration_s:
            yield Violation(
                "wrong-machine", f"{step.name} does not run on {step.machine.name} ({step.machine.type})"
            )
            return
        if step.machine.chamber is not None and step.machine.setup != step.build.setup:
            yield Violation(
                "setup-mismatch",
                f"{step.name} needs {step.build.setup}; the chamber of {step.machine.name} has "
                f"{step.machine.setup} and never changes",
            )
        expected = step.build.duration_s[step.machine.type]
    elif step.machine.chamber is not None:
        chamber = step.machine.chamber
        expected = (
            chamber.setup_s
            + chamber.s_per_mm3 * sum(part.volume_mm3 for part in step.parts)
            + chamber.s_per_mm * build_height_mm(chamber, step.parts)
        )
    else:
        yield Violation("wrong-machine", f"{step.name}: {step.machine.name} has no chamber")
        return
    taken = step.assignment.end_s - step.assignment.start_s
    if not abs(taken - expected) <= TOLERANCE_S:
        yield Violation(
            "wrong-duration",
            f"{step.name} takes {taken:.10g} s in the plan and {expected:.10g} s on the machine",
        )


def _work(problem: Problem, step: _Step) -> Iterator[Violation]:
    """The work before a start is long enough, and lies in one window of a crew that exists."""
    if step.work_s is None:
        return
    a = step.assignment
    if a.operator_start_s is None:
        yield Violation(
            "work-missing", f"{step.name}: nobody works before it; {step.work_s:.10g} s are needed"
        )
        return
    if a.start_s < a.operator_start_s + step.work_s - TOLERANCE_S:
        yield Violation(
            "work-too-short",
            f"{step.name}: {a.start_s - a.operator_start_s:.10g} s before the start; "
            f"clearing, changeover and change of spool take {step.work_s:.10g} s",
        )
    if not problem.crews:
        if a.crew is not None:
            yield Violation("unknown-crew", f"{step.name}: there is no crew {a.crew}")
        return
    crew = next((c for c in problem.crews if c.name == a.crew), None)
    if crew is None:
        yield Violation("unknown-crew", f"{step.name}: there is no crew {a.crew}")
    elif not any(
        start - TOLERANCE_S <= a.operator_start_s and a.operator_start_s + step.work_s <= end + TOLERANCE_S
        for start, end in problem.windows_of(crew)
    ):
        yield Violation(
            "outside-window",
            f"{step.name}: work from {a.operator_start_s:.10g} to {a.operator_start_s + step.work_s:.10g} "
            f"lies in no window of {crew.name}",
        )


def _people(problem: Problem, steps: list[_Step], works: list[Work]) -> Iterator[Violation]:
    """At no time does a crew work at more places than it has people. Overlaps up to the tolerance are none."""
    for crew in problem.crews:
        if crew.people is not None:
            yield from _peak(crew, crew.people, steps, works)


def _peak(crew: Crew, people: int, steps: list[_Step], works: list[Work]) -> Iterator[Violation]:
    events: list[tuple[float, int]] = []
    for work in works:
        if work.crew == crew.name and people == 0:
            yield Violation("too-few-people", f"{work.name}: {crew.name} has nobody")
        elif work.crew == crew.name and work.work_s > TOLERANCE_S:
            events += [(work.start_s, 1), (work.start_s + work.work_s - TOLERANCE_S, -1)]
    for step in steps:
        start = step.assignment.operator_start_s
        if step.work_s is not None and start is not None and step.assignment.crew == crew.name:
            if people == 0:
                yield Violation("too-few-people", f"{step.name}: {crew.name} has nobody")
            elif step.work_s > TOLERANCE_S:
                events += [(start, 1), (start + step.work_s - TOLERANCE_S, -1)]
    busy, worst, when = 0, 0, 0.0
    for time, change in sorted(events):
        busy += change
        if busy > worst:
            worst, when = busy, time
    if people and worst > people:
        yield Violation(
            "too-few-people", f"{crew.name} works at {worst} places at {when:.10g} and has {people} people"
        )


def _chamber(step: _Step) -> Iterator[Violation]:
    """Parts of the chamber's setup, not too high, not too fine, and together within its area."""
    chamber = step.machine.chamber
    if chamber is None or step.build is not None:
        return
    for part in step.parts:
        if part.setup != step.machine.setup:
            yield Violation(
                "setup-mismatch",
                f"part {part.id} needs {part.setup}; {step.machine.name} has {step.machine.setup}",
            )
        if part.height_mm > chamber.height_mm:
            yield Violation(
                "too-high",
                f"part {part.id} is {part.height_mm:g} mm high; "
                f"{step.machine.name} takes {chamber.height_mm:g} mm",
            )
        if part.precision > chamber.precision:
            yield Violation(
                "too-precise",
                f"part {part.id} needs precision {part.precision:g}; {step.machine.name} has {chamber.precision:g}",
            )
    for what in overfull(step.name, step.machine.name, chamber, step.parts):
        yield Violation("overfull", what)


def _layout(step: _Step) -> Iterator[Violation]:
    """Where the chamber's size is known, each part with a footprint has a place on the plate of its own."""
    chamber = step.machine.chamber
    if chamber is None or chamber.size_mm is None or step.build is not None:
        return
    if chamber.packing_density is not None:
        for what in too_large(step.machine.name, chamber.size_mm, step.parts):
            yield Violation("layout", what)
        return
    size = chamber.size_mm
    places = {placement.part: placement for placement in step.assignment.placements}
    if len(places) != len(step.assignment.placements):
        yield Violation("layout", f"{step.name}: a part is placed twice")
    there: list[tuple[str, list[Point]]] = []
    for part in step.parts:
        outline = footprint(part)
        if outline is None:
            continue
        place = places.get(part.id)
        if place is None:
            yield Violation("layout", f"part {part.id} has no place on the plate of {step.machine.name}")
            continue
        points = laid(outline, place)
        if not all(
            -LENGTH_TOLERANCE_MM <= x <= size[0] + LENGTH_TOLERANCE_MM
            and -LENGTH_TOLERANCE_MM <= y <= size[1] + LENGTH_TOLERANCE_MM
            for x, y in points
        ):
            yield Violation("layout", f"part {part.id} sticks out of the plate of {step.machine.name}")
        for other, others in there:
            if overlap(points, others):
                yield Violation("layout", f"parts {other} and {part.id} overlap on {step.machine.name}")
        there.append((part.id, points))


def _measured(problem: Problem, plan: Plan, steps: dict[str, list[_Step]]) -> Value:
    tardiness, makespan, operator = worth(problem, plan)
    changeovers, wear, later = 0, 0.0, routed(problem)
    for chain in steps.values():
        for step in chain:
            end = step.assignment.end_s
            makespan = max(makespan, end)
            changeovers += step.changed
            operator += step.work_s or 0.0
            wear += step.machine.wear_price * (end - step.assignment.start_s)
            for made in (step.build,) if step.build is not None else step.parts:
                if made.due_s is not None and made.id not in later:
                    tardiness += made.weight * max(0.0, end - made.due_s)
    return Value(tardiness, makespan, changeovers, operator, wear)


def _value(problem: Problem, plan: Plan, steps: dict[str, list[_Step]]) -> Iterator[Violation]:
    """The stated value is the plan's own, a bound is below it, and an optimum reaches its bound."""
    own, stated = _measured(problem, plan, steps), plan.value
    for name in ("weighted_tardiness_s", "makespan_s", "changeovers", "operator_s", "wear_s"):
        true, said = getattr(own, name), getattr(stated, name)
        if not abs(true - said) <= max(TOLERANCE_S if name != "changeovers" else 0.0, 1e-9 * abs(true)):
            yield Violation("value-off", f"{name} is stated as {said:.15g}; the assignments give {true:.15g}")
    objective = own.makespan_s
    if problem.objective == "weighted_tardiness":
        objective = own.weighted_tardiness_s + problem.operator_price * own.operator_s + own.wear_s
    slack = max(TOLERANCE_S, 1e-6 * abs(objective))
    if plan.bound is not None and plan.bound > objective + slack:
        yield Violation("bound-off", f"the lower bound {plan.bound:g} lies above the value {objective:g}")
    if plan.status == "optimal" and (plan.bound is None or plan.bound < objective - slack):
        yield Violation("bound-off", f"optimal is stated; the bound is {plan.bound}, the value {objective:g}")
    if plan.status == "infeasible" and plan.assignments:
        yield Violation("wrong-status", "infeasible is stated, and there are assignments")
