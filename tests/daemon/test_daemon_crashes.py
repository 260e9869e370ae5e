"""A crash campaign on virtual time: the daemon's memory is thrown away again and again, the machines live on.

Each life of the daemon is a forked process that ends by `_exit` at a seeded moment: at a turn of the loop,
before or after a commit, after a START was sent. To go through one again:

    python tests/daemon/crashshop.py campaign FOLDER SEED CRASHES
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from crashproof import violations

from farmd.store import Store

PROGRAM = Path(__file__).with_name("crashshop.py")
CRASHES = 40


@pytest.mark.parametrize("seed", [1, 2])
def test_whenever_it_crashes_nothing_is_lost_and_nothing_started_twice(seed: int, tmp_path: Path) -> None:
    command = [sys.executable, str(PROGRAM), "campaign", str(tmp_path), str(seed), str(CRASHES)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert child.returncode == 0, f"seed {seed}: {child.stderr[-3000:]}"
    assert violations(tmp_path) == [], f"seed {seed}"
    with Store.open(f"sqlite:///{tmp_path / 'data' / 'farmd.sqlite'}", data_dir=tmp_path / "data") as store:
        kinds = [event.kind for event in store.events(limit=1 << 31)]
    # It was a campaign: the daemon came back, work was done, and there was something to settle.
    assert kinds.count("DaemonStarted") > CRASHES / 2
    assert 1 <= kinds.count("DaemonStopped") < CRASHES / 2
    assert kinds.count("RunIntended") > CRASHES
    assert {"RunDoubted", "MachineLost", "ForeignRunStarted", "PermitVoided"} <= set(kinds)
