"""A back-up of a shop at work, taken again and again beside it, and one of them restored elsewhere: the record is
whole, what was on its way is doubted, and no run is started twice by the machines' own account."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from crashpeople import MACHINES
from crashshop import CONFIG

from farmd.config import load_config
from farmd.model.lifecycle import RunState
from farmd.store import Store, Vault, back_up, backups_in, find_backup, restore, verify
from farmd_drivers.simulated.truth import TruthFiles

PROGRAM = Path(__file__).with_name("crashshop.py")
SEED, SPEED = 23, 2000.0
BACKUPS = 5


def _program(what: str, folder: Path, *more: object) -> list[str]:
    return [sys.executable, str(PROGRAM), what, str(folder), str(SEED), *map(str, more)]


def _starts(folder: Path) -> Counter[str]:
    return Counter(start.run_id for name in MACHINES for start in TruthFiles(folder / "truth", name).starts())


def test_a_busy_farm_is_backed_up_and_goes_on_elsewhere(tmp_path: Path) -> None:
    shop, elsewhere, backups = tmp_path / "shop", tmp_path / "elsewhere", tmp_path / "backups"
    shop.mkdir()
    elsewhere.mkdir()
    data = shop / "data"
    url = f"sqlite:///{data / 'farmd.sqlite'}"
    with subprocess.Popen(_program("live", shop, SPEED), stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "up\n"
            for number in range(BACKUPS):
                time.sleep(0.6)
                back_up(url, data, backups, at=1.8e9 + number, version="test")
            assert child.poll() is None, "the farm went on meanwhile"
            time.sleep(0.5)
        finally:
            child.kill()
    made = [find_backup(folder) for folder in backups_in(backups)]
    facts = [backup.facts for backup in made]
    assert facts == sorted(set(facts)), "things happened between any two of them"
    assert not any(backup.missing for backup in made)
    chosen = max(made, key=lambda backup: _on_their_way(backup.path("farmd.sqlite")))
    started_before = _starts(shop)

    text = CONFIG.format(data=elsewhere / "data", truth=shop / "truth", seed=SEED)
    (elsewhere / "farm.toml").write_text(text)
    config = load_config(elsewhere / "farm.toml")
    home, at = config.farm.data_dir, float((shop / "clock").read_text()) + 900.0
    fact = restore(chosen, config.database.url, home, at=at)
    with Store.open(config.database.url, data_dir=home) as store:
        assert verify(store, Vault(home / "vault")) == []
        farm = store.load().farm
        assert farm.counters["fence"] == fact.fence
        assert list(farm.safe_modes) == ["restored"]
        assert not any(run.state in (RunState.INTENT, RunState.SENT) for run in farm.runs.values())

    (elsewhere / "clock").write_text(repr(at))
    ended = subprocess.run(
        _program("finish", elsewhere), capture_output=True, text=True, timeout=100, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    with Store.open(config.database.url, data_dir=home) as store:
        assert verify(store, Vault(home / "vault")) == []
        events = store.events(limit=1 << 31)
        assert not store.load().farm.jobs, "all work that the back-up knew of is done"
    twice = {run_id: count for run_id, count in _starts(shop).items() if count > 1}
    assert not twice, "no run was ever started twice"
    kinds = [event.kind for event in events if event.seq > chosen.facts]
    assert kinds[0] == "FarmRestored"
    left = kinds.index("SafeModeLeft")
    assert "RunIntended" not in kinds[:left], "nothing was started before it was reconciled"
    intents = {event.body["run_id"]: event.body["fence"] for event in events if event.kind == "RunIntended"}
    after = {event.body["run_id"] for event in events[chosen.facts :] if event.kind == "RunIntended"}
    assert all(intents[run_id] > fact.fence for run_id in after)
    assert not (after & started_before.keys()), "and none has the name of one from before"


def _on_their_way(database: Path) -> int:
    import sqlite3

    with sqlite3.connect(f"file:{database}?mode=ro&immutable=1", uri=True) as connection:
        (count,) = connection.execute("SELECT count(*) FROM run WHERE state IN ('intent', 'sent')").fetchone()
        (open_,) = connection.execute("SELECT count(*) FROM run WHERE NOT is_closed").fetchone()
    connection.close()
    return 100 * int(count) + int(open_)
