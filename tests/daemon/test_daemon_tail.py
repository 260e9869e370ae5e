"""Work beyond the planning horizon: not searched for, but its turn is told by rule."""

from __future__ import annotations

from farmshop import T0, farm_of, job, machine, shop, spec

from farmd.daemon.schedule import schedule_of
from farmd.daemon.snapshot import BACKLOG_FACTOR, take_snapshot
from farmd.daemon.tail import MOST, Later, told, turns
from farmd.planner import Budget, plan

HOUR = 3600.0


def test_what_is_beyond_the_horizon_is_not_planned_and_told_when_its_turn_comes() -> None:
    jobs = [
        job(f"J-{n}", quantity=1, parts_per_plate=1, duration_s=4 * HOUR, due_at=T0 + n * HOUR)
        for n in range(1, 41)
    ]
    farm = farm_of(machine(), machine("m2"), *jobs)
    the_shop = shop(spec(), spec("m2"), horizon_s=24 * HOUR)
    snapshot = take_snapshot(farm, the_shop, T0)
    inside = round(BACKLOG_FACTOR * 24 * 2 / 4)
    assert [build.id for build in snapshot.problem.builds] == [f"J-{n}" for n in range(1, inside + 1)]
    made = plan(snapshot.problem, budget=Budget(effort=20), seed=1)
    left_out = schedule_of(made, snapshot, made_at=T0, policy="plan").left_out
    assert list(left_out) == [f"J-{n}" for n in range(inside + 1, 41)]
    ends_h = (made.value.makespan_s) / HOUR
    first = left_out[f"J-{inside + 1}"]
    assert (
        first == f"later: earlier work fills the planning horizon; its turn comes in about {round(ends_h)} h"
    )
    assert left_out["J-40"].endswith("its turn comes in about 3 days")


def test_turns_come_in_order_on_the_machine_that_is_free_first() -> None:
    one, both = frozenset({"a"}), frozenset({"a", "b"})
    later = [
        Later("J-1", 1, 10.0, both),
        Later("J-2", 1, 10.0, both),
        Later("J-3", 4, 10.0, both),
        Later("J-4", 1, 10.0, one),
        Later("J-5", 1, 10.0, frozenset({"gone"})),
    ]
    busy = {"a": (100.0, 100.0), "b": (105.0, 105.0)}
    assert turns(later, busy, 0.0) == {"J-1": 100.0, "J-2": 105.0, "J-3": 110.0, "J-4": 130.0}
    # Machines that work half of their time take twice as long.
    half = {"a": (100.0, 50.0), "b": (105.0, 52.5)}
    assert turns(later[:3], half, 0.0) == {"J-1": 100.0, "J-2": 105.0, "J-3": 120.0}
    many = [Later(f"J-{n}", 1, 1.0, one) for n in range(MOST + 5)]
    assert len(turns(many, busy, 0.0)) == MOST


def test_turns_are_told_in_hours_or_days() -> None:
    assert [told(s * HOUR) for s in (0.2, 5.2, 47.0, 60.0)] == [
        "in about 1 h",
        "in about 5 h",
        "in about 47 h",
        "in about 2 days",
    ]
