"""What is installed: units that hold their promises, under the prefix that was asked for."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from farmd.cli.farmd import farmd

HERE = Path(__file__).parents[2]
SYSTEMD = HERE / "systemd"
UNITS = sorted(path.name for path in SYSTEMD.glob("*.service"))
MOST = {"farmd.service": 1.2, "farmd-planner.service": 0.5, "farmd-backup.service": 2.0}
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def read(name: str) -> configparser.RawConfigParser:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[method-assign,assignment]
    unit.read(SYSTEMD / name)
    return unit


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_the_exposure_is_what_we_say(name: str) -> None:
    told = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(SYSTEMD / name)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    ).stdout
    score = re.search(rf"exposure level for {name}: ([\d.]+)", told)
    assert score, told
    assert float(score[1]) <= MOST[name]
    row = next(line for line in (SYSTEMD / "README.md").read_text().splitlines() if f"`{name}`" in line)
    assert row.endswith(f"| {score[1]} |"), "the README tells another figure"


@needs_systemd
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    # Without the installed program it only complains that it is not there.
    for name in (*UNITS, "farmd-backup.timer"):
        text = (SYSTEMD / name).read_text().replace("/opt/farmd/.venv/bin/farmd", "/bin/true")
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no"]
        + [str(tmp_path / name) for name in (*UNITS, "farmd-backup.timer")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_starts_a_command_that_there_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = read(name)["Service"]["ExecStart"].split()
    assert words[0] == "/opt/farmd/.venv/bin/farmd"
    assert farmd([words[1], "--help"]) == 0
    help_text = capsys.readouterr().out
    for option in (word for word in words if word.startswith("--")):
        assert re.search(rf"{option}\b", help_text), f"farmd {words[1]} has no {option}"


def test_the_planner_has_no_network_and_the_daemon_compiles_nothing() -> None:
    daemon, planner = read("farmd.service")["Service"], read("farmd-planner.service")["Service"]
    assert daemon["MemoryDenyWriteExecute"] == "yes"
    assert float(daemon["WatchdogSec"]) == 30
    assert planner["PrivateNetwork"] == "yes"
    assert planner["RestrictAddressFamilies"] == "AF_UNIX"
    socket = planner["ExecStart"].split("--socket ")[1]
    assert socket in (SYSTEMD / "farmd.service").read_text(), (
        "the daemon is told the socket that it listens at"
    )


def test_farmd_can_read_its_configuration_and_has_time_to_start() -> None:
    # `make install` runs before there is a group farmd; `systemd-tmpfiles --create` after.
    tmpfiles = [line.split() for line in (SYSTEMD / "farmd.tmpfiles.conf").read_text().splitlines()]
    config = read("farmd.service")["Service"]["ExecStart"].split("--config ")[1]
    assert ["z", config, "0640", "root", "farmd"] in tmpfiles
    assert read("farmd.service")["Service"]["TimeoutStartSec"] == "30min"


def test_make_puts_it_under_the_prefix(tmp_path: Path) -> None:
    subprocess.run(
        ["make", "--silent", "install-units", "PREFIX=/srv/farm", f"ETC={tmp_path}"],
        cwd=HERE,
        check=True,
        timeout=60,
        capture_output=True,
    )
    there = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert there == {
        *(f"systemd/system/{name}" for name in (*UNITS, "farmd-backup.timer")),
        "sysusers.d/farmd.conf",
        "tmpfiles.d/farmd.conf",
        "udev/rules.d/70-farmd.rules",
        "farmd/farm.toml",
    }
    unit = (tmp_path / "systemd/system/farmd.service").read_text()
    assert "ExecStart=/srv/farm/.venv/bin/farmd run" in unit
    assert "/opt/farmd" not in unit
    (tmp_path / "farmd/farm.toml").write_text("mine")
    subprocess.run(["make", "--silent", "install-units", f"ETC={tmp_path}"], cwd=HERE, check=True, timeout=60)
    assert (tmp_path / "farmd/farm.toml").read_text() == "mine", "a configuration is never overwritten"
