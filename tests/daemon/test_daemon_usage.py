"""What ran lately makes worn machines dearer and owners fair to each other: in steps, bounded, and told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from farmshop import T0, build, farm_of, job, machine, schedule, shop, spec, station, step

from farmd.daemon.snapshot import take_snapshot
from farmd.daemon.usage import DAY_S, DAYS, NO_USE, Usage, Use
from farmd.daemon.waits import Told
from farmd.daemon.why import why
from farmd.model.lifecycle import BuildState

SPECS = {name: spec(name) for name in ("m1", "m2", "m3")}


def used(*ran: tuple[str, str, float], days: int = 0) -> Usage:
    usage = Usage()
    for name, owner, hours in ran:
        usage.saw(name, owner, T0 - days * DAY_S, hours * 3600.0)
    return usage


def use_of(usage: Usage, *owners: str, wear_price: float = 1.0, fair_share: float = 2.0) -> Use:
    return usage.use(SPECS, owners, wear_price=wear_price, fair_share=fair_share)


def test_a_machine_that_ran_more_than_its_kind_is_dearer_by_how_much_more() -> None:
    # The mean is 20 h: 50 % more, as much, and half.
    found = use_of(used(("m1", "", 30), ("m2", "", 20), ("m3", "", 10)), wear_price=0.2)
    assert found.wear == {"m1": pytest.approx(0.1)}
    assert use_of(used(("m1", "", 90))).wear == {"m1": 1.0}
    assert use_of(used(("m1", "", 21), ("m2", "", 20), ("m3", "", 20))).wear == {}
    assert use_of(used(("m1", "", 90)), wear_price=0.0).wear == {}


def test_machines_are_compared_with_their_kind_only() -> None:
    usage = used(("m1", "", 10), ("wash", "", 500))
    specs = {"m1": spec("m1"), "wash": station("wash")}
    assert usage.use(specs, (), wear_price=1.0, fair_share=1.0) == NO_USE


@pytest.mark.parametrize(
    ("ann", "ben", "weights"),
    [
        (10, 10, {}),
        (11, 9, {}),
        (10, 6, {"ben": 1.25, "ann": 0.8}),
        (30, 10, {"ann": pytest.approx(1 / 1.5), "ben": 2.0}),
        (10, 0, {"ann": 0.5, "ben": 2.0}),
        (0, 0, {}),
    ],
)
def test_owners_weigh_by_what_they_had_in_steps_and_at_most_twice(
    ann: float, ben: float, weights: dict[str, float]
) -> None:
    usage = used(("m1", "ann", ann), ("m2", "ben", ben), ("m3", "gone", 500))
    assert use_of(usage, "ann", "ben").weights == weights
    assert use_of(usage, "ann", "ben", fair_share=1.0).weights == {}
    assert use_of(usage, "ann").weights == {}


def test_what_is_long_past_is_forgotten() -> None:
    usage = used(("m1", "ann", 50), days=DAYS)
    assert use_of(usage).wear
    usage.saw("m2", "ben", T0, 3600.0)
    assert use_of(usage).wear == {"m2": 1.0}


def test_the_problem_has_prices_weights_and_owners() -> None:
    farm = farm_of(
        machine("m1"), machine("m2"), job(owner="ann", priority=3.0), job("J-2", owner="ben"), job("J-3")
    )
    use = Use({"m2": 0.4}, {"ann": 0.5})
    problem = take_snapshot(farm, shop(spec("m1"), spec("m2")), T0, use=use).problem
    assert [m.wear_price for m in problem.machines] == [0.0, 0.4]
    plain = {b.id: b for b in take_snapshot(farm, shop(spec("m1"), spec("m2")), T0).problem.builds}
    found = {b.id: b for b in problem.builds}
    assert found["J-1"] == replace(plain["J-1"], owner="ann", weight=plain["J-1"].weight * 0.5)
    assert found["J-2"] == replace(plain["J-2"], owner="ben")
    assert found["J-3"] == plain["J-3"]


def test_a_queued_build_weighs_by_its_jobs_owner() -> None:
    farm = farm_of(machine(), job(owner="ann", in_work=1), build(state=BuildState.QUEUED))
    problem = take_snapshot(farm, shop(spec()), T0, use=Use({}, {"ann": 2.0})).problem
    assert {b.id: b.owner for b in problem.builds}["B-1"] == "ann"


def test_why_tells_that_a_weight_was_moved() -> None:
    farm = farm_of(machine(), job(owner="ann"))
    plan = schedule(step())
    told = Told(weights={"ann": 0.5})
    answer = why(farm, plan, shop(spec()), farm.jobs["J-1"], told)
    assert answer.what.endswith(
        "; it weighs 0.5 times its priority, since ann had more of the machines lately than others"
    )
    assert "weighs" not in why(farm, plan, shop(spec()), farm.jobs["J-1"]).what
