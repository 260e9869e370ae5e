"""`plan`: from a problem to the best plan that the budget allows and the checker accepts.

Knows the order of the phases: rules at once, then batches, orders and exact models while there is
budget. Keeps the best found outside every solver, and publishes nothing that `check` refuses.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from farmd.model.errors import Refused
from farmd.planner import exact
from farmd.planner.bounds import impossible, lower_bound, too_late
from farmd.planner.budget import Budget, Meter
from farmd.planner.check import check
from farmd.planner.compiled import STABILITY_PRICE_S, Compiled
from farmd.planner.conflicts import missed, told
from farmd.planner.fields import UNKNOWN_NAME
from farmd.planner.greedy import RULE_OF_POLICY, Dispatcher, Rule, rules
from farmd.planner.incumbent import carried_over
from farmd.planner.passes import tuned_pass
from farmd.planner.plans import Plan, Value
from farmd.planner.powder.phases import batched, by_rule
from farmd.planner.powder.plates import Plates
from farmd.planner.powder.rows import Rows
from farmd.planner.problem import POLICIES, Problem
from farmd.planner.schedule import Schedule, to_plan
from farmd.planner.search import improve
from farmd.planner.solver import LEAST_S

LAST_RESORT = (Rule("atcs", 2.0, 0.01), Rule("edd"), Rule("fifo"), Rule("atcs", 2.0, 0.5))
DEADLINES_SHARE = 0.4
"""Of a search, for deadlines alone where its start misses some."""
FLOW_GAIN = 0.999
"""Less is not worth a change of plan."""
RULES_UNTIL = 0.3
"""Of the budget: where more is gone by the time an incumbent is carried over, no rule is asked."""
FILLING_S_PER_PART = 1e-4
SPARE_S = 0.1
SPARE_S_PER_JOB = 1.5e-5
SPARE_PER_S = 5.0
"""Seconds for what comes after planning: at least, for each job, for each second that the arrays took."""


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
    `stability_price_s`, or the wish's share of it, more for each announced run or part that goes to
    another machine than announced. Deadlines come before all cost: where they do not hold, the plan is
    infeasible, with its `conflicts`. Raises `Refused` for an unknown policy.
    """
    if policy not in POLICIES:
        raise Refused(UNKNOWN_NAME, f"must be one of {', '.join(POLICIES)}, not {policy!r}", where="policy")
    if problem.routes:
        return _with_routes(problem, budget, seed, policy, incumbent, stability_price_s)
    return _Planner(problem, budget, seed, stability_price_s).run(policy, incumbent)


def _with_routes(
    problem: Problem, budget: Budget, seed: int, policy: str, incumbent: Plan | None, stability_price_s: float
) -> Plan:
    from farmd.planner.routes.solve import plan as plan_routes

    return plan_routes(
        problem,
        budget=budget,
        seed=seed,
        policy=policy,
        incumbent=incumbent,
        stability_price_s=stability_price_s,
        of_builds=lambda bare, share, known, policy: plan(
            bare, budget=share, seed=seed, policy=policy, incumbent=known, stability_price_s=stability_price_s
        ),
    )


class _Planner:
    def __init__(self, problem: Problem, budget: Budget, seed: int, stability_price_s: float) -> None:
        self.meter = Meter(budget)
        self.problem, self.seed = problem, seed
        self.rng = Random(seed)
        self.c = Compiled(problem, stability_price_s=stability_price_s)
        spare = SPARE_S + SPARE_S_PER_JOB * (self.c.runs + len(problem.parts))
        self.meter.reserve(max(spare, SPARE_PER_S * self.meter.elapsed_s()))
        self.plates = Plates(self.c)
        self.dispatcher: Dispatcher | None = None
        self.found: list[Schedule] = []
        self.bound = 0.0
        self.proven_impossible = False

    def run(self, policy: str, incumbent: Plan | None) -> Plan:
        reasons = impossible(self.c)
        if reasons:
            return _infeasible(self.problem, reasons)
        late = too_late(self.c) if self.c.has_deadlines else {}
        if late:
            why = tuple(f"{name}: {reason}" for name, reason in late.items())
            return _infeasible(self.problem, why, tuple((name,) for name in late), proved=True)
        self.bound = lower_bound(self.c)
        if policy == "plan":
            self._search(incumbent)
        else:
            self._by_rule(RULE_OF_POLICY[policy])
        if self.meter.stopped():
            # Nobody waits for the answer: to make and check it would keep the next question waiting.
            return _infeasible(self.problem, ("broken off",))
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
        return best is not None and not best.missed_s and best.cost <= self.bound + 1e-6

    def _pass(self, rule: Rule, rows: Rows) -> Schedule | None:
        return self._rules().run(rule, *self.c.with_batches(rows))

    def _rules(self) -> Dispatcher:
        if self.dispatcher is None:
            self.dispatcher = Dispatcher(self.c)
        return self.dispatcher

    def _by_rule(self, rule: Rule) -> None:
        order = "release" if rule.name == "fifo" else "due"
        rows: Rows = [[] for _ in self.c.ready]
        if self.problem.parts:
            rows = by_rule(self.c, self.plates, order, self.rng)
        first = (rule, Rule("deadline")) if self.c.has_deadlines else (rule,)
        for attempt in (*first, *LAST_RESORT):
            self._keep(self._pass(attempt, rows))
            best = self._best()
            if best is not None and not best.missed_s:
                return

    def _search(self, incumbent: Plan | None) -> None:
        """Rules on every greedy batching, then batches, orders and exact models by turns.

        With an incumbent its orders are a start, and rules are only asked where that leaves time.
        """
        rows = self._batches(self.meter.share(0.5))
        warm = False
        if incumbent is not None and self.c.runs > 0:
            jobs, _ = self.c.with_batches(rows)
            warm = self._keep(carried_over(self.c, jobs, incumbent, self.meter))
        if self.c.has_deadlines:
            self._keep(self._pass(Rule("deadline"), rows))
        in_time = not warm or self.meter.progress() < RULES_UNTIL
        phase = self.meter.share(0.05 if warm else 0.2)
        longest = 0.0
        if in_time and self.c.runs > 0 and not self.c.problem.parts:
            warm = self._keep(tuned_pass(self.c, self._rules(), phase, self.rng)) or warm
        for i, rule in enumerate(rules(self.c.makespan)):
            if warm or (i > 0 and not phase.spend(like_s=longest)):
                break
            began = phase.elapsed_s()
            self._keep(self._pass(rule, rows))
            longest = max(longest, phase.elapsed_s() - began)
        if self._best() is None:
            for rule in LAST_RESORT:
                if self._keep(self._pass(rule, rows)):
                    break
        if self.problem.parts and (self.c.terms.binding or self.c.has_deadlines):
            self._plain_batches()
        if self._done():
            return
        fits = exact.fits(self.c)
        if self.c.runs > 0 or self.c.terms.binding or self.c.has_deadlines:
            self._improve(self.meter.share(0.4 if fits else 1.0))
        if fits and not self._done() and self._solver_has_time():
            self._exact_builds()

    def _plain_batches(self) -> None:
        """Maintenance, power and deadlines, of which better batches know nothing, may go with plain ones better."""
        for order in ("due", "release"):
            if self.meter.spend(like_s=FILLING_S_PER_PART * len(self.problem.parts)):
                self._keep(self._pass(Rule("edd"), by_rule(self.c, self.plates, order, self.rng)))

    def _improve(self, phase: Meter) -> None:
        """Search on the orders of the best schedule; first for its deadlines where it misses any."""
        best = self._best()
        if best is not None and best.missed_s:
            share = phase.share(DEADLINES_SHARE)
            self._keep(improve(self.c, best, share, self.rng, self.bound, late_only=self.c.makespan))
            best = self._best()
        if best is not None:
            self._keep(improve(self.c, best, phase, self.rng, self.bound))

    def _batches(self, phase: Meter) -> Rows:
        """The parts in batches, each better batching tried as a schedule at once."""
        rows: Rows = [[] for _ in self.c.ready]
        if not self.problem.parts:
            return rows
        alone = self.c.runs == 0
        meter = self.meter if alone else phase
        least = self.bound if alone or self.c.makespan else 0.0
        best: Schedule | None = None
        for made, bound in batched(self.c, self.plates, meter, self.rng, self.seed, least):
            if alone or self.c.makespan:
                self.bound = max(self.bound, bound)
            tried = self._pass(Rule("edd"), made)
            self._keep(tried)
            if best is None or (tried is not None and tried.cost < best.cost):
                rows, best = made, tried
            if alone and self._done():
                break
        return rows

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
        old = incumbent
        best = self._best()
        for schedule in sorted(self.found, key=lambda schedule: schedule.rank):
            if schedule.missed_s:
                break
            if old is not None and not self._beats(schedule, old):
                # A check of a large plan takes long: only of one that would be answered.
                old = None if check(self.problem, old) else old
                if old is not None:
                    return self._publish(old)
            answer = self._publish(to_plan(self.c, schedule, "feasible", None, self.plates.layout))
            faults = check(self.problem, answer)
            if not faults:
                return answer
        if old is not None and not check(self.problem, old):
            return self._publish(old)
        if faults:
            return _infeasible(
                self.problem, tuple(f"no plan passed the checker: {fault}" for fault in faults)
            )
        if best is not None:
            return self._at_odds(best)
        proof = "proven" if self.proven_impossible else "not proven"
        return _infeasible(self.problem, (f"the crews' windows do not hold all the work together ({proof})",))

    def _at_odds(self, best: Schedule) -> Plan:
        """No plan, and which deadlines do not hold together: as proved, or as the best attempt missed them."""
        if self.proven_impossible:
            ids = tuple(self.problem.builds[b].id for b in exact.conflict(self.c, self.meter, self.seed))
            ids = ids or tuple(b.id for b in self.problem.builds if b.deadline_s is not None)
            return _infeasible(
                self.problem, (f"{told(ids)} cannot all end by their deadlines",), (ids,), proved=True
            )
        sets, reasons = missed(self.c, best)
        return _infeasible(self.problem, reasons, sets)

    def _beats(self, schedule: Schedule, kept: Plan) -> bool:
        """Whether a schedule is worth leaving the incumbent: it costs less, or as much and flows better."""
        cost = self._cost(kept)
        if abs(schedule.cost - cost) > 1e-6:
            return schedule.cost < cost
        return schedule.flow_s < FLOW_GAIN * sum(a.end_s for a in kept.assignments)

    def _cost(self, plan_: Plan) -> float:
        moved = self._moved(plan_)
        return _objective(self.problem, plan_.value) + moved + self._early(plan_)

    def _early(self, plan_: Plan) -> float:
        """What the plan's runs cost by buffers and flow."""
        c = self.c
        dues = {name: c.jobs.dues[j][1:] for j, name in enumerate(c.run_name) if len(c.jobs.dues[j]) > 1}
        return sum(
            weight * max(0.0, a.end_s - due)
            for a in plan_.assignments
            for due, weight in dues.get(a.build or "", ())
        )

    def _moved(self, plan_: Plan) -> float:
        """What it costs that the plan puts announced runs and parts on other machines."""
        names = {machine.name for machine in self.problem.machines}
        wishes = {a.id: a for a in self.problem.announced if a.machine in names}
        found = (
            (wishes.get(name), a.machine)
            for a in plan_.assignments
            for name in ((a.build,) if a.build is not None else a.parts)
        )
        shares = sum(wish.share for wish, machine in found if wish is not None and wish.machine != machine)
        return shares * self.c.stability_price_s

    def _publish(self, plan_: Plan) -> Plan:
        """The plan with the bound that is known by now."""
        objective = _objective(self.problem, plan_.value)
        bound = min(self.bound, objective)
        optimal = objective - bound <= 1e-6 * max(1.0, abs(objective))
        return Plan("optimal" if optimal else "feasible", bound, plan_.value, plan_.assignments)


def _objective(problem: Problem, value: Value) -> float:
    if problem.objective == "makespan":
        return value.makespan_s
    return value.weighted_tardiness_s + problem.operator_price * value.operator_s + value.wear_s


def _infeasible(
    problem: Problem,
    reasons: tuple[str, ...],
    conflicts: tuple[tuple[str, ...], ...] = (),
    *,
    proved: bool = False,
) -> Plan:
    value = Value(0.0, problem.now_s, 0, 0.0)
    return Plan("infeasible", None, value, (), reasons, conflicts, proved)
