"""Asked to end while machines print, a daemon leaves soon, the prints go on, and the next one adopts them."""

from __future__ import annotations

import time
from pathlib import Path

from farmhouse import DATA, Farmhouse, until

MACHINES = 25
MACHINE = (
    '[[machine]]\nname = "m"\ncount = {count}\ndriver = "simulated"\ngroup = "mk4"\nprocess = "MEX"\n'
    'volume_mm = [250, 210, 220]\nnozzle_mm = 0.4\nmaterial = "PLA black"\nmax_nozzle_c = 290\nmax_bed_c = 120\n'
    'link = {{ truth_dir = "{truth}", start_delay_s = 0.2 }}\n'
)
LEFT_WITHIN_S = 10.0


def test_asked_to_end_it_leaves_25_prints_alone_and_finds_them_again(tmp_path: Path) -> None:
    house = Farmhouse(tmp_path, MACHINE.format(count=MACHINES, truth=tmp_path / "truth"))
    (tmp_path / "truth").mkdir()
    house.start()
    try:
        until(lambda: all(each["state"] == "idle" for each in _machines(house)), "all machines are linked")
        for machine in _machines(house):
            assert house.ask("clear", machine["name"]).returncode == 0
        house.farmctl("submit", str(DATA / "box20.gcode"), "--quantity", str(MACHINES))
        running = until(
            lambda: _running(house) if len(_running(house)) == MACHINES else None, "all print", 60.0
        )
        begun = time.monotonic()
        assert house.stop() == 0
        assert time.monotonic() - begun < LEFT_WITHIN_S
        house.start()
        until(lambda: _running(house) == running, "each run is adopted where it was")
        runs = house.job("J-1")["runs"]
        assert len(runs) == MACHINES, "nothing was started anew"
        assert all(run["outcome"] is None for run in runs)
        starts = [
            line for file in (tmp_path / "truth").glob("*.starts") for line in file.read_text().splitlines()
        ]
        assert len(starts) == MACHINES
    finally:
        house.stop()


def _machines(house: Farmhouse) -> list[dict]:
    return house.farmctl("machines")["machines"]


def _running(house: Farmhouse) -> dict[str, str]:
    return {each["name"]: each["run"] for each in _machines(house) if each["state"] == "busy" and each["run"]}
