"""`plan`: from a problem to the best plan that the budget allows and the checker accepts.

Knows the order of the phases: rules at once, then batches, orders and exact models while there is
budget. Keeps the best found outside every solver, and publishes nothing that `check` refuses.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from farmd.model.errors import Refused
from farmd.planner import exact, exact_batches
from farmd.planner.batches import Anneal, Plates, Rows, greedy, sequence
from farmd.planner.bounds import impossible, lower_bound
from farmd.planner.budget import Budget, Meter
from farmd.planner.check import check
from farmd.planner.compiled import STABILITY_PRICE_S, Compiled
from farmd.planner.fields import UNKNOWN_NAME
from farmd.planner.greedy import RULE_OF_POLICY, Dispatcher, Rule, rules
from farmd.planner.plans import Plan, Value
from farmd.planner.problem import POLICIES, Problem
from farmd.planner.schedule import Schedule, to_plan
from farmd.planner.search import improve
from farmd.planner.solver import LEAST_S

LAST_RESORT = (Rule("atcs", 2.0, 0.01), Rule("edd"), Rule("fifo"), Rule("atcs", 2.0, 0.5))
FLOW_GAIN = 0.999
"""Less is not worth a change of plan."""
SPARE_S = 0.1
SPARE_S_PER_JOB = 1.5e-5


def plan(
    problem: Problem,
    *,
    budget: Budget,
    seed: int,
    policy: str = "plan",
    incumbent: Plan | None = None,
    stability_price_s: float = STABILITY_PRICE_S,
) -> Plan:
    """The best plan found, which `check` accepts; infeasible, with reasons, where none was found.

    `policy` fifo, edd, wspt and atcs are one pass of that rule; plan is everything within the
    budget. An `incumbent` that still holds is answered unless something costs less, or as much and
    is sooner done with everything. The cost of a plan is its objective, and for weighted tardiness
    `stability_price_s` more for each announced run or part that goes to another machine than
    announced. Raises `Refused` for an unknown policy.
    """
    if policy not in POLICIES:
        raise Refused(UNKNOWN_NAME, f"must be one of {', '.join(POLICIES)}, not {policy!r}", where="policy")
    return _Planner(problem, budget, seed, stability_price_s).run(policy, incumbent)


class _Planner:
    def __init__(self, problem: Problem, budget: Budget, seed: int, stability_price_s: float) -> None:
        self.meter = Meter(budget)
        self.problem, self.seed = problem, seed
        self.rng = Random(seed)
        self.c = Compiled(problem, stability_price_s=stability_price_s)
        self.meter.reserve(SPARE_S + SPARE_S_PER_JOB * (self.c.runs + len(problem.parts)))
        self.plates = Plates(self.c)
        self.dispatcher = Dispatcher(self.c)
        self.found: list[Schedule] = []
        self.bound = 0.0
        self.proven_impossible = False

    def run(self, policy: str, incumbent: Plan | None) -> Plan:
        reasons = impossible(self.c)
        if reasons:
            return _infeasible(self.problem, reasons)
        self.bound = lower_bound(self.c)
        if policy == "plan":
            self._search()
        else:
            self._by_rule(RULE_OF_POLICY[policy])
        return self._answer(incumbent)

    def _best(self) -> Schedule | None:
        return min(self.found, key=lambda schedule: schedule.rank, default=None)

    def _keep(self, schedule: Schedule | None) -> bool:
        """Remember a schedule if it is the best so far."""
        best = self._best()
        if schedule is None or (best is not None and schedule.rank >= best.rank):
            return False
        self.found.append(schedule)
        return True

    def _solver_has_time(self) -> bool:
        """Whether an exact model is worth making: it takes time by itself."""
        return self.meter.seconds_left() >= LEAST_S

    def _done(self) -> bool:
        best = self._best()
        return best is not None and best.cost <= self.bound + 1e-6

    def _pass(self, rule: Rule, rows: Rows) -> Schedule | None:
        return self.dispatcher.run(rule, *self.c.with_batches(rows))

    def _by_rule(self, rule: Rule) -> None:
        order = "release" if rule.name == "fifo" else "due"
        rows = greedy(self.c, self.plates, sequence(self.c, order))
        for attempt in (rule, *LAST_RESORT):
            if self._keep(self._pass(attempt, rows)):
                return

    def _search(self) -> None:
        """Rules on every greedy batching, then batches, orders and exact models by turns."""
        rows = self._batches(self.meter.share(0.5))
        phase = self.meter.share(0.2)
        longest = 0.0
        for i, rule in enumerate(rules(self.c.makespan)):
            if i > 0 and not phase.spend(like_s=longest):
                break
            began = phase.elapsed_s()
            self._keep(self._pass(rule, rows))
            longest = max(longest, phase.elapsed_s() - began)
        if self._best() is None:
            for rule in LAST_RESORT:
                if self._keep(self._pass(rule, rows)):
                    break
        if self._done():
            return
        fits = exact.fits(self.c)
        best = self._best()
        if best is not None and self.c.runs > 0:
            phase = self.meter.share(0.4 if fits else 1.0)
            self._keep(improve(self.c, best, phase, self.rng, self.bound))
        if fits and not self._done() and self._solver_has_time():
            self._exact_builds()

    def _batches(self, phase: Meter) -> Rows:
        """The parts in batches: greedy in several orders, annealed, polished."""
        c = self.c
        if not c.problem.parts:
            return [[] for _ in c.ready]
        best: Rows | None = None
        cost = 0.0
        alone = c.runs == 0
        meter = self.meter if alone else phase
        tried: set[tuple[int, ...]] = set()
        for order in ("due", "height", "release", "area"):
            if best is not None and not meter.spend():
                break
            parts = sequence(c, order)
            if parts in tried:
                continue
            tried.add(parts)
            rows = greedy(c, self.plates, parts)
            energy = Anneal(c, self.plates, rows, self.rng).now
            if best is None or energy < cost:
                best, cost = rows, energy
        assert best is not None
        self._keep(self._pass(Rule("edd"), best))
        exactly = exact_batches.fits(c, self.plates)
        goal = self.bound if alone and not c.makespan else 0.0
        rows = Anneal(c, self.plates, best, self.rng).run(meter.share(0.6 if exactly else 1.0), goal)
        if rows != best:
            self._keep(self._pass(Rule("edd"), rows))
        if exactly and not (alone and self._done()) and self._solver_has_time():
            polished = exact_batches.polish(c, self.plates, rows, meter, self.seed)
            if polished is not None:
                rows = self._better_batches(rows, *polished, alone=alone)
        return rows

    def _better_batches(self, rows: Rows, polished: Rows, bound: float | None, *, alone: bool) -> Rows:
        if bound is not None and (alone or self.c.makespan):
            self.bound = max(self.bound, bound)
        if not all(self.plates.hold(m, batch.parts) for m, row in enumerate(polished) for batch in row):
            return rows
        old, new = self._pass(Rule("edd"), rows), self._pass(Rule("edd"), polished)
        self._keep(new)
        return polished if new is not None and (old is None or new.cost < old.cost) else rows

    def _exact_builds(self) -> None:
        result = exact.solve(self.c, self._best(), self.meter, self.seed)
        if result is None:
            return
        self.proven_impossible = result.impossible
        self._keep(result.schedule)
        best = self._best()
        if result.optimal and best is not None:
            self.bound = max(self.bound, best.objective)
        elif result.bound is not None:
            self.bound = max(self.bound, result.bound)

    def _answer(self, incumbent: Plan | None) -> Plan:
        """The cheapest candidate that the checker accepts, the incumbent among them."""
        faults: Iterable[object] = ()
        kept = incumbent if incumbent is not None and not check(self.problem, incumbent) else None
        for schedule in sorted(self.found, key=lambda schedule: schedule.rank):
            if kept is not None and not self._beats(schedule, kept):
                break
            answer = self._publish(to_plan(self.c, schedule, "feasible", None, self.plates.layout))
            faults = check(self.problem, answer)
            if not faults:
                return answer
        if kept is not None:
            return self._publish(kept)
        if faults:
            return _infeasible(
                self.problem, tuple(f"no plan passed the checker: {fault}" for fault in faults)
            )
        proof = "proven" if self.proven_impossible else "not proven"
        return _infeasible(self.problem, (f"the crews' windows do not hold all the work together ({proof})",))

    def _beats(self, schedule: Schedule, kept: Plan) -> bool:
        """Whether a schedule is worth leaving the incumbent: it costs less, or as much and flows better."""
        cost = self._cost(kept)
        if abs(schedule.cost - cost) > 1e-6:
            return schedule.cost < cost
        return schedule.flow_s < FLOW_GAIN * sum(a.end_s for a in kept.assignments)

    def _cost(self, plan_: Plan) -> float:
        moved = self._moves(plan_) * self.c.stability_price_s
        return _objective(self.problem, plan_.value) + moved

    def _moves(self, plan_: Plan) -> int:
        """How many announced runs and parts the plan puts on another machine."""
        names = {machine.name for machine in self.problem.machines}
        wishes = {a.id: a.machine for a in self.problem.announced if a.machine in names}
        return sum(
            wishes.get(name, a.machine) != a.machine
            for a in plan_.assignments
            for name in ((a.build,) if a.build is not None else a.parts)
        )

    def _publish(self, plan_: Plan) -> Plan:
        """The plan with the bound that is known by now."""
        objective = _objective(self.problem, plan_.value)
        bound = min(self.bound, objective)
        optimal = objective - bound <= 1e-6 * max(1.0, abs(objective))
        return Plan("optimal" if optimal else "feasible", bound, plan_.value, plan_.assignments)


def _objective(problem: Problem, value: Value) -> float:
    if problem.objective == "makespan":
        return value.makespan_s
    return value.weighted_tardiness_s + problem.operator_price * value.operator_s


def _infeasible(problem: Problem, reasons: tuple[str, ...]) -> Plan:
    return Plan("infeasible", None, Value(0.0, problem.now_s, 0, 0.0), (), reasons)
