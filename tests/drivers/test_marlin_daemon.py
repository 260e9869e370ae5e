"""A farm with a Marlin machine is stopped in mid-print: cold, failed at its place, and nothing repeated."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from farmhouse import DATA, Farmhouse, Printer, serial_machine, until

from farmd_drivers.marlin.driver import ADDED_COMMANDS


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_a_print_that_lost_its_daemon_is_cold_and_has_failed_at_its_place(
    tmp_path: Path, ending: str
) -> None:
    printer = Printer(tmp_path, "--move-scale", "0.006")
    house = Farmhouse(tmp_path, serial_machine(printer.port))
    house.start()
    try:
        house.farmctl("submit", str(DATA / "box20.gcode"), "--quantity", "1")
        until(lambda: house.machine("m1")["state"] == "idle", "the machine is linked")
        house.farmctl("clear", "m1")
        until(lambda: len(printer.executed()) > 300, "it prints")
        if ending == "stop":
            assert house.stop() == 0
            until(lambda: b"M140 S0" in printer.executed()[-12:], "it is switched off")
            assert b"M104 S0" in printer.executed()[-12:]
        else:
            # The place is written down every few seconds.
            until(lambda: _line_seen(tmp_path) > 100, "the place is on disk")
            house.kill()
        # Owed: the machine has not proven that it is cold. After a crash always; after an orderly end only
        # where its answer did not come in time.
        owed = (
            json.loads((tmp_path / "data" / "drivers" / "m1" / "runs.json").read_bytes())["hot"]
            or ending == "kill"
        )
        # The emulator writes its record down a little later than it executes.
        time.sleep(1.0)
        executed = len(printer.executed())

        house.start()
        until(lambda: house.machine("m1")["state"] == "idle", "the machine is linked again")
        machine = house.machine("m1")
        assert (machine["run"], machine["permit"]) == (None, None)
        [run] = house.job("J-1")["runs"]
        assert run["outcome"] == "failed"
        assert run["place"]["line"] > 100
        later = printer.executed()[executed:]
        # A crash can leave one line on the wire.
        assert len([command for command in later if not ADDED_COMMANDS.fullmatch(command)]) <= (
            ending == "kill"
        )
        assert (b"M140 S0" in later) == owed
    finally:
        house.stop()
        printer.close()


def _line_seen(folder: Path) -> int:
    path = folder / "data" / "drivers" / "m1" / "seen.json"
    place = json.loads(path.read_bytes())["place"] if path.exists() else None
    return place["line"] if place else 0
