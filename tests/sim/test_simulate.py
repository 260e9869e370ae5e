"""`farmd simulate`: the same seed gives the same bytes, policies and faults do what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from farmd.config import load_config
from farmd.logging import set_up_logging
from farmd.model.errors import ConfigErrors
from farmd.model.facts import RunIntended
from farmd.sim.scenario import APART, read_simulation
from farmd.sim.simulate import Request, simulate
from farmd.store import Store, Vault, verify

SHOPS = Path(__file__).parent.parent.parent / "config" / "shops"
FARMD = (sys.executable, "-c", "from farmd.cli.farmd import main; main()")

SHOP = """
[farm]
name = "three"
[planner]
clear_minutes = 4
default_changeover_minutes = 10
[[shift]]
name = "day"
from = "06:00"
to = "22:00"
people = 1
[[machine]]
name = "fdm"
count = 3
driver = "simulated"
group = "fdm"
process = "MEX"
volume_mm = [250, 210, 220]
nozzle_mm = 0.4
material = "PLA black"
max_nozzle_c = 290
[[machine]]
name = "bed"
driver = "simulated"
group = "bed"
process = "PBF"
volume_mm = [165, 165, 300]
material = "PA12"
[machine.chamber]
size_mm = [165, 165]
height_mm = 300
setup_s = 3600
s_per_mm3 = 0.002
s_per_mm = 60
cooldown_s = 3600
[[machine]]
name = "blast"
driver = "simulated"
group = "finish"
process = "station"
operations = ["depowder"]
operation_minutes = 30
[simulation]
jobs_per_day = 5
backlog_jobs = 6
reaction_s = 60
scrap_share = 0.05
[simulation.machines]
noise = 0.05
failure_rate = 0.05
[[simulation.product]]
name = "plate"
material = "PLA black"
size_mm = [80, 60, 20]
minutes = 90
grams = 30
parts_per_plate = 2
quantity = [2, 8]
due_h = [10, 40]
[[simulation.product]]
name = "white"
material = "PLA white"
size_mm = [80, 60, 20]
minutes = 60
grams = 20
quantity = [1, 4]
due_h = [10, 40]
[[simulation.product]]
name = "clip"
process = "PBF"
material = "PA12"
size_mm = [40, 20, 50]
quantity = [5, 20]
due_h = [24, 60]
"""


@pytest.fixture(autouse=True)
def quiet() -> None:
    set_up_logging("error", sys.stderr)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.toml"
    path.write_text(SHOP)
    return path


def _as_command(shop: Path, out: Path, hash_seed: str, seed: int) -> bytes:
    args = ["simulate", str(shop), "--days", "2", "--seed", str(seed), "--json", str(out)]
    done = subprocess.run(
        [*FARMD, *args],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return out.read_bytes()


def test_the_same_seed_gives_the_same_bytes_in_another_process(shop: Path, tmp_path: Path) -> None:
    first = _as_command(shop, tmp_path / "a.json", "1", 7)
    second = _as_command(shop, tmp_path / "b.json", "2", 7)
    other = _as_command(shop, tmp_path / "c.json", "1", 8)
    assert first == second
    assert json.loads(first)["journal"]["head"] != json.loads(other)["journal"]["head"]


def test_a_simulated_time_is_a_farm_in_order(shop: Path, tmp_path: Path) -> None:
    """What the report says is what the journal adds up to, and the record verifies."""
    data_dir = tmp_path / "kept"
    report = simulate(Request(shop, 3, 1, data_dir=data_dir))
    with Store.open(f"sqlite:///{data_dir / 'farmd.sqlite'}", data_dir=data_dir) as store:
        assert verify(store, Vault(data_dir / "vault")) == []
        counts = [count for _, fact in store.facts() for count in getattr(fact, "counts", ())]
    assert report["runs"]["ok"] > 10
    assert report["parts"]["good"] > 20
    assert report["parts"]["scrap"] == sum(count.scrap for count in counts)
    assert report["jobs"]["submitted"] >= report["jobs"]["done"] > 0
    assert 0.0 < report["utilisation"]["all"] < 1.0
    assert report["people"]["clears"] >= report["runs"]["ok"]


@pytest.mark.parametrize("policy", ["plan", "fifo", "edd", "atcs"])
def test_every_policy_works_the_shop(shop: Path, policy: str) -> None:
    report = simulate(Request(shop, 1, 3, policy=policy))
    assert report["policy"] == policy
    assert report["jobs"]["done"] > 0


def test_no_machine_is_idle_for_work_that_is_not_due_for_long(tmp_path: Path) -> None:
    """Nothing costs anything but waiting: what was announced must not keep work from the other machines."""
    path = tmp_path / "shop.toml"
    text = SHOP.replace("due_h = [10, 40]", "due_h = [2000, 2100]").replace(
        "jobs_per_day = 5", "jobs_per_day = 0.01"
    )
    path.write_text(text.replace("quantity = [2, 8]", "quantity = [4, 4]").replace("[1, 4]", "[2, 2]"))
    data_dir = tmp_path / "kept"
    simulate(Request(path, 1, 1, data_dir=data_dir))
    with Store.open(f"sqlite:///{data_dir / 'farmd.sqlite'}", data_dir=data_dir) as store:
        facts = [fact for _, fact in store.facts() if isinstance(fact, RunIntended)]
    first: dict[str, float] = {}
    for fact in facts:
        first.setdefault(fact.machine, fact.at)
    begun = [at for machine, at in first.items() if machine.startswith("fdm")]
    assert len(begun) == 3
    assert max(begun) - min(begun) < 1800.0


FAULTS = """
[machines]
failure_rate = 0.0
[[fault]]
at_h = 2.0
machine = "fdm-01"
kind = "fail"
[[fault]]
at_h = 3.0
machine = "fdm-02"
kind = "link"
for_s = 1800
[[fault]]
at_h = 4.0
machine = "fdm-03"
kind = "break"
[[fault]]
at_h = 5.0
machine = "bed"
kind = "reboot"
"""


def test_injected_faults_are_in_the_record(shop: Path, tmp_path: Path) -> None:
    faults = tmp_path / "faults.toml"
    faults.write_text(FAULTS)
    data_dir = tmp_path / "kept"
    simulate(Request(shop, 1, 1, faults=faults, data_dir=data_dir))
    with Store.open(f"sqlite:///{data_dir / 'farmd.sqlite'}", data_dir=data_dir) as store:
        assert verify(store, Vault(data_dir / "vault")) == []
        told: list[dict[str, Any]] = [
            {"kind": event.kind, **event.body} for event in store.events(limit=100_000)
        ]
    lost = [each for each in told if each["kind"] == "MachineLost" and each["machine"] == "fdm-02"]
    broken = [each for each in told if each["kind"] == "MachineFaulted" and each["machine"] == "fdm-03"]
    mended = [each for each in told if each["kind"] == "MachineRecovered" and each["machine"] == "fdm-03"]
    assert len(lost) == 1
    assert len(broken) == len(mended) == 1


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (("jobs_per_day = 5", "jobs_per_day = -5"), "simulation.jobs_per_day"),
        (("scrap_share = 0.05", "scrap_shar = 0.05"), "simulation.scrap_shar"),
        (("minutes = 90", 'minutes = "long"'), "simulation.product.0.minutes"),
    ],
)
def test_a_wrong_scenario_is_told_with_its_key(shop: Path, change: tuple[str, str], where: str) -> None:
    shop.write_text(SHOP.replace(*change))
    with pytest.raises(ConfigErrors) as told:
        simulate(Request(shop, 1, 1))
    assert [error.code.name for error in told.value.errors] == ["bad-scenario"]
    assert where in told.value.errors[0].where


def test_a_fault_for_an_unknown_machine_is_refused(shop: Path, tmp_path: Path) -> None:
    faults = tmp_path / "faults.toml"
    faults.write_text('[[fault]]\nat_h = 1\nmachine = "nobody"\nkind = "fail"\n')
    with pytest.raises(ConfigErrors) as told:
        simulate(Request(shop, 1, 1, faults=faults))
    assert told.value.errors[0].code.name == "unknown-fault-target"


def test_the_shipped_shops_are_in_order() -> None:
    mixed = load_config(SHOPS / "mixed-25.toml", apart=APART)
    assert len(mixed.machines) == 25
    assert len(read_simulation(SHOPS / "mixed-25.toml").product) >= 4
    assert len(load_config(SHOPS / "demo-25.toml", apart=APART).machines) == 25
