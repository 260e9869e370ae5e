"""The Marlin driver in this process, on a loop as the daemon has it, printing on machines of a hall.

Knows the driver's public interface, and nothing of what is measured.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from farmd.driver import Ended, Event, Observed, RunFile, StartOrder
from farmd.model.machine import MachineSpec
from farmd_drivers.marlin.driver import MarlinDriver
from farmd_drivers.marlin.settings import MarlinSettings

SPEC = MachineSpec("bench", "marlin", "bench", "MEX", (250.0, 210.0, 210.0))
HANDSHAKE_S = 30.0


def order(data: bytes, run_id: str = "R-1") -> StartOrder:
    file = RunFile("bench.gcode", hashlib.sha256(data).hexdigest(), len(data), lambda: io.BytesIO(data))
    return StartOrder(run_id, "print", 60.0, 1, fence=1, file=file)


class Served:
    """A driver that is served, with every event and when it was told."""

    def __init__(self, port: str, folder: Path) -> None:
        settings = MarlinSettings(port=port, banner_wait_s=0.05)
        self.driver = MarlinDriver(SPEC, settings, state_dir=folder)
        self.events: list[tuple[float, Event]] = []
        self.lost_at: float | None = None
        self._told = asyncio.Event()
        self._serving = asyncio.create_task(self._serve())

    async def _serve(self) -> None:
        try:
            await self.driver.serve(self._report)
        finally:
            self.lost_at = time.monotonic()
            self._told.set()

    def _report(self, event: Event) -> None:
        self.events.append((time.monotonic(), event))
        self._told.set()

    async def until(self, kind: type[Event], within_s: float) -> tuple[float, Event]:
        """The first event of a kind, and when it came. Raises TimeoutError, or what `serve` raised."""
        async with asyncio.timeout(within_s):
            while True:
                for at, event in self.events:
                    if isinstance(event, kind):
                        return at, event
                if self._serving.done():
                    self._serving.result()
                self._told.clear()
                await self._told.wait()

    async def ended(self, within_s: float) -> tuple[float, Ended]:
        at, event = await self.until(Ended, within_s)
        assert isinstance(event, Ended)
        return at, event

    async def leave(self) -> None:
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)


@asynccontextmanager
async def served(ports: Sequence[str]) -> AsyncIterator[list[Served]]:
    """A driver for each port, connected."""
    with TemporaryDirectory() as name:
        drivers = []
        for index, port in enumerate(ports):
            folder = Path(name) / str(index)
            folder.mkdir()
            drivers.append(Served(port, folder))
        try:
            await asyncio.gather(*(each.until(Observed, HANDSHAKE_S) for each in drivers))
            yield drivers
        finally:
            await asyncio.gather(*(each.leave() for each in drivers))


@dataclass(frozen=True, slots=True)
class Printed:
    """Of all machines together: `cpu_s` of this process, checking and reading the file included."""

    seconds: float
    cpu_s: float
    outcomes: tuple[str, ...]


async def print_on(ports: Sequence[str], data: bytes, within_s: float) -> Printed:
    """Print the file on each port at once. A print that does not end in time has the outcome "time-out"."""
    async with served(ports) as drivers:
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(each.driver.start(order(data)) for each in drivers))
        ends = await asyncio.gather(*(each.ended(within_s) for each in drivers), return_exceptions=True)
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    return Printed(seconds, cpu_s, tuple(sorted({_outcome(end) for end in ends})))


def _outcome(end: tuple[float, Ended] | BaseException) -> str:
    if isinstance(end, TimeoutError):
        return "time-out"
    if isinstance(end, BaseException):
        raise end
    return end[1].outcome.value
