"""What ended runs teach, and what it does to the next problem."""

from __future__ import annotations

from dataclasses import replace

from farmshop import T0, farm_of, job, machine, shop, spec

from farmd.daemon.estimates import EARLY, Ended, Estimates, kind_of
from farmd.daemon.known_builds import KnownBuilds
from farmd.daemon.schedule import schedule_of
from farmd.daemon.snapshot import take_snapshot
from farmd.planner import Budget, plan

KIND = kind_of(spec())


def learnt_of(*ratios: float | None) -> Estimates:
    estimates = Estimates()
    for ratio in ratios:
        estimates.saw(Ended(KIND, 1000.0, None if ratio is None else 1000.0 * ratio))
    return estimates


def test_buffers_grow_with_the_failures_that_were_seen_and_are_half_without_any() -> None:
    first = learnt_of().learnt()
    assert first.buffers() == EARLY
    never = learnt_of(*[1.0] * 450).learnt()
    often = learnt_of(*[1.0, 1.0, 1.0, 1.0, None] * 90).learnt()
    shares = [[share for _, share in each.buffers()] for each in (never, first, often)]
    assert never.failure_rate == 0.0
    assert often.failure_rate == 0.18
    assert all(a < b < c for a, b, c in zip(*shares, strict=True))
    assert first.buffers(0.0) == ()
    assert [share for _, share in first.buffers(2.0)] == [2 * share for _, share in EARLY]


def test_durations_follow_what_runs_really_took() -> None:
    learnt = learnt_of(*[1.3] * 200).learnt()
    problem = take_snapshot(farm_of(machine(), job()), shop(spec()), T0, learnt=learnt).problem
    assert set(problem.builds[0].duration_s.values()) == {learnt.ratio(KIND) * job().duration_s}
    assert 1.2 < learnt.ratio(KIND) <= 1.3
    few = learnt_of(2.0, 2.0).learnt()
    assert 1.0 < few.ratio(KIND) < 1.3, "two runs are no proof"


def test_room_before_the_due_date_makes_work_end_early_where_nothing_is_late() -> None:
    """Two jobs that are both in time either way: the one with less room goes first, though it is longer."""
    tight = job("J-1", quantity=1, duration_s=4 * 3600.0, due_at=T0 + 12 * 3600.0)
    loose = job("J-2", quantity=1, duration_s=3600.0, due_at=T0 + 200 * 3600.0)
    farm = farm_of(machine(), tight, loose)
    snapshot = take_snapshot(farm, shop(spec()), T0)
    assert snapshot.problem.buffers == EARLY
    made = plan(snapshot.problem, budget=Budget(effort=100), seed=1)
    assert [a.build for a in sorted(made.assignments, key=lambda a: a.start_s)] == ["J-1#1", "J-2#1"]
    assert take_snapshot(farm, shop(spec(), due_buffers=0.0), T0).problem.buffers == ()


def test_plan_says_what_was_learnt() -> None:
    learnt = learnt_of(*[1.3] * 48, None, None).learnt()
    snapshot = take_snapshot(farm_of(machine(), job()), shop(spec()), T0, learnt=learnt)
    made = plan(snapshot.problem, budget=Budget(effort=1), seed=1)
    told = schedule_of(made, snapshot, made_at=T0, policy="plan").learnt
    assert told == f"learnt of 50 runs: 4% fail; runs over their estimates: {KIND} 1.25"


def test_jobs_that_have_not_changed_are_the_same_builds_again() -> None:
    farm, known = farm_of(machine(), job("J-1"), job("J-2")), KnownBuilds()
    the_shop = shop(spec())
    first = take_snapshot(farm, the_shop, T0, known=known)
    farm.jobs["J-2"] = replace(farm.jobs["J-2"], priority=5.0)
    second = take_snapshot(farm, the_shop, T0 + 600.0, known=known)
    assert second.origin_s == first.origin_s
    assert second.problem.now_s == 600.0
    assert [build.id for build in second.problem.builds] == ["J-2", "J-1"], "the more urgent one first"
    assert second.problem.builds[1] is first.problem.builds[0]
    assert second.problem.builds[0].weight == 5.0
    # Another clock's zero, or other durations, make all of them anew.
    much_later = take_snapshot(farm, the_shop, T0 + 40 * 86400.0, known=known)
    assert much_later.problem.builds == take_snapshot(farm, the_shop, T0 + 40 * 86400.0).problem.builds
    slower = learnt_of(*[1.5] * 100).learnt()
    assert (
        take_snapshot(farm, the_shop, T0, learnt=slower, known=known).problem.builds
        == take_snapshot(farm, the_shop, T0, learnt=slower).problem.builds
    )
    last = take_snapshot(farm, the_shop, T0 + 60.0, learnt=slower, known=known).problem
    assert last.builds[0].duration_s != first.problem.builds[0].duration_s
