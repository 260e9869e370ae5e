"""What was announced never keeps work from a machine that stands idle."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from farmshop import T0, MemoryStore, farm_of, job, machine, shop, spec, warped

from farmd.daemon.carry import NEXT
from farmd.daemon.dispatch import dispatch
from farmd.daemon.ledger import Ledger
from farmd.daemon.planning import Planning
from farmd.daemon.snapshot import take_snapshot
from farmd.daemon.wishes import aged, waited_days
from farmd.model import facts as f
from farmd.model.lifecycle import MachineState
from farmd.planner import Budget, check, plan
from farmd.sim.planners import CountedPlanner

WHO = {"at": T0, "actor": "anna"}
NAMES = ("m1", "m2", "m3")
JOBS = tuple(job(f"J-{n}", quantity=1, due_at=None) for n in range(1, 7))
SPECS = tuple(spec(name) for name in NAMES)
DAY = 86400.0


@warped
async def test_jobs_without_due_dates_go_to_every_machine_that_stands_idle() -> None:
    """All was announced for the one machine there was; then the others come."""
    away = (machine(name, state=MachineState.OFFLINE) for name in NAMES[1:])
    farm = farm_of(machine("m1"), *away, *JOBS)
    planners = CountedPlanner(policy="plan", effort=200, seed=1, stability_price_s=9000.0)
    with ThreadPoolExecutor(1) as writer:
        ledger = Ledger(MemoryStore(), farm, writer)
        the_shop = shop(*SPECS)
        made = Planning(ledger, the_shop, planners, policy="plan", min_interval_s=1.0)
        tasks = [asyncio.create_task(made.run()), asyncio.create_task(ledger.run())]
        await asyncio.sleep(10.0)
        assert {name: len(steps) for name, steps in made.schedule.steps.items()} == {"m1": 6}
        first = made.schedule.steps["m1"][0].work
        for name in NAMES[1:]:
            ledger.record(f.MachineConnected(**WHO, machine=name, seen="idle"))
        await asyncio.sleep(10.0)
        assert {name: len(steps) for name, steps in made.schedule.steps.items()} == dict.fromkeys(NAMES, 2)
        assert made.schedule.steps["m1"][0].work == first, "what is about to start there stays"
        assert {start.machine for start in dispatch(ledger.farm, made.schedule, the_shop, T0)} == set(NAMES)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_wish_to_wait_costs_nothing_to_break_while_a_machine_that_could_make_it_is_idle() -> None:
    farm = farm_of(*(machine(name) for name in NAMES), *JOBS)
    told = [("J-1#1", "m1", T0), ("J-2#1", "m1", T0 + 9000.0), ("J-3#1", "m2", T0)]
    shares = [wish.share for wish in take_snapshot(farm, shop(*SPECS), T0, told).problem.announced]
    assert shares == [1.0, 0.0, 1.0]
    # With something announced everywhere nobody is idle.
    everywhere = [*told, ("J-4#1", "m3", T0)]
    assert {wish.share for wish in take_snapshot(farm, shop(*SPECS), T0, everywhere).problem.announced} == {
        1.0
    }
    # An idle machine that cannot make it is no reason.
    specs = (*SPECS[:2], spec("m3", group="other"))
    large = farm_of(*(machine(name) for name in NAMES), *(replace(each, group="mk4") for each in JOBS))
    assert {wish.share for wish in take_snapshot(large, shop(*specs), T0, told).problem.announced} == {1.0}


def test_work_that_is_due_far_away_goes_to_idle_machines_too() -> None:
    jobs = [replace(each, due_at=T0 + 60 * DAY) for each in JOBS]
    told = [("J-1#1", "m1", T0), ("J-2#1", "m1", T0 + 9000.0)]
    problem = take_snapshot(
        farm_of(*(machine(name) for name in NAMES), *jobs), shop(*SPECS), T0, told
    ).problem
    alone = replace(problem, machines=problem.machines[:1])
    before = plan(alone, budget=Budget(effort=50), seed=1)
    after = plan(problem, budget=Budget(effort=200), seed=1, incumbent=before)
    assert not check(problem, after)
    assert sorted(a.machine for a in after.assignments) == sorted(NAMES * 2)


def test_stays_where_it_was_announced_when_no_machine_is_idle() -> None:
    farm = farm_of(*(machine(name) for name in NAMES), *JOBS)
    bare = take_snapshot(farm, shop(*SPECS), T0).problem
    first = plan(bare, budget=Budget(effort=50), seed=1)
    steps = sorted(first.assignments, key=lambda a: a.start_s)
    told = [(a.build or "", a.machine, T0 + a.start_s) for a in steps][: NEXT * 3]
    problem = take_snapshot(farm, shop(*SPECS), T0, told).problem
    for seed in range(5):
        again = plan(problem, budget=Budget(effort=100), seed=seed)
        assert {a.build: a.machine for a in again.assignments} == {
            a.build: a.machine for a in first.assignments
        }


def test_what_waits_without_a_due_date_counts_for_more_from_day_to_day() -> None:
    the_job = replace(JOBS[0], submitted_at=T0)
    build = take_snapshot(farm_of(machine(), the_job), shop(spec()), T0).problem.builds[0]
    assert [aged(build, waited_days(days * DAY)).weight for days in (0.0, 0.9, 1.0, 2.0)] == [
        1.0,
        1.0,
        4.0,
        9.0,
    ]
    assert aged(replace(build, due_s=5.0), 9).weight == 1.0
    old = take_snapshot(farm_of(machine(), the_job), shop(spec()), T0 + 2 * DAY).problem.builds[0]
    assert old.weight == 9.0
