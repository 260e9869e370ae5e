"""The port under a run: what the kernel's queue holds, how fast a stop leaves, how soon a pulled cable is noticed."""

from __future__ import annotations

import asyncio
import dataclasses
import fcntl
import hashlib
import io
import os
import pty
import statistics
import termios
import threading
import time
import tty
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from farmd.driver import (
    Attention,
    Ended,
    Event,
    Faulted,
    Observed,
    Recovered,
    RunFile,
    Started,
    StartOrder,
    Temperatures,
)
from farmd.driver.heat_guard import HEAT_GUARD, rules_of
from farmd.model.errors import LinkLost
from farmd.model.machine import MachineSpec
from farmd.model.work import Outcome
from farmd_drivers.marlin.account import EMERGENCY_STOP
from farmd_drivers.marlin.added import ADDED_COMMANDS
from farmd_drivers.marlin.driver import MarlinDriver
from farmd_drivers.marlin.emulator.build import Build
from farmd_drivers.marlin.peer import PtyPeer
from farmd_drivers.marlin.settings import MarlinSettings
from farmd_drivers.marlin.terminal import Terminal
from farmd_drivers.marlin.transport import PORT_LOST, Connection, open_port
from farmd_drivers.marlin.wire import Wire
from farmd_drivers.marlin.wire.states import LinkDead

SPEC = MachineSpec("mk3-01", "marlin", "mk3", "MEX", (250.0, 210.0, 210.0))
STOP = b"\nM112\n"
SOON_S = 0.3
"""Far more than anything here takes, and far less than any wait it could hang in: this computer is shared."""
MOVES = b"G91\nM104 S200\nM140 S60\n" + b"G1 X1 F3000\n" * 20_000


def order(data: bytes = MOVES, run_id: str = "R-1") -> StartOrder:
    file = RunFile("part.gcode", hashlib.sha256(data).hexdigest(), len(data), lambda: io.BytesIO(data))
    return StartOrder(run_id, "print", 60.0, 1, fence=1, file=file, mass_g=10.0)


class Served:
    """A driver being served, with what it told and when."""

    def __init__(self, port: str, folder: Path, **settings: object) -> None:
        values = {"port": port, "banner_wait_s": 0.02} | settings
        self.driver = MarlinDriver(SPEC, MarlinSettings.model_validate(values), state_dir=folder)
        self.events: list[tuple[float, Event]] = []
        self.task = asyncio.create_task(self.driver.serve(self._report))

    def _report(self, event: Event) -> None:
        self.events.append((time.perf_counter(), event))

    def all(self, kind: type) -> list[Event]:
        return [event for _, event in self.events if isinstance(event, kind)]

    async def until(self, kind: type, within_s: float = 10.0, count: int = 1) -> Event:
        async with asyncio.timeout(within_s):
            while len(self.all(kind)) < count:
                if self.task.done() and not self.all(kind):
                    self.task.result()
                await asyncio.sleep(0.001)
        return self.all(kind)[-1]

    @property
    def connection(self) -> Connection:
        connection = self.driver._connection
        assert connection is not None
        return connection


@asynccontextmanager
async def served(port: str, folder: Path, **settings: object) -> AsyncIterator[Served]:
    machine = Served(port, folder, **settings)
    try:
        await machine.until(Observed)
        yield machine
    finally:
        machine.task.cancel()
        await asyncio.gather(machine.task, return_exceptions=True)


async def soon(condition: Callable[[], object], within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - conditions look at threads and ptys too
            await asyncio.sleep(0.0005)


# The kernel's queue.


def unread(fd: int) -> int:
    """Bytes that the other end has written and nobody has read."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), "little")


@pytest.mark.parametrize(
    ("sending", "window_bytes", "at_least"), [("ping-pong", 95, 10), ("counting", 127, 96)]
)
async def test_no_more_than_the_window_is_ever_in_the_kernels_queue(
    tmp_path: Path, sending: str, window_bytes: int, at_least: int
) -> None:
    """The machine stops reading again and again in mid-print: what waits for it meanwhile is a window of lines."""
    with PtyPeer() as peer:
        async with served(peer.port, tmp_path, sending=sending) as machine:
            await machine.driver.start(order())
            await machine.until(Started)
            most = 0
            for _ in range(8):
                stalled, let_go = threading.Event(), threading.Event()

                def stall(stalled: threading.Event = stalled, let_go: threading.Event = let_go) -> None:
                    stalled.set()
                    let_go.wait(5)

                stalling = threading.Thread(target=peer._do, args=(stall,))
                stalling.start()
                await soon(stalled.is_set)
                end = time.perf_counter() + 0.05
                while time.perf_counter() < end:
                    most = max(most, unread(peer.master))
                    await asyncio.sleep(0.002)
                let_go.set()
                stalling.join()
                await asyncio.sleep(0.01)
            assert at_least <= most <= window_bytes


# The emergency stop.


class Silent:
    """A pty whose machine says nothing: the far end is read by the test."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        os.set_blocking(self.master, False)
        self.port = os.ttyname(self.slave)
        self.came = b""

    def read(self) -> bytes:
        try:
            self.came += os.read(self.master, 1 << 16)
        except BlockingIOError:
            return self.came
        return self.came

    def close(self) -> None:
        os.close(self.master)
        os.close(self.slave)


@asynccontextmanager
async def connected(far: Silent) -> AsyncIterator[tuple[Connection, list[Exception]]]:
    errors: list[Exception] = []
    with ThreadPoolExecutor(1) as worker:
        wire = Wire(asyncio.get_running_loop().time(), banner_s=1000.0)
        port = open_port(far.port, 115200)
        connection = Connection(port, wire, lambda event: None, errors.append, worker, Terminal().note)
        try:
            yield connection, errors
        finally:
            await connection.close()


async def test_a_stop_goes_ahead_of_what_waits_for_the_port() -> None:
    far = Silent()
    async with connected(far) as (connection, errors):
        connection._write(b"N1 G1 X1*99\n" * 10_000)  # more than the kernel takes
        assert connection._waiting
        connection.write_now(STOP)
        assert not connection._waiting
        await soon(lambda: far.read().endswith(STOP))
        assert len(far.came) < 50_000
        assert errors == []
    far.close()


async def test_a_stop_drops_what_the_kernel_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a real port, where the queue's length is told; a pty always tells 0."""
    far = Silent()
    flushed: list[int] = []
    async with connected(far) as (connection, _):
        monkeypatch.setattr(termios, "tcflush", lambda fd, queue: flushed.append(queue))
        connection.write_now(STOP)
        assert flushed == []
        monkeypatch.setattr(Connection, "_queued", lambda self: 46)
        connection.write_now(STOP)
        assert flushed == [termios.TCOFLUSH]
        await soon(lambda: far.read() == STOP * 2)
    far.close()


async def test_a_stop_that_the_port_takes_in_part_goes_on_as_soon_as_it_takes_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    far = Silent()
    async with connected(far) as (connection, errors):
        write = os.write
        monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
        connection.write_now(STOP + b"M104 S0\n")
        monkeypatch.undo()
        await soon(lambda: far.read() == STOP + b"M104 S0\n")
        assert errors == []
    far.close()


async def test_a_stop_after_the_link_failed_is_tried_and_harmless() -> None:
    far = Silent()
    async with connected(far) as (connection, errors):
        far.close()
        await soon(lambda: errors)
        connection.write_now(STOP)
        assert len(errors) == 1
        assert isinstance(errors[0], LinkLost)
    connection.write_now(STOP)


async def test_a_stop_is_heard_while_everything_else_hangs(tmp_path: Path) -> None:
    """The thread of the machine hangs, a start is being prepared, and a command that takes long is in work."""
    let_go = threading.Event()

    def slow_file() -> io.BytesIO:
        let_go.wait(5)
        return io.BytesIO(b"G28\n")

    file = RunFile("slow.gcode", "0" * 64, 4, slow_file)
    with PtyPeer() as peer:
        async with served(peer.port, tmp_path) as machine:
            starting = asyncio.create_task(
                machine.driver.start(StartOrder("R-1", "print", 1.0, 1, fence=1, file=file))
            )
            await asyncio.sleep(0.05)
            assert not starting.done()
            before = time.perf_counter()
            machine.driver.estop()
            returned_s = time.perf_counter() - before
            await soon(lambda: b"M112" in peer.executed)
            assert time.perf_counter() - before < SOON_S
            assert returned_s < 0.05
            let_go.set()
            (result,) = await asyncio.gather(starting, return_exceptions=True)
            assert "emergency" in str(result)
            assert b"G28" not in peer.executed
            assert peer.machine.is_off


async def test_a_stop_in_mid_print_leaves_at_once(
    tmp_path: Path, record_property: Callable[..., None]
) -> None:
    """From the call to the bytes at the other end, over and over; the figures are in the test's properties."""
    took = []
    for turn in range(6):
        with PtyPeer(Build(move_scale=1.0)) as peer:
            async with served(peer.port, tmp_path / str(turn)) as machine:
                await machine.driver.start(order())
                await machine.until(Started)
                await asyncio.sleep(0.03)
                before = time.perf_counter()
                machine.driver.estop()
                took.append(time.perf_counter() - before)
                await soon(lambda: not peer.machine.alive)
                ended = await machine.until(Ended)
                assert isinstance(ended, Ended)
                assert (ended.outcome, ended.reason) == (Outcome.FAILED, "emergency stop")
                faulted = await machine.until(Faulted)
                assert isinstance(faulted, Faulted)
                assert faulted.fault.code == EMERGENCY_STOP.name
                assert not peer.machine.body.nozzle.target_c
    record_property("call_to_written_ms", [round(1000 * each, 2) for each in took])
    assert statistics.median(took) < 0.05


@pytest.mark.parametrize("emergency_parser", [True, False])
async def test_a_stop_behind_a_line_that_it_has_cut_in_two(tmp_path: Path, emergency_parser: bool) -> None:
    """Firmware without an emergency parser throws away what came with the cut line, and hears the stop again."""
    with PtyPeer(Build(move_scale=1.0, emergency_parser=emergency_parser)) as peer:
        async with served(peer.port, tmp_path) as machine:
            await machine.driver.start(order())
            await machine.until(Started)
            before = time.perf_counter()
            os.write(machine.connection._fd, b"N99 G1 X")
            machine.driver.estop()
            await soon(lambda: not peer.machine.alive)
            assert time.perf_counter() - before < 0.1 + SOON_S
            assert peer.machine.is_off


# A pulled cable.


async def test_a_pulled_cable_is_noticed_and_nothing_is_sent_again(
    tmp_path: Path, record_property: Callable[..., None]
) -> None:
    link = tmp_path / "by-id"
    with PtyPeer(Build(move_scale=1.0), link=link) as peer:
        async with served(str(link), tmp_path) as machine:
            await machine.driver.start(order())
            await machine.until(Started)
            await asyncio.sleep(0.1)
            pulled = time.perf_counter()
            peer.unplug()
            ended = await machine.until(Ended)
            noticed_s = next(at for at, event in machine.events if event is ended) - pulled
            record_property("unplug_to_failed_ms", round(1000 * noticed_s, 2))
            assert noticed_s < SOON_S
            assert isinstance(ended, Ended)
            assert ended.outcome is Outcome.FAILED
            assert ended.place is not None
            assert ended.place.line > 3
            (error,) = await asyncio.gather(machine.task, return_exceptions=True)
            assert isinstance(error, LinkLost)
            assert error.code is PORT_LOST
            # The port is not there, and then there again under another number, with the same name.
            first = link.readlink()
            (missing,) = await asyncio.gather(
                asyncio.create_task(machine.driver.serve(machine._report)), return_exceptions=True
            )
            assert isinstance(missing, LinkLost)
            before = len(peer.executed)
            taken = Silent()
            assert taken.port == str(first), "the number is somebody else's now"
            peer.replug()
            assert link.readlink() != first
            machine.task = asyncio.create_task(machine.driver.serve(machine._report))
            await machine.until(Observed, count=2)
            await asyncio.sleep(0.1)
            again = peer.executed[before:]
            assert again
            assert all(ADDED_COMMANDS.fullmatch(each) for each in again), again
            assert b"M104 S0" in again
            observed = machine.all(Observed)[-1]
            assert isinstance(observed, Observed)
            assert [past.run_id for past in observed.history] == ["R-1"]
            assert taken.read() == b""
            taken.close()


async def test_a_port_that_hangs_up_is_noticed_without_a_write() -> None:
    far = Silent()
    async with connected(far) as (_, errors):
        before = time.perf_counter()
        far.close()
        await soon(lambda: errors)
        assert time.perf_counter() - before < SOON_S
        assert isinstance(errors[0], LinkLost)


async def test_silence_is_not_taken_for_a_pulled_cable() -> None:
    far = Silent()
    events: list[object] = []
    with ThreadPoolExecutor(1) as worker:
        wire = Wire(asyncio.get_running_loop().time(), banner_s=0.0)
        connection = Connection(
            open_port(far.port, 115200), wire, events.append, events.append, worker, Terminal().note
        )
        await asyncio.sleep(0.2)
        assert connection.is_open
        assert not any(isinstance(event, LinkDead | Exception) for event in events)
        await connection.close()
    far.close()


# The guard over heaters, in the driver.


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard's rules with times that a test can wait for."""
    hasty = {
        kind: dataclasses.replace(rules, over_s=0.1, rise_s=0.3) for kind, rules in rules_of(SPEC).items()
    }
    monkeypatch.setattr("farmd_drivers.marlin.heat.rules_of", lambda machine: hasty)


async def tell(peer: PtyPeer, line: bytes, times: int = 10) -> None:
    for _ in range(times):
        peer.say(line)
        await asyncio.sleep(0.05)


@pytest.mark.usefixtures("_hasty")
async def test_a_heater_that_runs_away_stops_the_machine_and_the_run(tmp_path: Path) -> None:
    with PtyPeer(Build(move_scale=1.0, autoreport=False)) as peer:
        async with served(peer.port, tmp_path) as machine:
            await machine.driver.start(order())
            await machine.until(Started)
            await tell(peer, b" T:200.00 /200.00 B:60.00 /60.00", 4)
            assert not machine.all(Faulted)
            for rising in (b"207.00", b"214.00", b"221.00", b"227.00"):
                await tell(peer, b" T:" + rising + b" /200.00 B:60.00 /60.00", 1)
            await tell(peer, b" T:231.00 /200.00 B:60.00 /60.00")
            faulted = await machine.until(Faulted)
            assert isinstance(faulted, Faulted)
            assert faulted.fault.code == HEAT_GUARD.name
            assert "the nozzle was above 215 °C" in faulted.fault.what
            assert "cut the machine's power" in faulted.fault.remedy
            ended = await machine.until(Ended)
            assert isinstance(ended, Ended)
            assert ended.outcome is Outcome.FAILED
            assert "nozzle was above" in ended.reason
            await soon(lambda: b"M112" in peer.executed)
            assert not peer.machine.alive
            # What the firmware says to the stop does not take the place of the reason.
            await asyncio.sleep(0.4)
            assert {event.fault.code for event in machine.all(Faulted) if isinstance(event, Faulted)} == {
                HEAT_GUARD.name
            }
            # A person has mended it: the link is made again, and the guard begins anew.
            peer.reset()
            await machine.driver.recover()
            await machine.until(Recovered)


@pytest.mark.usefixtures("_hasty")
async def test_a_heater_that_gets_no_warmer_stops_an_idle_machine(tmp_path: Path) -> None:
    with PtyPeer(Build(autoreport=False)) as peer:
        async with served(peer.port, tmp_path) as machine:
            await tell(peer, b" T:25.10 /215.00 B:21.00 /0.00")
            faulted = await machine.until(Faulted)
            assert isinstance(faulted, Faulted)
            assert "got no 2 °C warmer" in faulted.fault.what
            await soon(lambda: b"M112" in peer.executed)


@pytest.mark.usefixtures("_hasty")
async def test_the_guard_can_be_switched_off(tmp_path: Path) -> None:
    with PtyPeer(Build(autoreport=False)) as peer:
        async with served(peer.port, tmp_path, heat_guard=False) as machine:
            await tell(peer, b" T:25.10 /215.00 B:21.00 /0.00")
            await tell(peer, b" T:900.00 /215.00 B:21.00 /0.00")
            assert len(machine.all(Temperatures)) >= 20
            assert not machine.all(Faulted)
            assert machine.driver._account.fault is None


async def test_a_sound_print_gives_the_guard_nothing_to_say(tmp_path: Path) -> None:
    data = b"M140 S60\nM109 S205\nG28\n" + b"G1 X1 F3000\n" * 300 + b"M104 S0\nM140 S0\nM84\n"
    with PtyPeer(Build(heat_c_per_s=400.0)) as peer:
        async with served(peer.port, tmp_path) as machine:
            await machine.driver.start(order(data))
            ended = await machine.until(Ended, 20)
            assert isinstance(ended, Ended)
            assert ended.outcome is Outcome.OK
            assert not machine.all(Faulted)
            assert not machine.all(Attention)
