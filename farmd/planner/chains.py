"""A plan read back as chains: what each machine does one after another, and what each step of it rests on.

Knows the problem's terms and the plan's. Judges nothing (that is `check.py`) and shares no code with any
solver; what is told and drawn of a plan is made from here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from farmd.planner.plans import Assignment, Plan
from farmd.planner.problem import Build, Machine, Part, Problem

TOLERANCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Due:
    """What was promised of one thing in a step: a run or a part, until when, and what a late second costs."""

    name: str
    due_s: float
    weight: float


@dataclass(frozen=True, slots=True)
class Link:
    """One assignment in its machine's chain, `position` counted from 0.

    `clear_s`, `changeover_s` and `spool_s` are a person's work, 0 where nobody is needed; `before` is the setup that
    it finds, `setup` the one that it leaves, with `left_g` of the lot that was loaded at first (None: enough).
    """

    assignment: Assignment
    machine: Machine
    position: int
    name: str
    build: Build | None
    parts: tuple[Part, ...]
    before: str | None
    setup: str | None
    clear_s: float
    changeover_s: float
    attended: bool
    spool_s: float = 0.0
    left_g: int | None = None

    @property
    def work_s(self) -> float:
        return self.clear_s + self.changeover_s + self.spool_s

    @property
    def begins_s(self) -> float:
        """When somebody, or the machine itself, first has to do with it."""
        operator_s = self.assignment.operator_start_s
        return self.assignment.start_s if operator_s is None or not self.attended else operator_s

    @property
    def duration_s(self) -> float:
        return self.assignment.end_s - self.assignment.start_s

    @property
    def cooldown_s(self) -> float:
        """In the machine."""
        chamber = self.machine.chamber
        return chamber.cooldown_s if chamber is not None and chamber.boxes == 1 else 0.0

    @property
    def free_s(self) -> float:
        """When the machine may be touched again."""
        return self.assignment.end_s + self.cooldown_s

    @property
    def release_s(self) -> float:
        return self.build.release_s if self.build else max((p.release_s for p in self.parts), default=0.0)

    @property
    def dues(self) -> tuple[Due, ...]:
        if self.build is not None:
            due_s = self.build.due_s
            return () if due_s is None else (Due(self.name, due_s, self.build.weight),)
        return tuple(Due(p.id, p.due_s, p.weight) for p in self.parts if p.due_s is not None)

    @property
    def weight(self) -> float:
        """What a second of delay costs once everything in it is late."""
        return self.build.weight if self.build is not None else sum(part.weight for part in self.parts)

    @property
    def late_s(self) -> float:
        """By how much the latest thing in it is late; 0 when all is in time."""
        return max([0.0, *(self.assignment.end_s - due.due_s for due in self.dues)])

    def tardiness_s(self, end_s: float) -> float:
        """The weighted tardiness if it ended then."""
        return sum(due.weight * max(0.0, end_s - due.due_s) for due in self.dues)


class Chains:
    """The links of each machine of the problem in order of time, and by the names of what is in them."""

    __slots__ = ("_pairs", "by_machine", "by_name", "problem")

    def __init__(self, problem: Problem, plan: Plan) -> None:
        """Assignments of machines or runs that the problem does not have are left out."""
        self.problem = problem
        self._pairs = {(a, b): seconds for a, b, seconds in problem.changeover_s.pairs}
        # What has a route is due at its end, and not when it is made.
        later = {route.of for route in problem.routes}
        builds = (b if b.id not in later else replace(b, due_s=None) for b in problem.builds)
        runs = {run: build for build in builds for run in build.run_ids()}
        parts = {p.id: p if p.id not in later else replace(p, due_s=None) for p in problem.parts}
        rows: dict[str, list[Assignment]] = {machine.name: [] for machine in problem.machines}
        for assignment in plan.assignments:
            if assignment.machine in rows:
                rows[assignment.machine].append(assignment)
        self.by_machine: dict[str, tuple[Link, ...]] = {}
        self.by_name: dict[str, Link] = {}
        for machine in problem.machines:
            row = sorted(rows[machine.name], key=lambda a: (a.start_s, a.end_s))
            chain = self._chain(machine, row, runs, parts)
            self.by_machine[machine.name] = chain
            for link in chain:
                for name in (link.name, *(part.id for part in link.parts)):
                    self.by_name[name] = link

    def _chain(
        self, machine: Machine, row: list[Assignment], runs: dict[str, Build], parts: dict[str, Part]
    ) -> tuple[Link, ...]:
        chain: list[Link] = []
        setup, left = machine.setup, loaded_g(machine)
        for a in row:
            build = runs.get(a.build or "")
            batch = tuple(parts[name] for name in a.parts if name in parts)
            if build is None and not batch:
                continue
            attended = build is not None or (machine.chamber is not None and machine.chamber.crewed)
            after = setup if build is None else build.setup
            spool_s = 0.0
            if build is not None:
                short, left = taken(left, build, changed=setup != after)
                spool_s = self.problem.spool_change_s if short else 0.0
            chain.append(
                Link(
                    assignment=a,
                    machine=machine,
                    position=len(chain),
                    name=a.build if build is not None and a.build else batch_name(a.parts),
                    build=build,
                    parts=batch,
                    before=setup,
                    setup=after,
                    clear_s=self.problem.clear_s if attended else 0.0,
                    changeover_s=0.0 if build is None else self.changeover_s(setup, build.setup),
                    attended=attended,
                    spool_s=spool_s,
                    left_g=left,
                )
            )
            setup = after
        return tuple(chain)

    def changeover_s(self, before: str | None, after: str | None) -> float:
        """A listed pair has its seconds; the same setup costs 0 unless listed; all else the default."""
        default = self.problem.changeover_s.default
        if before is None or after is None:
            return default
        return self._pairs.get((before, after), 0.0 if before == after else default)

    def links(self) -> list[Link]:
        return [link for chain in self.by_machine.values() for link in chain]

    def before(self, link: Link) -> Link | None:
        """What its machine does before it, as far as the plan goes."""
        return self.by_machine[link.machine.name][link.position - 1] if link.position else None

    def makespan_s(self) -> float:
        return max((link.assignment.end_s for link in self.links()), default=self.problem.now_s)


def loaded_g(machine: Machine) -> int | None:
    """Whole grams that are left of the lot on it; None for enough."""
    return None if machine.grams_left is None else math.floor(machine.grams_left)


def taken(left_g: int | None, build: Build, *, changed: bool) -> tuple[bool, int | None]:
    """Whether the spool must be changed for a run, and what is left after it."""
    if changed or left_g is None:
        return False, None
    more = left_g - math.ceil(build.grams)
    return (True, None) if more < 0 else (False, more)


def batch_name(parts: tuple[str, ...]) -> str:
    """`q1, q2 and 7 more`."""
    if len(parts) <= 3:
        return ", ".join(parts)
    return f"{parts[0]}, {parts[1]} and {len(parts) - 2} more"


def broken_wishes(chains: Chains) -> dict[str, str]:
    """Runs and parts that were announced for another machine than the plan has, with that machine."""
    found = {}
    for wish in chains.problem.announced:
        link = chains.by_name.get(wish.id)
        known = wish.machine in chains.by_machine
        if link is not None and known and link.machine.name != wish.machine:
            found[wish.id] = wish.machine
    return found
