"""Many machines on ptys in one process, so that a load costs one core: `python -m bench.serial.machines`.

Prints the paths of the ports as one line of JSON; then answers each line of JSON on its input with one: the
requests are the methods of `Hall` that are named in `REQUESTS`. Ends with its input. All times are of the
monotonic clock, which all processes of a computer share. Knows ptys and the kinds of machines, and no host.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import os
import pty
import select
import sys
import time
import tty
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.serial.kinds import Link, Machine, Paced, Strict
from farmd_drivers.marlin.emulator.build import Build


class Hall:
    """The machines of this process and their ports."""

    REQUESTS = frozenset({"stat", "total", "turns", "upset", "unplug", "save", "m112"})

    def __init__(self, machines: Sequence[Machine]) -> None:
        self._machines = list(machines)
        self._masters: list[int] = []
        self._slaves: list[int] = []
        self.ports: list[str] = []
        self._at: dict[int, int] = {}
        self._due = [math.inf] * len(self._machines)
        self._heap: list[tuple[float, int]] = []
        self._poll = select.epoll()
        for index in range(len(self._machines)):
            ours, theirs = pty.openpty()
            tty.setraw(theirs)
            os.set_blocking(ours, False)
            self._masters.append(ours)
            self._slaves.append(theirs)
            self.ports.append(os.ttyname(theirs))
            self._at[ours] = index
            self._poll.register(ours, select.EPOLLIN)

    def run(self) -> None:
        """Serve ports and requests until the input ends."""
        self._poll.register(sys.stdin.fileno(), select.EPOLLIN | select.EPOLLHUP)
        for index in range(len(self._machines)):
            self.upset(index, "power-on")
        text = b""
        while True:
            now = time.monotonic()
            while self._heap and self._heap[0][0] <= now:
                due, index = heapq.heappop(self._heap)
                if due == self._due[index]:
                    self._due[index] = math.inf
                    self._send(index, self._machines[index].tick(now))
            wait = max(0.0, self._heap[0][0] - time.monotonic()) if self._heap else 1.0
            for fd, _ in self._poll.poll(min(wait, 1.0)):
                if (found := self._at.get(fd)) is not None:
                    self._read(found, fd)
                    continue
                if not (chunk := os.read(fd, 65536)):
                    return
                *requests, text = (text + chunk).split(b"\n")
                for request in requests:
                    self._answer(json.loads(request))

    def _read(self, index: int, fd: int) -> None:
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return
        self._send(index, self._machines[index].receive(data, time.monotonic()))

    def _send(self, index: int, data: bytes) -> None:
        machine = self._machines[index]
        if data and self._masters[index] >= 0:
            try:
                os.write(self._masters[index], data)
            except BlockingIOError:
                pass  # nobody reads, so nobody misses it
            else:
                machine.wrote(time.monotonic())
        if machine.due != self._due[index]:
            self._due[index] = machine.due
            if machine.due < math.inf:
                heapq.heappush(self._heap, (machine.due, index))

    def _answer(self, request: dict[str, Any]) -> None:
        what = request.pop("do")
        if what not in self.REQUESTS:
            raise ValueError(f"no such request: {what!r}")
        print(json.dumps(getattr(self, what)(**request)), flush=True)

    # Requests.

    def stat(self) -> list[dict[str, Any]]:
        """What each machine counted."""
        return [machine.stat() for machine in self._machines]

    def total(self) -> dict[str, float]:
        """All moves so far, and when that was."""
        return {"moves": sum(each["moves"] for each in self.stat()), "at": time.monotonic()}

    def turns(self, clear: bool = False) -> list[float]:
        """The turn-rounds of all paced machines, seconds; with `clear`, those from now on."""
        found: list[float] = []
        for machine in self._machines:
            if isinstance(machine, Paced):
                found += machine.turns
                if clear:
                    machine.turns.clear()
        return [] if clear else found

    def upset(self, index: int, what: str) -> float:
        """Do something to a machine; returns when."""
        now = time.monotonic()
        self._send(index, self._machines[index].upset(what, now))
        return now

    def unplug(self, index: int) -> float:
        now = time.monotonic()
        self._poll.unregister(self._masters[index])
        del self._at[self._masters[index]]
        os.close(self._masters[index])
        os.close(self._slaves[index])
        self._masters[index] = -1
        return now

    def m112(self, index: int) -> float | None:
        """When M112 came, if it has."""
        at: float | None = self._machines[index].stat()["m112_at"]
        return at

    def save(self, folder: str) -> int:
        """Write down what each machine got or executed, in files named by their numbers."""
        for index, machine in enumerate(self._machines):
            machine.save(Path(folder) / str(index))
        return len(self._machines)


def _loss(text: str) -> tuple[str, int]:
    what, _, moves = text.partition(":")
    return what, int(moves)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.serial.machines", description=__doc__)
    parser.add_argument("kind", choices=("strict", "paced"))
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--move-s", type=float, default=0.01, help="of paced machines")
    parser.add_argument("--move-scale", type=float, default=0.0, help="of strict ones: share of real time")
    parser.add_argument("--no-keepalive", action="store_true", help="strict machines never say busy")
    parser.add_argument("--damaged", type=float, default=0.0, help="share of the lines")
    parser.add_argument("--both-ways", action="store_true", help="damage replies too")
    parser.add_argument(
        "--lose", type=_loss, nargs="*", default=[], help="line:MOVES or ok:MOVES, a machine each"
    )
    given = parser.parse_args()
    machines: list[Machine] = []
    for index in range(given.count):
        if given.kind == "paced":
            machines.append(Paced(given.move_s))
            continue
        lose = given.lose[index] if index < len(given.lose) else None
        link = Link(given.damaged, given.both_ways, lose, seed=index)
        machines.append(Strict(Build(move_scale=given.move_scale, keepalive=not given.no_keepalive), link))
    hall = Hall(machines)
    print(json.dumps(hall.ports), flush=True)
    hall.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
