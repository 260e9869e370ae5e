"""Our own policy of the simulated hall: replans on what happens, as the daemon and its first worker do.

What is left of the last plan is renewed, the next steps of each machine are announced, with the daemon's prices, and
what ended runs teach goes into durations and buffers. Counted in effort, so that a seed decides all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter

from bench.planner.shopfloor import CLEAR_S, MATERIAL_S, SETUPS, Hall, Job, Printer, change_s, open_at
from farmd.daemon.carry import NEXT
from farmd.daemon.estimates import Ended, Estimates
from farmd.daemon.wishes import FLOW_PRICE, with_wishes
from farmd.planner import Budget, Plan, check, plan
from farmd.planner.compiled import STABILITY_PRICE_S
from farmd.planner.generate import DAY_S, SHIFT
from farmd.planner.problem import Build, Changeover, Crew, Machine, Problem
from farmd.planner.renewal import renewed

PAIRS = tuple((a, b, change_s(a, b)) for a in SETUPS for b in SETUPS if a != b)
DAYS_AHEAD = 21


@dataclass(slots=True)
class Settings:
    """As in `[planner]`; `effort` of each replan, `every_s` at most once in so long."""

    effort: int = 1000
    every_s: float = 300.0
    due_buffers: float = 1.0
    stability_price_s: float = STABILITY_PRICE_S
    flow_price: float = FLOW_PRICE


@dataclass(slots=True)
class Replanning:
    """The policy. `told` and `moved`: announced steps that were still to come at a replan, and those it moved."""

    settings: Settings
    estimates: Estimates = field(default_factory=Estimates)
    rows: dict[str, list[int]] = field(default_factory=dict)
    last: Plan | None = None
    last_s: float = -DAY_S
    due: bool = False
    replans: int = 0
    refused: int = 0
    told: int = 0
    moved: int = 0
    took_s: list[float] = field(default_factory=list)

    def choose(self, hall: Hall, printer: Printer) -> Job | None:
        row = self.rows.get(printer.name, [])
        first = next((n for n in row if n in hall.wanted), None)
        if first is None or not hall.can_start(printer, hall.wanted[first]):
            return None
        row.remove(first)
        return hall.wanted[first]

    def arrived(self, hall: Hall, job: Job) -> None:
        self.due = True

    def ended(self, hall: Hall, printer: Printer, job: Job, ratio: float | None) -> None:
        self.due = True
        seconds = job.seconds[printer.type]
        self.estimates.saw(Ended(printer.type, seconds, None if ratio is None else seconds * ratio))

    def changed(self, hall: Hall) -> None:
        # While nobody is there nothing is started: what happens at night is planned for in the morning.
        if not open_at(hall.now_s):
            return
        if self.due and hall.wanted and hall.now_s >= self.last_s + self.settings.every_s:
            self.due, self.last_s = False, hall.now_s
            self._replan(hall)

    def _replan(self, hall: Hall) -> None:
        announced = self._announced()
        problem = self._problem(hall, announced)
        began = perf_counter()
        made = self._made(problem)
        self.took_s.append(perf_counter() - began)
        self.replans += 1
        if check(problem, made):
            self.refused += 1
            return
        self.last = made
        self.rows = {}
        machine_of = {}
        for a in sorted(made.assignments, key=lambda a: a.start_s):
            self.rows.setdefault(a.machine, []).append(_number(a.build))
            machine_of[a.build] = a.machine
        there = {machine.name for machine in problem.machines}
        for run, machine, _ in announced:
            if run in machine_of and machine in there:
                self.told += 1
                self.moved += machine_of[run] != machine

    def _made(self, problem: Problem) -> Plan:
        budget, price_s = Budget(effort=self.settings.effort), self.settings.stability_price_s
        made = None
        if self.last is not None:
            made = renewed(problem, self.last, budget=budget, seed=self.replans, stability_price_s=price_s)
        return made or plan(problem, budget=budget, seed=self.replans, stability_price_s=price_s)

    def _announced(self) -> list[tuple[str, str, float]]:
        """The next steps of each machine, with when they were to begin: (run, machine, start)."""
        if self.last is None:
            return []
        starts = {a.build: a.start_s for a in self.last.assignments}
        return [(f"j{n}#1", name, starts[f"j{n}#1"]) for name, row in self.rows.items() for n in row[:NEXT]]

    def _problem(self, hall: Hall, announced: list[tuple[str, str, float]]) -> Problem:
        learnt = self.estimates.learnt()
        machines = []
        for printer in hall.printers:
            if printer.broken:
                continue
            free_s = hall.now_s
            if printer.job is not None:
                estimate_s = printer.expected_s - printer.began_s
                free_s = max(free_s, printer.began_s + estimate_s * learnt.ratio(printer.type))
            machines.append(Machine(printer.name, printer.type, "MEX", free_s, printer.setup))
        types = {machine.type for machine in machines}
        jobs = [job for job in hall.wanted.values() if types & set(job.seconds)]
        today = int(hall.now_s // DAY_S)
        days = ((day * DAY_S + SHIFT[0], day * DAY_S + SHIFT[1]) for day in range(today, today + DAYS_AHEAD))
        problem = Problem(
            now_s=hall.now_s,
            clear_s=CLEAR_S,
            changeover_s=Changeover(MATERIAL_S, PAIRS),
            machines=tuple(machines),
            windows={"day": tuple((max(a, hall.now_s), b) for a, b in days if b > hall.now_s)},
            crews=(Crew("day", "day", None),),
            builds=tuple(
                Build(
                    f"j{job.number}",
                    job.setup,
                    {kind: seconds * learnt.ratio(kind) for kind, seconds in job.seconds.items()},
                    0.0,
                    job.due_s,
                    job.weight,
                )
                for job in jobs
            ),
            buffers=learnt.buffers(self.settings.due_buffers),
            flow_price=self.settings.flow_price,
        )
        wanted = {f"j{job.number}#1" for job in jobs}
        return with_wishes(problem, (told for told in announced if told[0] in wanted), 0.0)


def _number(run: str | None) -> int:
    return int((run or "").strip("j").partition("#")[0])
