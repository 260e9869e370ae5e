"""What must never happen with a Marlin machine, tried: heaters left on, a run begun twice, the loop held up."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import io
import json
import os
import pty
import termios
import threading
import time
import tty
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from farmd.driver import MACHINE_NOT_READY, Attention, Ended, Event, Observed, Progressed, RunFile, StartOrder
from farmd.driver.kit_stage import Stage, Watch
from farmd.model.errors import Refused
from farmd.model.work import Outcome
from farmd_drivers.marlin import transport
from farmd_drivers.marlin.driver import ADDED_COMMANDS, MarlinDriver
from farmd_drivers.marlin.job import JobFile
from farmd_drivers.marlin.rig import SPEC, MarlinRig
from farmd_drivers.marlin.runlog import RunLog
from farmd_drivers.marlin.settings import MarlinSettings
from farmd_drivers.marlin.terminal import Terminal
from farmd_drivers.marlin.transport import Connection, Port, open_port
from farmd_drivers.marlin.wire import Wire
from farmd_drivers.marlin.wire.replies import heaters_off
from farmd_drivers.marlin.wire.states import Link

ROOT = Path(__file__).parents[2]
HOLD_S = 0.8
"""How long a device or a disk hangs here: far more than a busy computer keeps a loop from its turn."""


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(lambda: MarlinRig(tmp_path))
    await stage.rig.open()
    try:
        yield stage
    finally:
        assert await stage.leave() == []


def rig_of(stage: Stage) -> MarlinRig:
    assert isinstance(stage.rig, MarlinRig)
    return stage.rig


def is_hot(stage: Stage) -> bool:
    body = rig_of(stage).peer.machine.body
    return bool(body.nozzle.target_c or body.bed.target_c)


async def printing(stage: Stage) -> Watch:
    watch = await stage.connect()
    await watch.run(stage.rig.order("R-1", long=True))
    await watch.expect(lambda: is_hot(stage), "it did not heat")
    return watch


async def soon(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - conditions look at threads and ptys too
            await asyncio.sleep(0.005)


def slow_order(run_id: str, open_file: Callable[[], io.BytesIO]) -> StartOrder:
    file = RunFile("slow.gcode", "0" * 64, 1000, open_file)
    return StartOrder(run_id, "print", 60.0, 1, fence=1, file=file)


@contextlib.asynccontextmanager
async def longest_hold_s() -> AsyncIterator[list[float]]:
    """The longest time for which nothing else had its turn on the loop."""
    longest = [0.0]

    async def beat() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            longest[0] = max(longest[0], time.perf_counter() - before)

    beating = asyncio.create_task(beat())
    try:
        yield longest
        await asyncio.sleep(0.01)
    finally:
        beating.cancel()


# Heaters.


async def test_a_cancelled_serve_waits_for_the_word_that_it_is_cold(stage: Stage) -> None:
    watch = await printing(stage)
    await watch.leave()
    assert not is_hot(stage)
    assert not json.loads((rig_of(stage).folder / "runs.json").read_text())["hot"]


async def test_a_machine_that_cannot_be_reached_is_switched_off_when_it_is(stage: Stage) -> None:
    """Boards with native USB are not reset by a new link: they would stay hot for ever."""
    watch = await printing(stage)
    await stage.rig.cut_link()
    await watch.expect(lambda: watch.losses, "the loss was not noticed")
    assert is_hot(stage)
    await stage.rig.restore_link()
    await watch.expect(lambda: len(watch.connections) > 1 and watch.connections[-1], "no link again", 5.0)
    assert not is_hot(stage)
    executed = rig_of(stage).peer.executed
    again = len(executed) - executed[::-1].index(b"M115")
    assert executed[again:][: 3 + len(heaters_off())] == [b"M113 S1", b"M155 S2", *heaters_off(), b"M105"]


async def test_a_crash_leaves_it_hot_and_the_next_start_switches_it_off(stage: Stage) -> None:
    watch = await printing(stage)
    folder = rig_of(stage).folder
    await watch.expect((folder / "seen.json").exists, "nothing was noted")
    record = (folder / "runs.json").read_bytes()
    await watch.leave()
    (folder / "runs.json").write_bytes(record)
    rig_of(stage).peer.machine.body.nozzle.target_c = 200.0
    again = await stage.connect()
    assert not is_hot(stage)
    seen = again.last_observed()
    assert [(past.run_id, past.outcome) for past in seen.history] == [("R-1", Outcome.FAILED)]
    await again.leave()
    assert json.loads((folder / "runs.json").read_text())["hot"] is False


async def test_what_is_hot_for_others_is_left_alone(stage: Stage) -> None:
    rig_of(stage).peer.machine.body.nozzle.target_c = 150.0
    await stage.connect()
    assert is_hot(stage)


@pytest.mark.parametrize("kind", [Progressed, Attention], ids=["in-a-task", "while-reading"])
async def test_a_failure_of_our_own_leaves_it_cold(stage: Stage, kind: type[Event]) -> None:
    driver = stage.rig.driver()
    events: list[Event] = []

    def report(event: Event) -> None:
        events.append(event)
        if isinstance(event, kind) and is_hot(stage):
            raise ValueError("a bug above the driver")

    serving = asyncio.create_task(driver.serve(report))
    await soon(lambda: events)
    await driver.start(stage.rig.order("R-1", long=True))
    await soon(lambda: is_hot(stage))
    rig_of(stage).peer.say(b"Error:something to tell")
    with pytest.raises(ValueError, match="a bug above"):
        await asyncio.wait_for(serving, 5)
    assert [event.outcome for event in events if isinstance(event, Ended)] == [Outcome.FAILED]
    await soon(lambda: not is_hot(stage))


async def test_a_line_on_its_way_is_not_cut_by_an_emergency_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Firmware that reads a cut line throws away what follows it, the stop too."""
    flushed: list[int] = []
    flush = termios.tcflush
    monkeypatch.setattr(termios, "tcflush", lambda fd, queue: (flushed.append(queue), flush(fd, queue)))
    master, slave = pty.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    came = b""

    def read() -> bytes:
        nonlocal came
        with contextlib.suppress(BlockingIOError):
            came += os.read(master, 1 << 16)
        return came

    with ThreadPoolExecutor(1) as worker:
        port = open_port(os.ttyname(slave), 115200)
        wire = Wire(0.0, banner_s=0.0)
        connection = Connection(port, wire, lambda event: None, lambda error: None, worker, Terminal().note)
        await soon(lambda: wire.link is Link.AWAIT_OK)
        flushed.clear()
        connection.write_now(b"\nM112\n")
        await soon(lambda: read() == b"\nN0 M110 N0*125\n\nM112\n")
        assert flushed == []

        # A port that takes no more loses what waits, and takes the stop.
        connection._write(b"x" * 1_000_000)
        connection.write_now(b"\nM112\n")
        await soon(lambda: read().endswith(b"\nM112\n"))
        assert flushed == [termios.TCOFLUSH]
        assert len(came) < 500_000
        await connection.close()
    os.close(master)
    os.close(slave)


# Starts.


async def test_a_restart_while_the_start_is_prepared_calls_it_off(stage: Stage) -> None:
    watch = await stage.connect()
    let_go = threading.Event()

    def open_file() -> io.BytesIO:
        let_go.wait(5)
        return io.BytesIO(b"M117 R-1\nG28\n")

    starting = asyncio.create_task(watch.start(slow_order("R-1", open_file)))
    await asyncio.sleep(0.05)
    wire = watch.driver._connection.wire  # type: ignore[attr-defined]
    wire._opened_at -= 60.0
    await stage.rig.reboot()
    await watch.expect(lambda: watch.last_observed().rebooted, "the restart was not told")
    let_go.set()
    refusal = await starting
    assert refusal is not None
    assert refusal.code is MACHINE_NOT_READY
    assert "restarted" in refusal.what
    await watch.quiet()
    assert stage.rig.starts() == []
    await watch.run(stage.rig.order("R-2", long=True))
    await watch.leave()
    assert [past.run_id for past in (await stage.connect()).last_observed().history] == ["R-2"]


async def test_a_lost_link_while_the_start_is_prepared_calls_it_off(stage: Stage) -> None:
    watch = await stage.connect()
    let_go = threading.Event()

    def open_file() -> io.BytesIO:
        let_go.wait(5)
        return io.BytesIO(b"M117 R-1\nG28\n")

    starting = asyncio.create_task(watch.start(slow_order("R-1", open_file)))
    await asyncio.sleep(0.05)
    await stage.rig.cut_link()
    await asyncio.sleep(0.05)
    let_go.set()
    refusal = await starting
    assert refusal is not None
    assert "link was lost" in refusal.what
    await stage.rig.restore_link()
    await watch.expect(lambda: len(watch.connections) > 1 and watch.connections[-1], "no link again", 5.0)
    assert stage.rig.starts() == []
    assert watch.last_observed().history == ()


async def test_a_stop_while_the_start_is_prepared_calls_it_off(stage: Stage) -> None:
    watch = await stage.connect()

    def open_file() -> io.BytesIO:
        time.sleep(0.1)
        return io.BytesIO(b"M117 R-1\nG28\n")

    starting = asyncio.create_task(watch.start(slow_order("R-1", open_file)))
    await asyncio.sleep(0.02)
    assert await watch.start(stage.rig.order("R-2", long=True)) is not None, "two starts at once"
    await watch.command("stop")
    assert "stopped" in str(await starting)
    assert stage.rig.starts() == []


async def test_a_start_called_off_after_it_was_written_down_is_struck_out(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = await stage.connect()
    saving, save = threading.Event(), RunLog.save

    def slow_save(log: RunLog) -> None:
        saving.set()
        time.sleep(0.05)
        save(log)

    monkeypatch.setattr(RunLog, "save", slow_save)
    starting = asyncio.create_task(watch.start(stage.rig.order("R-1", long=True)))
    await soon(saving.is_set)
    await watch.command("stop")
    assert "stopped" in str(await starting)
    path = rig_of(stage).folder / "runs.json"
    nothing = {"ended": [], "open": None, "hot": False, "broke_off": None, "displaced": False}
    await soon(lambda: json.loads(path.read_text()) == nothing)
    assert stage.rig.starts() == []


async def test_a_start_broken_off_leaves_neither_file_nor_record(stage: Stage) -> None:
    watch = await stage.connect()
    reading, opened = threading.Event(), []

    class Endless(io.BytesIO):
        left = 400

        def read(self, size: int | None = -1, /) -> bytes:
            reading.set()
            time.sleep(0.01)
            self.left -= 1
            return b"G1 X1\n" * 10 if self.left else b""

    def open_file() -> io.BytesIO:
        opened.append(Endless())
        return opened[-1]

    starting = asyncio.create_task(watch.driver.start(slow_order("R-1", open_file)))
    await soon(reading.is_set)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await watch.expect(lambda: all(file.closed for file in opened), "the file was read on")
    await watch.run(stage.rig.order("R-2", long=True))
    assert stage.rig.starts() == ["R-2"]


async def test_a_run_is_never_begun_again(stage: Stage) -> None:
    watch = await stage.connect()
    await watch.run(stage.rig.order("R-1", long=False))
    await watch.expect(lambda: watch.ended("R-1"), "it did not end")
    with pytest.raises(Refused, match="begun here before"):
        await watch.driver.start(stage.rig.order("R-1", long=False))
    await watch.leave()
    again = await stage.connect()
    with pytest.raises(Refused, match="begun here before"):
        await again.driver.start(stage.rig.order("R-1", long=False))
    assert stage.rig.starts() == ["R-1"]


# The loop.


async def test_a_port_that_hangs_holds_up_nobody(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tty with bytes that the device does not take keeps its closer for up to 30 s."""
    closed = []

    def close(port: Port) -> None:
        time.sleep(HOLD_S)
        port.serial.close()
        closed.append(port)

    monkeypatch.setattr(transport.Port, "close", close)
    watch = await stage.connect()
    async with longest_hold_s() as longest:
        await watch.leave()
    assert closed
    assert longest[0] < HOLD_S / 2


async def test_a_slow_disk_holds_up_nobody(stage: Stage) -> None:
    watch = await stage.connect()

    def open_file() -> io.BytesIO:
        time.sleep(HOLD_S)
        return io.BytesIO(b"M117 R-1\nG28\n")

    async with longest_hold_s() as longest:
        assert await watch.start(slow_order("R-1", open_file)) is None
        await watch.expect(lambda: watch.ended("R-1"), "it did not end")
    assert longest[0] < HOLD_S / 2


def test_a_check_lets_others_have_their_turn() -> None:
    """Measured in turns, not in seconds: another thread gets one for every few hundred lines."""
    data = b"G1 X1.234 Y5.678 E0.01\n" * 100_000
    job = JobFile(RunFile("long.gcode", "", len(data), lambda: io.BytesIO(data)))
    checking = threading.Thread(target=job.prepare)
    turns = 0
    checking.start()
    while checking.is_alive():
        turns += 1
        time.sleep(0.0002)
    job.close()
    assert turns > 50


async def test_a_failing_watch_ends_in_serve(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(job: JobFile, accepted: int) -> float:
        raise ArithmeticError("a bug in here")

    monkeypatch.setattr(JobFile, "fraction", wrong)
    watch = await stage.connect()
    await watch.start(stage.rig.order("R-1", long=True))
    await watch.expect(lambda: "a bug in here" in watch.fell, "the bug went unheard")
    await watch.expect(lambda: not is_hot(stage), "it stayed hot")


async def test_runs_leave_no_thread_and_no_descriptor(stage: Stage) -> None:
    await (await printing(stage)).leave()

    def held() -> tuple[int, int]:
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    watch = stage.instance()
    await asyncio.sleep(0.1)
    before = held()
    for n in range(2, 5):
        watch.serve()
        await watch.expect(lambda n=n: any(watch.connections[n - 2 :]), "nothing was told")
        await watch.run(stage.rig.order(f"R-{n}", long=True))
        await watch.leave()
    await watch.expect(lambda: held() <= before, "something was left open")


# Absence.


def driver_of(tmp_path: Path, **settings: float) -> MarlinDriver:
    all_settings = MarlinSettings(port=str(tmp_path / "port"), banner_wait_s=0.05, **settings)
    return MarlinDriver(SPEC, all_settings, state_dir=tmp_path)


async def first_sight(driver: MarlinDriver) -> Observed:
    events: asyncio.Queue[Event] = asyncio.Queue()
    serving = asyncio.create_task(driver.serve(events.put_nowait))
    try:
        async with asyncio.timeout(5):
            while isinstance(event := await events.get(), Attention):
                pass
        assert isinstance(event, Observed)
        return event
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


@pytest.mark.parametrize(
    ("seen", "unseen"),
    [
        (lambda now: None, False),
        (lambda now: now - 600.0, False),
        (lambda now: now - 1000.0, True),
        (lambda now: now + 50.0, True),
        (lambda now: "torn", True),
    ],
    ids=["never", "restart", "long", "clock-went-back", "unreadable"],
)
async def test_a_new_process_tells_of_a_long_absence(
    stage: Stage, tmp_path: Path, seen: Callable[[float], object], unseen: bool
) -> None:
    at = seen(time.time())
    if at is not None:
        (tmp_path / "seen.json").write_text(json.dumps({"at": at, "run_id": None, "place": None}))
    assert (await first_sight(driver_of(tmp_path))).unseen_start is unseen
    kept = json.loads((tmp_path / "seen.json").read_text())
    assert kept["at"] == pytest.approx(time.time(), abs=5)
    assert (await first_sight(driver_of(tmp_path))).unseen_start is False


async def test_that_it_is_in_sight_is_written_down_at_once(stage: Stage, tmp_path: Path) -> None:
    watch = await stage.connect()
    await watch.expect((tmp_path / "seen.json").exists, "nothing was noted")


async def test_links_without_an_answer_do_not_shorten_an_absence(stage: Stage, tmp_path: Path) -> None:
    driver = driver_of(tmp_path, unseen_grace_s=0.3)
    peer = rig_of(stage).peer
    assert not (await first_sight(driver)).unseen_start
    peer.hang()
    for _ in range(3):
        serving = asyncio.create_task(driver.serve(lambda event: None))
        await asyncio.sleep(0.15)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    peer.reset()
    assert (await first_sight(driver)).unseen_start


async def test_a_record_that_cannot_be_kept_is_told(stage: Stage, tmp_path: Path) -> None:
    driver = driver_of(tmp_path)
    (tmp_path / "seen.new").mkdir()
    events: list[Event] = []
    serving = asyncio.create_task(driver.serve(events.append))
    await soon(lambda: any(isinstance(event, Attention) for event in events))
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert isinstance(events[0], Observed)
    (told,) = {event.code for event in events if isinstance(event, Attention)}
    assert told == "run-log-unwritable"


async def test_opening_broken_off_gives_the_port_back(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = stage.rig.driver()
    opened = threading.Event()

    def slow_open(path: str, baud: int) -> Port:
        port = open_port(path, baud)
        opened.set()
        time.sleep(0.1)
        return port

    monkeypatch.setattr("farmd_drivers.marlin.probing.open_port", slow_open)
    serving = asyncio.create_task(driver.serve(lambda event: None))
    await soon(opened.is_set)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    open_port(str(rig_of(stage).folder / "port"), 115200).close()


# Form.


CORE = ROOT / "drivers" / "farmd_drivers" / "marlin" / "wire"


@pytest.mark.parametrize("module", sorted(path.stem for path in CORE.glob("[!_]*.py")))
def test_the_core_has_no_io(module: str) -> None:
    tree = ast.parse((CORE / f"{module}.py").read_text())
    imported = {
        name.split(".")[0] if not name.startswith("farmd_drivers.marlin") else name
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    allowed = {"__future__", "bisect", "collections", "dataclasses", "enum", "functools", "hashlib", "math"}
    allowed |= {"operator", "re", "typing"}
    assert {name for name in imported if not name.startswith("farmd_drivers.marlin")} <= allowed
    core = {"wire", *(path.stem for path in CORE.glob("[!_]*.py"))}
    assert {name.rpartition(".")[2] for name in imported if "." in name} <= core | {"marlin"}


def test_heaters_off_are_listed_among_what_is_added() -> None:
    assert all(ADDED_COMMANDS.fullmatch(command) for command in heaters_off(3, True))
