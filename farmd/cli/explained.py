"""What `farmd plan --explain` says: an explanation of a plan as lines, and as one JSON document."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from farmd.cli.text import plain
from farmd.model.errors import ErrorCode, Refused
from farmd.planner import Plan, Problem
from farmd.planner.explain import Explainer, Explanation, MachineStory
from farmd.planner.routes.explain import StationStory
from farmd.planner.times import day_clock, length

UNKNOWN_NAME = ErrorCode(
    "plan-unknown-name",
    "the plan has no build, run, part or machine of that name",
    "take a name from the plan or the problem",
)
COSTLIEST = 10
FEW_STEPS = 60
"""A plan of so few steps is told whole."""
OTHERS = 5
"""So many other machines are told of a step; JSON has them all."""


def document(problem: Problem, plan: Plan, subject: str | None) -> dict[str, Any]:
    """`{"steps", "machines", "costliest"}`: of what is asked for; else of all machines and the costliest steps.

    Raises `Refused` for a name that the plan does not have.
    """
    explainer = Explainer(problem, plan)
    steps, machines, costliest = _asked(explainer, subject)
    return {
        "status": plan.status,
        "reasons": list(plan.reasons),
        "steps": [step.as_dict() for step in steps],
        "machines": [machine.as_dict() for machine in machines],
        "costliest": costliest,
        **_routes_document(explainer, subject),
    }


def lines_of(problem: Problem, plan: Plan, subject: str | None) -> Iterator[str]:
    """The same as lines to read. Raises `Refused` as `document` does."""
    explainer = Explainer(problem, plan)
    steps, machines, costliest = _asked(explainer, subject)
    for reason in plan.reasons:
        yield plain(reason)
    yield from _room(problem)
    for step in steps:
        yield from _step(step)
        yield ""
    for machine in machines:
        yield from _machine(machine)
    yield from _routes(explainer, subject)
    if costliest:
        yield ""
        yield "what ends last:" if problem.objective == "makespan" else "what costs most:"
        for name in costliest:
            link = explainer.chains.by_name[name]
            told = f"ends {day_clock(link.assignment.end_s)}"
            if link.late_s > 0:
                told += f", {length(link.late_s)} late, weight {link.weight:g}"
            if link.work_s > 0:
                told += f", {length(link.work_s)} of people's work"
            yield f"  {plain(name)} on {plain(link.machine.name)}: {told}"


def _room(problem: Problem) -> Iterator[str]:
    """What guides the planner besides the value: room before due dates, and the wish to be done soon."""
    late = 0.0
    shares = []
    for before_s, share in sorted(problem.buffers, reverse=True):
        late += share
        shares.append(f"{late:.0%} from {length(before_s)} before")
    if shares:
        yield f"a second of an end counts, of a late one, {', '.join(shares)} its due date on"


def _asked(
    explainer: Explainer, subject: str | None
) -> tuple[list[Explanation], list[MachineStory], list[str]]:
    if subject is None:
        links = explainer.chains.links()
        costliest = explainer.costliest(COSTLIEST)
        shown = links if len(links) <= FEW_STEPS else list(costliest)
        shown = sorted(shown, key=lambda link: (link.begins_s, link.machine.name))
        machines = [explainer.machine(machine.name) for machine in explainer.problem.machines]
        return [explainer.step(x) for x in shown], [m for m in machines if m], [x.name for x in costliest]
    story = explainer.machine(subject)
    if story is not None:
        return [explainer.step(x) for x in explainer.chains.by_machine[subject]], [story], []
    links = list(explainer.find(subject))
    if not links and (explainer.routes.find(subject) or explainer.routes.station(subject)):
        return [], [], []
    if not links:
        raise Refused(UNKNOWN_NAME, "the plan has nothing of that name", where=subject)
    return [explainer.step(link) for link in links], [], []


def _step(step: Explanation) -> Iterator[str]:
    begin, end = day_clock(step.start_s), day_clock(step.end_s)
    yield f"{plain(step.name)} on {plain(step.machine)}, {begin} to {end}"
    if step.binds == "now":
        yield "  it is begun at once: nothing is in its way"
    for wait in step.waits:
        by = f": {', '.join(map(plain, wait.by))}" if wait.kind == "people" and wait.by else ""
        yield f"  until {day_clock(wait.until_s)}  {plain(wait.what)}{by}"
    if step.announced is not None:
        yield f"  it was announced for {plain(step.announced)}"
    if step.late is not None:
        late = step.late
        yield f"  {length(late.late_s)} late, which costs {length(late.weighted_tardiness_s)} weighted"
        if math.isfinite(late.alone_end_s):
            yield f"  with nothing else to do it would end {day_clock(late.alone_end_s)}"
        for each in late.ahead:
            due = f", due {day_clock(each.due_s)}" if each.due_s is not None else ""
            more = "nobody could do it" if math.isinf(each.more_s) else _more(each.more_s)
            yield f"  behind {plain(each.name)} (weight {each.weight:g}{due}); before it: {more}"
    for other in step.alternatives[:OTHERS]:
        if math.isinf(other.end_s):
            yield f"  on {plain(other.machine)} there is no room and no working time for it"
            continue
        diff = other.end_s - step.end_s
        when = (
            "at the same time"
            if abs(diff) < 1
            else f"{length(abs(diff))} {'later' if diff > 0 else 'sooner'}"
        )
        more = "" if abs(other.more_s) < 1 else f", {_more(other.more_s)}"
        yield f"  on {plain(other.machine)} it would end {day_clock(other.end_s)}, {when}{more}"
    rest = len(step.alternatives) - OTHERS
    if rest > 0:
        yield f"  and on {rest} machines more, at no less cost"
    if not step.alternatives:
        yield "  no other machine can take it"


def _routes_document(explainer: Explainer, subject: str | None) -> dict[str, Any]:
    """Of operations and stations, where the problem has any: as of steps and machines."""
    if not explainer.problem.stations:
        return {}
    names, stations = _of_routes(explainer, subject)
    return {
        "operations": [explainer.routes.operation(name).as_dict() for name in names],
        "stations": [story.as_dict() for story in stations],
    }


def _of_routes(explainer: Explainer, subject: str | None) -> tuple[tuple[str, ...], list[StationStory]]:
    routes = explainer.routes
    asked = [station.name for station in explainer.problem.stations if subject in (None, station.name)]
    stories = [story for name in asked if (story := routes.station(name))]
    if subject is not None:
        return routes.find(subject), stories
    few = len(routes.planned) <= FEW_STEPS
    return tuple(routes.planned) if few else routes.latest(COSTLIEST), stories


def _routes(explainer: Explainer, subject: str | None) -> Iterator[str]:
    names, stations = _of_routes(explainer, subject)
    for name in names:
        story = explainer.routes.operation(name)
        batch = f" in batch {plain(story.batch)} of {len(story.shares) + 1}" if story.batch else ""
        times = f"{day_clock(story.start_s)} to {day_clock(story.end_s)}"
        yield f"{plain(name)} at {plain(story.station)}{batch}, {times}"
        for pause in story.waits:
            yield f"  until {day_clock(pause.until_s)}  {plain(pause.what)}"
        if story.late_s > 0:
            cost = length(story.late_s * story.weight)
            yield f"  its route ends {length(story.late_s)} late, which costs {cost} weighted"
    for each in stations:
        batches = f" in {each.batches} batches" if each.batches else ""
        number = f"{len(each.operations)} operation{'s' * (len(each.operations) != 1)}"
        yield f"{plain(each.station)}: {number}{batches}, in use for {length(each.busy_s)}"


def _more(seconds: float) -> str:
    if abs(seconds) < 1:
        return "the same cost"
    return f"{length(abs(seconds))} {'more' if seconds > 0 else 'less'} weighted"


def _machine(story: MachineStory) -> Iterator[str]:
    number = f"{len(story.steps)} step{'s' * (len(story.steps) != 1)}"
    yield (
        f"{plain(story.machine)}: {number}, makes for {length(story.makes_s)}, "
        f"{length(story.people_s)} of people's work, idle {length(story.idle_s)}"
    )
    for wait in story.idle:
        yield f"  idle {day_clock(wait.from_s)} to {day_clock(wait.until_s)}: {plain(wait.what)}"
