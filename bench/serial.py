"""How fast and at what cost the Marlin driver feeds a machine: `python -m bench.serial`.

The real driver, on a loop as the daemon has it, prints a file on strict emulators, each in a process of
its own on a pseudo-terminal. Reported: lines a second; CPU of the driver's process per line, checking and
reading the file included; whether the emulators executed just the file's commands in order; how long
the call of an emergency stop takes, at whose return its bytes have been written; and the turn-round: from
the writing of an `ok` to the arrival of the next line, as a machine that does nothing else sees it.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import json
import os
import pty
import random
import statistics
import subprocess
import sys
import tempfile
import time
import tty
from pathlib import Path
from typing import IO

from farmd.driver import Ended, Event, Observed, RunFile, StartOrder
from farmd.gcode import executable_lines
from farmd.model.machine import MachineSpec
from farmd_drivers.marlin.driver import ADDED_COMMANDS, MarlinDriver
from farmd_drivers.marlin.settings import MarlinSettings

SPEC = MachineSpec("bench", "marlin", "bench", "MEX", (250.0, 210.0, 210.0))


def synthetic(lines: int) -> bytes:
    """A file of short moves, some 34 bytes a command, as slicers write them."""
    source = random.Random(1)
    rows = ["G28", "G90", "M83"]
    for n in range(lines):
        if n % 500 == 0:
            rows += [";LAYER_CHANGE", f"G1 Z{0.2 * (1 + n / 500):.2f} F7800"]
        rows.append(f"G1 X{source.uniform(0, 200):.3f} Y{source.uniform(0, 200):.3f} E{source.random():.5f}")
    return "\n".join(rows).encode()


PEER = ("-m", "farmd_drivers.marlin.peer")
MIRROR = ("-m", "bench.serial", "--mirror")


class Machine:
    """A machine in its own process, whose first word is its port, and a driver that serves it."""

    def __init__(self, folder: Path, arguments: tuple[str, ...]) -> None:
        self.record = folder / "record"
        self.process = subprocess.Popen(
            [sys.executable, *arguments, "--record", str(self.record)], stdout=subprocess.PIPE, text=True
        )
        output: IO[str] = self.process.stdout  # type: ignore[assignment]
        self.port = output.readline().strip()
        output.close()
        settings = MarlinSettings(port=self.port, banner_wait_s=0.05)
        self.driver = MarlinDriver(SPEC, settings, state_dir=folder)
        self.events: asyncio.Queue[Event] = asyncio.Queue()

    async def until(self, kind: type) -> Event:
        while not isinstance(event := await self.events.get(), kind):
            pass
        return event

    async def print(self, data: bytes) -> Ended:
        file = RunFile("bench.gcode", hashlib.sha256(data).hexdigest(), len(data), lambda: io.BytesIO(data))
        await self.driver.start(StartOrder("R-1", "print", 60.0, 1, fence=1, file=file))
        ended = await self.until(Ended)
        assert isinstance(ended, Ended)
        return ended

    def close(self) -> bytes:
        self.process.terminate()
        self.process.wait(timeout=10)
        return self.record.read_bytes()


async def bench(data: bytes, count: int, arguments: tuple[str, ...], *, stop: bool) -> dict[str, object]:
    commands = list(executable_lines(io.BytesIO(data)))
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / str(n) for n in range(count)]
        for folder in folders:
            folder.mkdir()
        machines = [Machine(folder, arguments) for folder in folders]
        tasks = [asyncio.create_task(machine.driver.serve(machine.events.put_nowait)) for machine in machines]
        try:
            await asyncio.gather(*(machine.until(Observed) for machine in machines))
            wall, cpu = time.perf_counter(), time.process_time()
            ends = await asyncio.gather(*(machine.print(data) for machine in machines))
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            estop_s = await _estop(machines[0], data) if stop else None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            records = [machine.close().splitlines() for machine in machines]
    lines = len(commands) * count
    exact = all(_job(record, len(commands)) == _job(commands, len(commands)) for record in records)
    found: dict[str, object] = {
        "printers": count,
        "lines": lines,
        "lines_per_s": round(lines / wall),
        "cpu_us_per_line": round(cpu / lines * 1e6, 1),
        "outcomes": sorted({end.outcome.value for end in ends}),
        "sequence_exact": exact,
    }
    if estop_s is not None:
        found["estop_call_to_written_ms"] = round(estop_s * 1e3, 3)
    return found


def _job(record: list[bytes], lines: int) -> list[bytes]:
    return [line for line in record if not ADDED_COMMANDS.fullmatch(line)][:lines]


async def turn_round(data: bytes) -> dict[str, object]:
    """How long the driver takes from an `ok` to the next line, the way through the pty included."""
    with tempfile.TemporaryDirectory() as name:
        machine = Machine(Path(name), MIRROR)
        serving = asyncio.create_task(machine.driver.serve(machine.events.put_nowait))
        try:
            await machine.until(Observed)
            await machine.print(data)
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            turns = [float(line) for line in machine.close().split()]
    cuts = statistics.quantiles(turns, n=100)
    return {
        "turns": len(turns),
        "turn_round_p50_ms": round(cuts[49] * 1e3, 3),
        "turn_round_p99_ms": round(cuts[98] * 1e3, 3),
    }


def mirror(record: Path) -> None:
    """A machine that answers every line at once, and writes down how long each next line took to come."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    print(os.ttyname(theirs), flush=True)
    turns: list[float] = []
    answered = 0.0
    text = b""
    while True:
        text = text[-200:] + os.read(ours, 4096)
        came = time.perf_counter()
        if not text.endswith(b"\n"):
            continue
        line = text.rstrip(b"\n").rpartition(b"\n")[2]
        if line.split(b" ", 1)[-1].startswith(b"G1 ") and answered:
            turns.append(came - answered)
        os.write(ours, b"ok T:20 /0\n" if b"M105" in line else b"ok\n")
        answered = time.perf_counter()
        if b"M400" in line:
            record.write_text("\n".join(map(str, turns)))


async def _estop(machine: Machine, data: bytes) -> float:
    """One emergency stop in mid-print: how long the call takes, at whose return the bytes are written."""
    file = RunFile("bench.gcode", "0" * 64, len(data), lambda: io.BytesIO(data))
    await machine.driver.start(StartOrder("R-2", "print", 60.0, 1, fence=1, file=file))
    await asyncio.sleep(0.2)
    before = time.perf_counter()
    machine.driver.estop()
    return time.perf_counter() - before


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.serial", description=__doc__)
    parser.add_argument("--lines", type=int, default=50_000, help="moves of the made-up file")
    parser.add_argument("--file", type=Path, help="print this file instead")
    parser.add_argument("--printers", type=int, default=4, help="machines at once in the second measurement")
    parser.add_argument("--noise", type=float, default=0.0, help="chance of a fault per line, both ways")
    parser.add_argument("--mirror", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--record", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.mirror:
        mirror(given.record)
    data = given.file.read_bytes() if given.file else synthetic(given.lines)
    arguments = (*PEER, "--noise", str(given.noise))
    print(json.dumps(asyncio.run(bench(data, 1, arguments, stop=True))), flush=True)
    if given.printers > 1:
        print(json.dumps(asyncio.run(bench(data, given.printers, arguments, stop=False))), flush=True)
    print(json.dumps(asyncio.run(turn_round(data))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
