"""Power cuts and failing disks under a real process: every write and sync goes through a shim (`diskshim.c`)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from crashproof import violations
from powercut import build_shim, compiler, cut, preloaded

PROGRAM = Path(__file__).with_name("powercut.py")
CUTS = 250

pytestmark = pytest.mark.skipif(
    compiler() is None, reason="a C compiler left out: apt-get install gcc libc6-dev"
)


def test_after_a_power_cut_no_intent_and_nothing_that_was_told_is_lost() -> None:
    command = [sys.executable, str(PROGRAM), "cut", "1", str(CUTS)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert child.stdout, child.stderr[-3000:]
    told = json.loads(child.stdout.splitlines()[-1])
    assert told["broken"] == []
    assert told["cuts"] == CUTS
    assert told["syncs"] > 100
    assert told["facts"] > 50


def test_a_disk_that_lies_about_a_sync_is_seen() -> None:
    """The judge of the test above does find damage and lost intents where there are some."""
    told = cut(6, 60, lies=True)
    assert len(told["broken"]) > 6
    assert any("its intent is lost" in what for found in told["broken"] for what in found["wrong"])


@pytest.mark.parametrize("fails", ["sync 30", "sync 75", "write 300", "write 1001"])
def test_after_a_failed_sync_or_write_the_daemon_ends_and_no_start_is_without_its_intent(
    fails: str, tmp_path: Path
) -> None:
    shim, home = build_shim(tmp_path), tmp_path / "home"
    home.mkdir()
    command = [sys.executable, str(PROGRAM), "run", str(home), "3"]
    environment = preloaded(shim, home.resolve(), fail=fails)
    child = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert child.returncode == 1
    assert "StoreFailed" in child.stderr
    assert violations(home, finished=False) == []
