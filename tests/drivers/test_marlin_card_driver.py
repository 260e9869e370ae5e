"""Runs from the machine's own card end to end: the real driver on a pseudo-terminal, the emulated card behind it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from farmd.driver import (
    MACHINE_NOT_READY,
    Activity,
    Ended,
    Event,
    Faulted,
    ForeignEnded,
    ForeignStarted,
    Observed,
    Paused,
    Progressed,
    Rebooted,
    Resumed,
    RunFile,
    Started,
    StartOrder,
)
from farmd.model.errors import LinkLost, Refused
from farmd.model.machine import MachineSpec
from farmd.model.work import Outcome
from farmd_drivers.marlin.card_run import CARD_BUSY
from farmd_drivers.marlin.card_upload import CARD_LINE, CARD_NOT_STORED, CARD_UNSUITABLE
from farmd_drivers.marlin.driver import MarlinDriver
from farmd_drivers.marlin.emulator.build import Build
from farmd_drivers.marlin.emulator.card import CardMarlin
from farmd_drivers.marlin.emulator.noise import Fault, Noise
from farmd_drivers.marlin.peer import PtyPeer
from farmd_drivers.marlin.settings import MarlinSettings
from farmd_drivers.marlin.wire.card import card_name

SPEC = MachineSpec("mk3-01", "marlin", "mk3", "MEX", (250.0, 210.0, 210.0))
RUN = "R-0123ABCDEF"
NAME = card_name(RUN)
MOVE_S = 0.01
FAST = Build(move_scale=1.0)


def gcode(moves: int) -> bytes:
    """Each move takes MOVE_S; a layer is 50 of them; different in every line."""
    lines = ["; generated", "G91", "M104 S200", "M140 S60"]
    for number in range(moves):
        if number % 50 == 0:
            lines.append(";LAYER_CHANGE")
        lines.append(f"G1 X{1 if number % 2 else -1} E{number * 0.001:.4f} F{60 / MOVE_S:.0f}")
    return "\n".join([*lines, "M104 S0", "M140 S0"]).encode()


def order(data: bytes, run_id: str = RUN) -> StartOrder:
    file = RunFile("part.gcode", hashlib.sha256(data).hexdigest(), len(data), lambda: io.BytesIO(data))
    return StartOrder(run_id, "print", 60.0, 1, fence=1, file=file, mass_g=10.0)


def commands(data: bytes) -> list[bytes]:
    return [line for line in data.splitlines() if line and not line.startswith(b";")]


class CardPeer(PtyPeer):
    """A machine with a card on a pty."""

    def __init__(self, build: Build = FAST, *, noise: Noise | None = None, link: Path | None = None) -> None:
        self.card = CardMarlin(build)
        super().__init__(build, noise=noise, link=link, machine=self.card)

    def panel_start(self, name: str, data: bytes) -> None:
        def begin() -> None:
            self.card.files[name] = bytearray(data)
            self.card.panel_start(name, time.monotonic())

        self._do(begin)

    def panel_stop(self) -> None:
        self._do(lambda: self.card.panel_stop(time.monotonic()))

    def has_executed(self, data: bytes) -> bool:
        lines = set(commands(data))
        return [line for line in self.executed if line in lines] == commands(data)


E = TypeVar("E")


async def soon(condition: Callable[[], bool], within_s: float = 8.0) -> None:
    for _ in range(int(within_s / 0.005)):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come about")


class Served:
    """A driver being served, with what it told."""

    def __init__(self, driver: MarlinDriver) -> None:
        self.driver = driver
        self.events: list[Event] = []
        self.task = asyncio.create_task(driver.serve(self.events.append))

    async def until(self, kind: type[E], within_s: float = 10.0) -> E:
        async with asyncio.timeout(within_s):
            while (found := self.find(kind)) is None:
                if self.task.done():
                    self.task.result()
                await asyncio.sleep(0.002)
        return found

    def find(self, kind: type[E]) -> E | None:
        return next((event for event in reversed(self.events) if isinstance(event, kind)), None)

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


Make = Callable[..., MarlinDriver]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def driver(port: str, print_from: str = "card", banner_wait_s: float = 0.05) -> MarlinDriver:
        settings = MarlinSettings.model_validate(
            {"port": port, "banner_wait_s": banner_wait_s, "print_from": print_from}
        )
        return MarlinDriver(SPEC, settings, state_dir=tmp_path)

    return driver


@asynccontextmanager
async def serving(driver: MarlinDriver) -> AsyncIterator[Served]:
    served = Served(driver)
    try:
        await served.until(Observed)
        yield served
    finally:
        await served.leave()


async def test_whole_print_is_exact_and_the_card_is_left_tidy(make: Make) -> None:
    data = gcode(300)
    with CardPeer() as peer:
        async with serving(make(peer.port)) as served:
            assert served.driver.capabilities.adopts
            assert not served.driver.capabilities.history_authoritative
            await served.driver.start(order(data))
            with pytest.raises(Refused) as refused:
                await served.driver.start(order(data, "R-2"))
            assert refused.value.code is MACHINE_NOT_READY
            assert await served.until(Ended) == Ended(RUN, Outcome.OK, used_g=10.0)
            assert peer.card.starts == [NAME]
            assert peer.has_executed(data)
            started = served.all(Started)
            assert [event.run_id for event in started] == [RUN]
            fractions = [event.fraction for event in served.all(Progressed)]
            assert fractions == sorted(fractions)
            assert len(fractions) > 1
            assert len({event.layer for event in served.all(Progressed)}) > 1
            await asyncio.sleep(0.2)
            assert peer.card.files == {}
            with pytest.raises(Refused):
                await served.driver.start(order(data))  # the same run, twice
            await served.driver.start(order(data, "R-0123ABCDEG"))
            await soon(lambda: len(served.all(Started)) == 2)
        assert peer.card.starts == [NAME, "0123ABCD.GEG"]


async def test_noisy_line_stores_and_prints_exactly(make: Make) -> None:
    data = gcode(400)
    noise = Noise(3, to_machine=0.02, to_host=0.005, faults=(Fault.GARBLE, Fault.DROP))
    with CardPeer(Build(move_scale=0.2), noise=noise) as peer:
        async with serving(make(peer.port)) as served:
            await served.driver.start(order(data))
            ended = await served.until(Ended, 40)
            assert ended.outcome is Outcome.OK
        assert peer.card.starts == [NAME]
        assert peer.has_executed(data)
    assert noise.injected > 5


async def test_pause_and_resume(make: Make) -> None:
    data = gcode(400)
    with CardPeer() as peer:
        async with serving(make(peer.port)) as served:
            await served.driver.start(order(data))
            await served.until(Started)
            await served.driver.pause()
            await served.until(Paused)
            done = len(peer.executed)
            await asyncio.sleep(0.3)
            assert not [line for line in peer.executed[done:] if line.startswith(b"G1")]
            assert peer.machine.body.nozzle.target_c == 200
            await served.driver.pause()
            await served.driver.resume()
            await served.until(Resumed)
            assert (await served.until(Ended)).outcome is Outcome.OK
        assert peer.has_executed(data)
        assert peer.card.starts == [NAME]


async def test_stop_ends_the_run_cold(make: Make) -> None:
    with CardPeer() as peer:
        async with serving(make(peer.port)) as served:
            await served.driver.start(order(gcode(2000)))
            await served.until(Started)
            await asyncio.sleep(0.5)
            await served.driver.stop()
            ended = await served.until(Ended)
            assert ended.outcome is Outcome.CANCELLED
            assert ended.place is not None
            assert ended.place.layer is not None
            assert 0 < (ended.place.fraction or 0) < 1
            assert peer.machine.is_off
            await served.driver.stop()
            await served.driver.start(order(gcode(5), "R-2"))


async def test_emergency_stop(make: Make) -> None:
    with CardPeer() as peer:
        async with serving(make(peer.port)) as served:
            await served.driver.start(order(gcode(2000)))
            await served.until(Started)
            served.driver.estop()
            assert (await served.until(Ended)).outcome is Outcome.FAILED
            await served.until(Faulted)
            await asyncio.sleep(0.1)
            assert peer.machine.is_off
            assert b"M112" in peer.executed


async def test_run_goes_on_while_the_link_is_cut_and_is_found_again(make: Make, tmp_path: Path) -> None:
    data = gcode(400)
    link = tmp_path / "port"
    with CardPeer(link=link) as peer:
        driver = make(str(link))
        served = Served(driver)
        await served.until(Observed)
        await driver.start(order(data))
        await served.until(Started)
        peer.unplug()
        with pytest.raises(LinkLost):
            async with asyncio.timeout(5):
                await served.task
        assert served.find(Ended) is None
        done = len(peer.executed)
        await asyncio.sleep(0.3)
        assert len(peer.executed) > done
        peer.replug()
        async with serving(driver) as again:
            seen = again.events[0]
            assert isinstance(seen, Observed)
            assert (seen.activity, seen.run_id) == (Activity.RUNNING, RUN)
            assert 0 < (seen.fraction or 0) < 1
            assert (await again.until(Ended)).outcome is Outcome.OK
        assert peer.has_executed(data)
        assert peer.card.starts == [NAME]


async def test_run_goes_on_while_farmd_is_away_and_is_adopted(make: Make) -> None:
    data = gcode(300)
    with CardPeer() as peer:
        async with serving(make(peer.port)) as served:
            await served.driver.start(order(data))
            await served.until(Started)
        assert peer.machine.body.nozzle.target_c == 200
        await asyncio.sleep(0.2)
        async with serving(make(peer.port)) as again:
            seen = again.events[0]
            assert isinstance(seen, Observed)
            assert (seen.activity, seen.run_id) == (Activity.RUNNING, RUN)
            with pytest.raises(Refused):
                await again.driver.start(order(data, "R-2"))
            await again.driver.pause()
            await again.until(Paused)
        async with serving(make(peer.port)) as third:
            seen = third.events[0]
            assert isinstance(seen, Observed)
            assert (seen.activity, seen.run_id) == (Activity.PAUSED, RUN)
            await third.driver.resume()
            await third.until(Resumed)
            assert (await third.until(Ended)).outcome is Outcome.OK
        assert peer.has_executed(data)
        assert peer.card.starts == [NAME]


async def test_run_that_ended_while_nobody_looked_is_not_known(make: Make) -> None:
    with CardPeer() as peer:
        async with serving(make(peer.port)) as served:
            await served.driver.start(order(gcode(60)))
            await served.until(Started)
        await asyncio.sleep(1.2)
        async with serving(make(peer.port)) as again:
            seen = again.events[0]
            assert isinstance(seen, Observed)
            assert (seen.activity, seen.run_id, seen.history) == (Activity.IDLE, None, ())
            await asyncio.sleep(0.2)
            assert peer.card.files == {}
            with pytest.raises(Refused):
                await again.driver.start(order(gcode(60)))
            await again.driver.start(order(gcode(60), "R-2"))
            await again.until(Ended)


async def test_restart_while_away_has_failed_the_run(make: Make) -> None:
    with CardPeer() as peer:
        async with serving(make(peer.port)) as served:
            await served.driver.start(order(gcode(2000)))
            await served.until(Started)
            await asyncio.sleep(0.6)
        again = Served(make(peer.port, banner_wait_s=0.6))
        await asyncio.sleep(0.2)
        peer.reset()  # as opening the port does to many boards
        try:
            seen = await again.until(Observed)
            assert (seen.activity, seen.rebooted) == (Activity.IDLE, True)
            assert [(past.run_id, past.outcome) for past in seen.history] == [(RUN, Outcome.FAILED)]
            place = seen.history[0].place
            assert place is not None
            assert place.line is not None
        finally:
            await again.leave()


async def test_restart_in_mid_print_fails_it_with_its_place(make: Make) -> None:
    with CardPeer() as peer:
        async with serving(make(peer.port)) as served:
            await served.driver.start(order(gcode(2000)))
            await served.until(Started)
            await soon(lambda: any((event.layer or 0) > 1 for event in served.all(Progressed)))
            peer.reset()
            ended = await served.until(Ended)
            assert ended.outcome is Outcome.FAILED
            assert ended.place is not None
            assert (ended.place.layer or 0) > 1
            assert 0 < ended.used_g < 10
            await served.until(Rebooted)
            await asyncio.sleep(0.8)
        assert peer.card.starts == [NAME]


async def test_start_called_off_while_storing_prints_nothing(make: Make) -> None:
    with CardPeer(Build(move_scale=1.0, baud=115200)) as peer:
        async with serving(make(peer.port)) as served:
            starting = asyncio.create_task(served.driver.start(order(gcode(2000))))
            await soon(lambda: peer.card.saving is not None)
            await asyncio.sleep(0.1)
            await served.driver.stop()
            with pytest.raises(Refused):
                await starting
            await soon(lambda: not peer.card.files)
            assert peer.card.starts == []
            assert peer.card.saving is None
            await asyncio.sleep(0.1)
            await served.driver.start(order(gcode(5), "R-2"))
            await served.until(Ended)
        assert peer.card.starts == [card_name("R-2")]


async def test_farmd_that_dies_while_storing_has_surely_not_started(make: Make) -> None:
    with CardPeer(Build(move_scale=1.0, baud=115200)) as peer:
        async with serving(make(peer.port)) as served:
            starting = asyncio.create_task(served.driver.start(order(gcode(2000))))
            await soon(lambda: peer.card.saving is not None)
            await asyncio.sleep(0.1)
            peer.unplug()  # nothing more gets through
            with pytest.raises(Refused):
                await starting
        assert peer.card.saving is not None
        port = peer.replug()
        async with serving(make(port)) as again:
            seen = again.events[0]
            assert isinstance(seen, Observed)
            assert seen.activity is Activity.IDLE
            assert seen.firmware.startswith("Marlin")
            assert peer.card.saving is None
            await asyncio.sleep(0.2)
            assert peer.card.files == {}
        assert peer.card.starts == []


async def test_what_a_card_cannot_hold_is_refused_and_nothing_is_printed(make: Make) -> None:
    with CardPeer(Build(move_scale=1.0, emergency_parser=False)) as peer:
        async with serving(make(peer.port)) as served:
            for text, run_id in ((b"M117 M29 is next", "R-1"), (b"M0", "R-2")):
                with pytest.raises(Refused) as refused:
                    await served.driver.start(order(gcode(300) + b"\n" + text, run_id))
                assert refused.value.code is CARD_LINE
                await asyncio.sleep(0.2)
            peer.card.full_at = 500
            with pytest.raises(Refused) as refused:
                await served.driver.start(order(gcode(300), "R-3"))
            assert refused.value.code is CARD_NOT_STORED
            await asyncio.sleep(0.2)
            assert peer.card.starts == []
            assert peer.card.files == {}


async def test_machine_without_a_card_is_refused(make: Make) -> None:
    with PtyPeer(FAST) as peer:
        async with serving(make(peer.port)) as served:
            with pytest.raises(Refused) as refused:
                await served.driver.start(order(gcode(5)))
            assert refused.value.code is CARD_UNSUITABLE


async def test_print_begun_at_the_panel_is_told_where_files_are_streamed_too(make: Make) -> None:
    data = gcode(900)
    with CardPeer() as peer:
        peer.panel_start("BENCHY.GCO", data)
        async with serving(make(peer.port, "stream")) as served:
            seen = served.events[0]
            assert isinstance(seen, Observed)
            assert (seen.activity, seen.run_id) == (Activity.RUNNING, "BENCHY.GCO")
            with pytest.raises(Refused) as refused:
                await served.driver.start(order(gcode(5)))
            assert refused.value.code is MACHINE_NOT_READY
            with pytest.raises(Refused):
                await served.driver.command("G28")
            peer.panel_stop()
            await served.until(ForeignEnded)
            peer.panel_start("BENCHY.GCO", data)
            with pytest.raises(Refused) as refused:  # begun since it was asked last
                await served.driver.start(order(gcode(5)))
            assert refused.value.code is CARD_BUSY
            await served.until(ForeignStarted)
            assert served.find(ForeignStarted) == ForeignStarted("BENCHY.GCO")
            assert served.find(Started) is None
            peer.panel_stop()
            await soon(lambda: len(served.all(ForeignEnded)) == 2)
            await served.driver.start(order(gcode(5)))
            await served.until(Ended)
