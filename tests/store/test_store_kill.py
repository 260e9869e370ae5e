"""SIGKILL in the midst of commits: what was reported as committed is there, and nothing is half there."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from farmd.model.farm import Farm
from farmd.store import Store, Vault, fold, verify

_KILLS = 4


@pytest.mark.parametrize("seed", [20])
def test_kill_leaves_a_whole_prefix(store_url: str, tmp_path: Path, farmlife: ModuleType, seed: int) -> None:
    rng = random.Random(seed)
    last = 0
    for _ in range(_KILLS):
        reported = _live_and_die(store_url, tmp_path, seed, rng.randint(3, 20), rng.uniform(0.0, 0.01))
        with Store.open(store_url, data_dir=tmp_path) as store:
            loaded = store.load()
            assert loaded.last_seq >= reported > last
            assert {x.code.name for x in verify(store, Vault(tmp_path / "vault"))} <= {"file-missing"}
            folded = fold(store.facts()).values()
        rebuilt = Farm(revision=loaded.last_seq)
        rebuilt.merge(folded)
        # Files come after the jobs that need them are known, as they do at a start.
        assert rebuilt.jobs == loaded.farm.jobs
        assert rebuilt.machines == loaded.farm.machines
        last = loaded.last_seq


def _live_and_die(url: str, data_dir: Path, seed: int, commits: int, after_s: float) -> int:
    """The last number that a child had reported when it was killed `after_s` after its n-th commit."""
    child = [sys.executable, Path(__file__).with_name("farmlife.py"), url, str(data_dir), str(seed)]
    with subprocess.Popen(child, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            lines = [process.stdout.readline() for _ in range(1 + commits)]
            time.sleep(after_s)
        finally:
            process.kill()
        lines += process.stdout.read().splitlines(keepends=True)
    assert lines[0] == "open\n"
    return [int(line) for line in lines[1:] if line.endswith("\n")][-1]
