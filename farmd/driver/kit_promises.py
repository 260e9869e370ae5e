"""The promises that every driver owes, one function each; its docstring *is* the promise.

Each plays one scene on a `Stage` and raises `Broken`; what holds in every scene is in
`kit_standing`. Their names are the functions' names with dashes and never change: integrators
write them down. Knows no driver.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from farmd.driver import events as ev
from farmd.driver.api import NOT_SUPPORTED
from farmd.driver.events import (
    Activity,
    Ended,
    Faulted,
    ForeignStarted,
    Observed,
    Paused,
    Rebooted,
    Recovered,
    Resumed,
    Started,
)
from farmd.driver.kit_stage import Broken, NotOffered, Stage, Watch
from farmd.model.errors import LinkLost
from farmd.model.work import Outcome


async def start_runs_once(stage: Stage) -> None:
    """A start reaches the machine exactly once, and the machine's own evidence tells `Started`."""
    watch = await stage.connect()
    await watch.run(stage.rig.order("R-1", long=True))
    await watch.quiet()
    _demand(len(stage.rig.starts()) == 1, f"{len(stage.rig.starts())} STARTs reached the machine, not 1")
    _demand(stage.rig.starts()[0] in ("R-1", ""), f"the machine was told {stage.rig.starts()[0]!r}")


async def start_needs_link(stage: Stage) -> None:
    """A start before the link is up is refused, and nothing is sent."""
    watch = stage.instance()
    refusal = await watch.start(stage.rig.order("R-1", long=True))
    _demand(refusal is not None, "a start without a link was not refused")
    _demand(not stage.rig.starts(), "a START was sent without a link being served")


async def busy_refuses_start(stage: Stage) -> None:
    """A busy machine refuses a start; nothing is sent, and its run goes on."""
    watch = await stage.connect()
    await watch.run(stage.rig.order("R-1", long=True))
    refusal = await watch.start(stage.rig.order("R-2", long=True))
    await watch.quiet()
    _demand(len(stage.rig.starts()) == 1, "a second START reached the busy machine")
    _demand(refusal is not None, "a start on a busy machine was not refused")
    _demand(watch.ended("R-1") is None, "the running run ended by a refused start")


async def lost_start_is_not_told(stage: Stage) -> None:
    """A START that the machine did nothing with is neither told as started nor sent again."""
    watch = await stage.connect()
    await stage.rig.lose_next_start()
    await watch.start(stage.rig.order("R-1", long=True))
    await watch.quiet()
    _demand(not watch.told(Started, "R-1"), "Started was told, but the machine did not start")
    _demand(len(stage.rig.starts()) <= 1, "the START was sent again")
    await watch.leave()
    fresh = await stage.connect()
    seen = fresh.last_observed()
    _demand(not _knows(seen, "R-1"), "the run that did not start is shown")


async def run_ends_once(stage: Stage) -> None:
    """A run that succeeds is told by one `Ended` with outcome ok, and the machine takes the next."""
    watch = await stage.connect()
    await watch.run(stage.rig.order("R-1", long=False))
    await watch.expect(lambda: watch.ended("R-1"), "no Ended told R-1")
    await watch.quiet()
    _demand_outcome(watch, "R-1", Outcome.OK)


async def failure_is_told(stage: Stage) -> None:
    """A run that fails is told by one `Ended` with outcome failed."""
    watch = await stage.connect()
    await watch.run(stage.rig.order("R-1", long=True))
    await stage.rig.fail_run()
    await watch.expect(lambda: watch.ended("R-1"), "no Ended told R-1")
    _demand_outcome(watch, "R-1", Outcome.FAILED)


async def pause_is_idempotent(stage: Stage) -> None:
    """Pausing and resuming are told once each, and doing either twice is no error."""
    watch = await stage.connect()
    _need(watch.driver.capabilities.pause, "the driver cannot pause")
    await watch.run(stage.rig.order("R-1", long=True))
    for command, kind in (("pause", Paused), ("resume", Resumed)):
        for again in ("", "again "):
            refusal = await watch.command(command)
            _demand(refusal is None, f"{command} {again}was refused: {refusal}")
            await watch.expect(partial(watch.told, kind, "R-1"), f"no {kind.__name__} told R-1")
        await watch.quiet()
        told = len(watch.told(kind, "R-1"))
        _demand(told == 1, f"{kind.__name__} was told {told} times")
        _demand(kind is Resumed or not watch.told(Resumed, "R-1"), "pausing again resumed the run")
    _demand(watch.ended("R-1") is None, "the run ended by being paused and resumed")
    _demand(len(stage.rig.starts()) == 1, "a START was sent to resume")


async def stop_cancels(stage: Stage) -> None:
    """A stopped run is told by one `Ended` with outcome cancelled; stopping again is no error."""
    watch = await stage.connect()
    _need(watch.driver.capabilities.stop, "the driver cannot stop a run")
    await watch.run(stage.rig.order("R-1", long=True))
    refusal = await watch.command("stop")
    _demand(refusal is None, f"stop was refused: {refusal}")
    await watch.expect(lambda: watch.ended("R-1"), "no Ended told R-1")
    refusal = await watch.command("stop")
    _demand(refusal is None, f"stop again was refused: {refusal}")
    await watch.quiet()
    _demand_outcome(watch, "R-1", Outcome.CANCELLED)


async def estop_at_once(stage: Stage) -> None:
    """`estop` returns at once without awaiting, the machine is off, and its run has not succeeded."""
    watch = await stage.connect()
    _need(watch.driver.capabilities.estop, "the driver has no emergency stop")
    await watch.run(stage.rig.order("R-1", long=True))
    refusal = watch.estop()
    _demand(refusal is None, f"estop was refused: {refusal}")
    await watch.expect(
        lambda: watch.ended("R-1") or any(isinstance(event, Faulted) for event in watch.events),
        "neither Ended nor Faulted followed estop",
    )
    end = watch.ended("R-1")
    _demand(end is None or end.outcome is not Outcome.OK, "the stopped run was told as ok")
    await watch.expect(stage.rig.is_off, "the machine was not off")


async def cut_link_is_noticed(stage: Stage) -> None:
    """A cut link makes `serve` raise `LinkLost` in time; no start gets through meanwhile."""
    watch = await stage.connect()
    calls = await _cut(stage, watch)
    await watch.start(stage.rig.order("R-1", long=True))
    await stage.rig.restore_link()
    await _back(watch, calls)
    _demand(not stage.rig.starts(), "a start given without a link reached the machine")


async def run_survives_cut_link(stage: Stage) -> None:
    """After a lost link `Observed` tells the run: going on or over where the machine works alone;
    failed or gone where it is fed."""
    watch = await stage.connect()
    await watch.run(stage.rig.order("R-1", long=True))
    calls = await _cut(stage, watch)
    await stage.rig.restore_link()
    await _back(watch, calls)
    _demand(len(stage.rig.starts()) == 1, "the START was sent again after the link came back")
    seen = watch.last_observed()
    if watch.driver.capabilities.adopts:
        _demand(_knows(seen, "R-1"), f"the run goes on, but {seen} does not tell so")
    else:
        await _demand_given_up(watch, "R-1")


async def run_is_adopted(stage: Stage) -> None:
    """Cancelling `serve` leaves the run going; a new instance shows it by its run id and can end it."""
    first = await stage.connect()
    _need(first.driver.capabilities.adopts, "the driver does not adopt runs")
    await first.run(stage.rig.order("R-1", long=True))
    await first.leave()
    fresh = await stage.connect()
    seen = fresh.last_observed()
    _demand(seen.run_id == "R-1", f"the new instance shows run {seen.run_id!r}, not 'R-1'")
    _demand(seen.activity is Activity.RUNNING, f"the run is shown as {seen.activity}")
    if fresh.driver.capabilities.stop:
        await fresh.command("stop")
        await fresh.expect(lambda: fresh.ended("R-1"), "no Ended told the adopted run's end")
        _demand_outcome(fresh, "R-1", Outcome.CANCELLED)
    _demand(len(stage.rig.starts()) == 1, "adopting sent another START")


async def run_is_not_adopted(stage: Stage) -> None:
    """A driver that does not adopt shows a run of before as failed, or not at all."""
    first = await stage.connect()
    _need(not first.driver.capabilities.adopts, "the driver adopts runs")
    await first.run(stage.rig.order("R-1", long=True))
    await first.leave()
    fresh = await stage.connect()
    await _demand_given_up(fresh, "R-1")
    _demand(len(stage.rig.starts()) == 1, "the run was started again")


async def history_is_an_authority(stage: Stage) -> None:
    """With `history_authoritative`, a run that ended while nobody looked is shown with its outcome,
    failed where its feeder had gone, and one that never started is not."""
    first = await stage.connect()
    _need(first.driver.capabilities.history_authoritative, "the driver's history is no authority")
    fed = not first.driver.capabilities.adopts
    await first.run(stage.rig.order("R-1", long=fed))
    await first.leave()
    await asyncio.sleep(stage.rig.settle_s)
    seen = (await stage.connect()).last_observed()
    outcomes = [past.outcome for past in seen.history if past.run_id == "R-1"]
    _demand(outcomes == [Outcome.FAILED if fed else Outcome.OK], f"the history tells of R-1: {outcomes}")
    _demand(not _knows(seen, "R-2"), "the history tells of a run that was never started")


async def reboot_is_told(stage: Stage) -> None:
    """A restart of the machine is told by `Rebooted` or by `Observed.rebooted`; its run is not ok."""
    watch = await stage.connect()
    await watch.run(stage.rig.order("R-1", long=True))
    await stage.rig.reboot()

    def said() -> bool:
        return any(
            isinstance(event, Rebooted) or (isinstance(event, Observed) and event.rebooted)
            for event in watch.events
        )

    await watch.expect(said, "no restart was told", stage.rig.settle_s + stage.rig.link_timeout_s)
    end = watch.ended("R-1")
    _demand(end is None or end.outcome is not Outcome.OK, "the lost run was told as ok")
    _demand(len(stage.rig.starts()) == 1, "the run was started again after the restart")


async def foreign_run_is_told(stage: Stage) -> None:
    """A run that somebody else started is told as foreign, keeps the machine busy, and is not ours."""
    watch = await stage.connect()
    await stage.rig.foreign_start()

    def said() -> bool:
        return any(
            isinstance(event, ForeignStarted)
            or (isinstance(event, Observed) and event.activity is not Activity.IDLE)
            for event in watch.events
        )

    await watch.expect(said, "the foreign run was not told")
    refusal = await watch.start(stage.rig.order("R-1", long=True))
    _demand(refusal is not None, "a start on top of a foreign run was not refused")
    await watch.quiet()
    _demand(not stage.rig.starts(), "a START was sent on top of a foreign run")


async def fault_is_told(stage: Stage) -> None:
    """A fault is told by `Faulted`, ends the run as failed, and refuses a start until recovered."""
    watch = await stage.connect()
    await watch.run(stage.rig.order("R-1", long=True))
    await stage.rig.break_machine()
    await watch.expect(lambda: _any(watch, Faulted), "no Faulted told the fault")
    await watch.expect(lambda: watch.ended("R-1"), "no Ended told the run that died of the fault")
    _demand_outcome(watch, "R-1", Outcome.FAILED)
    _demand(
        await watch.start(stage.rig.order("R-2", long=True)) is not None, "a start in fault was not refused"
    )
    refusal = await watch.command("recover")
    if refusal is None:
        await watch.expect(
            lambda: _any(watch, Recovered) or len([e for e in watch.events if isinstance(e, Faulted)]) > 1,
            "neither Recovered nor Faulted followed recover",
        )
    else:
        _demand(refusal.code is NOT_SUPPORTED, f"recover was refused by {refusal}")


async def unsupported_is_refused(stage: Stage) -> None:
    """A command that the capabilities deny is refused with `NOT_SUPPORTED`."""
    watch = await stage.connect()
    can = watch.driver.capabilities
    denied = [
        name for name, able in (("pause", can.pause), ("resume", can.pause), ("stop", can.stop)) if not able
    ]
    _need(denied or not can.estop, "the driver can do everything")
    for name in denied:
        refusal = await watch.command(name)
        _demand(
            refusal is not None and refusal.code is NOT_SUPPORTED,
            f"{name} is not among the capabilities, but gave {refusal or 'no error'}",
        )
    if not can.estop:
        refusal = watch.estop()
        _demand(
            refusal is not None and refusal.code is NOT_SUPPORTED,
            f"estop is not among the capabilities, but gave {refusal or 'no error'}",
        )


async def cancel_is_clean(stage: Stage) -> None:
    """Cancelling `serve` ends it, and the same instance can be served again."""
    watch = await stage.connect()
    await watch.leave()
    calls = len(watch.connections)
    watch.serve()
    await watch.expect(
        lambda: len(watch.connections) > calls and watch.connections[calls],
        "nothing was told when it was served again",
    )
    await watch.run(stage.rig.order("R-1", long=True))


async def instances_share_nothing(stage: Stage) -> None:
    """Two machines' drivers know nothing of each other."""
    watch = await stage.connect()
    other = await stage.neighbour()
    beside = await other.connect()
    before = list(beside.events)
    await watch.run(stage.rig.order("R-1", long=True))
    await watch.quiet()
    _demand(not other.rig.starts(), "the START reached the other machine too")
    _demand(beside.events == before, f"the other machine's driver told {beside.events[len(before) :]}")
    await beside.leave()
    _demand(watch.ended("R-1") is None and not watch.losses, "leaving the other machine disturbed this one")


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Broken(otherwise)


def _need(holds: object, otherwise: str) -> None:
    if not holds:
        raise NotOffered(otherwise)


def _demand_outcome(watch: Watch, run_id: str, outcome: Outcome) -> None:
    told = [end.outcome for end in watch.told(Ended, run_id)]
    _demand(told == [outcome], f"{run_id} was told as {', '.join(told)}, not as {outcome}")


async def _demand_given_up(watch: Watch, run_id: str) -> None:
    def given_up() -> bool:
        end, seen = watch.ended(run_id), watch.last_observed()
        shown_ok = any(past.run_id == run_id and past.outcome is Outcome.OK for past in seen.history)
        if end is not None:
            return end.outcome is not Outcome.OK
        return seen.run_id != run_id and not shown_ok

    await watch.expect(given_up, "a run that cannot go on was neither told as failed nor gone")


async def _cut(stage: Stage, watch: Watch) -> int:
    """Cuts the link; returns how often `serve` had been called by then."""
    before, calls = len(watch.losses), len(watch.connections)
    await stage.rig.cut_link()
    await watch.expect(
        lambda: any(isinstance(error, LinkLost) for error in watch.losses[before:]),
        "serve did not raise LinkLost after the link was cut",
        stage.rig.link_timeout_s,
    )
    return calls


async def _back(watch: Watch, calls: int) -> None:
    await watch.expect(
        lambda: any(watch.connections[calls:]),
        "nothing was told after the link came back",
        watch.rig.link_timeout_s,
    )


def _knows(seen: Observed, run_id: str) -> bool:
    return seen.run_id == run_id or any(past.run_id == run_id for past in seen.history)


def _any(watch: Watch, kind: type[ev.Event]) -> bool:
    return any(isinstance(event, kind) for event in watch.events)


PROMISES: tuple[Callable[[Stage], Awaitable[None]], ...] = (
    start_runs_once,
    start_needs_link,
    busy_refuses_start,
    lost_start_is_not_told,
    run_ends_once,
    failure_is_told,
    pause_is_idempotent,
    stop_cancels,
    estop_at_once,
    cut_link_is_noticed,
    run_survives_cut_link,
    run_is_adopted,
    run_is_not_adopted,
    history_is_an_authority,
    reboot_is_told,
    foreign_run_is_told,
    fault_is_told,
    unsupported_is_refused,
    cancel_is_clean,
    instances_share_nothing,
)
