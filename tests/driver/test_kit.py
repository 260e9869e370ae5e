"""The conformance kit names the promise that a deliberately broken driver breaks."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from farmd.driver import (
    Activity,
    Capabilities,
    Ended,
    Event,
    Faulted,
    ForeignStarted,
    Observed,
    Rebooted,
    Report,
    Started,
    StartOrder,
)
from farmd.driver.clock import Clock, set_clock
from farmd.driver.kit import PromisesBroken, Rig, Status, check_driver, promises
from farmd.model.errors import LinkLost
from farmd.model.work import Outcome
from farmd_drivers.simulated.driver import SimulatedDriver
from farmd_drivers.simulated.rig import SPEED, SimulatedRig


class Telling(SimulatedDriver):
    """Base of drivers that change what they tell."""

    def change(self, event: Event) -> list[Any]:
        return [event]

    async def serve(self, report: Report) -> None:
        def changed(event: Event) -> None:
            for told in self.change(event):
                report(told)

        await super().serve(changed)


class StartsTwice(SimulatedDriver):
    async def start(self, order: StartOrder) -> None:
        await super().start(order)
        self.machine.send_start(order)


class StartsWithoutLink(SimulatedDriver):
    async def start(self, order: StartOrder) -> None:
        self.machine.send_start(order)


class StartsWhenBusy(SimulatedDriver):
    async def start(self, order: StartOrder) -> None:
        self._need_link()
        self.machine.send_start(order)


class TellsStartedFromSending(Telling):
    async def serve(self, report: Report) -> None:
        self.report = report
        await super().serve(report)

    def change(self, event: Event) -> list[Any]:
        return [] if isinstance(event, Started) else [event]

    async def start(self, order: StartOrder) -> None:
        await super().start(order)
        self.report(Started(order.run_id, "the START was sent"))


class EndsAsFailed(Telling):
    def change(self, event: Event) -> list[Any]:
        return [replace(event, outcome=Outcome.FAILED) if isinstance(event, Ended) else event]


class EndsAsOk(Telling):
    def change(self, event: Event) -> list[Any]:
        return [replace(event, outcome=Outcome.OK) if isinstance(event, Ended) else event]


class EndsTwice(Telling):
    def change(self, event: Event) -> list[Any]:
        return [event, event] if isinstance(event, Ended) else [event]


class TogglesPause(SimulatedDriver):
    async def pause(self) -> None:
        if self.machine.truth.phase.value == "paused":
            self.machine.resume()
        else:
            self.machine.pause()


class RefusesSecondPause(SimulatedDriver):
    async def pause(self) -> None:
        if self.machine.truth.phase.value == "paused":
            raise RuntimeError("already paused")
        self.machine.pause()


class EstopIsAwaited(SimulatedDriver):
    async def estop(self) -> None:  # type: ignore[override]
        super().estop()


class EstopIsSlow(SimulatedDriver):
    def estop(self) -> None:
        time.sleep(0.3)
        super().estop()


class EstopOnlyStops(SimulatedDriver):
    def estop(self) -> None:
        self.machine.stop()


class HidesLostLink(SimulatedDriver):
    async def serve(self, report: Report) -> None:
        while True:
            try:
                await super().serve(report)
            except LinkLost:
                await asyncio.sleep(0.01)


class ForgetsRun(Telling):
    def change(self, event: Event) -> list[Any]:
        if isinstance(event, Observed):
            return [replace(event, activity=Activity.IDLE, run_id=None)]
        return [event]


class ForgetsHistory(Telling):
    def change(self, event: Event) -> list[Any]:
        return [replace(event, history=()) if isinstance(event, Observed) else event]


class StopsWhenLeft(SimulatedDriver):
    async def serve(self, report: Report) -> None:
        try:
            await super().serve(report)
        finally:
            self.machine.stop()


class Feeds(SimulatedDriver):
    """A run goes only as long as somebody feeds it."""

    capabilities = Capabilities(pause=True, history_authoritative=True)

    async def serve(self, report: Report) -> None:
        try:
            await super().serve(report)
        finally:
            self.machine.fail_now("nobody feeds it")


class FeedsAndTellsOk(Feeds):
    async def serve(self, report: Report) -> None:
        def changed(event: Event) -> None:
            if isinstance(event, Observed):
                past = tuple(replace(run, outcome=Outcome.OK) for run in event.history)
                event = replace(event, history=past)
            report(event)

        await super().serve(changed)


class FeedsAndForgets(Feeds, ForgetsHistory):
    pass


class ShowsWhatItCannotAdopt(SimulatedDriver):
    capabilities = Capabilities(pause=True, adopts=False)


class HidesReboot(Telling):
    def change(self, event: Event) -> list[Any]:
        return [] if isinstance(event, Rebooted) else [event]


class HidesForeignRun(Telling):
    def change(self, event: Event) -> list[Any]:
        return [] if isinstance(event, ForeignStarted) else [event]


class HidesFault(Telling):
    def change(self, event: Event) -> list[Any]:
        return [] if isinstance(event, Faulted) else [event]


class PausesThoughItDeniesIt(SimulatedDriver):
    capabilities = Capabilities(pause=False, adopts=True)


class ServesOnce(SimulatedDriver):
    served = False

    async def serve(self, report: Report) -> None:
        if self.served:
            raise RuntimeError("the port is still open")
        self.served = True
        await super().serve(report)


class TellsOthers(Telling):
    everybody: ClassVar[list[Report]] = []

    async def serve(self, report: Report) -> None:
        self.everybody.append(report)
        await super().serve(report)

    def change(self, event: Event) -> list[Any]:
        for report in self.everybody:
            report(event)
        return []


class SkipsObserved(Telling):
    def change(self, event: Event) -> list[Any]:
        return [] if isinstance(event, Observed) else [event]


class InventsEvents(Telling):
    def change(self, event: Event) -> list[Any]:
        return [event, "M105"]


class GuessesRunId(Telling):
    def change(self, event: Event) -> list[Any]:
        return [event, Ended("R-99", Outcome.OK)] if isinstance(event, Started) else [event]


class GivesNoEvidence(Telling):
    def change(self, event: Event) -> list[Any]:
        return [replace(event, evidence=" ") if isinstance(event, Started) else event]


class TellsStartedTwice(Telling):
    def change(self, event: Event) -> list[Any]:
        return [event, event] if isinstance(event, Started) else [event]


class Returns(SimulatedDriver):
    async def serve(self, report: Report) -> None:
        report(self.machine.look())


class RaisesKeyError(SimulatedDriver):
    async def serve(self, report: Report) -> None:
        report(self.machine.look())
        raise KeyError("temperature")


class LeavesTask(SimulatedDriver):
    async def serve(self, report: Report) -> None:
        self.keepalive = asyncio.create_task(asyncio.sleep(1.6))
        await super().serve(report)


class IgnoresCancel(SimulatedDriver):
    async def serve(self, report: Report) -> None:
        try:
            await super().serve(report)
        except asyncio.CancelledError:
            await asyncio.sleep(1.6)
            raise


# The scene in which a standing promise is tried here, to keep the tests short.
SCENE = "start-runs-once"

BROKEN: list[tuple[type[SimulatedDriver], str]] = [
    (StartsTwice, "start-runs-once"),
    (StartsTwice, "start-at-most-once"),
    (StartsWithoutLink, "start-needs-link"),
    (StartsWhenBusy, "busy-refuses-start"),
    (StartsWithoutLink, "cut-link-is-noticed"),
    (TellsStartedFromSending, "lost-start-is-not-told"),
    (EndsAsFailed, "run-ends-once"),
    (EndsAsOk, "failure-is-told"),
    (EndsAsOk, "stop-cancels"),
    (EndsTwice, "ended-once"),
    (TogglesPause, "pause-is-idempotent"),
    (RefusesSecondPause, "pause-is-idempotent"),
    (EstopIsAwaited, "estop-at-once"),
    (EstopIsSlow, "estop-at-once"),
    (EstopOnlyStops, "estop-at-once"),
    (HidesLostLink, "cut-link-is-noticed"),
    (ForgetsRun, "run-survives-cut-link"),
    (ForgetsRun, "run-is-adopted"),
    (StopsWhenLeft, "run-is-adopted"),
    (ForgetsHistory, "history-is-an-authority"),
    (FeedsAndTellsOk, "history-is-an-authority"),
    (FeedsAndForgets, "history-is-an-authority"),
    (ShowsWhatItCannotAdopt, "run-is-not-adopted"),
    (HidesReboot, "reboot-is-told"),
    (HidesForeignRun, "foreign-run-is-told"),
    (HidesFault, "fault-is-told"),
    (PausesThoughItDeniesIt, "unsupported-is-refused"),
    (ServesOnce, "cancel-is-clean"),
    (TellsOthers, "instances-share-nothing"),
    (SkipsObserved, "observed-first"),
    (InventsEvents, "events-are-known"),
    (GuessesRunId, "run-ids-are-ours"),
    (GivesNoEvidence, "started-has-evidence"),
    (TellsStartedTwice, "started-has-evidence"),
    (Returns, "serve-errors-are-allowed"),
    (RaisesKeyError, "serve-errors-are-allowed"),
    (LeavesTask, "no-tasks-left"),
    (IgnoresCancel, "no-tasks-left"),
]


def rigs(folder: Path, driver_type: type[SimulatedDriver]) -> Callable[[], Rig]:
    numbers = itertools.count()
    loop = asyncio.get_running_loop()
    set_clock(loop, Clock(1_700_000_000.0, loop.time(), SPEED))
    return lambda: SimulatedRig(folder / str(next(numbers)), driver_type)


@pytest.mark.parametrize(("driver_type", "promise"), BROKEN)
async def test_kit_names_the_broken_promise(
    driver_type: type[SimulatedDriver], promise: str, tmp_path: Path
) -> None:
    scene = "stop-cancels" if promise == "ended-once" else SCENE
    with pytest.raises(PromisesBroken) as caught:
        await check_driver(rigs(tmp_path, driver_type), only={promise, scene})
    assert promise in caught.value.verdict.broken
    assert promise in str(caught.value)
    if driver_type is IgnoresCancel:
        await asyncio.sleep(0.7)  # let it end, so that the loop closes clean


def test_every_promise_has_a_driver_that_breaks_it() -> None:
    assert {promise for _, promise in BROKEN} == set(promises())


async def test_history_of_a_fed_machine_tells_that_the_run_failed(tmp_path: Path) -> None:
    verdict = await check_driver(rigs(tmp_path, Feeds), only={"history-is-an-authority"})
    assert verdict.kept == ("history-is-an-authority",)


async def test_kit_lists_all_broken_promises_at_once(tmp_path: Path) -> None:
    class Sloppy(GivesNoEvidence):
        async def start(self, order: StartOrder) -> None:
            await super().start(order)
            self.machine.send_start(order)

    with pytest.raises(PromisesBroken) as caught:
        await check_driver(rigs(tmp_path, Sloppy), only={"start-runs-once", "started-has-evidence"})
    assert caught.value.verdict.broken == ("start-runs-once", "started-has-evidence")
    assert "2 promises are broken" in str(caught.value)


async def test_kit_skips_what_the_rig_cannot_bring_about(tmp_path: Path) -> None:
    class Helpless(SimulatedRig):
        cut_link = Rig.cut_link

    make = rigs(tmp_path, SimulatedDriver)
    assert make() is not None
    verdict = await check_driver(lambda: Helpless(tmp_path / "x"), only={"cut-link-is-noticed"})
    assert verdict.skipped == ("cut-link-is-noticed",)
    (result,) = verdict.results
    assert result.status is Status.SKIPPED
    assert result.why == ("the rig cannot cut the link",)
