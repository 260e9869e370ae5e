"""The serial port: opening it for us alone, and bytes in and out of it without waiting.

pyserial opens and configures; then the loop watches the file descriptor. A pseudo-terminal serves as
well: what it cannot do (modem lines, latency) is left out. Knows no protocol: a `Wire` is driven by its
five calls, and its events are handed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import math
import os
import sys
import termios
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import serial

from farmd.driver import offload
from farmd.model.errors import ErrorCode, LinkLost
from farmd_drivers.marlin.terminal import Chunk
from farmd_drivers.marlin.wire import Wire
from farmd_drivers.marlin.wire.states import WireEvent

PORT_MISSING = ErrorCode(
    "port-missing",
    "there is no such serial port",
    "switch the machine on, look at its cable, and compare `port` with the names in /dev/serial/by-id",
)
PORT_DENIED = ErrorCode(
    "port-denied",
    "the serial port may not be opened by this user",
    "add the user of the service to the group of the port (dialout)",
)
PORT_IN_USE = ErrorCode(
    "port-in-use",
    "another program holds the serial port",
    "stop the other program, or give the two machines ports of their own",
)
PORT_UNUSABLE = ErrorCode(
    "port-unusable",
    "the serial port cannot be used as configured",
    "look at `port` and `baud` of the machine",
)
PORT_LOST = ErrorCode(
    "port-lost",
    "the serial port went away",
    "look at the cable and the power of the machine; it is opened again by itself when it is back",
)

_MISSING = frozenset({errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EIO})
_DENIED = frozenset({errno.EACCES, errno.EPERM})
_IN_USE = frozenset({errno.EBUSY, errno.EAGAIN})
BY_NAME = (Path("/dev/serial/by-id"), Path("/dev/serial/by-path"))
NAMES_TOLD = 6
DTR_PULSE_S = 0.1
"""Long enough for the reset circuit (a capacitor at DTR) of any board."""


@dataclass(frozen=True, slots=True)
class Port:
    """An open port. `has_reset_line`: it has modem lines, so it can pull DTR."""

    serial: serial.Serial
    has_reset_line: bool

    def set_speed(self, baud: int) -> None:
        """Go on at another speed, and forget what came and what waits at the old one. May block."""
        # Some drivers leave a chip as it was unless more than the speed changes (OctoPrint #673).
        self.serial.parity = serial.PARITY_ODD
        self.serial.parity = serial.PARITY_NONE
        self.serial.baudrate = baud
        termios.tcflush(self.serial.fd, termios.TCIOFLUSH)

    def pull_reset(self) -> None:
        """Pull DTR low for a moment, which resets many boards. Blocks."""
        self.serial.dtr = False
        time.sleep(DTR_PULSE_S)
        self.serial.dtr = True

    def close(self) -> None:
        """Close; what was written still leaves. A device that takes no more bytes blocks this for 30 s."""
        try:
            # A port that somebody else holds open as well would stay closed to the next opener.
            fcntl.ioctl(self.serial.fd, termios.TIOCNXCL)
        except OSError:
            self.serial.close()  # the device is gone; there is nothing to give back
        else:
            self.serial.close()


def open_port(path: str, baud: int) -> Port:
    """Open and lock the port; may block. Raises `LinkLost`."""
    try:
        # `exclusive` is a lock by flock, which a program that asks for it too cannot pass.
        port = serial.Serial(path, baud, timeout=0, exclusive=True)
    except (serial.SerialException, OSError, termios.error) as error:
        raise _lost(path, error.args[0] if error.args else None, str(error)) from error
    except ValueError as error:
        raise LinkLost(PORT_UNUSABLE, str(error), where=path) from error
    try:
        # TIOCEXCL keeps out programs that ask for nothing, before they reset the board by opening.
        fcntl.ioctl(port.fd, termios.TIOCEXCL)
        port.reset_input_buffer()
    except (OSError, termios.error) as error:
        port.close()
        raise _lost(path, error.args[0] if error.args else None, str(error)) from error
    try:
        port.set_low_latency_mode(True)  # an FTDI chip holds every reply back for 16 ms otherwise
    except (ValueError, OSError, NotImplementedError):
        return Port(port, _has_modem_lines(port.fd))  # a port without such a chip needs it not
    return Port(port, _has_modem_lines(port.fd))


def _has_modem_lines(fd: int) -> bool:
    try:
        fcntl.ioctl(fd, termios.TIOCMGET, b"\0\0\0\0")
    except OSError:
        return False
    return True


def _lost(path: str, number: object, text: str) -> LinkLost:
    if number in _MISSING:
        return LinkLost(PORT_MISSING, _missing(), where=path)
    if number in _DENIED:
        return LinkLost(PORT_DENIED, where=path)
    if number in _IN_USE:
        return LinkLost(PORT_IN_USE, where=path)
    return LinkLost(PORT_UNUSABLE, text, where=path)


def _missing() -> str:
    """That a port is not there, with the names of those that are."""
    names: list[str] = []
    for folder in BY_NAME:
        try:
            names += sorted(str(folder / name) for name in os.listdir(folder))
        except OSError:
            continue  # made only while there is a port
    more = len(names) - NAMES_TOLD
    there = ", ".join(names[:NAMES_TOLD]) + (f" and {more} more" if more > 0 else "")
    return f"{PORT_MISSING.meaning}; there are {there}" if names else PORT_MISSING.meaning


class Connection:
    """A port and a wire, driven by the running loop until `close`.

    `on_event` gets the wire's events. `on_error` is called at most once: with `LinkLost` when the port is
    gone, or with whatever went wrong in here, so that it ends in the driver's `serve` and not in the loop.
    `worker` does what may block: a device that hangs must hold up nobody else. `note` is shown every chunk of
    bytes that goes over the link, for the terminal.
    """

    def __init__(
        self,
        port: Port,
        wire: Wire,
        on_event: Callable[[WireEvent], None],
        on_error: Callable[[Exception], None],
        worker: Executor,
        note: Callable[[Chunk], None],
    ) -> None:
        self.wire = wire
        self._note = note
        self._port = port
        self._path: str = port.serial.port
        self._fd: int = port.serial.fileno()
        self._on_event = on_event
        self._on_error = on_error
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._waiting = b""
        """Bytes that the port has not taken yet."""
        self._timer: asyncio.TimerHandle | None = None
        self._armed = math.inf
        self._open = True
        self._closed = False
        self._pulse: asyncio.Future[None] | None = None
        os.set_blocking(self._fd, False)
        self._loop.add_reader(self._fd, self._readable)
        self.pump()

    @property
    def is_open(self) -> bool:
        """Whether the port is listened to: nothing has gone wrong, and it was not closed."""
        return self._open

    def pump(self) -> None:
        """Send what may be sent, hand on events, set the timer; after every call to the wire."""
        try:
            self._pump(self._loop.time())
        except Exception as error:  # noqa: BLE001  (handed to whoever serves this machine)
            self._fail(error)

    def _pump(self, now: float) -> None:
        wire = self.wire
        while self._open:
            if data := wire.data_to_send(now):
                self._note((now, True, data))
                self._write(data)
            event = wire.next_event()
            if event is None:
                break
            self._on_event(event)
        due = wire.get_timer()
        if due is not None and due < self._armed and self._open:
            if self._timer is not None:
                self._timer.cancel()
            self._armed = due
            self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._armed = math.inf
        self._timer = None
        try:
            now = self._loop.time()
            self.wire.handle_timer(now)
            self._pump(now)
        except Exception as error:  # noqa: BLE001  (as above)
            self._fail(error)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(LinkLost(PORT_LOST, f"reading failed: {error.strerror}", where=self._path))
            return
        if not data:
            self._fail(LinkLost(PORT_LOST, where=self._path))
            return
        try:
            now = self._loop.time()
            self._note((now, False, data))
            self.wire.receive_data(data, now)
            self._pump(now)
        except Exception as error:  # noqa: BLE001  (as above)
            self._fail(error)

    def _write(self, data: bytes) -> None:
        if self._waiting:
            self._waiting += data
            return
        try:
            taken = self._taken(data)
        except OSError as error:
            self._fail(LinkLost(PORT_LOST, f"writing failed: {error.strerror}", where=self._path))
            return
        if taken < len(data):
            self._waiting = data[taken:]
            self._loop.add_writer(self._fd, self._writable)

    def _taken(self, data: bytes) -> int:
        """How many of the bytes the port takes now."""
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0

    def _writable(self) -> None:
        self._loop.remove_writer(self._fd)
        data, self._waiting = self._waiting, b""
        self._write(data)

    def write_now(self, data: bytes) -> None:
        """Write ahead of everything that has not left yet, which is lost; after a failure of ours too.

        `data` begins with a line break: it closes the line that may be cut in two here. Waits for nothing.
        """
        if self._closed:
            return
        # A port that cannot be flushed must not keep the bytes from being written.
        with contextlib.suppress(OSError, termios.error):
            if self._waiting or self._queued():
                self._loop.remove_writer(self._fd)
                self._waiting = b""
                termios.tcflush(self._fd, termios.TCOFLUSH)
        try:
            taken = self._taken(data)
        except OSError as error:
            self._fail(LinkLost(PORT_LOST, f"writing failed: {error}", where=self._path))
            return
        finally:
            self._note((self._loop.time(), True, data))
        if taken < len(data) and self._open:
            self._waiting = data[taken:]
            self._loop.add_writer(self._fd, self._writable)

    def _queued(self) -> int:
        """How many bytes the kernel holds that have not left yet; a pseudo-terminal always says 0."""
        return int.from_bytes(fcntl.ioctl(self._fd, termios.TIOCOUTQ, bytes(4)), sys.byteorder)

    def pulse_reset(self) -> bool:
        """Pull the reset line, soon; False where the port has none."""
        if self._open and self._port.has_reset_line and (self._pulse is None or self._pulse.done()):
            # In a thread of its own: the machine's may hang in a disk, and this is the last resort.
            thread = ThreadPoolExecutor(1, thread_name_prefix="reset line")
            self._pulse = self._loop.run_in_executor(thread, self._port.pull_reset)
            self._pulse.add_done_callback(self._pulsed)
            thread.shutdown(wait=False)
        return self._port.has_reset_line

    def _pulsed(self, pulse: asyncio.Future[None]) -> None:
        if not pulse.cancelled() and (error := pulse.exception()) is not None:
            self._fail(LinkLost(PORT_LOST, f"the reset line failed: {error}", where=self._path))

    def _fail(self, error: Exception) -> None:
        if self._open:
            self._stop_watching()
            self._on_error(error)

    def _stop_watching(self) -> None:
        self._open = False
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        if self._timer is not None:
            self._timer.cancel()

    async def close(self) -> None:
        """Stop and close; what was written still leaves."""
        if self._open:
            self._stop_watching()
        self._closed = True
        if self._pulse is not None:
            await asyncio.wait({self._pulse}, timeout=2 * DTR_PULSE_S)
        await offload(self._port.close, self._worker)
