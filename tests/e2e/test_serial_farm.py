"""A technician's day with one serial machine: submit, clear, print, crash, decide."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from farmhouse import DATA, FARMD, Farmhouse, Printer, serial_machine, until

from farmd.gcode import executable_lines
from farmd_drivers.marlin.driver import ADDED_COMMANDS


@pytest.fixture
def printer(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Printer]:
    printer = Printer(tmp_path, *getattr(request, "param", ()))
    yield printer
    printer.close()


@pytest.fixture
def house(tmp_path: Path, printer: Printer) -> Iterator[Farmhouse]:
    house = Farmhouse(tmp_path, serial_machine(printer.port))
    house.start()
    yield house
    house.stop()


def only_added_between(executed: list[bytes], wanted: list[bytes]) -> bool:
    left = iter(wanted)
    following = next(left, None)
    for command in executed:
        if command == following:
            following = next(left, None)
        elif not ADDED_COMMANDS.fullmatch(command):
            return False
    return following is None


def test_a_submitted_file_is_printed_exactly_and_counted(house: Farmhouse, printer: Printer) -> None:
    file = DATA / "clip3.gcode"
    submitted = house.farmctl("submit", str(file), "--quantity", "3")
    job_id = submitted["jobs"][0]["id"] if "jobs" in submitted else submitted["id"]
    until(lambda: house.machine("m1")["state"] == "idle", "the machine is linked")
    assert house.job(job_id)["runs"] == []

    why = house.farmctl("why", job_id)
    assert [each["rule"] for each in why["machines"]] == ["not-clear"]
    task = until(lambda: house.farmctl("next")["tasks"], "there is something to do")[0]
    assert (task["kind"], task["machine"]) == ("clear", "m1")

    house.farmctl("clear", "m1")
    until(lambda: house.machine("m1")["uncleared_run"], "the print has ended")
    # The emulator writes its record down a little later than it executes.
    wanted = list(executable_lines(file))
    until(lambda: only_added_between(printer.executed(), wanted), "all was executed", within_s=3.0)
    run = house.job(job_id)["runs"][0]
    assert (run["outcome"], run["evidence"] != "") == ("ok", True)

    assert house.farmctl("clear", "m1")["good"] == 3
    again = house.ask("clear", "m1")
    assert again.returncode == 1
    assert "error already-clear" in again.stderr
    done = house.farmctl("jobs", "--all")["jobs"]
    assert [(job["state"], job["good"]) for job in done] == [("done", 3)]


def test_a_job_with_the_wrong_nozzle_asks_for_it(house: Farmhouse) -> None:
    house.farmctl("submit", str(DATA / "petg_box.gcode"), "--quantity", "1")
    until(lambda: house.machine("m1")["state"] == "idle", "the machine is linked")
    house.farmctl("clear", "m1")
    task = until(lambda: house.farmctl("next")["tasks"], "there is something to load")[0]
    assert (task["kind"], task["machine"]) == ("load", "m1")


@pytest.mark.parametrize("printer", [("--move-scale", "0.006")], indirect=True)
def test_killed_in_mid_print_the_run_has_failed_and_a_person_clears(
    house: Farmhouse, printer: Printer
) -> None:
    house.farmctl("submit", str(DATA / "box20.gcode"), "--quantity", "1")
    until(lambda: house.machine("m1")["state"] == "idle", "the machine is linked")
    house.farmctl("clear", "m1")
    until(lambda: len(printer.executed()) > 300, "it prints")
    house.kill()
    # A line may still be on the wire; it was sent before the crash.
    time.sleep(0.5)
    executed = len(printer.executed())

    house.start()
    until(lambda: house.machine("m1")["state"] == "idle", "the machine is linked again")
    machine = house.machine("m1")
    assert machine["run"] is None
    assert machine["permit"] is None
    [run] = house.farmctl("jobs")["jobs"] and house.job("J-1")["runs"]
    assert run["outcome"] == "failed"
    job = house.job("J-1")
    assert (job["good"], job["missing"], job["state"]) == (0, 1, "open")
    later = [command for command in printer.executed()[executed:] if not ADDED_COMMANDS.fullmatch(command)]
    assert later == []

    house.farmctl("clear", "m1")
    until(lambda: house.machine("m1")["uncleared_run"], "the second attempt has ended")
    house.farmctl("clear", "m1")
    assert house.farmctl("jobs", "--all")["jobs"][0]["state"] == "done"
    assert house.stop() == 0


def test_a_missing_port_is_told_with_its_remedy(tmp_path: Path) -> None:
    house = Farmhouse(tmp_path, serial_machine(str(tmp_path / "no-such-port")))
    house.start()
    try:
        attention = until(lambda: house.machine("m1")["attention"], "the loss is told")
        told = " ".join([*attention, *attention.values()])
        assert "no-such-port" in told
        assert house.machine("m1")["state"] == "offline"
    finally:
        assert house.stop() == 0


def test_a_second_daemon_on_the_same_data_is_refused(house: Farmhouse, tmp_path: Path) -> None:
    second = subprocess.run(
        [*FARMD, "run", "--config", str(house.config)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 1
    assert second.stderr.startswith("error data-dir-locked:")
    assert second.stderr.count("\n") == 1


def test_a_file_that_fits_no_machine_is_refused_with_the_reason(house: Farmhouse, tmp_path: Path) -> None:
    large = tmp_path / "large.gcode"
    large.write_bytes(
        (DATA / "box20.gcode").read_bytes().replace(b"\nG92 E0\n", b"\nG1 X900 F3000\nG92 E0\n", 1)
    )
    refused = house.ask("submit", str(large), "--quantity", "1")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error no-machine-fits:")
    assert "m1" in refused.stderr
    assert house.farmctl("jobs", "--all")["jobs"] == []


def test_a_wrong_key_is_one_clear_line(tmp_path: Path) -> None:
    house = Farmhouse(tmp_path, serial_machine("/dev/null").replace("group", "gruop"))
    checked = subprocess.run(
        [*FARMD, "check", "--config", str(house.config)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert checked.returncode == 2
    assert "config-unknown-key" in checked.stderr
    assert "did you mean 'group'" in checked.stderr
    assert f"{house.config}:" in checked.stderr
