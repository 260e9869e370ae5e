"""Other hosts as rivals: each in its own environment and process, printing on a machine of ours.

Knows their scripts and what these tell. A rival that cannot be had is left out, with the reason.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.peers.venvs import PeerMissing, python_of

NAMES = ("printcore", "octoprint")
GRACE_S = 60.0
"""For starting, connecting and parsing the file."""


@dataclass(frozen=True, slots=True)
class Tale:
    """What a rival told: `how` it ended ("done", "failed", "timeout"), seconds and CPU of the print."""

    how: str
    seconds: float
    cpu_s: float
    ended_at: float
    idle_mb: float


@dataclass(frozen=True, slots=True)
class Rival:
    name: str
    python: Path

    def print(self, port: str, file: Path, timeout_s: float) -> Tale:
        """Print a file; at most `timeout_s` from its first line. Raises RuntimeError where it never began."""
        script = Path(__file__).with_name(f"rival_{self.name}.py")
        with tempfile.TemporaryDirectory() as folder:
            command = [str(self.python), "-I", str(script), port, str(file), str(timeout_s), folder]
            said = subprocess.run(
                command, capture_output=True, text=True, timeout=timeout_s + GRACE_S, cwd=folder, check=False
            )
        told: dict[str, dict[str, Any]] = {}
        for line in said.stdout.splitlines():
            event = json.loads(line)
            told[event["event"]] = event
        ends = [told[how] for how in ("done", "failed", "timeout") if how in told]
        if not ends or "began" not in told:
            raise RuntimeError(f"{self.name} did not begin: {said.stdout} {said.stderr[-500:]}")
        end, began = ends[0], told["began"]
        return Tale(
            end["event"],
            end["at"] - began["at"],
            end["cpu_s"] - began["cpu_s"],
            end["at"],
            told["online"]["rss_mb"],
        )


def rivals(names: Sequence[str] = NAMES) -> tuple[list[Rival], list[str]]:
    """Those that can be had, their environments made; and a line for each that cannot."""

    def one(name: str) -> Rival | str:
        try:
            return Rival(name, python_of(name))
        except PeerMissing as missing:
            return f"{name} left out: {missing}"

    with ThreadPoolExecutor(len(names) or 1) as pool:
        found = list(pool.map(one, names))
    return [each for each in found if isinstance(each, Rival)], [
        each for each in found if isinstance(each, str)
    ]
