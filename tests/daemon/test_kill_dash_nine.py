"""The daemon as a real process, in real time with a sped-up clock, killed with SIGKILL at random moments."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from crashproof import violations

from farmd.store import Store

PROGRAM = Path(__file__).with_name("crashshop.py")
SPEED = 3000.0
KILLS = 6
SEED = 9


def test_killed_again_and_again_it_loses_nothing_and_starts_nothing_twice(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    for number in range(KILLS):
        command = [sys.executable, str(PROGRAM), "live", str(tmp_path), str(SEED), str(SPEED)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            said = child.stdout.readline()
            time.sleep(chance.uniform(0.0, 1.5))
            child.kill()
            told = child.stderr.read()
            assert said == "up\n", f"life {number} did not begin: {told[-3000:]}"
            assert child.wait() == -signal.SIGKILL, f"life {number} ended by itself: {told[-3000:]}"
        assert violations(tmp_path, finished=False) == [], f"after kill {number}"
    command = [sys.executable, str(PROGRAM), "finish", str(tmp_path), str(SEED)]
    child_end = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert child_end.returncode == 0, child_end.stderr[-3000:]
    assert violations(tmp_path) == []
    with Store.open(f"sqlite:///{tmp_path / 'data' / 'farmd.sqlite'}", data_dir=tmp_path / "data") as store:
        kinds = [event.kind for event in store.events(limit=1 << 31)]
        assert store.jobs(limit=100)
    assert kinds.count("DaemonStarted") == KILLS + 1
    assert kinds.count("RunIntended") > KILLS
