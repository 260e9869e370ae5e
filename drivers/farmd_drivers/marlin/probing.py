"""Finding the speed of a port: which one a machine answers at, by asking it.

Each speed is set on the port as it stands open, because opening it again would reset many boards each time. What
was found is remembered beside the machine's runs and tried first. Knows ports and what an answer looks like; a
link's own greeting follows in the wire, and proves the speed.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

from farmd.driver import offload
from farmd.model.errors import ErrorCode, LinkLost
from farmd_drivers.marlin.settings import AUTO, MarlinSettings
from farmd_drivers.marlin.transport import PORT_LOST, Port, open_port
from farmd_drivers.marlin.wire import replies
from farmd_drivers.marlin.wire.outbox import HELLO
from farmd_drivers.marlin.wire.replies import Kind

SPEEDS = (115200, 250000, 230400, 500000, 1000000, 57600, 921600, 38400, 19200, 9600)
"""In the order in which firmware is built for them."""
HELLOS = 2
"""The first one may be eaten by what was left on the line."""
HELLO_S = 0.8
"""An idle machine answers in milliseconds; one that homes or heats may have to say `busy` first."""
PARTIAL_BYTES = 4096

NO_ANSWER = ErrorCode(
    "no-answer",
    "the machine does not answer on its serial port",
    "compare `baud` with the firmware's, switch the machine off and on, look at its cable",
)

_ANSWERS = frozenset(
    {Kind.OK, Kind.START, Kind.WAIT, Kind.RESEND, Kind.RESEND_REASON, Kind.TEMPERATURES, Kind.BUSY}
    | {Kind.FATAL, Kind.STOPPED, Kind.ACTION}
)


def is_answer(raw: bytes) -> bool:
    """Whether a received line is firmware's, and no noise: at a wrong speed, hardly a byte is even readable."""
    line = raw.strip()
    if not line or any(not 32 <= byte <= 126 for byte in line):
        return False
    return line.startswith((b"echo:", b"//")) or replies.classify(line) in _ANSWERS


class PortFinder:
    """Opens the port of one machine, at its speed; `folder` is where that is remembered."""

    def __init__(self, settings: MarlinSettings, folder: Path) -> None:
        self._path = settings.port
        self._baud = settings.baud
        self._banner_s = settings.banner_wait_s
        self._memory = folder / "port.json"
        self._may_explain = True

    async def open(self, worker: Executor) -> Port:
        """The open port; with `baud = "auto"` at a speed that was answered. Raises `LinkLost`."""
        if self._baud != AUTO:
            return await _opened(self._path, self._baud, worker)
        known = await offload(self._remembered, worker)
        speeds = SPEEDS if known is None else (known, *(speed for speed in SPEEDS if speed != known))
        port = await self._answered(speeds, worker)
        if port is None:
            raise LinkLost(NO_ANSWER, "the machine answers at no speed", where=self._path)
        if port.serial.baudrate != known:
            await offload(partial(self._remember, port.serial.baudrate), worker)
        return port

    def answered(self) -> None:
        """The machine answers at the present speed."""
        self._may_explain = True

    async def explain(self, lost: LinkLost, worker: Executor) -> LinkLost:
        """Nothing answers at the configured speed: the error, with the speed that is answered, if one is.

        Once for each time that a machine falls silent, because asking takes a while.
        """
        if self._baud == AUTO or not self._may_explain:
            return lost
        self._may_explain = False
        try:
            port = await self._answered([speed for speed in SPEEDS if speed != self._baud], worker)
        except LinkLost:
            return lost  # the port is gone as well: the next opening tells that
        if port is None:
            return lost
        found = port.serial.baudrate
        await offload(port.close, worker)
        what = f"nothing answers at {self._baud} baud, and a machine does at {found}"
        remedy = f'set `baud = {found}`, or `baud = "auto"`'
        return LinkLost(lost.code, what, where=lost.where, remedy=remedy)

    async def _answered(self, speeds: Sequence[int], worker: Executor) -> Port | None:
        """The port, open at the first of the speeds that is answered; closed when none is."""
        port = await _opened(self._path, speeds[0], worker)
        found = False
        try:
            found = await _find(port, speeds, self._banner_s, worker)
        finally:
            if not found:
                await offload(port.close, worker)
        return port if found else None

    def _remembered(self) -> int | None:
        try:
            baud = json.loads(self._memory.read_bytes())["baud"]
        except (OSError, ValueError, KeyError, TypeError):
            return None  # a hint that is not there, or not readable, costs some seconds
        return baud if baud in SPEEDS else None

    def _remember(self, baud: int) -> None:
        try:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._memory.with_suffix(".new")
            fresh.write_text(json.dumps({"baud": baud}))
            fresh.replace(self._memory)
        except OSError:
            return  # as above; a disk that is full is told of by the record of runs


async def _opened(path: str, baud: int, worker: Executor) -> Port:
    """Open in `worker`; a port that opens although nobody waits any more is closed again."""
    opening = asyncio.ensure_future(offload(partial(open_port, path, baud), worker))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        await asyncio.wait({opening})
        if opening.exception() is None:
            opening.result().close()
        raise


async def _find(port: Port, speeds: Sequence[int], banner_s: float, worker: Executor) -> bool:
    """Set the speeds in turn until one is answered, at which the port stays. Raises `LinkLost`."""
    ear = _Ear(port)
    try:
        for number, speed in enumerate(speeds):
            if number:
                await offload(partial(port.set_speed, speed), worker)
                ear.forget()
            elif await ear.hears(banner_s):
                return True
            for _ in range(HELLOS):
                ear.say(b"\n" + HELLO)
                if await ear.hears(HELLO_S):
                    return True
    finally:
        ear.close()
    return False


class _Ear:
    """Listens on a port for anything that firmware says."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._fd: int = port.serial.fileno()
        self._partial = b""
        self._heard = asyncio.Event()
        self._error: OSError | None = None
        self._loop = asyncio.get_running_loop()
        os.set_blocking(self._fd, False)
        self._loop.add_reader(self._fd, self._readable)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)

    def forget(self) -> None:
        """The speed is another one: what came before says nothing of it."""
        self._partial = b""
        self._heard.clear()

    def say(self, data: bytes) -> None:
        try:
            os.write(self._fd, data)
        except BlockingIOError:
            return  # it takes nothing, so it will not answer either
        except OSError as error:
            self._failed(error)

    async def hears(self, within_s: float) -> bool:
        """Whether an answer comes in time. Raises `LinkLost` when the port goes away."""
        try:
            async with asyncio.timeout(within_s):
                await self._heard.wait()
        except TimeoutError:
            return False
        if self._error is not None:
            what = f"the port failed: {self._error.strerror}"
            raise LinkLost(PORT_LOST, what, where=self._port.serial.port)
        return True

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        except OSError as error:
            self._failed(error)
            return
        if not data:
            self._failed(OSError(0, "hung up"))
            return
        *lines, self._partial = (self._partial + data).split(b"\n")
        self._partial = self._partial[-PARTIAL_BYTES:]
        if any(is_answer(line) for line in lines):
            self._heard.set()

    def _failed(self, error: OSError) -> None:
        self._error = error
        self._loop.remove_reader(self._fd)
        self._heard.set()
