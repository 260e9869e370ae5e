"""`plan` for a problem with routes: builds and finishing by turns, until the budget is spent.

The builds are planned as if each were due as long before its due date as its route takes at least, so that the
search aims at the route's end; then the operations, for when the builds end; then again with what the routes really
took. Knows how the two hang together, and publishes nothing that `check` refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from farmd.planner.budget import Budget, Meter
from farmd.planner.check import check, measure
from farmd.planner.people import NOBODY
from farmd.planner.plans import Plan, Value
from farmd.planner.problem import Problem
from farmd.planner.routes.data import PlannedOperation
from farmd.planner.routes.delays import put_off
from farmd.planner.routes.finishing import Finishing
from farmd.planner.routes.phases import Finished, carried, finished, ruled
from farmd.planner.routes.rules import Rule
from farmd.planner.routes.slate import INFINITY, Slate

RULE_OF_POLICY = {"fifo": Rule("fifo"), "edd": Rule("edd"), "wspt": Rule("wedd"), "atcs": Rule("wedd")}
BUILDS_SHARE = 0.5
"""Of the budget that is left, for the builds of the first turn; the operations of a turn get as much of the rest."""
TURNS = 3
FLOW_PRICE = 0.02
"""Of a build's weight, for each second until it ends: what is made early leaves stations room, due or not."""
DELAYS = 30
"""So often builds are put off for what must follow them soon."""
SPARE_S = 0.1
SPARE_S_PER_OPERATION = 3e-4
LAST_RESORT = ("edd", "atcs", "fifo")
OfBuilds = Callable[[Problem, Budget, Plan | None, str], Plan]


def plan(
    problem: Problem,
    *,
    budget: Budget,
    seed: int,
    policy: str,
    incumbent: Plan | None,
    stability_price_s: float,
    of_builds: OfBuilds,
) -> Plan:
    """The best plan found of builds and operations; infeasible, with reasons, where none was found.

    `of_builds` plans a problem without routes within a budget, from an incumbent, by a policy.
    """
    return _Planner(problem, budget, seed, stability_price_s, of_builds).run(policy, incumbent)


class _Planner:
    def __init__(
        self, problem: Problem, budget: Budget, seed: int, stability_price_s: float, of_builds: OfBuilds
    ) -> None:
        self.meter = Meter(budget)
        self.problem, self.seed, self.of_builds = problem, seed, of_builds
        self.stability_price_s = stability_price_s
        self.stopped = budget.stopped
        self.routed = {route.of: route for route in problem.routes if route.of is not None}
        nothing = dict.fromkeys(_made_names(problem), 0.0)
        self.alone = Finishing(problem, nothing)
        self.pull = self._least_pull()
        self.has_builds = bool(problem.builds or problem.parts)
        self.meter.reserve(SPARE_S + SPARE_S_PER_OPERATION * len(self.alone.ops))
        self.best: Plan | None = None
        self.bound = 0.0
        self.reasons: tuple[str, ...] = ()
        self.refused: Plan | None = None

    def run(self, policy: str, incumbent: Plan | None) -> Plan:
        if policy != "plan":
            return self._by_rule(policy) or self._answer(None)
        builds: Plan | None = None
        known = incumbent
        turns = TURNS if self.has_builds else 1
        for turn in range(turns):
            if turn and (self.meter.progress() >= 1.0 or self._done()):
                break
            if self.has_builds:
                builds = self._builds(turn, known if turn == 0 else builds)
                if builds.status == "infeasible":
                    self.refused = builds
                    break
            left = 1.0 / (turns - turn) if turn else (BUILDS_SHARE if self.has_builds else 1.0)
            self._finish(builds, self.meter.share(left), self.best or known, turn)
        for rule in LAST_RESORT:
            if self.best is None and self.has_builds:
                self._by_rule(rule)
        return self._answer(incumbent)

    # --- builds -------------------------------------------------------------------------------

    def _least_pull(self) -> dict[str, float]:
        """How much before the end of its route each run or part has to be made at least."""
        f = self.alone
        pull = {}
        for journey, mine in zip(f.journeys, f.of_journey, strict=True):
            if journey.made_by is not None:
                heads = [v for v in mine if not f.ops[v].before]
                lags = [journey.route.operations[v - mine[0]].lag_min_s for v in heads]
                pull[journey.made_by] = max(
                    lag + f.least(v) + f.ops[v].tail for v, lag in zip(heads, lags, strict=True)
                )
        return pull

    def _without_routes(self, pull: Mapping[str, float]) -> Problem:
        """The builds alone, each due by so much earlier."""
        builds = tuple(
            replace(b, due_s=b.due_s - max(pull.get(run, 0.0) for run in b.run_ids()))
            if b.due_s is not None and b.id in self.routed
            else b
            for b in self.problem.builds
        )
        cooling = min((m.chamber.cooldown_s for m in self.problem.machines if m.chamber), default=0.0)
        parts = tuple(
            replace(p, due_s=p.due_s - pull.get(p.id, 0.0) - cooling)
            if p.due_s is not None and p.id in self.routed
            else p
            for p in self.problem.parts
        )
        return replace(
            self.problem,
            stations=(),
            routes=(),
            builds=builds,
            parts=parts,
            flow_price=max(FLOW_PRICE, self.problem.flow_price),
        )

    def _builds(self, turn: int, known: Plan | None) -> Plan:
        """The builds planned; from the second turn on with what their routes took in the best plan so far."""
        pull = self.pull if turn == 0 else self._observed_pull()
        bare = self._without_routes(pull)
        if known is not None:
            known = replace(known, operations=())
            known = replace(known, value=measure(bare, known), bound=None, status="feasible")
        share = self.meter.share(BUILDS_SHARE if turn == 0 else 0.5 / (TURNS - turn))
        made = self.of_builds(bare, self._budget(share), known, "plan")
        if share.counted:
            share.spend(share.units_left())
        if turn == 0 and made.bound is not None and not self.problem.operator_price:
            self.bound = made.bound
        return made

    def _budget(self, share: Meter) -> Budget:
        if share.counted:
            return Budget(effort=share.units_left())
        return Budget(seconds=share.seconds_left(), stopped=self.stopped)

    def _observed_pull(self) -> dict[str, float]:
        """How long the routes of the best plan take from the end of the build on, waiting included."""
        if self.best is None:
            return self.pull
        made = _made(self.problem, self.best)
        ends: dict[str, float] = {}
        for o in self.best.operations:
            journey = o.operation.rpartition("/")[0]
            ends[journey] = max(ends.get(journey, 0.0), o.end_s)
        return {
            name: max(least, ends.get(name, 0.0) - made.get(name, INFINITY))
            for name, least in self.pull.items()
        }

    # --- operations ---------------------------------------------------------------------------

    def _finish(self, builds: Plan | None, meter: Meter, known: Plan | None, turn: int) -> None:
        """Plan the operations behind these builds, which are put off where a route must follow at once."""
        f = self._finishing(builds)
        old = carried(f, known) if known is not None and known.operations else None
        if builds is not None and any(op.latest < INFINITY for op in f.ops):
            for _ in range(DELAYS):
                slate = ruled(f, Rule("edd"))
                if not slate.needs:
                    break
                builds = put_off(self.problem, builds, slate.needs)
                if builds is None:
                    self.reasons = self.reasons or _reasons(f, slate, "not proven")
                    return
                f = self._finishing(builds)
                old = None
        done = finished(f, meter, self.seed + turn, old)
        if meter.counted:
            meter.spend(max(0, meter.units_left()))
        if not self.has_builds:
            self.bound = max(self.bound, done.bound)
        self._keep(f, builds, done)

    def _finishing(self, builds: Plan | None) -> Finishing:
        if builds is None:
            return self.alone
        busy = [
            (a.crew, a.operator_start_s, a.start_s - a.operator_start_s)
            for a in builds.assignments
            if a.crew is not None and a.operator_start_s is not None
        ]
        return Finishing(self.problem, _made(self.problem, builds), busy)

    def _keep(self, f: Finishing, builds: Plan | None, done: Finished) -> None:
        slate = done.slate
        if slate.broken:
            proof = "proven" if done.impossible and not self.has_builds else "not proven"
            self.reasons = self.reasons or _reasons(f, slate, proof)
            return
        value = self._value(slate, builds)
        made = Plan(
            "feasible",
            None,
            value,
            builds.assignments if builds is not None else (),
            operations=_operations(f, slate),
        )
        faults = check(self.problem, made)
        if faults:
            self.reasons = self.reasons or tuple(
                f"no plan passed the checker: {fault}" for fault in faults[:5]
            )
        elif self.best is None or self._cost(made) < self._cost(self.best) - 1e-9:
            self.best = made

    def _value(self, slate: Slate, builds: Plan | None) -> Value:
        """What the builds without routes and all journeys are worth together."""
        if builds is None:
            return Value(slate.tardiness, slate.makespan, 0, slate.operator_s)
        made = {run: b for b in self.problem.builds for run in b.run_ids() if b.id not in self.routed}
        parts = {p.id: p for p in self.problem.parts if p.id not in self.routed}
        late, makespan = slate.tardiness, slate.makespan
        for a in builds.assignments:
            makespan = max(makespan, a.end_s)
            mine = [made[a.build]] if a.build in made else [parts[p] for p in a.parts if p in parts]
            late += sum(x.weight * max(0.0, a.end_s - x.due_s) for x in mine if x.due_s is not None)
        return replace(
            builds.value,
            weighted_tardiness_s=late,
            makespan_s=makespan,
            operator_s=builds.value.operator_s + slate.operator_s,
        )

    # --- the answer ---------------------------------------------------------------------------

    def _objective(self, value: Value) -> float:
        if self.problem.objective == "makespan":
            return value.makespan_s
        return value.weighted_tardiness_s + self.problem.operator_price * value.operator_s + value.wear_s

    def _cost(self, plan_: Plan) -> float:
        """The objective, and the price of each broken wish."""
        known = {m.name for m in self.problem.machines} | {s.name for s in self.problem.stations}
        wishes = {a.id: a for a in self.problem.announced if a.machine in known}
        there = [
            (name, a.machine) for a in plan_.assignments for name in ((a.build,) if a.build else a.parts)
        ]
        there += [(o.operation, o.station) for o in plan_.operations]
        moved = sum(wishes[name].machine != place for name, place in there if name in wishes)
        price = 0.0 if self.problem.objective == "makespan" else self.stability_price_s
        return self._objective(plan_.value) + price * moved

    def _done(self) -> bool:
        return self.best is not None and self._objective(self.best.value) <= self.bound + 1e-6

    def _by_rule(self, policy: str) -> Plan | None:
        """The builds and then the operations by one rule; the refusal of the builds, if there is one."""
        builds = None
        if self.has_builds:
            bare = self._without_routes(self.pull)
            builds = self.of_builds(bare, self._budget(self.meter.share(0.5)), None, policy)
            if builds.status == "infeasible":
                return builds
        f = self._finishing(builds)
        self._keep(f, builds, Finished(ruled(f, RULE_OF_POLICY[policy]), 0.0))
        if self.best is None:
            self._finish(builds, self.meter.share(0.0), None, 0)
        return None

    def _answer(self, incumbent: Plan | None) -> Plan:
        best = self.best
        if incumbent is not None and incumbent.status != "infeasible":
            worse = best is not None and self._cost(best) < self._cost(incumbent) - 1e-6
            if not worse and not check(self.problem, replace(incumbent, bound=None, status="feasible")):
                best = incumbent
        if best is None and self.refused is not None:
            return self.refused
        if best is None:
            reasons = self.reasons or ("no plan of all operations was found (not proven)",)
            return Plan("infeasible", None, Value(0.0, self.problem.now_s, 0, 0.0), (), reasons)
        objective = self._objective(best.value)
        bound = min(self.bound, objective)
        optimal = objective - bound <= 1e-6 * max(1.0, abs(objective))
        return replace(best, status="optimal" if optimal else "feasible", bound=bound)


def _made_names(problem: Problem) -> list[str]:
    return [run for b in problem.builds for run in b.run_ids()] + [part.id for part in problem.parts]


def _made(problem: Problem, builds: Plan) -> dict[str, float]:
    """When each run and part can be taken on: at the end, cooled down."""
    cooling = {m.name: m.chamber.cooldown_s for m in problem.machines if m.chamber is not None}
    return {
        name: a.end_s + cooling.get(a.machine, 0.0)
        for a in builds.assignments
        for name in ((a.build,) if a.build is not None else a.parts)
    }


def _operations(f: Finishing, slate: Slate) -> tuple[PlannedOperation, ...]:
    """The slate under the problem's names."""
    out = []
    number: dict[int, int] = {}
    for spot in slate.spots:
        batch = None
        if f.stations[spot.station].batch is not None:
            number[spot.station] = number.get(spot.station, 0) + 1
            batch = f"{f.stations[spot.station].name}#{number[spot.station]}"
        crew, unload = (f.people.names[c] if c != NOBODY else None for c in (spot.crew, spot.unload_crew))
        out += [
            PlannedOperation(
                f.ops[v].name, f.stations[spot.station].name, spot.start, spot.end, crew, unload, batch
            )
            for v in spot.ops
        ]
    return tuple(out)


def _reasons(f: Finishing, slate: Slate, proof: str) -> tuple[str, ...]:
    """What is in the way: operations that find no time, or none soon enough."""
    at = {v: spot for spot in slate.spots for v in spot.ops}
    found = []
    for v, op in enumerate(f.ops):
        if at[v].start == INFINITY:
            found.append(
                f"{op.name}: no time is left at any station that can do it, or for its people ({proof})"
            )
        elif at[v].start > op.latest + 1e-6 or any(
            at[v].start > at[b.op].end + b.most + 1e-6 for b in op.before
        ):
            found.append(f"{op.name}: no plan begins it as soon as its lag_max_s asks for ({proof})")
    return tuple(found[:20])
