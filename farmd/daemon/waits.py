"""What a planned step waits for, in the shop's words: the plan's explanation with runs and jobs for its ids. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from farmd.daemon.finishing import BEHIND
from farmd.daemon.planned_names import job_of_part, work_of_run
from farmd.daemon.schedule import Schedule, Step
from farmd.daemon.snapshot import Snapshot
from farmd.model.farm import Farm
from farmd.planner.chains import Link
from farmd.planner.explain import Explainer, Explanation, Lateness
from farmd.planner.plans import Plan
from farmd.planner.wait import Wait


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that a step waits for, until when (UTC). The kinds are those of `planner/explain.py`."""

    kind: str
    what: str
    until: float


@dataclass(frozen=True, slots=True)
class Passed:
    """Work that is before a late step on its machine. `more_s` is the weighted tardiness, in seconds, that it would
    cost to go before it; None where nobody would have time then."""

    work: str
    priority: float
    more_s: float | None


@dataclass(frozen=True, slots=True)
class Told:
    """Explanations of some of a plan's steps, by their run names; the works that the names in them stand for."""

    origin_s: float = 0.0
    steps: Mapping[str, Explanation] = field(default_factory=dict)
    works: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    """By which factor an owner's work weighs more or less in the plan; what is not named, as it says."""

    def step(self, step: Step) -> Explanation | None:
        return self.steps.get(step.run_name)

    def ends(self, step: Step) -> dict[str, float]:
        """When the step would end on each machine that could take it, its own included; UTC, or infinity."""
        told = self.step(step)
        if told is None:
            return {}
        others = {each.machine: self.origin_s + each.end_s for each in told.alternatives}
        return {told.machine: self.origin_s + told.end_s, **others}

    def alone_end_at(self, step: Step) -> float | None:
        told = self.step(step)
        if told is None or told.late is None or not math.isfinite(told.late.alone_end_s):
            return None
        return self.origin_s + told.late.alone_end_s

    def passed(self, step: Step) -> tuple[Passed, ...]:
        told = self.step(step)
        if told is None or told.late is None:
            return ()
        return tuple(
            Passed(self.works[a.name], a.weight, a.more_s if math.isfinite(a.more_s) else None)
            for a in told.late.ahead
        )


NOTHING_TOLD = Told()


def tell(plan: Plan | None, snapshot: Snapshot | None, steps: Iterable[Step]) -> Told:
    """What can be said of these steps of a plan. May take a tenth of a second with thousands of steps."""
    if plan is None or snapshot is None:
        return NOTHING_TOLD
    steps = list(steps)
    explainer = Explainer(snapshot.problem, plan)
    by_name = explainer.chains.by_name
    told = {
        step.run_name: explainer.step(by_name[step.run_name]) for step in steps if step.run_name in by_name
    }
    told |= {step.run_name: _at_station(explainer, step) for step in steps if step.operation}
    names = {name for each in told.values() for wait in each.waits for name in wait.by}
    names |= {each.name for seen in told.values() if seen.late is not None for each in seen.late.ahead}
    works = {
        name: _work(by_name[name]) if name in by_name else work_of_run(name).removesuffix(BEHIND)
        for name in names
    }
    return Told(snapshot.origin_s, told, works, snapshot.use.weights)


def _at_station(explainer: Explainer, step: Step) -> Explanation:
    """Of an operation that can begin: what it waits for, and by how much its route is late if it is the last."""
    story = explainer.routes.operation(f"{step.run_name}/{step.operation}")
    waits = story.waits
    kept = [wait.kind for wait in waits if wait.kind != "clear"]
    cost_s = story.late_s * story.weight
    late = Lateness(story.late_s, cost_s, math.inf, ()) if story.late_s > 0 else None
    return Explanation(
        name=step.run_name,
        machine=story.station,
        crew=story.crew,
        before=None,
        setup=None,
        operator_start_s=story.start_s,
        start_s=story.start_s,
        end_s=story.end_s,
        cost_s=cost_s,
        binds=kept[-1] if kept else "now",
        waits=waits,
        announced=None,
        alternatives=(),
        late=late,
    )


def _work(link: Link) -> str:
    """`J-7` for a plate of it, `B-12` for that build, `J-7, J-9` for a batch with parts of both."""
    if link.build is not None:
        return work_of_run(link.name)
    return ", ".join(dict.fromkeys(job_of_part(part.id) for part in link.parts))


def reasons_of(farm: Farm, schedule: Schedule, step: Step, told: Told) -> tuple[Reason, ...]:
    """What a step waits for, one after another, to its start."""
    seen = told.step(step)
    if seen is None:
        return ()
    ahead = {each.run_name for each in schedule.steps.get(step.machine, ())}
    return tuple(
        Reason(wait.kind, _what(farm, step.machine, wait, told, ahead), told.origin_s + wait.until_s)
        for wait in seen.waits
    )


def _what(farm: Farm, machine: str, wait: Wait, told: Told, ahead: set[str]) -> str:
    run_id = farm.machines[machine].run_id if machine in farm.machines else None
    works = [told.works[name] for name in wait.by if name in told.works]
    if wait.kind == "available":
        return f"{machine} makes {run_id}" if run_id else f"{machine} is not ready before"
    if wait.kind == "busy":
        begun = run_id is not None and not ahead.intersection(_run_names(wait))
        return (
            f"{machine} makes {run_id} ({works[0]})" if begun and works else f"{machine} has {works[0]} first"
        )
    if wait.kind == "cooldown":
        return f"{machine} cools down"
    if wait.kind == "release":
        return "it is not released before"
    if wait.kind == "shift":
        return f"{wait.what}; the next shift is {' or '.join(wait.by)}" if wait.by else wait.what
    if wait.kind == "people":
        return f"{wait.what}, at {', '.join(dict.fromkeys(works))}"
    if wait.kind == "changeover":
        before, after = (setup.replace("|", " ") for setup in wait.by)
        return f"changeover from {before or 'nothing known'} to {after}"
    return wait.what


def _run_names(wait: Wait) -> set[str]:
    """A step is named by its run, or by the first part of its batch."""
    return {name.partition(", ")[0].partition(" and ")[0] for name in wait.by}
