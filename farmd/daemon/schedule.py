"""A checked plan in the daemon's terms: the steps of each machine, in order of time.

Pure. Turns the planner's assignments, whose ids only `snapshot` gives a meaning, into steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from farmd.daemon.planned_names import job_of_part, pieces_of_part, work_of_run
from farmd.daemon.snapshot import Snapshot
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


@dataclass(frozen=True, slots=True)
class Schedule:
    """A checked plan in the daemon's terms: the steps of each machine in order of time."""

    revision: int
    made_at: float
    steps: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    policy: str = ""
    status: str = "feasible"
    reasons: tuple[str, ...] = ()

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
    ordered = {name: tuple(sorted(each, key=lambda step: step.start_at)) for name, each in steps.items()}
    return Schedule(
        revision=snapshot.revision,
        made_at=made_at,
        steps=ordered,
        left_out=snapshot.left_out,
        policy=policy,
        status=plan.status,
        reasons=plan.reasons,
    )


def _items(part_ids: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """Part ids of a batch to (job, number of parts), jobs in order of first appearance."""
    counts: dict[str, int] = {}
    for part_id in part_ids:
        job_id = job_of_part(part_id)
        counts[job_id] = counts.get(job_id, 0) + pieces_of_part(part_id)
    return tuple(counts.items())
