"""A checked plan in the daemon's terms: the steps of each machine, in order of time.

Pure. Turns the planner's assignments, whose ids only `snapshot` gives a meaning, into steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from farmd.daemon.finishing import BEHIND
from farmd.daemon.planned_names import job_of_part, pieces_of_part, work_of_run
from farmd.daemon.snapshot import Snapshot
from farmd.daemon.tail import told, turns
from farmd.planner.plans import Plan


@dataclass(frozen=True, slots=True)
class Step:
    """One assignment of the published plan, in UTC seconds. `work` is a job's or a queued build's id."""

    machine: str
    start_at: float
    end_at: float
    work: str | None
    items: tuple[tuple[str, int], ...]
    """Powder batches: parts by job."""
    operator_at: float | None = None
    run_name: str = ""
    operation: str = ""
    """At a station: what is done there."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A checked plan in the daemon's terms: the steps of each machine in order of time."""

    revision: int
    made_at: float
    steps: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    policy: str = ""
    learnt: str = ""
    """What past runs taught, as far as it is in the plan's durations and its room before due dates."""
    status: str = "feasible"
    reasons: tuple[str, ...] = ()
    finishing: tuple[Step, ...] = ()
    """What will be done at stations once its parts are there; nothing of it can begin yet."""

    def all_steps(self) -> list[Step]:
        return sorted(
            (s for steps in self.steps.values() for s in steps), key=lambda s: (s.start_at, s.machine)
        )

    def after(self, begun: Iterable[Step]) -> Schedule:
        """What is left when these steps, of this plan or of the one before, have begun.

        Plates of a job are alike: the one that began counts as this plan's first on that machine, else as its
        last anywhere.
        """
        steps = dict(self.steps)
        for step in begun:
            found = _same(step, steps.get(step.machine, ())) or _same(
                step, sorted((s for each in steps.values() for s in each), key=lambda s: -s.start_at)
            )
            if found is not None:
                steps[found.machine] = tuple(s for s in steps[found.machine] if s is not found)
        return replace(self, steps=steps)


def _same(begun: Step, steps: Iterable[Step]) -> Step | None:
    """The first of the steps that does the work of the one that began."""
    for step in steps:
        if step.run_name == begun.run_name if begun.work is None else step.work == begun.work:
            return step
    return None


EMPTY = Schedule(0, 0.0)


def schedule_of(plan: Plan, snapshot: Snapshot, *, made_at: float, policy: str) -> Schedule:
    """The plan in UTC, machine by machine."""
    first = {route.id: route.operations[0].id for route in snapshot.problem.routes}
    steps: dict[str, list[Step]] = {}
    for assignment in plan.assignments:
        origin_s = snapshot.origin_s
        operator_s = assignment.operator_start_s
        steps.setdefault(assignment.machine, []).append(
            Step(
                machine=assignment.machine,
                start_at=origin_s + assignment.start_s,
                end_at=origin_s + assignment.end_s,
                work=None if assignment.build is None else work_of_run(assignment.build),
                items=_items(assignment.parts),
                operator_at=None if operator_s is None else origin_s + operator_s,
                run_name=assignment.build or assignment.parts[0],
            )
        )
    finishing = []
    for o in plan.operations:
        run, _, operation = o.operation.rpartition("/")
        route = work_of_run(run)
        work = route.removesuffix(BEHIND)
        step = Step(
            machine=o.station,
            start_at=snapshot.origin_s + o.start_s + snapshot.problem.clear_s,
            end_at=snapshot.origin_s + o.end_s,
            work=work,
            items=(),
            operator_at=snapshot.origin_s + o.start_s,
            run_name=run,
            operation=operation,
        )
        if route in snapshot.at_stations and operation == first.get(route):
            steps.setdefault(o.station, []).append(step)
        else:
            finishing.append(step)
    ordered = {name: tuple(sorted(each, key=lambda step: step.start_at)) for name, each in steps.items()}
    return Schedule(
        revision=snapshot.revision,
        made_at=made_at,
        steps=ordered,
        left_out=_left_out(snapshot, ordered),
        policy=policy,
        learnt=snapshot.learnt.told(),
        status=plan.status,
        reasons=plan.reasons,
        finishing=tuple(sorted(finishing, key=lambda s: (s.start_at, s.machine))),
    )


def _left_out(snapshot: Snapshot, steps: Mapping[str, tuple[Step, ...]]) -> Mapping[str, str]:
    """The reasons of the snapshot, and of what is beyond the horizon when its turn comes."""
    if not snapshot.later:
        return snapshot.left_out
    now_s = snapshot.origin_s + snapshot.problem.now_s
    busy = {
        machine.name: (snapshot.origin_s + machine.available_s, 0.0) for machine in snapshot.problem.machines
    }
    for name, each in steps.items():
        if each and name in busy:
            busy[name] = (each[-1].end_at, sum(step.end_at - step.start_at for step in each))
    found = turns(snapshot.later, busy, now_s)
    named = {job: f"{snapshot.left_out[job]}; its turn comes {told(at)}" for job, at in found.items()}
    return {**snapshot.left_out, **named}


def _items(part_ids: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """Part ids of a batch to (job, number of parts), jobs in order of first appearance."""
    counts: dict[str, int] = {}
    for part_id in part_ids:
        job_id = job_of_part(part_id)
        counts[job_id] = counts.get(job_id, 0) + pieces_of_part(part_id)
    return tuple(counts.items())
