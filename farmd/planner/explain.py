"""Why a plan is as it is: what each step waits for, what it would cost elsewhere, and why it is late.

Pure: a problem and a plan in, reasons out. Everything is worked out on the plan itself, with all other work where
it is; no solver is asked, so it holds for plans from anywhere. Times are seconds on the problem's clock.

A step's waits lie end to end, from the problem's now to its start; their kinds are told in `wait.py`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from farmd.planner.chains import TOLERANCE_S, Chains, Link, broken_wishes
from farmd.planner.elsewhere import (
    Ahead,
    Alternative,
    ahead_of,
    alone_end_s,
    alternatives_to,
    cost_s,
    opens_s,
    wear_s,
)
from farmd.planner.plans import Plan
from farmd.planner.problem import Machine, Problem
from farmd.planner.rota import Rota, Work
from farmd.planner.routes.explain import RouteExplainer, station_works
from farmd.planner.wait import Wait

PREPARING = ("clear", "changeover", "spool")
"""The kinds of a person's work before a start."""
MOST_NAMED = 5
"""So many of those who are at work elsewhere are named."""


@dataclass(frozen=True, slots=True)
class Lateness:
    """Why a step is late.

    `alone_end_s` is when it would end on its fastest machine if nothing else were planned; `ahead` are the
    steps before it on its machine, the nearest first, with what it would cost to be before them; none where
    the makespan is what counts.
    """

    late_s: float
    weighted_tardiness_s: float
    alone_end_s: float
    ahead: tuple[Ahead, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """One step. `binds` is the kind of the last wait before work on it begins, or `now` where there is none."""

    name: str
    machine: str
    crew: str | None
    before: str | None
    setup: str | None
    operator_start_s: float | None
    start_s: float
    end_s: float
    cost_s: float
    binds: str
    waits: tuple[Wait, ...]
    announced: str | None
    alternatives: tuple[Alternative, ...]
    late: Lateness | None

    def as_dict(self) -> dict[str, Any]:
        return {key: _finite(value) for key, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class MachineStory:
    """What a machine does in a plan, and why it does nothing in between. Its waits are those of its steps."""

    machine: str
    steps: tuple[str, ...]
    makes_s: float
    people_s: float
    idle_s: float
    idle: tuple[Wait, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Explainer:
    """Answers questions about one plan, which must be one that the checker accepts."""

    def __init__(self, problem: Problem, plan: Plan) -> None:
        self.problem = problem
        self.chains = Chains(problem, plan)
        self._broken = broken_wishes(self.chains)
        self._machines = {machine.name: machine for machine in problem.machines}
        self._works = {link.name: work for link in self.chains.links() if (work := work_of(link))}
        self._rota = Rota(problem, (*self._works.values(), *station_works(problem, plan)))
        self.routes = RouteExplainer(problem, plan, self._rota)
        self._at_stations = station_works(problem, plan)
        self._by_start = sorted((work.start_s, name) for name, work in self._works.items())
        self._longest_s = max((work.work_s for work in self._works.values()), default=0.0)

    # --- steps --------------------------------------------------------------------------------

    def find(self, subject: str) -> tuple[Link, ...]:
        """The steps of a run, a build with all its runs, or a part; none for an unknown name."""
        if subject in self.chains.by_name:
            return (self.chains.by_name[subject],)
        build = next((build for build in self.problem.builds if build.id == subject), None)
        runs = build.run_ids() if build is not None else ()
        return tuple(self.chains.by_name[run] for run in runs if run in self.chains.by_name)

    def step(self, link: Link) -> Explanation:
        """Why it is there and why then, with every other machine it could go to."""
        a = link.assignment
        waits = self.waits(link)
        before = [wait.kind for wait in waits if wait.until_s <= link.begins_s + TOLERANCE_S]
        others = self._without(link)
        cost = cost_s(self.problem, link, a.end_s, link.work_s)
        cost += wear_s(self.problem, link.machine, link.duration_s)
        return Explanation(
            name=link.name,
            machine=link.machine.name,
            crew=a.crew,
            before=link.before,
            setup=link.setup,
            operator_start_s=a.operator_start_s,
            start_s=a.start_s,
            end_s=a.end_s,
            cost_s=cost,
            binds=next((kind for kind in reversed(before) if kind not in PREPARING), "now"),
            waits=waits,
            announced=next((self._broken[name] for name in self.names(link) if name in self._broken), None),
            alternatives=alternatives_to(self.chains, link, others),
            late=self._late(link) if link.late_s > TOLERANCE_S else None,
        )

    def names(self, link: Link) -> tuple[str, ...]:
        """What is in a step: its run, or its parts."""
        return tuple(part.id for part in link.parts) or (link.name,)

    def costliest(self, most: int = 10) -> tuple[Link, ...]:
        """The steps that cost most, those that cost nothing left out; for the makespan, those that end last."""
        links = self.chains.links()
        if self.problem.objective == "makespan":
            return tuple(sorted(links, key=lambda x: (-x.assignment.end_s, x.name))[:most])
        costs = [(cost_s(self.problem, x, x.assignment.end_s, x.work_s), x) for x in links]
        costs = [(cost, link) for cost, link in costs if cost > 0]
        costs.sort(key=lambda pair: (-pair[0], pair[1].begins_s, pair[1].name))
        return tuple(link for _, link in costs[:most])

    def waits(self, link: Link) -> tuple[Wait, ...]:
        """What it waits for, one after another, from now to its start."""
        a = link.assignment
        waits = self._floor(link)
        at = waits[-1].until_s if waits else self.problem.now_s
        begins = link.begins_s
        while at < begins - TOLERANCE_S:
            more = self._maintenance(link, at) or (self._people(link, at) if link.attended else [])
            if not more:
                break
            waits += more
            at = waits[-1].until_s
        if begins > at + TOLERANCE_S:
            waits.append(
                Wait(
                    "choice", at, begins, "machine, work and people are there; the plan leaves it until then"
                )
            )
        if link.attended:
            at = begins
            for kind, seconds, what in (
                ("clear", link.clear_s, "the machine is cleared"),
                (
                    "changeover",
                    link.changeover_s,
                    f"changeover from {link.before or 'nothing known'} to {link.setup}",
                ),
                ("spool", link.spool_s, "change of spool: too little is left of the lot"),
            ):
                if seconds > 0:
                    waits.append(Wait(kind, at, at + seconds, what, (link.before or "", link.setup or "")))
                    at += seconds
            if a.start_s > at + TOLERANCE_S:
                waits.append(self._prepared(link, at))
        return tuple(waits)

    def _maintenance(self, link: Link, at: float) -> list[Wait]:
        """Until the machine is open for all of it; nothing where it is."""
        until = min(opens_s(link.machine, at, at + link.work_s + link.duration_s), link.begins_s)
        if until <= at + TOLERANCE_S:
            return []
        shut = next(
            s for s in sorted(link.machine.shut) if s[1] > at and s[0] < at + link.work_s + link.duration_s
        )
        what = "is shut for maintenance" if shut[0] <= at else "is shut for maintenance before it could end"
        return [Wait("maintenance", at, until, f"{link.machine.name} {what}")]

    def _prepared(self, link: Link, at: float) -> Wait:
        """Why it starts later than its work ends."""
        start = link.assignment.start_s
        for group in self.problem.power_groups:
            if link.machine.name in group.machines:
                warm = [
                    other.name
                    for name in group.machines
                    for other in self.chains.by_machine[name]
                    if other is not link
                    and other.assignment.start_s - group.warm_up_s < at + group.warm_up_s
                    and other.assignment.start_s + group.warm_up_s > at
                ]
                if len(warm) >= group.at_once:
                    what = f"{group.name} has power to warm up {group.at_once} at once"
                    return Wait("power", at, start, what, tuple(warm[-MOST_NAMED:]))
        return Wait("choice", at, start, "prepared; the plan starts it only then")

    def _floor(self, link: Link) -> list[Wait]:
        """Until the machine and the work are both there; of the two, the later counts."""
        now = self.problem.now_s
        name = link.machine.name
        waits: list[Wait] = []
        before = self.chains.before(link)
        if before is not None:
            waits.append(
                Wait("busy", now, before.assignment.end_s, f"{name} has {before.name} first", (before.name,))
            )
            if before.cooldown_s > 0:
                end = before.assignment.end_s
                waits.append(
                    Wait("cooldown", end, before.free_s, f"{name} cools down after it", (before.name,))
                )
        elif link.machine.available_s > now:
            waits.append(Wait("available", now, link.machine.available_s, f"{name} is not available before"))
        free = waits[-1].until_s if waits else now
        if link.release_s > free + TOLERANCE_S:
            late = max(link.parts, key=lambda p: p.release_s).id if link.parts else link.name
            return [Wait("release", now, link.release_s, f"{late} is not released before", (late,))]
        return [wait for wait in waits if wait.until_s > wait.from_s + TOLERANCE_S]

    def _people(self, link: Link, at: float) -> list[Wait]:
        """Until somebody is there: first a shift with time enough, then one of its people."""
        begins, work_s, waits = link.begins_s, link.work_s, []
        shift = min(self._rota.earliest(at, work_s, anyone=True), begins)
        if shift > at + TOLERANCE_S:
            crews = tuple(crew.name for crew in self._rota.at_work(at))
            what = f"too little is left of {' and '.join(crews)}" if crews else "it is nobody's working time"
            waits.append(Wait("shift", at, shift, what, tuple(c.name for c in self._rota.at_work(shift))))
        own = self._works.get(link.name)
        person = min(self._rota.earliest(shift, work_s, without=own), begins)
        if person > shift + TOLERANCE_S:
            crews = tuple(crew.name for crew in self._rota.at_work(shift))
            what = f"all people of {' and '.join(crews) or 'the shift'} are at work"
            waits.append(Wait("people", shift, person, what, self._at_work(shift, person, crews, link.name)))
        return waits

    def _at_work(self, from_s: float, until_s: float, crews: tuple[str, ...], but: str) -> tuple[str, ...]:
        """The steps, the last to begin, at which people of these crews work then."""
        first = bisect_left(self._by_start, (from_s - self._longest_s, ""))
        last = bisect_left(self._by_start, (until_s, ""))
        named = [
            name
            for _, name in self._by_start[first:last]
            if name != but and self._works[name].end_s > from_s and self._works[name].crew in crews
        ]
        return tuple(named[-MOST_NAMED:])

    def _late(self, link: Link) -> Lateness:
        return Lateness(
            late_s=link.late_s,
            weighted_tardiness_s=link.tardiness_s(link.assignment.end_s),
            alone_end_s=alone_end_s(self.chains, link, Rota(self.problem, ())),
            ahead=() if self.problem.objective == "makespan" else ahead_of(self.chains, link, self._works),
        )

    def _without(self, link: Link) -> Rota:
        if link.name not in self._works:
            return self._rota
        others = (work for name, work in self._works.items() if name != link.name)
        return Rota(self.problem, (*others, *self._at_stations))

    # --- machines -----------------------------------------------------------------------------

    def machine(self, name: str) -> MachineStory | None:
        """What it does and why it stands idle between; None for an unknown name."""
        if name not in self._machines:
            return None
        chain = self.chains.by_machine[name]
        idle: list[Wait] = []
        free = max(self.problem.now_s, self._machines[name].available_s)
        for link in chain:
            idle += _within(self.waits(link), free, link.begins_s)
            free = link.free_s
        end = self.chains.makespan_s()
        if end > free + TOLERANCE_S:
            idle.append(Wait("done", free, end, _nothing_more(self._machines[name], self.problem, chain)))
        return MachineStory(
            machine=name,
            steps=tuple(link.name for link in chain),
            makes_s=sum(link.duration_s for link in chain),
            people_s=sum(link.work_s for link in chain),
            idle_s=sum(wait.until_s - wait.from_s for wait in idle),
            idle=tuple(idle),
        )


def work_of(link: Link) -> Work | None:
    """The person's work before a step; None where nobody is needed, or no crew is named."""
    a = link.assignment
    if not link.attended or a.operator_start_s is None or a.crew is None:
        return None
    return Work(a.crew, a.operator_start_s, link.work_s)


def _within(waits: Iterable[Wait], start: float, end: float) -> list[Wait]:
    """The parts of the waits in which the machine stands idle."""
    found = []
    for wait in waits:
        first, last = max(wait.from_s, start), min(wait.until_s, end)
        if last > first + TOLERANCE_S:
            found.append(Wait(wait.kind, first, last, wait.what, wait.by))
    return found


def _nothing_more(machine: Machine, problem: Problem, chain: tuple[Link, ...]) -> str:
    if chain:
        return "nothing more is planned on it"
    able = any(build.runs_on(machine) for build in problem.builds) or any(
        part.fits(machine) for part in problem.parts
    )
    return "the plan does not need it" if able else "nothing in the problem runs on it"


def _finite(value: Any) -> Any:
    """JSON has no infinity."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
