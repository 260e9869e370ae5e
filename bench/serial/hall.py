"""The process with the machines, as the measurements see it. Knows `bench.serial.machines`' requests."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[2]
ANSWER_S = 60.0


class HallProcess:
    """`count` machines of a kind in a process of their own, pinned to a core if one is given."""

    def __init__(self, kind: str, count: int, *options: str, core: int | None = None) -> None:
        command = [sys.executable, "-m", "bench.serial.machines", kind, "--count", str(count), *options]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self._text = b""
        if core is not None:
            os.sched_setaffinity(self._process.pid, {core})
        self.ports: list[str] = self._line()

    def ask(self, do: str, **what: Any) -> Any:
        """One request of `machines.Hall.REQUESTS`, answered."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **what}).encode() + b"\n")
        return self._line()

    def _line(self) -> Any:
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        while b"\n" not in self._text:
            if not select.select([fd], [], [], ANSWER_S)[0]:
                raise TimeoutError("the machines do not answer")
            if not (chunk := os.read(fd, 1 << 20)):
                raise RuntimeError("the machines' process has ended")
            self._text += chunk
        line, _, self._text = self._text.partition(b"\n")
        return json.loads(line)

    def records(self, folder: Path) -> list[list[bytes]]:
        """What each machine executed, or got."""
        folder.mkdir(exist_ok=True)
        self.ask("save", folder=str(folder))
        return [(folder / str(index)).read_bytes().splitlines() for index in range(len(self.ports))]

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> HallProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
