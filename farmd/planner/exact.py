"""CP-SAT on builds, for problems small enough to hold every pair of runs on every machine.

A circuit over each machine's runs gives the changeovers; one literal for each (run, crew, window)
puts the work inside it; a cumulative counts the people. Batches and chambers are not in this model.
"""

from __future__ import annotations

from dataclasses import dataclass

from ortools.sat.python import cp_model

from farmd.planner import exact_terms
from farmd.planner.budget import Meter
from farmd.planner.compiled import INFINITY, Compiled
from farmd.planner.people import NOBODY
from farmd.planner.schedule import Placed, Schedule, valued
from farmd.planner.solver import LARGEST_OBJECTIVE, grain, run, weight_scale

MOST_RUNS = 40
MOST_ARCS = 10_000
MOST_WINDOW_CHOICES = 6_000
FINEST = 1000
SHRINK_SHARE = 0.25
"""Of what is left of the budget, for the question whether deadlines are at odds without one of them."""


@dataclass(frozen=True, slots=True)
class Exact:
    """The best schedule found (None for none), whether it is optimal, that there is none, and the bound."""

    schedule: Schedule | None
    optimal: bool
    impossible: bool
    bound: float | None


def fits(c: Compiled) -> bool:
    """Whether the model holds the problem: builds only, not too many, on whole weights."""
    if c.problem.parts or not 0 < c.runs <= MOST_RUNS:
        return False
    windows = sum(len(crew.starts) for crew in c.people.crews)
    arcs = sum(len(c.machines_of[j]) for j in range(c.runs)) * c.runs
    return arcs <= MOST_ARCS and windows * c.runs <= MOST_WINDOW_CHOICES


def solve(c: Compiled, start: Schedule | None, meter: Meter, seed: int) -> Exact | None:
    """The best plan within the meter from a start; None when the model does not hold the problem."""
    model = _Model.make(c)
    if model is None:
        return None
    if start is not None:
        model.hint(start)
    answer = run(model.cp, meter, seed, model.per_second)
    if answer is None:
        return None
    if not answer.found:
        return Exact(None, False, answer.impossible, None)
    guided = bool(c.problem.buffers) or c.problem.flow_price > 0.0
    wished = (guided or any(machine >= 0 for machine in c.wish)) and not c.makespan
    slack = model.slack_s
    bound = None if wished else max(0.0, answer.proof - slack)
    return Exact(model.schedule(answer.solver), answer.optimal and not wished, False, bound)


def conflict(c: Compiled, meter: Meter, seed: int) -> tuple[int, ...]:
    """Builds whose deadlines cannot all hold, none of which can be left out as far as the meter goes; none unproved."""
    model = _Model.make(c, assumed=True)
    if model is None or not model.held:
        return ()
    builds = sorted(model.held)
    if not model.cannot_hold(builds, meter, seed):
        return ()
    for build in list(builds):
        fewer = [other for other in builds if other != build]
        if model.cannot_hold(fewer, meter.share(SHRINK_SHARE), seed):
            builds = fewer
    return tuple(builds)


class _Model:
    """The variables, by run j: o work start, e end, w work, x[j, m] on machine m, y[j, crew, window]."""

    @staticmethod
    def make(c: Compiled, *, assumed: bool = False) -> _Model | None:
        """The model of the problem, or None where its numbers do not fit."""
        longest = [max(t for t in c.jobs.durations[j] if t < float("inf")) for j in range(c.runs)]
        most_change = max((max(row) for row in c.change if row), default=0.0)
        work = c.clear + most_change + c.spool
        horizon = max([*c.ready, *c.jobs.release], default=0.0)
        horizon = max([horizon, *(end for spans in c.terms.shut for _, end in spans)])
        if not c.people.free:
            horizon = max([horizon] + [end for crew in c.people.crews for end in crew.ends])
        horizon += sum(longest) + c.runs * (work + max(c.cooldown)) + 1.0
        horizon += c.runs * sum(warm_up_s for _, _, warm_up_s in c.terms.power)
        scale = grain(horizon, FINEST)
        weights = weight_scale([*(w for dues in c.jobs.dues for _, w in dues), c.price, c.stability_price_s])
        if scale is None or weights is None:
            return None
        total = sum(w for dues in c.jobs.dues for _, w in dues) + c.runs * (
            1.0 + c.price + c.stability_price_s + max(c.wear)
        )
        if horizon * scale * total * weights > LARGEST_OBJECTIVE:
            return None
        return _Model(c, scale, weights, horizon, assumed)

    def __init__(self, c: Compiled, scale: int, weights: int, horizon: float, assumed: bool) -> None:
        self.c, self.scale, self.weights = c, scale, weights
        self.cp = cp_model.CpModel()
        self.most = self._grains(horizon)
        self.per_second = float(scale if c.makespan else scale * weights)
        total = sum(w for dues in c.jobs.dues for _, w in dues) + (c.price + max(c.wear)) * c.runs
        self.slack_s = (1.0 if c.makespan else total) * (2 * c.runs + 2) / scale
        runs = range(c.runs)
        self.o = [self.cp.new_int_var(0, self.most, f"o{j}") for j in runs]
        self.e = [self.cp.new_int_var(0, self.most, f"e{j}") for j in runs]
        self.w = [self.cp.new_int_var(0, self.most, f"w{j}") for j in runs]
        self.x = {(j, m): self.cp.new_bool_var(f"x{j},{m}") for j in runs for m in c.machines_of[j]}
        self.y: dict[tuple[int, int, int], cp_model.IntVar] = {}
        self.changes: list[list[tuple[int, cp_model.IntVar]]] = [[] for _ in runs]
        self.arc: dict[tuple[int, int, int], cp_model.IntVar] = {}
        self.s: list[cp_model.IntVar] = []
        if c.terms.power:
            self.s = [self.cp.new_int_var(0, self.most, f"s{j}") for j in runs]
            for j in runs:
                self.cp.add(self.s[j] >= self.o[j] + self.w[j])
        self.late: list[tuple[int, int, cp_model.IntVar]] = []
        self._one_machine()
        for m in range(len(c.ready)):
            self._circuit(m)
        v = exact_terms.Variables(
            self.cp, c, self._grains, self.most, self.o, self.s, self.e, self.x, self.arc
        )
        exact_terms.maintenance(v)
        exact_terms.power(v)
        self.held = exact_terms.deadlines(v, assumed=assumed)
        self._work(exact_terms.spools(v))
        if not c.people.free:
            self._windows()
            self._people()
        if not assumed:
            self._objective()

    def cannot_hold(self, builds: list[int], meter: Meter, seed: int) -> bool:
        """Whether it is proved that these builds do not all meet their deadlines, whatever the others do."""
        self.cp.clear_assumptions()
        self.cp.add_assumptions([self.held[build] for build in builds])
        answer = run(self.cp, meter, seed, 1.0)
        return answer is not None and answer.impossible

    def _grains(self, seconds: float) -> int:
        return round(seconds * self.scale)

    def _one_machine(self) -> None:
        """Each run is on one machine and ends its duration there after its work."""
        clear = self._grains(self.c.clear)
        for j in range(self.c.runs):
            machines = self.c.machines_of[j]
            self.cp.add_exactly_one(self.x[j, m] for m in machines)
            self.cp.add(self.o[j] >= self._grains(self.c.jobs.release[j]))
            for m in machines:
                duration = self._grains(self.c.jobs.durations[j][self.c.class_of[m]])
                start = self.s[j] if self.s else self.o[j] + self.w[j]
                self.cp.add(self.e[j] == start + duration).only_enforce_if(self.x[j, m])
                self.cp.add(self.o[j] >= self._grains(self.c.ready[m])).only_enforce_if(self.x[j, m])
            self.cp.add(self.w[j] >= clear)

    def _circuit(self, m: int) -> None:
        """The runs of a machine form one chain from the depot (node 0) back to it; the others stay out."""
        c = self.c
        mine = [j for j in range(c.runs) if (j, m) in self.x]
        if not mine:
            return
        cooldown = self._grains(c.cooldown[m])
        arcs: list[tuple[int, int, cp_model.LiteralT]] = []
        empty = self.cp.new_bool_var(f"empty{m}")
        arcs.append((0, 0, empty))
        for j in mine:
            first = self.cp.new_bool_var(f"first{j},{m}")
            self.arc[-1, j, m] = first
            self.changes[j].append((self._grains(c.change[c.setup0[m]][c.jobs.setup[j]]), first))
            last = self.cp.new_bool_var(f"last{j},{m}")
            arcs += [(0, j + 1, first), (j + 1, 0, last), (j + 1, j + 1, ~self.x[j, m])]
            for i in mine:
                if i != j:
                    arc = self.cp.new_bool_var(f"arc{i},{j},{m}")
                    self.arc[i, j, m] = arc
                    arcs.append((i + 1, j + 1, arc))
                    self.cp.add(self.o[j] >= self.e[i] + cooldown).only_enforce_if(arc)
                    seconds = c.change[c.jobs.setup[i]][c.jobs.setup[j]]
                    if seconds:
                        self.changes[j].append((self._grains(seconds), arc))
        self.cp.add_circuit(arcs)

    def _work(self, short: dict[int, cp_model.IntVar]) -> None:
        """Work is clearing plus the changeover from the run before, and a change of spool where one is short."""
        clear, spool = self._grains(self.c.clear), self._grains(self.c.spool)
        for j in range(self.c.runs):
            change = [seconds * arc for seconds, arc in self.changes[j]]
            change += [spool * short[j]] if j in short else []
            self.cp.add(self.w[j] == clear + sum(change))

    def _windows(self) -> None:
        """The work of a run lies inside one window of one crew."""
        clear = self.c.clear
        for j in range(self.c.runs):
            for k, crew in enumerate(self.c.people.crews):
                for i, (start, end) in enumerate(zip(crew.starts, crew.ends, strict=True)):
                    if end - start < clear or end < self.c.jobs.release[j] + clear:
                        continue
                    inside = self.cp.new_bool_var(f"y{j},{k},{i}")
                    self.y[j, k, i] = inside
                    self.cp.add(self.o[j] >= self._grains(start)).only_enforce_if(inside)
                    self.cp.add(self.o[j] + self.w[j] <= self._grains(end)).only_enforce_if(inside)
            self.cp.add_exactly_one(lit for (run_, _, _), lit in self.y.items() if run_ == j)

    def _people(self) -> None:
        """Never more places at work than the crew has people."""
        for k, crew in enumerate(self.c.people.crews):
            if crew.people is None:
                continue
            intervals = []
            for (j, crew_index, i), inside in self.y.items():
                if crew_index == k:
                    end = self.cp.new_int_var(0, self.most, f"d{j},{k},{i}")
                    intervals.append(
                        self.cp.new_optional_interval_var(self.o[j], self.w[j], end, inside, f"i{j},{k},{i}")
                    )
            self.cp.add_cumulative(intervals, [1] * len(intervals), crew.people)

    def _objective(self) -> None:
        """Weighted tardiness, priced work and broken wishes; or the latest end."""
        c = self.c
        if c.makespan:
            top = self.cp.new_int_var(self._grains(c.problem.now_s), self.most, "makespan")
            for end in self.e:
                self.cp.add(top >= end)
            self.cp.minimize(top)
            return
        terms: list[cp_model.LinearExprT] = []
        for j in range(c.runs):
            for due, weight in c.jobs.dues[j]:
                if due == INFINITY:
                    continue
                late = self.cp.new_int_var(0, self.most, f"t{j}")
                self.cp.add(late >= self.e[j] - self._grains(due))
                self.late.append((j, self._grains(due), late))
                terms.append(round(weight * self.weights) * late)
            if c.price:
                terms.append(round(c.price * self.weights) * self.w[j])
            for m in c.machines_of[j]:
                if c.wear[m]:
                    worn = c.wear[m] * c.jobs.durations[j][c.class_of[m]]
                    terms.append(round(worn * self.weights * self.scale) * self.x[j, m])
            if c.wish[j] >= 0:
                moved = round(c.wish_price[j] * self.weights * self.scale)
                terms += [moved * self.x[j, m] for m in c.machines_of[j] if m != c.wish[j]]
        self.cp.minimize(sum(terms))

    def hint(self, start: Schedule) -> None:
        """All decisions of a known schedule; the solver repairs what rounding bends."""
        where = {p.job: p for p in start.placed}
        for (j, m), lit in self.x.items():
            self.cp.add_hint(lit, where[j].machine == m)
        before: dict[int, int] = {}
        followed = set()
        for p in sorted(start.placed, key=lambda p: (p.start, p.end)):
            followed.add((before.get(p.machine, -1), p.job, p.machine))
            before[p.machine] = p.job
        for key, arc in self.arc.items():
            self.cp.add_hint(arc, key in followed)
        for j, p in where.items():
            self.cp.add_hint(self.o[j], self._grains(p.work_at))
            self.cp.add_hint(self.w[j], self._grains(p.start) - self._grains(p.work_at))
            self.cp.add_hint(self.e[j], self._grains(p.end))
        for j, due, late in self.late:
            self.cp.add_hint(late, max(0, self._grains(where[j].end) - due))
        for (j, k, i), inside in self.y.items():
            crew, p = self.c.people.crews[k], where[j]
            self.cp.add_hint(inside, p.crew == k and crew.starts[i] <= p.work_at <= crew.ends[i])

    def schedule(self, solver: cp_model.CpSolver) -> Schedule:
        """The solver's schedule on the problem's own floats."""
        c = self.c
        follows = {(j, m): i for (i, j, m), arc in self.arc.items() if solver.boolean_value(arc)}
        crew = {j: k for (j, k, _), inside in self.y.items() if solver.boolean_value(inside)}
        placed, left = [], list(c.left0)
        for j in sorted(range(c.runs), key=lambda j: solver.value(self.o[j])):
            m = next(m for m in c.machines_of[j] if solver.boolean_value(self.x[j, m]))
            before = follows[j, m]
            setup = c.setup0[m] if before < 0 else c.jobs.setup[before]
            at = solver.value(self.o[j]) / self.scale
            start = at + c.clear + c.change[setup][c.jobs.setup[j]]
            start += c.spool_s(left, m, j, changed=setup != c.jobs.setup[j])
            if self.s:
                start = max(start, solver.value(self.s[j]) / self.scale)
            end = start + c.jobs.durations[j][c.class_of[m]]
            placed.append(Placed(j, m, crew.get(j, NOBODY), at, start, end))
        return valued(c, c.jobs, placed)
