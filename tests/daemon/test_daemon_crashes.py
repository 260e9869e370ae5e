"""Crash campaigns: the daemon's memory is thrown away again and again, the machines live on.

Two forms. In one process on virtual time, 2,000 crashes at turns of the loop and at every named step, with full
disks, clocks that jump, words that come twice or in another order, and torn logs (`crashfast.py`). And in forked
processes with threads and the whole planner (`crashshop.py`). To go through one of them again, with SEED as told:

    python tests/daemon/crashfast.py SEED 1
    python tests/daemon/crashshop.py campaign FOLDER SEED CRASHES
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from crashfast import FAULTS, STEPS
from crashproof import violations

from farmd.store import Store

HERE = Path(__file__).parent
CRASHES = 500
FORKED = 20


def fast(seed: int, crashes: int) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "crashfast.py"), str(seed), str(crashes)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert child.stdout, child.stderr[-3000:]
    told: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize("seed", [1000, 2000, 3000, 4000])
def test_crashed_at_every_step_nothing_is_lost_and_nothing_started_twice(seed: int) -> None:
    told = fast(seed, CRASHES)
    assert told["broken"] == []
    assert told["crashes"] >= CRASHES * 0.9, "lives that came to their end are no crashes"
    assert {*STEPS, *filter(None, FAULTS), "torn log"} <= told["happened"].keys()
    assert told["happened"]["doubted"] > 0, "some starts could be settled by a person only"


def test_the_same_seed_lives_the_same_lives() -> None:
    assert fast(7, 1)["heads"] == fast(7, 1)["heads"] != fast(8, 1)["heads"]


def test_whenever_it_crashes_nothing_is_lost_and_nothing_started_twice(tmp_path: Path) -> None:
    command = [sys.executable, str(HERE / "crashshop.py"), "campaign", str(tmp_path), "1", str(FORKED)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert child.returncode == 0, child.stderr[-3000:]
    assert violations(tmp_path) == []
    with Store.open(f"sqlite:///{tmp_path / 'data' / 'farmd.sqlite'}", data_dir=tmp_path / "data") as store:
        kinds = [event.kind for event in store.events(limit=1 << 31)]
    # It was a campaign: the daemon came back, work was done, and there was something to settle.
    assert kinds.count("DaemonStarted") > FORKED / 2
    assert 1 <= kinds.count("DaemonStopped") < FORKED / 2
    assert kinds.count("RunIntended") > FORKED
    assert {"MachineLost", "PermitVoided"} <= set(kinds)


HASTY = """
import json, sys
sys.path.insert(0, sys.argv[1])
import structlog
structlog.configure(processors=[], logger_factory=structlog.ReturnLoggerFactory())
import crashfast
from farmd.daemon.starter import Starter

async def hasty(self, run_id, build_id, durable):
    try:
        await self._hand_over(run_id, build_id)
    finally:
        self.run_id = None

Starter._carry_out = hasty
print(json.dumps(crashfast.campaign(1, 120, seconds=60.0, folder=None)["broken"]))
"""


def test_a_daemon_that_starts_before_the_intent_is_on_the_disk_is_found() -> None:
    """The oracles do see what they are for."""
    child = subprocess.run(
        [sys.executable, "-c", HASTY, str(HERE)], capture_output=True, text=True, timeout=200, check=False
    )
    assert child.returncode == 0, child.stderr[-3000:]
    broken = json.loads(child.stdout.splitlines()[-1])
    assert any("without an intent" in what for shop in broken for what in shop["wrong"])
    for shop in broken:
        shutil.rmtree(Path(shop["folder"]).parent, ignore_errors=True)
