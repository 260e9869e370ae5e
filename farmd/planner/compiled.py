"""A problem as arrays of numbers, made once and read by every pass of every scheduler.

Knows positions instead of names: machine m, run j, setup s, machine class c (machines alike in type
and, with a chamber, in its setup). A *job* is what one machine does in one go: the runs of builds
are jobs 0..runs-1; a powder batch becomes a job behind them. Knows no rule of choice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from farmd.planner.people import People
from farmd.planner.problem import Build, Problem

STABILITY_PRICE_S = 9000.0
"""Weighted seconds of tardiness that one announced run or part going to another machine is worth."""
INFINITY = math.inf


@dataclass(frozen=True, slots=True)
class Batch:
    """Some parts (by position) on one machine, with the sums that its time is made of."""

    machine: int
    parts: tuple[int, ...]
    release_s: float
    duration_s: float
    dues: tuple[tuple[float, float], ...]
    moved: float
    volume_mm3: float
    height_mm: float


@dataclass(slots=True)
class Jobs:
    """Jobs by position. `dues` are (due, weight) pairs: first its own, then its buffers'; of a batch its parts'."""

    release: list[float] = field(default_factory=list)
    setup: list[int] = field(default_factory=list)
    durations: list[list[float]] = field(default_factory=list)
    dues: list[tuple[tuple[float, float], ...]] = field(default_factory=list)
    batch: list[Batch | None] = field(default_factory=list)


class Compiled:
    """See the module; lists are by machine, run, build entry or part as their names say."""

    def __init__(self, problem: Problem, *, stability_price_s: float = STABILITY_PRICE_S) -> None:
        self.problem = problem
        self.people = People(problem)
        self.makespan = problem.objective == "makespan"
        self.price = 0.0 if self.makespan else problem.operator_price
        self.stability_price_s = 0.0 if self.makespan else stability_price_s
        self.clear = problem.clear_s
        machines = problem.machines
        self.ready = [max(machine.available_s, problem.now_s) for machine in machines]
        self.cooldown = [m.chamber.cooldown_s if m.chamber is not None else 0.0 for m in machines]
        names = {m.setup: 0 for m in machines if m.setup is not None} | {b.setup: 0 for b in problem.builds}
        self.setups = {name: i for i, name in enumerate(names)}
        self.setup0 = [-1 if m.setup is None else self.setups[m.setup] for m in machines]
        self.change = self._changes()
        self._classes()
        self._runs()
        self._wishes()

    def _changes(self) -> list[list[float]]:
        """Seconds by setup before and after; the last row, which -1 reads, is the unknown setup."""
        default = self.problem.changeover_s.default
        n = len(self.setups)
        rows = [[0.0 if i == j else default for j in range(n)] for i in range(n)] + [[default] * n]
        for source, target, seconds in self.problem.changeover_s.pairs:
            if source in self.setups and target in self.setups:
                rows[self.setups[source]][self.setups[target]] = seconds
        return rows

    def _classes(self) -> None:
        keys: dict[tuple[str, str | None, bool], int] = {}
        self.class_of = []
        self.class_machine: list[int] = []
        for m, machine in enumerate(self.problem.machines):
            chamber = machine.chamber is not None
            key = (machine.type, machine.setup if chamber else None, chamber)
            if key not in keys:
                keys[key] = len(keys)
                self.class_machine.append(m)
            self.class_of.append(keys[key])

    def _runs(self) -> None:
        problem = self.problem
        self.jobs = Jobs()
        self.build_of: list[int] = []
        self.first_run: list[int] = []
        self.run_name: list[str] = []
        self.machines_of: list[list[int]] = []
        classes = [problem.machines[m] for m in self.class_machine]
        able: dict[tuple[bool, ...], list[int]] = {}
        for b, build in enumerate(problem.builds):
            times = [build.duration_s[m.type] if build.runs_on(m) else INFINITY for m in classes]
            due = self._dues(build)
            runs_on = tuple([time < INFINITY for time in times])
            machines = able.get(runs_on)
            if machines is None:
                machines = able[runs_on] = [m for m, k in enumerate(self.class_of) if runs_on[k]]
            self.first_run.append(len(self.run_name))
            for name in build.run_ids():
                self.machines_of.append(machines)
                self.build_of.append(b)
                self.run_name.append(name)
                self.jobs.release.append(build.release_s)
                self.jobs.setup.append(self.setups[build.setup])
                self.jobs.durations.append(times)
                self.jobs.dues.append(due)
                self.jobs.batch.append(None)
        self.runs = len(self.run_name)

    def _dues(self, build: Build) -> tuple[tuple[float, float], ...]:
        """The due date first, then what its buffers make of it."""
        if build.due_s is None:
            return ()
        buffers = () if self.makespan else self.problem.buffers
        early = [(build.due_s - before_s, share * build.weight) for before_s, share in buffers]
        return ((build.due_s, build.weight), *early)

    def _wishes(self) -> None:
        """The machine that each run and part was announced on, where both are still there."""
        machine = {m.name: i for i, m in enumerate(self.problem.machines)}
        wishes = {a.id: machine[a.machine] for a in self.problem.announced if a.machine in machine}
        self.wish = [wishes.get(name, -1) for name in self.run_name]
        self.part_wish = [wishes.get(part.id, -1) for part in self.problem.parts]

    def batch(self, machine: int, parts: tuple[int, ...]) -> Batch:
        """The batch of these parts on this machine."""
        return self._batch(machine, parts, parts, (), (0.0, 0.0, 0.0, 0.0))

    def grown(self, batch: Batch, part: int) -> Batch:
        """The batch with one more part."""
        sums = (batch.volume_mm3, batch.height_mm, batch.release_s, batch.moved)
        return self._batch(batch.machine, (*batch.parts, part), (part,), batch.dues, sums)

    def _batch(
        self,
        machine: int,
        parts: tuple[int, ...],
        added: tuple[int, ...],
        dues: tuple[tuple[float, float], ...],
        sums: tuple[float, float, float, float],
    ) -> Batch:
        """The batch of `parts`, where `dues` and `sums` are those of all but the `added` ones behind."""
        chamber = self.problem.machines[machine].chamber
        assert chamber is not None
        all_parts = self.problem.parts
        volume, height, release, moved = sums
        more = []
        for p in added:
            part = all_parts[p]
            volume += part.volume_mm3
            height = part.height_mm if part.height_mm > height else height
            release = part.release_s if part.release_s > release else release
            if part.due_s is not None:
                more.append((part.due_s, part.weight))
            if self.part_wish[p] not in (-1, machine):
                moved += self.stability_price_s
        duration = chamber.setup_s + chamber.s_per_mm3 * volume + chamber.s_per_mm * height
        return Batch(machine, parts, release, duration, (*dues, *more), moved, volume, height)

    def with_batches(self, batches: list[list[Batch]]) -> tuple[Jobs, list[list[int]]]:
        """All jobs, the batches (by machine, in order) behind the runs; and each machine's batch jobs."""
        old = self.jobs
        jobs = Jobs(list(old.release), list(old.setup), list(old.durations), list(old.dues), list(old.batch))
        queues: list[list[int]] = [[] for _ in self.ready]
        for m, row in enumerate(batches):
            for batch in row:
                queues[m].append(len(jobs.release))
                jobs.release.append(batch.release_s)
                jobs.setup.append(self.setup0[m])
                jobs.durations.append([batch.duration_s] * len(self.class_machine))
                jobs.dues.append(batch.dues)
                jobs.batch.append(batch)
        return jobs, queues

    def crewed(self, machine: int) -> bool:
        """Whether a batch on the machine needs a person first."""
        chamber = self.problem.machines[machine].chamber
        return chamber is not None and chamber.crewed

    def moved(self, job: int, machine: int) -> float:
        """What a run costs for going to another machine than announced."""
        return self.stability_price_s if self.wish[job] not in (-1, machine) else 0.0
