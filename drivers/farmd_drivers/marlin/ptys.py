"""Emulated machines on pseudo-terminals: any number of them, in one loop of one thread.

`PtyPeer` is one machine, its port, and what a person could do to either; `Loop` serves them. Knows the
emulator and ptys, and nothing of the driver or of a command line.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import os
import pty
import re
import select
import threading
import time
import tty
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from farmd_drivers.marlin.emulator import Marlin
from farmd_drivers.marlin.emulator.build import Build
from farmd_drivers.marlin.emulator.faults import Life, befall
from farmd_drivers.marlin.emulator.intake import BITS_PER_BYTE
from farmd_drivers.marlin.emulator.klipper import Klipper
from farmd_drivers.marlin.emulator.noise import Noise

RECORD_FLUSH_S = 0.2
OF_THE_HOST = rb"M105|M110 N\d+|M113 S\d+|M115|M155 S\d+|M400"
"""What a host adds to a file: left out of the digest of what was executed."""
UPSETS = tuple(life.value for life in Life if life not in (Life.USER_PAUSE, Life.USER_CANCEL, Life.ESTOP))
"""What can happen to a machine or its cable."""


class PtyPeer:
    """One emulated machine on a pty. Use as a context manager, or `open`, `run` and `close`.

    `port` is the path of the pty; `link` a symbolic link kept pointing to it. `upsets` says what of `UPSETS`
    happens after how many executed commands. With `keep` False what was executed is only counted, digested
    and recorded, and `executed` has no more than the last of it. `machine` is one with other firmware
    (`emulator.firmwares.machine_of`) instead of a Marlin of that `build`.
    """

    def __init__(
        self,
        build: Build | None = None,
        *,
        noise: Noise | None = None,
        link: Path | None = None,
        record: Path | None = None,
        upsets: dict[int, str] | None = None,
        keep: bool = True,
        leave_out: bytes = OF_THE_HOST,
        machine: Marlin | Klipper | None = None,
    ) -> None:
        build = build or Build()
        self.served: Marlin | Klipper = machine or Marlin(build)
        """The machine, whatever its firmware."""
        self.port = ""
        self.count = 0
        """Commands executed and recorded so far."""
        self.master = -1
        self.waiting: deque[tuple[float, bytes]] = deque()
        """What is to be written, and when it has come through the wire."""
        self._slave = -1
        self._noise = noise or Noise(0)
        self._record_path = record
        self._record_fd = -1
        self._recorded = 0
        self._upsets = [(after, Life(what)) for after, what in sorted((upsets or {}).items())]
        self._keep = keep
        self._leave_out = re.compile(leave_out)
        self._sha256 = hashlib.sha256()
        self._digested = 0
        self._link = link
        self._byte_s = BITS_PER_BYTE / build.baud if build.baud else 0.0
        self._wire_free = 0.0
        self._loop: Loop | None = None
        self._thread: threading.Thread | None = None

    @property
    def machine(self) -> Marlin:
        """The machine, where it is a Marlin or of its kin; raises `TypeError` for Klipper."""
        if isinstance(self.served, Klipper):
            raise TypeError("Klipper is no Marlin")
        return self.served

    # Alone, in a loop of its own.

    def open(self) -> str:
        """Make the pty and switch the machine on; returns the path of the port."""
        self._loop = Loop([self])
        return self.port

    def run(self) -> None:
        """Serve until `stop`."""
        self._own_loop.run()

    def stop(self) -> None:
        self._own_loop.stop()

    def close(self) -> None:
        self._own_loop.close()

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

    @property
    def _own_loop(self) -> Loop:
        if self._loop is None:
            raise RuntimeError("the peer is not open")
        return self._loop

    # What happens to a machine, from any thread.

    def reset(self) -> None:
        self._do(lambda: self.served.power_on(time.monotonic()))

    def kill(self, why: bytes = b"") -> None:
        self._do(lambda: self.served.kill(why))

    def hang(self) -> None:
        self._do(self.served.hang)

    def say(self, line: bytes) -> None:
        self._do(lambda: self.served.say(line))

    def stop_moving(self) -> None:
        self._do(self.served.stop_moving)

    def unplug(self) -> None:
        """Pull the cable: the port is gone, the machine goes on with what it has."""
        self._do(self.hang_up)

    def replug(self) -> str:
        """Plug it in again: a new port, to which the link points too; returns its path."""
        self._do(self.plug)
        return self.port

    @property
    def executed(self) -> list[bytes]:
        """The commands executed so far, in order."""
        with self._own_loop.lock:
            return list(self.served.executed)

    def _do(self, what: Callable[[], None]) -> None:
        self._own_loop.do(what)

    # For the loop, under its lock.

    def join(self, loop: Loop) -> None:
        """Come into a loop, switched on."""
        self._loop = loop
        if self._record_path is not None:
            self._record_fd = os.open(self._record_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.plug()
        self.served.power_on(time.monotonic())

    def leave(self) -> None:
        self.hang_up()
        if self._link is not None:
            self._link.unlink(missing_ok=True)
        self.record()
        if self._record_fd >= 0:
            os.close(self._record_fd)
            self._record_fd = -1

    def plug(self) -> None:
        self.hang_up()
        self.master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self.master, False)
        self.port = os.ttyname(self._slave)
        self._own_loop.watch(self)
        if self._link is not None:
            self._link.unlink(missing_ok=True)
            self._link.symlink_to(self.port)

    def hang_up(self) -> None:
        if self.master >= 0:
            self._own_loop.forget(self)
        for fd in (self.master, self._slave):
            if fd >= 0:
                os.close(fd)
        self.master = self._slave = -1
        self.waiting.clear()

    def turn(self) -> float:
        """Read, do what is due, and write; returns when the next turn is due without further bytes."""
        machine = self.served
        data = b""
        if self.master >= 0:
            try:
                data = os.read(self.master, 65536)
            except BlockingIOError:
                pass  # it was for time's sake
        now = time.monotonic()
        if data:
            machine.receive(self._noise.toward_machine(data), now)
        else:
            machine.step(now)
        while self._upsets and self.count + len(machine.executed) - self._recorded >= self._upsets[0][0]:
            self._upset(self._upsets.pop(0)[1], now)
        if machine.output:
            if self.master >= 0:
                said = self._noise.toward_host(bytes(machine.output))
                self._wire_free = max(self._wire_free, now) + len(said) * self._byte_s
                self.waiting.append((self._wire_free, said))
            machine.output.clear()
        if self.waiting:
            self._write(now)
        return min(machine.next_time(), self.waiting[0][0] if self.waiting else math.inf)

    def _write(self, now: float) -> None:
        while self.waiting and self.waiting[0][0] <= now:
            data = self.waiting.popleft()[1]
            try:
                written = os.write(self.master, data)
            except BlockingIOError:
                written = 0
            if written < len(data):  # nobody reads; the pty is full
                self.waiting.appendleft((now + RECORD_FLUSH_S, data[written:]))
                return

    def _upset(self, what: Life, now: float) -> None:
        if what is Life.UNPLUG:
            self.hang_up()
        else:
            befall(self.machine, what, now)

    def record(self) -> None:
        """Write down what was executed since the last time."""
        executed = self.served.executed
        new = executed[self._recorded :]
        if not new:
            return
        self.count += len(new)
        if self._record_fd >= 0:
            os.write(self._record_fd, b"".join(line + b"\n" for line in new))
        if self._keep:
            self._recorded = len(executed)
        else:
            for line in new:
                if self._leave_out.fullmatch(line) is None:
                    self._sha256.update(line + b"\n")
                    self._digested += 1
            executed.clear()

    def report(self) -> dict[str, Any]:
        """What there is to say of this machine in the end."""
        told = {
            "port": self.port,
            "executed": self.count,
            "digested": self._digested,
            "sha256": self._sha256.hexdigest(),
            "unknown": len(self.served.unknown),
            "noise": self._noise.injected,
        }
        if isinstance(self.served, Klipper):
            return told
        planner = self.machine.body.planner
        return told | {
            "under_runs": planner.under_runs,
            "stopped_s": round(planner.stopped_s, 4),
            "resends": self.machine.resends,
            "unchecked": len(self.machine.unchecked),
            "lost_bytes": self.machine.lost_bytes,
            "most_rx_bytes": self.machine.intake.most_bytes,
        }


class Loop:
    """Serves machines on ptys, in the thread that calls `run`; each is touched under `lock` only."""

    def __init__(self, peers: Sequence[PtyPeer]) -> None:
        self.lock = threading.Lock()
        self._peers = list(peers)
        self._stopping = False
        self._poll = select.epoll()
        self._at: dict[int, PtyPeer] = {}
        self._due: dict[PtyPeer, float] = {}
        self._heap: list[tuple[float, int, PtyPeer]] = []
        self._wake_read, self._wake_write = os.pipe()
        self._poll.register(self._wake_read, select.EPOLLIN)
        for peer in self._peers:
            peer.join(self)
            self._plan(peer, 0.0)

    def watch(self, peer: PtyPeer) -> None:
        self._at[peer.master] = peer
        self._poll.register(peer.master, select.EPOLLIN)

    def forget(self, peer: PtyPeer) -> None:
        self._poll.unregister(peer.master)
        del self._at[peer.master]

    def do(self, what: Callable[[], None]) -> None:
        """Do something to a machine, from any thread, and have a look at all of them."""
        with self.lock:
            what()
            for peer in self._peers:
                self._plan(peer, 0.0)
        self._wake()

    def stop(self) -> None:
        """End `run`; from any thread, or a signal."""
        self._stopping = True
        self._wake()

    def _wake(self) -> None:
        os.write(self._wake_write, b"!")

    def _plan(self, peer: PtyPeer, due: float) -> None:
        if due != self._due.get(peer):
            self._due[peer] = due
            if due < math.inf:
                heapq.heappush(self._heap, (due, id(peer), peer))

    def run(self) -> None:
        """Serve until `stop`."""
        heap, at, lock = self._heap, self._at, self.lock
        noted = 0.0
        while not self._stopping:
            with lock:
                now = time.monotonic()
                while heap and heap[0][0] <= now:
                    due, _, peer = heapq.heappop(heap)
                    if self._due[peer] == due:
                        self._plan(peer, peer.turn())
                wait_s = min(heap[0][0] - time.monotonic(), RECORD_FLUSH_S) if heap else RECORD_FLUSH_S
                if now - noted >= RECORD_FLUSH_S:
                    noted = now
                    for peer in self._peers:
                        peer.record()
            for fd, _ in self._poll.poll(max(0.0, wait_s)):
                if fd == self._wake_read:
                    os.read(fd, 4096)
                    continue
                with lock:
                    if (found := at.get(fd)) is not None:
                        self._plan(found, found.turn())

    def close(self) -> None:
        with self.lock:
            for peer in self._peers:
                peer.leave()
            self._poll.close()
            os.close(self._wake_read)
            os.close(self._wake_write)
