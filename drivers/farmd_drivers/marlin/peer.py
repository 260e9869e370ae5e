"""The strict Marlin emulator on a pseudo-terminal: a machine to try farmd with, without a machine.

`python -m farmd_drivers.marlin.peer` prints the path of its port and serves it until it is stopped;
`PtyPeer` does the same in a thread, for tests. What a machine can suffer is in reach: noise on the line,
a reset, a kill, a hang, a pulled cable. Knows the emulator and a pty, and nothing of the driver.
"""

from __future__ import annotations

import argparse
import os
import pty
import select
import signal
import sys
import threading
import time
import tty
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import BinaryIO

from farmd_drivers.marlin.emulator import Marlin
from farmd_drivers.marlin.emulator.build import Build
from farmd_drivers.marlin.emulator.noise import Noise

RECORD_FLUSH_S = 0.2


class PtyPeer:
    """One emulated machine on a pty. Use as a context manager, or `open`, `run` and `close`.

    `port` is the path of the pty; `link` a symbolic link kept pointing to it.
    `upsets` says what happens after how many executed commands: "reset", "kill", "hang" or "unplug".
    """

    def __init__(
        self,
        build: Build | None = None,
        *,
        noise: Noise | None = None,
        link: Path | None = None,
        record: Path | None = None,
        upsets: dict[int, str] | None = None,
    ) -> None:
        self.machine = Marlin(build or Build())
        self.port = ""
        self._noise = noise or Noise(0)
        self._record_path = record
        self._record: BinaryIO | None = None
        self._recorded = 0
        self._upsets = sorted((upsets or {}).items())
        self._pending = b""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._link = link
        self._master = self._slave = -1
        self._wake_read = self._wake_write = -1

    def open(self) -> str:
        """Make the pty and switch the machine on; returns the path of the port."""
        self._make_port()
        self._wake_read, self._wake_write = os.pipe()
        if self._record_path is not None:
            self._record = self._record_path.open("ab")
        self.machine.power_on(time.monotonic())
        return self.port

    def _make_port(self) -> None:
        self._hang_up()
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        if self._link is not None:
            self._link.unlink(missing_ok=True)
            self._link.symlink_to(self.port)

    def close(self) -> None:
        self._hang_up()
        if self._link is not None:
            self._link.unlink(missing_ok=True)
        os.close(self._wake_read)
        os.close(self._wake_write)
        if self._record is not None:
            self._write_record()
            self._record.close()

    def __enter__(self) -> PtyPeer:
        self.open()
        self._thread = threading.Thread(target=self.run, name=f"marlin {self.port}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._thread is not None:
            self._thread.join()
        self.close()

    # What happens to a machine, from any thread.

    def reset(self) -> None:
        self._do(lambda: self.machine.power_on(time.monotonic()))

    def kill(self, why: bytes = b"") -> None:
        self._do(lambda: self.machine.kill(why))

    def hang(self) -> None:
        self._do(self.machine.hang)

    def say(self, line: bytes) -> None:
        self._do(lambda: self.machine.say(line))

    def stop_moving(self) -> None:
        self._do(self.machine.stop_moving)

    def unplug(self) -> None:
        """Pull the cable: the port is gone, the machine goes on with what it has."""
        self._do(self._hang_up)

    def replug(self) -> str:
        """Plug it in again: a new port, to which the link points too; returns its path."""
        self._do(self._make_port)
        return self.port

    @property
    def executed(self) -> list[bytes]:
        """The commands executed so far, in order."""
        with self._lock:
            return list(self.machine.executed)

    def stop(self) -> None:
        self._stopping = True
        self._wake()

    def _do(self, what: Callable[[], None]) -> None:
        with self._lock:
            what()
        self._wake()

    def _wake(self) -> None:
        os.write(self._wake_write, b"!")

    def _hang_up(self) -> None:
        for fd in (self._master, self._slave):
            if fd >= 0:
                os.close(fd)
        self._master = self._slave = -1
        self._pending = b""

    # The machine's own time.

    def run(self) -> None:
        """Serve until `stop`."""
        while not self._stopping:
            with self._lock:
                fd = self._master
                due = self.machine.next_time() - time.monotonic()
                waiting = bool(self._pending or self.machine.output)
            poller = select.poll()
            poller.register(self._wake_read, select.POLLIN)
            if fd >= 0:
                poller.register(fd, select.POLLIN | (select.POLLOUT if waiting else 0))
            ready = {at for at, _ in poller.poll(min(max(0.0, due), RECORD_FLUSH_S) * 1000)}
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
            with self._lock:
                if self._master >= 0 and self._master == fd:
                    self._turn(fd)
                elif self._master < 0:
                    self.machine.step(time.monotonic())
                    self.machine.output.clear()
                if fd not in ready:
                    self._write_record()

    def _turn(self, fd: int) -> None:
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            data = b""
        now = time.monotonic()
        if data:
            self.machine.receive(self._noise.toward_machine(data), now)
        else:
            self.machine.step(now)
        while self._upsets and len(self.machine.executed) >= self._upsets[0][0]:
            self._upset(self._upsets.pop(0)[1], now)
        if self._master < 0:
            return
        if self.machine.output:
            self._pending += self._noise.toward_host(bytes(self.machine.output))
            self.machine.output.clear()
        if self._pending:
            try:
                self._pending = self._pending[os.write(fd, self._pending) :]
            except BlockingIOError:
                return  # nobody reads; the pty is full

    def _upset(self, what: str, now: float) -> None:
        match what:
            case "reset":
                self.machine.power_on(now)
            case "kill":
                self.machine.kill(b"Thermal Runaway, system stopped! Heater_ID: 0")
            case "hang":
                self.machine.hang()
            case "unplug":
                self._hang_up()
            case _:
                raise ValueError(f"no such upset: {what!r}")

    def _write_record(self) -> None:
        if self._record is not None and self._recorded < len(self.machine.executed):
            self._record.writelines(line + b"\n" for line in self.machine.executed[self._recorded :])
            self._record.flush()
            self._recorded = len(self.machine.executed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m farmd_drivers.marlin.peer", description="A strict Marlin 2 emulator on a pty."
    )
    parser.add_argument("--link", type=Path, help="make this symbolic link to the port")
    parser.add_argument("--record", type=Path, help="append every executed command to this file")
    parser.add_argument("--move-scale", type=float, default=0.0, help="share of its real time a move takes")
    parser.add_argument("--heat-rate", type=float, default=200.0, help="degrees per second")
    parser.add_argument("--noise", type=float, default=0.0, help="chance of a fault per line, both ways")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--no-emergency-parser", action="store_true")
    parser.add_argument("--no-autoreport", action="store_true")
    parser.add_argument("--no-keepalive", action="store_true")
    parser.add_argument("--no-ok-after-resend", action="store_true")
    parser.add_argument("--says-wait", action="store_true")
    for upset in ("reset", "kill", "hang", "unplug"):
        parser.add_argument(f"--{upset}-after", type=int, metavar="COMMANDS")
    return parser


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    build = replace(
        Build(),
        move_scale=given.move_scale,
        heat_c_per_s=given.heat_rate,
        emergency_parser=not given.no_emergency_parser,
        autoreport=not given.no_autoreport,
        keepalive=not given.no_keepalive,
        ok_after_resend=not given.no_ok_after_resend,
        says_wait=given.says_wait,
    )
    upsets = {
        count: upset
        for upset in ("reset", "kill", "hang", "unplug")
        if (count := getattr(given, f"{upset}_after")) is not None
    }
    noise = Noise(given.seed, given.noise, given.noise)
    peer = PtyPeer(build, noise=noise, link=given.link, record=given.record, upsets=upsets)
    path = peer.open()

    def stop(signum: int, frame: FrameType | None) -> None:
        peer.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    print(path, flush=True)
    peer.run()
    peer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
