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
from farmd.planner.terms import Terms

STABILITY_PRICE_S = 600.0
"""Weighted seconds of tardiness that one announced run or part going to another machine is worth."""
INFINITY = math.inf
DEADLINE_PRICE = 100.0
"""What a second after its deadline costs in a search, in seconds of tardiness of the heaviest job."""
PLENTY = -1
"""Grams that are always enough."""


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
    deadline_s: float


@dataclass(slots=True)
class Jobs:
    """Jobs by position. `dues` are (due, weight) pairs: first its own, then its buffers'; of a batch its parts'.

    `deadline` is when it must end at the latest, infinite for none.
    """

    release: list[float] = field(default_factory=list)
    setup: list[int] = field(default_factory=list)
    durations: list[list[float]] = field(default_factory=list)
    dues: list[tuple[tuple[float, float], ...]] = field(default_factory=list)
    batch: list[Batch | None] = field(default_factory=list)
    deadline: list[float] = field(default_factory=list)


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
        chambers = {i: m.chamber for i, m in enumerate(machines) if m.chamber is not None}
        self.boxed = {i: (c.boxes, c.cooldown_s) for i, c in chambers.items() if c.boxes > 1}
        self.cooldown = [
            chambers[i].cooldown_s if i in chambers and i not in self.boxed else 0.0
            for i in range(len(machines))
        ]
        names = {m.setup: 0 for m in machines if m.setup is not None} | {b.setup: 0 for b in problem.builds}
        self.setups = {name: i for i, name in enumerate(names)}
        self.setup0 = [-1 if m.setup is None else self.setups[m.setup] for m in machines]
        self.change = self._changes()
        self.terms = Terms(problem)
        self.wear = [machine.wear_price for machine in machines]
        self._classes()
        self._runs()
        self._wishes()
        self._lots()
        weights = [build.weight for build in problem.builds] + [part.weight for part in problem.parts]
        self.deadline_price = DEADLINE_PRICE * max([1.0, *weights])
        deadlines = [build.deadline_s for build in problem.builds] + [p.deadline_s for p in problem.parts]
        self.has_deadlines = any(deadline is not None for deadline in deadlines)

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
                self.jobs.deadline.append(INFINITY if build.deadline_s is None else build.deadline_s)
        self.runs = len(self.run_name)

    def _dues(self, build: Build) -> tuple[tuple[float, float], ...]:
        """The due date first, then what buffers and flow make of it."""
        problem, due = self.problem, build.due_s
        if self.makespan:
            return () if due is None else ((due, build.weight),)
        flow = [(problem.now_s, problem.flow_price * build.weight)] if problem.flow_price else []
        if due is None:
            return ((INFINITY, 0.0), *flow) if flow else ()
        early = [(due - before_s, share * build.weight) for before_s, share in problem.buffers]
        return ((due, build.weight), *early, *flow)

    def _lots(self) -> None:
        """Whole grams that each run takes and each machine has left, and whether a spool may run short at all."""
        problem = self.problem
        self.grams = [math.ceil(problem.builds[b].grams) for b in self.build_of]
        wanted: dict[str, int] = {}
        for b, grams in zip(self.build_of, self.grams, strict=True):
            setup = problem.builds[b].setup
            wanted[setup] = wanted.get(setup, 0) + grams
        self.spool = problem.spool_change_s
        self.left0 = [PLENTY] * len(problem.machines)
        for m, machine in enumerate(problem.machines):
            left = machine.grams_left
            if self.spool > 0 and left is not None and math.floor(left) < wanted.get(machine.setup or "", 0):
                self.left0[m] = math.floor(left)
        self.spools = any(left != PLENTY for left in self.left0)

    def spool_s(self, left: list[int], machine: int, job: int, *, changed: bool) -> float:
        """The change of spool that a run needs; what is `left`, by machine, is lessened by what the run takes."""
        if changed or left[machine] == PLENTY:
            left[machine] = PLENTY
            return 0.0
        left[machine] -= self.grams[job]
        if left[machine] >= 0:
            return 0.0
        left[machine] = PLENTY
        return self.spool

    def _wishes(self) -> None:
        """The machine that each run and part was announced on, where both are still there, and what another costs."""
        machine = {m.name: i for i, m in enumerate(self.problem.machines)}
        wishes = {a.id: machine[a.machine] for a in self.problem.announced if a.machine in machine}
        prices = {a.id: self.stability_price_s * a.share for a in self.problem.announced}
        self.wish_price = [prices.get(name, 0.0) for name in self.run_name]
        self.part_wish_price = [prices.get(part.id, 0.0) for part in self.problem.parts]
        self.wish = [wishes.get(name, -1) for name in self.run_name]
        self.part_wish = [wishes.get(part.id, -1) for part in self.problem.parts]

    def batch(self, machine: int, parts: tuple[int, ...]) -> Batch:
        """The batch of these parts on this machine."""
        return self._batch(machine, parts, parts, (), (0.0, 0.0, 0.0, 0.0, INFINITY))

    def grown(self, batch: Batch, part: int) -> Batch:
        """The batch with one more part."""
        sums = (batch.volume_mm3, batch.height_mm, batch.release_s, batch.moved, batch.deadline_s)
        return self._batch(batch.machine, (*batch.parts, part), (part,), batch.dues, sums)

    def _batch(
        self,
        machine: int,
        parts: tuple[int, ...],
        added: tuple[int, ...],
        dues: tuple[tuple[float, float], ...],
        sums: tuple[float, float, float, float, float],
    ) -> Batch:
        """The batch of `parts`, where `dues` and `sums` are those of all but the `added` ones behind."""
        chamber = self.problem.machines[machine].chamber
        assert chamber is not None
        all_parts = self.problem.parts
        volume, height, release, moved, deadline = sums
        more = []
        for p in added:
            part = all_parts[p]
            volume += part.volume_mm3
            height = part.height_mm if part.height_mm > height else height
            release = part.release_s if part.release_s > release else release
            if part.due_s is not None:
                more.append((part.due_s, part.weight))
            if part.deadline_s is not None and part.deadline_s < deadline:
                deadline = part.deadline_s
            if self.part_wish[p] not in (-1, machine):
                moved += self.part_wish_price[p]
        duration = chamber.setup_s + chamber.s_per_mm3 * volume
        duration += chamber.s_per_mm * max(height, volume * chamber.mm_per_mm3)
        return Batch(machine, parts, release, duration, (*dues, *more), moved, volume, height, deadline)

    def with_batches(self, batches: list[list[Batch]]) -> tuple[Jobs, list[list[int]]]:
        """All jobs, the batches (by machine, in order) behind the runs; and each machine's batch jobs."""
        old = self.jobs
        jobs = Jobs(
            list(old.release),
            list(old.setup),
            list(old.durations),
            list(old.dues),
            list(old.batch),
            list(old.deadline),
        )
        queues: list[list[int]] = [[] for _ in self.ready]
        for m, row in enumerate(batches):
            for batch in row:
                queues[m].append(len(jobs.release))
                jobs.release.append(batch.release_s)
                jobs.setup.append(self.setup0[m])
                jobs.durations.append([batch.duration_s] * len(self.class_machine))
                jobs.dues.append(batch.dues)
                jobs.batch.append(batch)
                jobs.deadline.append(batch.deadline_s)
        return jobs, queues

    def free_again(self, machine: int, end: float, out: dict[int, list[float]]) -> float:
        """When the machine can be opened or filled after a job that ends then; `out` are the ends of all before."""
        if machine not in self.boxed:
            return end + self.cooldown[machine]
        boxes, cooldown = self.boxed[machine]
        ends = out.setdefault(machine, [])
        ends.append(end)
        return max(end, ends[-boxes] + cooldown) if len(ends) >= boxes else end

    def crewed(self, machine: int) -> bool:
        """Whether a batch on the machine needs a person first."""
        chamber = self.problem.machines[machine].chamber
        return chamber is not None and chamber.crewed

    def moved(self, job: int, machine: int) -> float:
        """What a run costs for going to another machine than announced."""
        return self.wish_price[job] if self.wish[job] not in (-1, machine) else 0.0
