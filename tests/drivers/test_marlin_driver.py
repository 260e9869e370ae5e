"""The Marlin driver end to end, on real pseudo-terminals, against the strict emulator in a thread."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from farmd.driver import (
    MACHINE_NOT_READY,
    Activity,
    Attention,
    Ended,
    Event,
    Faulted,
    Observed,
    Paused,
    Progressed,
    Rebooted,
    Recovered,
    Resumed,
    RunFile,
    Started,
    StartOrder,
)
from farmd.gcode import executable_lines
from farmd.model.errors import LinkLost, MachineFault, Refused
from farmd.model.machine import MachineSpec
from farmd.model.work import Outcome, Place
from farmd_drivers.marlin.account import EMERGENCY_STOP, FIRMWARE_HALTED
from farmd_drivers.marlin.driver import (
    ADDED_AFTER,
    ADDED_BEFORE,
    ADDED_COMMANDS,
    MarlinDriver,
)
from farmd_drivers.marlin.emulator.build import Build
from farmd_drivers.marlin.emulator.noise import Fault, Noise
from farmd_drivers.marlin.job import COMMAND_FORBIDDEN, COMMAND_TOO_LONG
from farmd_drivers.marlin.peer import PtyPeer
from farmd_drivers.marlin.runlog import RUN_LOG_DAMAGED, RUN_LOG_UNWRITABLE
from farmd_drivers.marlin.settings import MarlinSettings
from farmd_drivers.marlin.transport import PORT_IN_USE, PORT_LOST, PORT_MISSING
from farmd_drivers.marlin.wire.replies import heaters_off

SPEC = MachineSpec("mk3-01", "marlin", "mk3", "MEX", (250.0, 210.0, 210.0))
HANDSHAKE = [b"M110 N0", b"M115", b"M113 S1", b"M155 S2", b"M105"]


def gcode(moves: int, *, seed: int = 1, layer_every: int = 200) -> bytes:
    """A sliced file in PrusaSlicer's manner, different in every line."""
    source = random.Random(seed)
    lines = ["; generated for a test", "M107", "M104 S210 ; nozzle", "G28", "G90", "M82", "M109 S210"]
    for n in range(moves):
        if n % layer_every == 0:
            lines += [";LAYER_CHANGE", f"G1 Z{0.2 * (1 + n // layer_every):.2f} F7800", ""]
        lines.append(f"G1 X{source.uniform(0, 200):.3f} Y{source.uniform(0, 200):.3f} E{n * 0.01:.5f}")
    return "\n".join([*lines, "M104 S0", "M84"]).encode()


def order(data: bytes, run_id: str = "R-1") -> StartOrder:
    file = RunFile("part.gcode", hashlib.sha256(data).hexdigest(), len(data), lambda: io.BytesIO(data))
    return StartOrder(run_id, "print", 60.0, 1, fence=1, file=file, mass_g=10.0)


async def soon(condition: Callable[[], bool], within_s: float = 3.0) -> None:
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

    async def until(self, kind: type, within_s: float = 20.0) -> Event:
        return await self.when(lambda: self.find(kind), within_s)

    async def when(self, condition: Callable[[], Event | None], within_s: float = 20.0) -> Event:
        async with asyncio.timeout(within_s):
            while (found := condition()) is None:
                if self.task.done() and condition() is None:
                    self.task.result()
                await asyncio.sleep(0.002)
        return found

    def find(self, kind: type) -> Event | None:
        return next((event for event in reversed(self.events) if isinstance(event, kind)), None)

    def ended(self) -> Ended:
        ends = [event for event in self.events if isinstance(event, Ended)]
        assert len(ends) == 1
        return ends[0]

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], MarlinDriver]:
    def driver(port: str) -> MarlinDriver:
        return MarlinDriver(SPEC, MarlinSettings(port=port, banner_wait_s=0.05), state_dir=tmp_path)

    return driver


@asynccontextmanager
async def serving(driver: MarlinDriver) -> AsyncIterator[Served]:
    served = Served(driver)
    try:
        assert isinstance(await served.until(Observed), Observed)
        yield served
    finally:
        await served.leave()


async def test_file_is_executed_exactly_with_listed_additions(make: Callable[[str], MarlinDriver]) -> None:
    data = gcode(1500)
    with PtyPeer() as peer:
        async with serving(make(peer.port)) as served:
            await served.driver.start(order(data))
            ended = await served.until(Ended)
            assert ended == Ended("R-1", Outcome.OK, used_g=10.0)
        executed = peer.executed
    lines = list(executable_lines(io.BytesIO(data)))
    assert executed == [*HANDSHAKE, *ADDED_BEFORE, *lines, *ADDED_AFTER]
    assert all(ADDED_COMMANDS.fullmatch(added) for added in [*HANDSHAKE, *ADDED_BEFORE, *ADDED_AFTER])
    first = served.events[0]
    assert isinstance(first, Observed)
    assert (first.activity, first.rebooted, first.unseen_start) == (Activity.IDLE, False, False)
    assert first.firmware.startswith("Marlin 2.1")
    kinds = [type(event) for event in served.events if isinstance(event, Started | Ended | Attention)]
    assert kinds == [Started, Ended]


async def test_two_runs_in_a_row_and_progress(make: Callable[[str], MarlinDriver]) -> None:
    data = gcode(60, layer_every=10)
    with PtyPeer(Build(move_scale=0.02)) as peer:
        async with serving(make(peer.port)) as served:
            await served.driver.start(order(data))
            with pytest.raises(Refused) as refused:
                await served.driver.start(order(data, "R-2"))
            assert refused.value.code is MACHINE_NOT_READY
            await served.until(Ended)
            await served.driver.start(order(data, "R-2"))
            await served.when(
                lambda: next(
                    (e for e in served.events if getattr(e, "run_id", 0) == "R-2" and isinstance(e, Ended)),
                    None,
                )
            )
    told = [event for event in served.events if isinstance(event, Progressed) and event.run_id == "R-1"]
    assert [each.fraction for each in told] == sorted(each.fraction for each in told)
    assert len({each.layer for each in told}) > 1
    lines = list(executable_lines(io.BytesIO(data)))
    assert [line for line in peer.executed if not ADDED_COMMANDS.fullmatch(line)] == [
        line for line in lines * 2 if not ADDED_COMMANDS.fullmatch(line)
    ]


async def test_noisy_line_prints_exactly(make: Callable[[str], MarlinDriver]) -> None:
    data = gcode(600)
    noise = Noise(7, to_machine=0.02, faults=(Fault.GARBLE, Fault.DROP))
    with PtyPeer(noise=noise) as peer:
        async with serving(make(peer.port)) as served:
            await served.driver.start(order(data))
            ended = await served.until(Ended, 60)
            assert isinstance(ended, Ended)
            assert ended.outcome is Outcome.OK
        executed = peer.executed
    lines = list(executable_lines(io.BytesIO(data)))
    at = len(executed) - 1 - executed[::-1].index(b"M110 N0")
    assert [line for line in executed[at:] if line not in (b"M110 N0", b"M105", b"M400")] == lines
    assert noise.injected > 5


async def test_pause_and_resume_are_exact(make: Callable[[str], MarlinDriver]) -> None:
    data = gcode(2000).replace(b"G1 Z0.60", b"M0 look at it\nG1 Z0.60")
    with PtyPeer() as peer:
        async with serving(make(peer.port)) as served:
            await served.driver.start(order(data))
            await served.until(Started)
            await served.driver.pause()
            await served.until(Paused)
            held = peer.executed
            await served.driver.pause()
            await asyncio.sleep(0.1)
            assert peer.executed == held
            await served.driver.resume()
            await served.driver.resume()
            await served.until(Resumed)
            stop = Paused("R-1", "M0 in the file: look at it")
            await served.when(lambda: stop if stop in served.events else None)
            await served.driver.resume()
            await served.until(Ended)
        executed = peer.executed[len(HANDSHAKE) :]
    assert served.ended().outcome is Outcome.OK
    assert [type(e) for e in served.events if isinstance(e, Paused | Resumed)] == [Paused, Resumed] * 2
    lines = list(executable_lines(io.BytesIO(data)))
    lines.remove(b"M0 look at it")
    assert [line for line in executed if line not in (*ADDED_BEFORE, *ADDED_AFTER)] == lines


async def test_stop_ends_a_heat_wait_cold(make: Callable[[str], MarlinDriver]) -> None:
    data = gcode(1000)
    with PtyPeer(Build(heat_c_per_s=1.0)) as peer:
        async with serving(make(peer.port)) as served:
            await served.driver.start(order(data))
            await served.when(lambda: Ended("", Outcome.OK) if b"M109 S210" in peer.executed else None)
            await served.driver.stop()
            await served.driver.stop()
            ended = await served.until(Ended, 5)
            assert isinstance(ended, Ended)
            assert (ended.outcome, ended.reason) == (Outcome.CANCELLED, "asked for")
            assert peer.machine.body.nozzle.target_c == 0
            assert peer.executed[-5:] == [*heaters_off(), *ADDED_AFTER]
            await served.driver.start(order(gcode(5).replace(b"M109 S210", b"M109 S22"), "R-2"))


async def test_emergency_stop_is_at_once_and_stays(make: Callable[[str], MarlinDriver]) -> None:
    with PtyPeer(Build(move_scale=1.0)) as peer:
        async with serving(make(peer.port)) as served:
            await served.driver.start(order(gcode(1000)))
            await served.until(Started)
            before = time.perf_counter()
            served.driver.estop()
            assert time.perf_counter() - before < 0.02
            assert served.ended().reason == "emergency stop"
            fault = served.find(Faulted)
            assert isinstance(fault, Faulted)
            assert fault.fault.code == EMERGENCY_STOP.name
            await soon(lambda: not peer.machine.alive)
            peer.reset()
            await served.until(Rebooted)
            seen = await served.when(lambda: _last_observed(served, rebooted=True))
            assert isinstance(seen, Observed)
            assert seen.activity is Activity.FAULT, "a restart does not undo an emergency stop"
            with pytest.raises(Refused):
                await served.driver.start(order(gcode(5), "R-2"))
            await served.driver.recover()
            await served.until(Recovered)
            await served.driver.start(order(gcode(5), "R-2"))
            assert served.driver.estop() is None


def _last_observed(served: Served, *, rebooted: bool) -> Event | None:
    seen = served.find(Observed)
    return seen if isinstance(seen, Observed) and seen.rebooted == rebooted else None


async def test_killed_firmware_is_a_fault_with_its_words(make: Callable[[str], MarlinDriver]) -> None:
    with PtyPeer(upsets={300: "kill"}) as peer:
        async with serving(make(peer.port)) as served:
            await served.driver.start(order(gcode(1000)))
            await served.until(Faulted)
            assert served.ended().outcome is Outcome.FAILED
            fault = served.find(Faulted)
            assert isinstance(fault, Faulted)
            assert fault.fault.code == FIRMWARE_HALTED.name
            assert "Thermal Runaway" in fault.fault.what
            assert "kill() called" in fault.fault.what


@pytest.mark.parametrize("upset", ["reset", "unplug"])
async def test_lost_run_has_failed_at_its_place(make: Callable[[str], MarlinDriver], upset: str) -> None:
    data = gcode(1000, layer_every=100)
    with PtyPeer(upsets={500: upset}) as peer:
        driver = make(peer.port)
        served = Served(driver)
        await served.until(Observed)
        await driver.start(order(data))
        await served.until(Ended)
        if upset == "unplug":
            with pytest.raises(LinkLost) as lost:
                await served.task
            assert lost.value.code is PORT_LOST
            assert peer.port in str(lost.value)
        else:
            await served.when(lambda: _last_observed(served, rebooted=True))
            assert served.find(Rebooted)
            assert b"G1" not in b"".join(peer.executed[500:]), "never begun again"
        ended = served.ended()
        await served.leave()
    assert ended.outcome is Outcome.FAILED
    done = peer.executed[len(HANDSHAKE) + len(ADDED_BEFORE) : 500]
    _check_place(ended.place, data, len(done))


def _check_place(place: Place | None, data: bytes, executed: int) -> None:
    """The place is that of the last command executed, or of a neighbour whose ok was lost."""
    assert place is not None
    assert place.byte is not None
    assert place.fraction == pytest.approx(place.byte / len(data))
    before = data[: data.index(b"\n", place.byte)]
    assert len(list(executable_lines(io.BytesIO(before)))) == pytest.approx(executed, abs=1)
    assert place.line == before.count(b"\n") + 1
    assert place.layer == before.count(b";LAYER_CHANGE")
    assert place.z_mm == pytest.approx(0.2 * place.layer)


async def test_cancelled_serve_leaves_it_cold_and_the_run_failed(make: Callable[[str], MarlinDriver]) -> None:
    data = gcode(4000)
    with PtyPeer(Build(move_scale=0.01)) as peer:
        async with serving(make(peer.port)) as served:
            await served.driver.start(order(data))
            await served.until(Started)
            await asyncio.sleep(0.3)
            assert peer.machine.body.nozzle.target_c == 210
        assert served.ended().outcome is Outcome.FAILED
        assert served.ended().place is not None
        await soon(lambda: not peer.machine.body.nozzle.target_c)
        async with serving(make(peer.port)) as again:
            seen = again.find(Observed)
            assert isinstance(seen, Observed)
            assert seen.activity is Activity.IDLE
            assert not seen.unseen_start
            assert [(past.run_id, past.outcome) for past in seen.history] == [("R-1", Outcome.FAILED)]
            assert seen.history[0].place == served.ended().place
            await again.driver.start(order(gcode(20), "R-2"))
            assert isinstance(await again.until(Ended), Ended)


async def test_run_left_open_by_a_crash_is_told_as_failed(
    make: Callable[[str], MarlinDriver], tmp_path: Path
) -> None:
    with PtyPeer(Build(move_scale=0.01)) as peer:
        async with serving(make(peer.port)) as served:
            await served.driver.start(order(gcode(4000)))
            await served.until(Started)
            crashed = (tmp_path / "runs.json").read_bytes()
            await served.driver.stop()
            await served.until(Ended)
        (tmp_path / "runs.json").write_bytes(crashed)
        async with serving(make(peer.port)) as again:
            seen = again.find(Observed)
    assert isinstance(seen, Observed)
    assert [(past.run_id, past.outcome) for past in seen.history] == [("R-1", Outcome.FAILED)]
    assert "farmd ended" in seen.history[0].reason


async def test_second_opener_is_refused(make: Callable[[str], MarlinDriver]) -> None:
    with PtyPeer() as peer:
        async with serving(make(peer.port)) as served:
            second = make(peer.port)
            with pytest.raises(LinkLost) as lost:
                await second.serve(lambda event: None)
            assert lost.value.code is PORT_IN_USE
            await served.driver.start(order(gcode(20)))
            await served.until(Ended)
        async with serving(make(peer.port)):
            pass


async def test_missing_port_is_named(make: Callable[[str], MarlinDriver], tmp_path: Path) -> None:
    path = str(tmp_path / "no-such-port")
    with pytest.raises(LinkLost) as lost:
        await make(path).serve(lambda event: None)
    assert lost.value.code is PORT_MISSING
    assert path in str(lost.value)


async def test_link_away_for_long_may_hide_a_start(tmp_path: Path) -> None:
    link = tmp_path / "port"
    settings = MarlinSettings(port=str(link), banner_wait_s=0.05, unseen_grace_s=0.2)
    with PtyPeer(link=link) as peer:
        driver = MarlinDriver(SPEC, settings, state_dir=tmp_path)
        for away_s, unseen in ((0.0, False), (0.4, True)):
            served = Served(driver)
            seen = await served.until(Observed)
            assert isinstance(seen, Observed)
            peer.unplug()
            with pytest.raises(LinkLost):
                await served.task
            await asyncio.sleep(away_s)
            peer.replug()
            again = Served(driver)
            seen = await again.until(Observed)
            assert isinstance(seen, Observed)
            assert seen.unseen_start is unseen
            await again.leave()


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"M117 " + b"x" * 90, COMMAND_TOO_LONG),
        (b"g1 x1\nm0112", COMMAND_FORBIDDEN),
        (b"M110 N5", COMMAND_FORBIDDEN),
    ],
)
async def test_file_that_must_not_be_sent_is_refused(
    make: Callable[[str], MarlinDriver], line: bytes, code: object
) -> None:
    data = gcode(400) + b"\n" + line + b"\n"
    with PtyPeer() as peer:
        async with serving(make(peer.port)) as served:
            with pytest.raises(Refused) as refused:
                await served.driver.start(order(data))
            assert refused.value.code is code
            await asyncio.sleep(0.05)
            assert peer.executed == HANDSHAKE


async def test_commands_without_a_link_are_refused(make: Callable[[str], MarlinDriver]) -> None:
    driver = make("/nowhere")
    for command in (driver.pause, driver.resume, driver.stop, driver.recover):
        with pytest.raises(Refused):
            await command()
    with pytest.raises(Refused):
        driver.estop()
    with pytest.raises(Refused):
        await driver.start(order(gcode(3)))


async def test_file_that_fails_in_mid_run_fails_the_run(make: Callable[[str], MarlinDriver]) -> None:
    data = gcode(3000)

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 0:
                raise OSError("the disk is gone")
            return super().read(60_000)

    opened: list[io.BytesIO] = []

    def open_file() -> io.BytesIO:
        opened.append(io.BytesIO(data) if not opened else Broken(data))
        return opened[-1]

    file = RunFile("part.gcode", "0" * 64, len(data), open_file)
    with PtyPeer() as peer:
        async with serving(make(peer.port)) as served:
            await served.driver.start(StartOrder("R-1", "print", 60.0, 1, fence=1, file=file))
            ended = await served.until(Ended)
            assert isinstance(ended, Ended)
            assert ended.outcome is Outcome.FAILED
            assert "the disk is gone" in ended.reason
            await soon(lambda: not peer.machine.body.nozzle.target_c)
    assert all(stream.closed for stream in opened)


async def test_sample_file_on_a_peer_of_its_own_process(
    make: Callable[[str], MarlinDriver], tmp_path: Path
) -> None:
    sample = Path(__file__).parents[2] / "config" / "shops" / "samples" / "box20.gcode"
    data = sample.read_bytes()
    record, link = tmp_path / "record", tmp_path / "port"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "farmd_drivers.marlin.peer", "--record", record, "--link", link),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert (await process.stdout.readline()).strip().decode() == str(link.resolve())
    async with serving(make(str(link))) as served:
        await served.driver.start(order(data))
        ended = await served.until(Ended, 30)
        assert isinstance(ended, Ended)
        assert ended.outcome is Outcome.OK
    process.terminate()
    assert await process.wait() == 0
    lines = list(executable_lines(io.BytesIO(data)))
    assert record.read_bytes().splitlines() == [*HANDSHAKE, *ADDED_BEFORE, *lines, *ADDED_AFTER]
    assert not link.exists()


async def test_run_that_cannot_be_written_down_does_not_begin(tmp_path: Path) -> None:
    with PtyPeer() as peer:
        settings = MarlinSettings(port=peer.port, banner_wait_s=0.05)
        driver = MarlinDriver(SPEC, settings, state_dir=tmp_path / "later")
        async with serving(driver) as served:
            (tmp_path / "later").write_text("in the way")
            with pytest.raises(Refused) as refused:
                await driver.start(order(gcode(5)))
            assert refused.value.code is RUN_LOG_UNWRITABLE
            assert peer.executed == HANDSHAKE
            (tmp_path / "later").unlink()
            await driver.start(order(gcode(5)))
            (tmp_path / "later" / "runs.json").unlink()
            (tmp_path / "later").rmdir()
            (tmp_path / "later").write_text("in the way again")
            ended = await served.until(Ended)
            assert isinstance(ended, Ended)
            assert ended.outcome is Outcome.OK, "a full disk does not stop a print"


async def test_damaged_record_of_runs_is_a_fault(make: Callable[[str], MarlinDriver], tmp_path: Path) -> None:
    (tmp_path / "runs.json").write_text('{"ended": 7}')
    with pytest.raises(MachineFault) as fault:
        await make("/nowhere").serve(lambda event: None)
    assert fault.value.code is RUN_LOG_DAMAGED


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    async def once(port: str, folder: Path) -> None:
        driver = MarlinDriver(SPEC, MarlinSettings(port=port, banner_wait_s=0.02), state_dir=folder)
        async with serving(driver):
            pass

    with PtyPeer() as peer:
        asyncio.run(once(peer.port, tmp_path))
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            asyncio.run(once(peer.port, tmp_path))
        assert len(os.listdir("/proc/self/fd")) == before
