"""The daemon as a real process, in real time with a sped-up clock, killed with SIGKILL at random moments, also while
it stands still (SIGSTOP); asked to end (SIGTERM), it leaves within 10 s.

To go through one seed again: `python tests/daemon/crashkills.py SEED 1`
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("crashkills.py")
KILLS = 20


@pytest.mark.parametrize("seed", [1, 100])
def test_killed_again_and_again_it_loses_nothing_and_starts_nothing_twice(seed: int) -> None:
    command = [sys.executable, str(PROGRAM), str(seed), str(KILLS)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert child.stdout, child.stderr[-3000:]
    told = json.loads(child.stdout.splitlines()[-1])
    assert told["broken"] == [], child.stderr[-3000:]
    assert told["kills"] >= KILLS
    assert {"kill", "stop-kill", "stop-go-on-kill", "term"} <= told["happened"].keys()
