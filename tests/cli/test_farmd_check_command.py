"""`farmd check` tells every mistake of a configuration; `farmd verify` everything that is wrong with what is stored."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from farmd.cli.farmd import farmd
from farmd.model.apply import apply
from farmd.model.facts import DaemonStarted, MachineAdded
from farmd.model.farm import Farm
from farmd.store import DataLock, Entry, Store, Vault

EXAMPLE = Path(__file__).parents[2] / "config" / "farm.example.toml"
FARM = """
[farm]
name = "small"
data_dir = "data"
[[machine]]
name = "m1"
driver = "simulated"
process = "MEX"
volume_mm = [200, 200, 200]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "farm.toml"
    path.write_text(FARM)
    return path


@pytest.fixture
def data_dir(config: Path) -> Path:
    """The data folder of a farm that has run: two facts and one file."""
    folder = config.parent / "data"
    folder.mkdir()
    farm = Farm()
    facts = (
        DaemonStarted(at=1.0, actor="daemon", boot_id="B", version="0", fence=1),
        MachineAdded(at=2.0, actor="daemon", machine="m1"),
    )
    with Store.open("sqlite:///farmd.sqlite", data_dir=folder) as store:
        for fact in facts:
            changed = tuple(apply(farm, fact))
            farm.merge(changed)
            store.commit([Entry((fact,), changed)])
    with Vault(folder / "vault").receive() as sink:
        sink.write(b"G28\n")
        sink.store()
    return folder


def test_the_example_is_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert farmd(["check", "--config", str(EXAMPLE)]) == 0
    text = capsys.readouterr().out
    for word in (
        "is in order",
        "farm north-hall (Europe/Berlin)",
        "machines: 1 mk4",
        "shift day: mon tue wed thu fri",
    ):
        assert word in text
    assert farmd(["check", "--config", str(EXAMPLE), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["errors"] == []
    assert document["shifts"][0]["people"] == 2


def test_a_farm_without_shifts_says_so(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert farmd(["check", "--config", str(config)]) == 0
    assert "no shifts: people are taken to be there at any time" in capsys.readouterr().out


def test_every_mistake_is_a_line_and_exit_2(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(FARM.replace("name = ", "nam = ").replace('"MEX"', '"XYZ"'))
    assert farmd(["check", "--config", str(config), "--json"]) == 2
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    assert len(lines) >= 3
    assert all(line.startswith("error config-") and f"{config}:" in line for line in lines)
    assert [f"error {e['code']}: " for e in json.loads(shown.out)["errors"]] == [
        line[: line.index(": ") + 2] for line in lines
    ]


def test_a_file_that_is_not_there_is_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("check", "verify"):
        assert farmd([command, "--config", str(tmp_path / "none.toml")]) == 2
        assert capsys.readouterr().err.startswith("error config-unreadable: ")
        assert farmd([command]) == 2
        assert capsys.readouterr().err.startswith("error usage: ")


def test_what_is_stored_is_in_order(config: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert farmd(["verify", "--config", str(config)]) == 0
    assert capsys.readouterr().out == "2 facts and 1 files are in order\n"
    assert farmd(["verify", "--config", str(config), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"facts": 2, "files": 1, "errors": []}


def test_a_damaged_file_is_found(config: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sha256 = hashlib.sha256(b"G28\n").hexdigest()
    path = Vault(data_dir / "vault").path(sha256)
    path.chmod(0o600)
    path.write_bytes(b"G29\n")
    assert farmd(["verify", "--config", str(config), "--json"]) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith(f"error file-corrupt: {sha256}: ")
    assert [error["code"] for error in json.loads(shown.out)["errors"]] == ["file-corrupt"]


def test_a_running_daemon_is_in_the_way(
    config: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with DataLock(data_dir):
        assert farmd(["verify", "--config", str(config)]) == 1
    assert capsys.readouterr().err.startswith(f"error data-dir-locked: {data_dir}: it is held by process ")


def test_nothing_is_made_where_nothing_is_stored(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert farmd(["verify", "--config", str(config)]) == 1
    assert capsys.readouterr().err.startswith("error nothing-stored: ")
    assert not (config.parent / "data").exists()
