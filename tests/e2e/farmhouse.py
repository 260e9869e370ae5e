"""A farm as its users have it: `farmd run` and farmctl in processes of their own, on loopback and ptys."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FARMD = (sys.executable, "-c", "from farmd.cli.farmd import main; main()")
FARMCTL = (sys.executable, "-c", "from farmd.cli.farmctl import main; main()")
DATA = Path(__file__).parent.parent / "data"


class Farmhouse:
    """One farm in a folder. `start`, `kill` and `stop` its daemon as often as wanted."""

    def __init__(self, folder: Path, machines: str) -> None:
        self.folder = folder
        self.config = folder / "farm.toml"
        self.config.write_text(
            f'[farm]\nname = "house"\ndata_dir = "{folder / "data"}"\n'
            '[api]\nlisten = "127.0.0.1:0"\n[planner]\nreplan_min_interval_s = 0.2\nbudget_s = 0.5\n'
            + machines
        )
        self.url = ""
        self._daemon: subprocess.Popen[bytes] | None = None
        self._starts = 0

    @property
    def log(self) -> list[dict[str, Any]]:
        """The present daemon's log."""
        lines = (self.folder / f"log-{self._starts}").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def start(self) -> None:
        """Start the daemon and wait until its API answers."""
        self._starts += 1
        with (self.folder / f"log-{self._starts}").open("wb") as log:
            self._daemon = subprocess.Popen(
                [*FARMD, "run", "--config", str(self.config)], stdout=log, stderr=log
            )
        ready = until(lambda: [each for each in self.log if each["event"] == "ready"], "the daemon is ready")
        self.url = ready[0]["api"]

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        assert self._daemon is not None
        self._daemon.kill()
        self._daemon.wait(10)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self._daemon is not None
        if self._daemon.poll() is None:
            self._daemon.send_signal(signal.SIGTERM)
        return self._daemon.wait(20)

    def farmctl(self, *args: str) -> Any:
        """What `farmctl … --json` says; a refusal raises AssertionError with its line."""
        done = self.ask(*args, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def ask(self, *args: str) -> subprocess.CompletedProcess[str]:
        token = self.folder / "data" / "token"
        env = {**os.environ, "FARMCTL_URL": self.url, "FARMCTL_TOKEN_FILE": str(token)}
        return subprocess.run(
            [*FARMCTL, *args], env=env, capture_output=True, text=True, timeout=30, check=False
        )

    def job(self, job_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.farmctl("job", job_id)
        return answer

    def machine(self, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.farmctl("machine", name)
        return answer


def until(look: Callable[[], Any], what: str, within_s: float = 30.0) -> Any:
    """What `look` gives once it is true; AssertionError when it is not in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {within_s:g} s: {what}")


class Printer:
    """A Marlin emulator in a process of its own: it outlives the daemon, as printers do."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.record = folder / "executed"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "farmd_drivers.marlin.peer", "--record", str(self.record), *options],
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.port = self.process.stdout.readline().decode().strip()

    def executed(self) -> list[bytes]:
        return self.record.read_bytes().splitlines() if self.record.exists() else []

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


def serial_machine(port: str) -> str:
    return (
        '[[machine]]\nname = "m1"\ndriver = "marlin"\ngroup = "mk4"\nprocess = "MEX"\n'
        'volume_mm = [250, 210, 220]\nnozzle_mm = 0.4\nmaterial = "PLA black"\nmax_nozzle_c = 290\n'
        f'max_bed_c = 120\n[machine.link]\nport = "{port}"\nbanner_wait_s = 0.3\n'
    )
