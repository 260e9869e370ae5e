"""A farm of 250 machines under the shipped daemon: how soon it is back, how late its loop is, how fast it stops.

`farmd run` in a process of its own, its machines simulated ones that tell of their progress each second. `DEAD` of
them, where said, are serial ones whose port does not exist.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import httpx

from bench.reliability.figures import Row, percentile
from farmd.cli.client import Client

SAMPLE = Path(__file__).parents[2] / "config" / "shops" / "samples" / "box20.gcode"
MACHINES, DEAD = 250, 50
WITHIN_S = 90.0
LOAD_S = 15.0
ASKS_PER_S = 40
STOPS = 6
MACHINE = """
[[machine]]
name = "{name}"
driver = "simulated"
process = "MEX"
volume_mm = [250, 210, 220]
nozzle_mm = 0.4
material = "PLA black"
link = {{ {truth}seed = 1, telemetry_s = 1.0 }}
"""
PORTLESS = """
[[machine]]
name = "{name}"
driver = "marlin"
process = "MEX"
volume_mm = [250, 210, 220]
nozzle_mm = 0.4
material = "PLA black"
max_nozzle_c = 290
max_bed_c = 120
link = {{ port = "{port}" }}
"""


class Hall:
    """One farm in a folder; `start` and `end` its daemon as often as wanted."""

    def __init__(self, folder: Path, dead: int = 0, *, lives_on: bool = True) -> None:
        """`lives_on`: the machines outlive the daemon, which costs them a file's writing at each change."""
        self.folder, self.dead = folder, dead
        names = [f"m{number:03}" for number in range(MACHINES)]
        text = (
            f'[farm]\nname = "hall"\ndata_dir = "{folder / "data"}"\n'
            '[api]\nlisten = "127.0.0.1:0"\n[planner]\nreplan_min_interval_s = 5\nbudget_s = 1\n'
        )
        for number, name in enumerate(names):
            if number < dead:
                text += PORTLESS.format(name=name, port=folder / f"no-port-{number}")
            else:
                text += MACHINE.format(
                    name=name, truth=f'truth_dir = "{folder / "truth"}", ' if lives_on else ""
                )
        (folder / "truth").mkdir(exist_ok=True)
        self.config = folder / f"farm-{dead}.toml"
        self.config.write_text(text)
        self.out = folder / "watched.json"
        self.process: subprocess.Popen[bytes] | None = None
        self.start_cpu_s = 0.0
        self.url = self.token = ""
        self.client: httpx.Client | None = None

    def start(self) -> tuple[float, float]:
        """Seconds from the start of the process until the API answered, and until every live machine was read."""
        begun = time.monotonic()
        log = self.folder / "log"
        with log.open("wb") as file:
            command = [sys.executable, "-m", "bench.reliability.watched", str(self.config), str(self.out)]
            self.process = subprocess.Popen(command, stdout=file, stderr=file)
        self.url = ""
        answered = 0.0
        while time.monotonic() - begun < WITHIN_S:
            if not self.url:
                for line in log.read_text().splitlines():
                    told = json.loads(line) if line.startswith("{") else {}
                    if told.get("event") == "ready":
                        self.url = told["api"]
                        self.token = (self.folder / "data" / "token").read_text().strip()
                        self.client = httpx.Client(
                            base_url=self.url, headers={"Authorization": f"Bearer {self.token}"}, timeout=10.0
                        )
            if self.client is not None:
                self.client.get("/api/v1/machines")
                if not answered:
                    answered, self.start_cpu_s = time.monotonic() - begun, self.cpu_s()
                if self.read_since_start() >= MACHINES - self.dead:
                    return answered, time.monotonic() - begun
            if self.process.poll() is not None:
                raise RuntimeError(log.read_text()[-2000:])
            time.sleep(0.02)
        raise RuntimeError(f"not up within {WITHIN_S} s: {log.read_text()[-2000:]}")

    def read_since_start(self) -> int:
        """How many machines this daemon has read, and what it found of them is on record."""
        uri = f"{(self.folder / 'data' / 'farmd.sqlite').as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            found = connection.execute(
                "SELECT count(DISTINCT machine) FROM journal WHERE kind = 'MachineConnected'"
                " AND seq > (SELECT max(seq) FROM journal WHERE kind = 'DaemonStarted')"
            )
            return int(found.fetchone()[0])

    def all_print(self) -> None:
        """Work for every machine, cleared and started; returns when all that live run."""
        client = Client(self.url, self.token)
        names = [each["name"] for each in client.get("machines")["machines"]][self.dead :]
        fields = {"quantity": str(len(names)), "parts_per_plate": "1"}
        with SAMPLE.open("rb") as file:
            client.upload(SAMPLE.name, file, fields, str(uuid.uuid4()))
        for name in names:
            client.post("machines", name, "clear")
        until = time.monotonic() + WITHIN_S
        while sum(bool(each["run"]) for each in client.get("machines")["machines"]) < len(names):
            if time.monotonic() > until:
                raise RuntimeError(f"not all print within {WITHIN_S} s")
            time.sleep(0.5)
        client.close()

    def end(self, how: int = signal.SIGTERM) -> dict[str, Any]:
        """What the watch saw."""
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(30)
        if self.client is not None:
            self.client.close()
            self.client = None
        seen: dict[str, Any] = json.loads(self.out.read_text()) if how == signal.SIGTERM else {}
        return seen

    def cpu_s(self) -> float:
        """What the daemon has had of the processors since it was started."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mb(self) -> float:
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def post(self, path: str, body: dict[str, Any] | None = None) -> int:
        assert self.client is not None
        return self.client.post(path, json=body or {}).status_code


def restart_rows(folder: Path) -> list[Row]:
    """A crash while all machines print; and one while a fifth of them is dead and the others print."""
    rows = []
    for dead in (0, DEAD):
        home = folder / f"restart-{dead}"
        home.mkdir()
        hall = Hall(home, dead)
        hall.start()
        hall.all_print()
        hall.end(signal.SIGKILL)
        answered, reconciled = hall.start()
        hall.end()
        used = f"{hall.start_cpu_s:.1f} s of a core"
        note = f"after SIGKILL, from the start of the process, {used}; {dead} of {MACHINES} dead"
        if dead:
            rows.append(Row("restart until the API answers", answered, "s", 2.0, note=note))
        else:
            rows.append(
                Row(f"restart until {MACHINES} machines are reconciled", reconciled, "s", 5.0, note=note)
            )
    return rows


def loaded_rows(folder: Path) -> list[Row]:
    """The loop's lag under machines and API, memory, and emergency stops of all machines meanwhile."""
    home = folder / "loaded"
    home.mkdir()
    hall = Hall(home, lives_on=False)
    hall.start()
    hall.all_print()
    over = threading.Event()
    asked = [0]

    def ask() -> None:
        assert hall.client is not None
        paths = (
            "/api/v1/machines",
            "/api/v1/jobs",
            "/api/v1/machines/m007",
            "/api/v1/plan",
            "/api/v1/events?limit=50",
        )
        while not over.wait(1 / ASKS_PER_S):
            hall.client.get(paths[asked[0] % len(paths)])
            asked[0] += 1

    asking = threading.Thread(target=ask)
    asking.start()
    waits: list[tuple[float, float]] = []
    try:
        time.sleep(LOAD_S)
        memory = hall.resident_mb()
        for _ in range(STOPS):
            called = time.monotonic()
            status = hall.post("/api/v1/estop")
            if status != 200:
                raise RuntimeError(f"the emergency stop was answered with {status}")
            waits.append((called, time.monotonic()))
            time.sleep(1.0)
    finally:
        over.set()
        asking.join()
        seen = hall.end()
    lags = seen["lags"]
    came = [stop_at - max(called for called, _ in waits if called <= stop_at) for _, stop_at in seen["stops"]]
    if len(came) != STOPS * MACHINES:
        raise RuntimeError(f"{len(came)} drivers were told to stop, not {STOPS * MACHINES}")
    load = f"{MACHINES} machines printing at 1 Hz, {asked[0] / LOAD_S:.0f} requests/s"
    return [
        Row(
            "loop lag, 99 of 100",
            percentile(lags, 99) * 1e3,
            "ms",
            10.0,
            note=f"{load}, {len(lags):,} samples",
        ),
        Row("memory of the daemon", memory, "MB", 300.0, note=f"{load}; without the planner's process"),
        Row(
            "emergency stop of all, to each driver, 99 of 100",
            percentile(came, 99) * 1e3,
            "ms",
            100.0,
            note=load,
        ),
        Row("emergency stop of all, the longest", max(came) * 1e3, "ms", 250.0, note=f"{len(came):,} stops"),
    ]
