"""The whole daemon in a process of its own, as users have it: configuration, ledger, API, on a free port.

Knows `farmd run`, the API and /proc, and nothing of what is measured.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from farmd.cli.client import Client

FARMD = (sys.executable, "-c", "from farmd.cli.farmd import main; main()")
TICKS = os.sysconf("SC_CLK_TCK")
T = TypeVar("T")

FARM = """\
[farm]
name = "bench"
data_dir = "{data}"
[api]
listen = "127.0.0.1:0"
[planner]
budget_s = 0.2
replan_min_interval_s = 1.0
"""
MACHINE = """\
[[machine]]
name = "m{index}"
driver = "marlin"
process = "MEX"
volume_mm = [300, 300, 1000]
nozzle_mm = 0.4
material = "PLA"
max_nozzle_c = 300
max_bed_c = 120
[machine.link]
port = "{port}"
banner_wait_s = 0.3
"""


def until(look: Callable[[], T | None], what: str, within_s: float, pause_s: float = 0.1) -> T:
    """What `look` gives once it is true. Raises TimeoutError."""
    deadline = time.monotonic() + within_s
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within_s:g} s: {what}")
        time.sleep(pause_s)
    return found


class Farm:
    """A farm with a machine on each port, pinned to a core if one is given. A context manager."""

    def __init__(self, ports: Sequence[str], *, core: int | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="farmd-bench-")
        folder = Path(self._folder.name)
        self.names = [f"m{index}" for index in range(len(ports))]
        config = folder / "farm.toml"
        machines = (MACHINE.format(index=index, port=port) for index, port in enumerate(ports))
        config.write_text(FARM.format(data=folder / "data") + "".join(machines))
        self._log = folder / "log"
        pinned = () if core is None else ("taskset", "--cpu-list", str(core))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*pinned, *FARMD, "run", "--config", str(config)], stdout=log, stderr=log
            )
        try:
            ready = until(self._ready, "the daemon is ready", 60.0)
            self.token = Path(ready["token_file"]).read_text().strip()
            self.url: str = ready["api"]
            self.client = Client(self.url, self.token)
        except BaseException:
            self.close()
            raise

    def _ready(self) -> dict[str, Any] | None:
        if self._process.poll() is not None:
            raise RuntimeError(f"the daemon has ended: {self._log.read_text()[-2000:]}")
        for line in self._log.read_text().splitlines():
            if line.startswith("{") and (entry := json.loads(line))["event"] == "ready":
                return dict(entry)
        return None

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu_s(self) -> float:
        """CPU of the daemon's process so far, all its threads together; not of the planner's process."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def waited_s(self) -> float:
        """How long the threads of the daemon's process were ready and had no core, so far."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[1]) for task in tasks) / 1e9

    def rss_mb(self) -> float:
        """Resident memory of the daemon's process."""
        return self._status("VmRSS")

    def peak_mb(self) -> float:
        return self._status("VmHWM")

    def _status(self, name: str) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024 / 1e6
        raise RuntimeError(f"no {name}")

    def machines(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.get("machines")["machines"]
        return found

    def wait_linked(self, within_s: float = 60.0) -> None:
        """Until every machine is idle."""
        until(
            lambda: all(each["state"] == "idle" for each in self.machines()),
            "all machines are linked",
            within_s,
        )

    def submit(self, data: bytes, quantity: int) -> str:
        """A job for so many plates of the file; its id."""
        fields = {"quantity": str(quantity), "parts_per_plate": "1"}
        return str(self.client.upload("bench.gcode", io.BytesIO(data), fields, str(uuid.uuid4()))["id"])

    def clear(self, names: Sequence[str]) -> None:
        for name in names:
            self.client.post("machines", name, "clear")

    def post(self) -> Callable[[str], int]:
        """A function that posts to a path over one open connection, with nothing around it; gives the status."""
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}

        def ask(path: str) -> int:
            connection.request("POST", f"/api/v1/{path}", body="{}", headers=headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status

        return ask

    def events(self) -> Iterator[dict[str, Any]]:
        """Every fact of the record from now on, as the daemon tells it to who listens; ends with the daemon."""
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(address.hostname), address.port)
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "text/event-stream"}
        connection.request("GET", "/api/v1/events", headers=headers)
        for line in connection.getresponse():
            if line.startswith(b"data:"):
                yield json.loads(line.removeprefix(b"data:"))

    def log(self) -> list[dict[str, Any]]:
        lines = self._log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def __enter__(self) -> Farm:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
