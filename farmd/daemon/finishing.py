"""The finishing work of the farm as stations and routes of a planning problem.

Pure. What waits at stations now is planned with all that comes behind it; what comes behind prints that run or are
still to be made is planned too, as far as `MOST_OPERATIONS` goes. Behind that, a print is due as long before its due
date as its route takes at least. Today one station does one operation at a time, which a person loads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from farmd.daemon.able import Able
from farmd.daemon.estimates import Learnt, kind_of
from farmd.daemon.rules import can_make, demand_of
from farmd.daemon.shop import Shop
from farmd.model.farm import Farm
from farmd.model.lifecycle import BuildState, JobState
from farmd.model.machine import Machine, MachineSpec
from farmd.model.work import Build, Job
from farmd.planner import problem as p
from farmd.planner.routes.data import Operation, Route, Station

MOST_OPERATIONS = 300
"""Behind prints. What waits at stations already is always in the plan."""
BEHIND = "+"
"""`B-12+` is what comes behind build B-12, which runs: nothing of it can begin yet."""


class Work(Protocol):
    """What is to be planned: a queued build, or plates still to be made up for a job."""

    @property
    def id(self) -> str: ...
    @property
    def jobs(self) -> tuple[Job, ...]: ...
    @property
    def able(self) -> Able: ...
    @property
    def build(self) -> Build | None: ...


@dataclass(frozen=True, slots=True)
class Finishing:
    """Stations and routes; `waiting` are the queued builds whose first operation can begin."""

    stations: tuple[Station, ...]
    routes: tuple[Route, ...]
    builds: tuple[p.Build, ...]
    waiting: frozenset[str]


class Finisher:
    """Makes them for one snapshot. `free_s` says when each station is free, `types` what type each is of."""

    def __init__(
        self,
        farm: Farm,
        shop: Shop,
        specs: Mapping[str, MachineSpec],
        types: Mapping[str, str],
        free_s: Mapping[str, float],
        learnt: Learnt,
    ) -> None:
        self._farm, self._shop, self._types, self._free_s = farm, shop, types, free_s
        self._specs = {name: spec for name, spec in specs.items() if spec.is_station}
        self._ratio = {name: learnt.ratio(kind_of(spec)) for name, spec in self._specs.items()}

    def planned(
        self,
        waiting: Iterable[Work],
        made: Iterable[tuple[Work, p.Build]],
        free_at: Callable[[Farm, Machine, MachineSpec], float],
        origin_s: float,
    ) -> Finishing:
        """Of what waits at stations, prints to be made, and builds that run until `free_at` says (UTC)."""
        routes = []
        names = []
        for work in waiting:
            assert work.build is not None
            steps = self._steps(work.jobs, work.build.operation, work.able.names)
            routes.append(_alone(work.id, steps, work.jobs, 0.0, origin_s))
            names.append(work.id)
        left = MOST_OPERATIONS
        for build, jobs, end_at in self._open(free_at):
            steps = self._steps(jobs, build.operation)
            if steps and left >= len(steps):
                left -= len(steps)
                routes.append(_alone(build.id + BEHIND, steps, jobs, max(0.0, end_at - origin_s), origin_s))
        builds = []
        for work, build_ in made:
            operation = work.build.operation if work.build is not None else work.jobs[0].route[0]
            steps = self._steps(work.jobs, operation)
            if steps and left >= len(steps) * build_.count:
                left -= len(steps) * build_.count
                routes.append(Route(f"{work.id}{BEHIND}", steps, of=build_.id))
                builds.append(build_)
            elif steps and build_.due_s is not None:
                least_s = sum(step.load_s + min(step.duration_s.values()) for step in steps)
                builds.append(replace(build_, due_s=max(0.0, build_.due_s - least_s)))
            else:
                builds.append(build_)
        return Finishing(tuple(self._stations()), tuple(routes), tuple(builds), frozenset(names))

    def _stations(self) -> Iterator[Station]:
        for name in self._specs:
            yield Station(name, self._types[name], self._free_s[name])

    def _open(
        self, free_at: Callable[[Farm, Machine, MachineSpec], float]
    ) -> Iterator[tuple[Build, tuple[Job, ...], float]]:
        """The builds that run, with their jobs and when they end."""
        for name, machine in self._farm.machines.items():
            run = self._farm.runs.get(machine.run_id or "")
            build = self._farm.builds.get(run.build_id) if run is not None else None
            if name not in self._shop.specs or build is None or build.state is not BuildState.ASSIGNED:
                continue
            end_at = free_at(self._farm, machine, self._shop.specs[name])
            jobs = tuple(
                self._farm.jobs[item.job_id] for item in build.items if item.job_id in self._farm.jobs
            )
            if jobs and all(job.state is JobState.OPEN for job in jobs):
                yield build, jobs, end_at

    def _steps(
        self, jobs: tuple[Job, ...], operation: str, at: frozenset[str] = frozenset()
    ) -> tuple[Operation, ...]:
        """What comes behind an operation, as far as there are stations for it; with `at`, it and what comes behind."""
        route = jobs[0].route
        if any(job.route != route for job in jobs) or operation not in route:
            route = (operation,)
        index = route.index(operation)
        steps: list[Operation] = []
        for name in route[index if at else index + 1 :]:
            able = {
                spec.name
                for spec in can_make(demand_of(self._farm, jobs[0], name), self._shop)
                if spec.name in self._specs and (name != operation or spec.name in at)
            }
            if not able:
                break
            seconds = {self._types[s]: self._specs[s].operation_s * self._ratio[s] for s in sorted(able)}
            steps.append(Operation(name, seconds, load_s=self._shop.clear_s))
        return tuple(steps)


def _alone(
    name: str, steps: tuple[Operation, ...], jobs: tuple[Job, ...], release_s: float, origin_s: float
) -> Route:
    dues = [job.due_at for job in jobs if job.due_at is not None]
    return Route(
        id=name,
        operations=steps,
        release_s=release_s,
        due_s=min(dues) - origin_s if dues else None,
        weight=max(job.priority for job in jobs),
    )
