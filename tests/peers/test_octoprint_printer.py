"""The Marlin driver against OctoPrint's virtual printer, a machine that nobody here has written.

Its `!!DEBUG` language makes the faults. What it executes it writes down, so a print is exact or it is not.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from farmd.driver import (
    Ended,
    Event,
    Faulted,
    Observed,
    Paused,
    Rebooted,
    Resumed,
    RunFile,
    Started,
    StartOrder,
)
from farmd.gcode import executable_lines
from farmd.model.errors import LinkLost
from farmd.model.machine import MachineSpec
from farmd.model.work import Outcome
from farmd_drivers.marlin.driver import MarlinDriver
from farmd_drivers.marlin.settings import MarlinSettings
from tests.peers.venvs import PeerMissing, python_of

SPEC = MachineSpec("mk3-01", "marlin", "mk3", "MEX", (250.0, 210.0, 210.0))
NO_FAULTS: dict[str, Any] = {"simulated_errors": []}


def gcode(moves: int) -> bytes:
    """Moves of 5 ms as that printer performs them, no two alike."""
    rows = ["G28", "G90", "M83", "G1 X0 Y0 Z0.2 F600"]
    rows += [f"G1 X{n * 0.5:.1f} E{n / 100000:.5f}" for n in range(1, moves + 1)]
    return "\n".join(rows).encode()


FILE = gcode(160)
COMMANDS = [line.decode() for line in executable_lines(io.BytesIO(FILE))]
MOVES = [command for command in COMMANDS if command.startswith("G1 ")]


class Hall:
    """The process with the virtual printers."""

    def __init__(self, python: Path, folder: Path) -> None:
        script = Path(__file__).with_name("virtual_printer.py")
        self._process = subprocess.Popen(
            [str(python), "-I", str(script), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


class Printer:
    """One of them, from making to closing."""

    def __init__(self, hall: Hall, settings: dict[str, Any]) -> None:
        made = hall.ask(make=settings)
        self._hall = hall
        self._number = made["printer"]
        self._executed = Path(made["executed"])
        self.port: str = made["port"]

    def debug(self, text: str) -> None:
        self._hall.ask(printer=self._number, debug=text)

    def executed(self) -> list[str]:
        return self._executed.read_text().splitlines()

    def moves(self) -> list[str]:
        """The moves of the file that it has executed, in order."""
        own = set(MOVES)
        return [command for command in self.executed() if command in own]

    def close(self) -> None:
        self._hall.ask(printer=self._number, close=True)


class Served:
    """The driver on that printer, with what it told."""

    def __init__(self, printer: Printer, folder: Path) -> None:
        settings = MarlinSettings(port=printer.port, banner_wait_s=0.3)
        self.printer = printer
        self.driver = MarlinDriver(SPEC, settings, state_dir=folder)
        self.events: list[Event] = []
        self.task = asyncio.create_task(self.driver.serve(self.events.append))

    def told(self, kind: type[Event]) -> Event | None:
        return next((event for event in reversed(self.events) if isinstance(event, kind)), None)

    async def until(self, look: Callable[[], Any], within_s: float = 20.0) -> Any:
        async with asyncio.timeout(within_s):
            while not (found := look()):
                if self.task.done() and not look():
                    self.task.result()
                await asyncio.sleep(0.005)
        return found

    async def start(self) -> None:
        file = RunFile("part.gcode", hashlib.sha256(FILE).hexdigest(), len(FILE), lambda: io.BytesIO(FILE))
        await self.driver.start(StartOrder("R-1", "print", 60.0, 1, fence=1, file=file))

    async def in_mid_print(self) -> None:
        await self.start()
        await self.until(lambda: len(self.printer.moves()) > 30)

    async def ended(self, within_s: float = 20.0) -> Ended:
        event = await self.until(lambda: self.told(Ended), within_s)
        assert isinstance(event, Ended)
        assert sum(isinstance(each, Ended) for each in self.events) == 1
        return event


Make = Callable[..., Any]


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    """OctoPrint in its own environment, which is made on first use."""
    try:
        python = python_of("octoprint")
    except PeerMissing as missing:
        pytest.skip(f"OctoPrint's virtual printer left out: {missing}")
    hall = Hall(python, tmp_path_factory.mktemp("octoprint"))
    yield hall
    hall.close()


@pytest.fixture
def serve(hall: Hall, tmp_path: Path) -> Make:
    @asynccontextmanager
    async def serving(**settings: Any) -> AsyncIterator[Served]:
        printer = Printer(hall, NO_FAULTS | settings)
        served = Served(printer, tmp_path)
        try:
            await served.until(lambda: served.told(Observed))
            yield served
        finally:
            served.task.cancel()
            await asyncio.gather(served.task, return_exceptions=True)
            printer.close()

    return serving


async def test_the_handshake_reads_what_it_is(serve: Make) -> None:
    async with serve() as served:
        observed = served.told(Observed)
        assert (observed.activity, observed.run_id) == ("idle", None)
        assert observed.firmware == "Virtual Marlin 1.0"
        assert served.printer.executed()[0] == "M115"


async def test_a_print_is_exact(serve: Make) -> None:
    async with serve() as served:
        await served.start()
        ended = await served.ended()
        assert ended.outcome is Outcome.OK
        executed = served.printer.executed()
        begin = executed.index(COMMANDS[0])
        assert executed[begin : begin + len(COMMANDS)] == COMMANDS
        assert served.told(Started) is not None


async def test_its_own_four_faults(serve: Make) -> None:
    """By default it refuses lines 100, 110 and 115, one without asking for it again, and it swallows 105:
    it counts that line as received, does not execute it, and stays silent."""
    faults = ["100:resend", "105:resend_with_timeout", "110:missing_lineno", "115:checksum_mismatch"]
    async with serve(simulated_errors=faults) as served:
        await served.start()
        assert (await served.ended()).outcome is Outcome.OK
        missing = Counter(MOVES) - Counter(served.printer.moves())
        assert served.printer.moves() == [move for move in MOVES if move not in missing]
        assert missing.total() == 1


@pytest.mark.parametrize(
    "fault",
    [
        "dont_answer",
        "trigger_missing_lineno",
        "prepare_ok o",
        "prepare_ok okok",
        "send ok",
        "send echo: a message in between",
        "send Resend: 4",
        "sleep 1",
        "sleep_after_next G1 1",
    ],
)
async def test_faults_that_a_print_outlives(serve: Make, fault: str) -> None:
    async with serve() as served:
        await served.in_mid_print()
        served.printer.debug(fault)
        assert (await served.ended()).outcome is Outcome.OK
        assert served.printer.moves() == MOVES


@pytest.mark.parametrize("fault", ["resend_lineno", "resend_checksum"])
async def test_asked_for_a_line_that_it_has_executed(serve: Make, fault: str) -> None:
    """The machine sets its own counter back by one line: to its knowledge it has not had it."""
    async with serve() as served:
        await served.in_mid_print()
        served.printer.debug(f"trigger_{fault}")
        assert (await served.ended()).outcome is Outcome.OK
        moves = served.printer.moves()
        assert [move for n, move in enumerate(moves) if n == 0 or moves[n - 1] != move] == MOVES
        assert len(moves) <= len(MOVES) + 1


async def test_lines_that_it_counts_and_throws_away(serve: Make) -> None:
    """Its noise refuses a line for its checksum and asks for the one after it. Nothing is executed twice."""
    async with serve() as served:
        await served.in_mid_print()
        served.printer.debug("resend_ratio 5")
        assert (await served.ended()).outcome is Outcome.OK
        moves = served.printer.moves()
        assert moves == sorted(set(moves), key=MOVES.index)
        assert len(moves) > 0.9 * len(MOVES)


async def test_a_board_that_says_nothing_when_it_is_opened(serve: Make) -> None:
    """And answers with numbers and what it has room for."""
    async with serve(simulateReset=False, okFormatString="ok N{lastN} P{buffer} B3") as served:
        await served.start()
        assert (await served.ended()).outcome is Outcome.OK
        assert served.printer.moves() == MOVES


async def test_pause_and_resume(serve: Make) -> None:
    async with serve() as served:
        await served.in_mid_print()
        await served.driver.pause()
        await served.until(lambda: served.told(Paused))
        so_far = served.printer.moves()
        await asyncio.sleep(0.5)
        assert served.printer.moves() == so_far
        await served.driver.resume()
        await served.until(lambda: served.told(Resumed))
        assert (await served.ended()).outcome is Outcome.OK
        assert served.printer.moves() == MOVES


@pytest.mark.parametrize("blank", ["", " "], ids=["bare", "blank"])
async def test_the_printer_itself_asks_for_a_pause(serve: Make, blank: str) -> None:
    async with serve() as served:
        await served.in_mid_print()
        served.printer.debug(f"send //{blank}action:pause")
        await served.until(lambda: served.told(Paused))
        assert len(served.printer.moves()) < len(MOVES)
        served.printer.debug(f"send //{blank}action:resume")
        assert (await served.ended()).outcome is Outcome.OK
        assert served.printer.moves() == MOVES


async def test_cancel_leaves_it_cold(serve: Make) -> None:
    async with serve() as served:
        await served.in_mid_print()
        await served.driver.stop()
        assert (await served.ended()).outcome is Outcome.CANCELLED
        moves = served.printer.moves()
        assert moves == MOVES[: len(moves)]
        assert len(moves) < len(MOVES)
        assert {"M104 S0", "M140 S0"} <= set(served.printer.executed())


async def test_a_reset_fails_the_run_and_nothing_is_sent_again(serve: Make) -> None:
    async with serve() as served:
        await served.in_mid_print()
        served.printer.debug("reset")
        ended = await served.ended()
        assert ended.outcome is Outcome.FAILED
        assert ended.place is not None
        assert ended.place.line > 30
        await served.until(lambda: served.told(Rebooted))
        await asyncio.sleep(1.0)
        moves = served.printer.moves()
        assert moves == MOVES[: len(moves)]


async def test_a_dropped_connection_fails_the_run(serve: Make) -> None:
    async with serve() as served:
        await served.in_mid_print()
        served.printer.debug("drop_connection")
        with pytest.raises(LinkLost):
            await asyncio.wait_for(asyncio.shield(served.task), 10.0)
        assert (await served.ended()).outcome is Outcome.FAILED
        moves = served.printer.moves()
        assert moves == MOVES[: len(moves)]


async def test_a_thermal_runaway_is_a_fault(serve: Make) -> None:
    async with serve() as served:
        await served.in_mid_print()
        served.printer.debug("trigger_fatal_error_marlin")
        ended = await served.ended()
        assert ended.outcome is Outcome.FAILED
        assert "Thermal Runaway" in ended.reason
        faulted = await served.until(lambda: served.told(Faulted))
        assert faulted.fault.code == "firmware-halted"


async def test_an_emergency_stop_kills_it(serve: Make) -> None:
    async with serve() as served:
        await served.in_mid_print()
        served.driver.estop()
        assert (await served.ended()).outcome is Outcome.FAILED
        await asyncio.sleep(0.5)
        stopped = served.printer.moves()
        await asyncio.sleep(0.5)
        assert served.printer.moves() == stopped
        assert len(stopped) < len(MOVES)


async def test_a_line_asked_for_without_end_fails_the_run(serve: Make) -> None:
    async with serve() as served:
        await served.in_mid_print()
        served.printer.debug("rerequest_last")
        assert (await served.ended()).outcome is Outcome.FAILED
        moves = served.printer.moves()
        assert moves == MOVES[: len(moves)]
