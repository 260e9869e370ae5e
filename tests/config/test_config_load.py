"""`load_config`: what a good file gives, and that a bad one tells every mistake with its line."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from farmd.config import checks, load_config
from farmd.driver import DriverSettings
from farmd.model.errors import ConfigError, ConfigErrors, ErrorCode
from farmd.model.machine import ChamberSpec, MachineSpec


class SerialSettings(DriverSettings):
    port: str
    baud: int = Field(default=115200, gt=0)


class SerialDriver:
    settings_type = SerialSettings


NO_DRIVER = ErrorCode("no-such-test-driver", "not installed", "install it")


def _find(name: str) -> type[SerialDriver]:
    if name != "marlin":
        raise ConfigError(NO_DRIVER, f"no driver {name!r}")
    return SerialDriver


@pytest.fixture(autouse=True)
def _one_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_driver", _find)


def write(folder: Path, text: str) -> Path:
    path = folder / "farm.toml"
    path.write_text(text)
    return path


def mistakes(folder: Path, text: str) -> list[tuple[str, str]]:
    """(code, place) of each error, the place without the folder, in the order of the lines."""
    with pytest.raises(ConfigErrors) as caught:
        load_config(write(folder, text))
    assert all(error.remedy for error in caught.value.errors)
    found = [(e.code.name, e.where.replace(f"{folder}/", "")) for e in caught.value.errors]
    return sorted(found, key=_by_line)


def _by_line(item: tuple[str, str]) -> tuple[int, str]:
    return int(item[1].rpartition(":")[2]), item[0]


SMALLEST = '[farm]\nname = "hall"\n'
PRINTER = (
    '[[machine]]\nname = "m1"\ndriver = "marlin"\nprocess = "MEX"\nvolume_mm = [250, 210, 220]\n'
    '[machine.link]\nport = "/dev/x"\n'
)


def test_the_smallest_file_has_every_default(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, '[farm]\nname = "hall"\ndata_dir = "data"\n'))
    assert config.farm.data_dir == tmp_path / "data"
    assert config.api.token_file == tmp_path / "data" / "token"
    assert config.database.url == f"sqlite:///{tmp_path}/data/farmd.sqlite"
    assert (config.api.host, config.api.port) == ("127.0.0.1", 8420)
    assert config.machine_specs() == ()
    assert config.farm.timezone == "UTC"
    assert config.target.parts_per_year == 1_000_000


def test_machines_become_what_the_model_knows(tmp_path: Path) -> None:
    text = SMALLEST + PRINTER
    text += (
        '[[machine]]\nname = "p1"\ndriver = "marlin"\nprocess = "PBF"\nvolume_mm = [300, 300, 300]\n'
        'link = { port = "a", baud = 9600 }\n'
        "[machine.chamber]\nsize_mm = [300, 250]\nheight_mm = 290\nsetup_s = 3600\ns_per_mm3 = 0.1\n"
        "s_per_mm = 60\ncooldown_s = 7200\nprecision = 2.0\npacking = 0.5\n"
        '[[machine]]\nname = "wash"\ndriver = "marlin"\nprocess = "station"\noperations = ["depowder", "wash"]\n'
        'operation_minutes = 12\nlink.port = "b"\n'
    )
    printer, chamber, station = load_config(write(tmp_path, text)).machine_specs()
    assert printer == MachineSpec(
        "m1", "marlin", "default", "MEX", (250.0, 210.0, 220.0), link={"port": "/dev/x"}
    )
    assert chamber.chamber == ChamberSpec((300.0, 250.0), 290.0, 3600.0, 0.1, 60.0, 7200.0, 2.0, 0.5)
    assert chamber.link == {"port": "a", "baud": 9600}
    assert station.is_station
    assert (station.operations, station.operation_s) == (("depowder", "wash"), 720.0)


def test_a_configuration_does_not_change(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, SMALLEST))
    with pytest.raises(ValidationError):
        config.farm.name = "other"


def test_every_mistake_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    text = """\
[farm]
name = 7
timezone = "Europe/Atlantis"
[api]
listen = "127.0.0.1:99999"
listn = "x"
max_upload_mb = 0
[database]
url = "mysql://x"
[planner]
budget_s = "ten"
weights = 1
[[shift]]
name = "day"
days = ["mon", "funday"]
from = "7:00"
to = "25:00"
people = true
[[machine]]
name = "J-17"
driver = "marlin"
process = "MEX"
volume_mm = [250, 210]
colour = "red"
[machine.link]
prt = "/dev/x"
baud = -1
[[machine]]
name = "m1"
driver = "marlinn"
process = "FDM"
volume_mm = [1, 2, 3]
[[machine]]
name = "m1"
driver = "marlin"
process = "MEX"
link = { port = 5 }
[[machine]]
driver = "marlin"
process = "station"
volume_mm = [1, 2, 3]
operations = ["print"]
link.port = "x"
[mqtt]
broker = "localhost"
"""
    bad, unknown, missing = "config-bad-value", "config-unknown-key", "config-missing-key"
    assert mistakes(tmp_path, text) == sorted(
        [
            (bad, "farm.toml:2"),
            (bad, "farm.toml:3"),
            (bad, "farm.toml:5"),
            (unknown, "farm.toml:6"),
            (bad, "farm.toml:7"),
            (bad, "farm.toml:9"),
            (bad, "farm.toml:11"),
            (unknown, "farm.toml:12"),
            (bad, "farm.toml:15"),
            (bad, "farm.toml:16"),
            (bad, "farm.toml:17"),
            (bad, "farm.toml:18"),
            (bad, "farm.toml:20"),
            (missing, "farm.toml:23"),
            (unknown, "farm.toml:24"),
            (missing, "farm.toml:25"),
            (unknown, "farm.toml:26"),
            (bad, "farm.toml:27"),
            ("no-such-test-driver", "farm.toml:30"),
            (bad, "farm.toml:31"),
            (missing, "farm.toml:33"),
            ("config-duplicate", "farm.toml:34"),
            (bad, "farm.toml:37"),
            (missing, "farm.toml:38"),
            (missing, "farm.toml:38"),
            (bad, "farm.toml:41"),
            (bad, "farm.toml:42"),
            (unknown, "farm.toml:44"),
        ],
        key=_by_line,
    )


@pytest.mark.parametrize(
    ("text", "code", "place", "words"),
    [
        ("[farm\n", "config-syntax", "farm.toml:1", ""),
        ('[farm]\nname = "a"\nname = "b"\n', "config-syntax", "farm.toml:3", "overwrite"),
        ('[farm]\nname = "a\n', "config-syntax", "farm.toml:2", ""),
        ('[farm]\nname = """a\n\n', "config-syntax", "farm.toml:2", ""),
        ('[api]\nlisten = "[::1]:8420"\n', "config-missing-key", "farm.toml:1", "farm is missing"),
        (SMALLEST + "[farm.more]\n", "config-unknown-key", "farm.toml:3", "farm.more"),
        ("farm = 3\n", "config-bad-value", "farm.toml:1", "farm = 3"),
        (SMALLEST + '[machine]\nname = "a"\n', "config-bad-value", "farm.toml:3", "machine"),
        (
            SMALLEST + '[[shift]]\nname = "a"\nfrom = "24:00"\nto = "08:00"\n',
            "config-bad-value",
            "farm.toml:5",
            "00:00",
        ),
        (SMALLEST + "[planner]\nhorizon_h = inf\n", "config-bad-value", "farm.toml:4", "finite"),
        (SMALLEST + "[planner]\nhorizont_h = 1\n", "config-unknown-key", "farm.toml:4", "mean 'horizon_h'"),
        (SMALLEST + '[machin]\nname = "a"\n', "config-unknown-key", "farm.toml:3", "mean 'machine'"),
        (SMALLEST + PRINTER + "bauds = 1\n", "config-unknown-key", "farm.toml:10", "mean 'baud'"),
        (SMALLEST + PRINTER + "[machine.chamber]\n", "config-missing-key", "farm.toml:10", "chamber"),
        (SMALLEST + PRINTER * 2, "config-duplicate", "farm.toml:11", "farm.toml:4"),
        (
            SMALLEST
            + '[[material]]\nname = "PLA"\n[[changeover]]\nfrom = "PLA red"\nto = "PLB"\nminutes = 1\n',
            "config-unknown-material",
            "farm.toml:7",
            "mean 'PLA'",
        ),
        (
            SMALLEST + '[[changeover]]\nfrom = "A"\nto = "B"\nminutes = 1\n' * 2,
            "config-duplicate",
            "farm.toml:8",
            "'A' to 'B'",
        ),
    ],
)
def test_one_mistake(tmp_path: Path, text: str, code: str, place: str, words: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load_config(write(tmp_path, text))
    errors = {(e.code.name, e.where.replace(f"{tmp_path}/", "")): str(e) for e in caught.value.errors}
    assert words in errors[code, place]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load_config(tmp_path / "nothing.toml")
    (error,) = caught.value.errors
    assert (error.code.name, error.where) == ("config-unreadable", str(tmp_path / "nothing.toml"))
    path = tmp_path / "latin.toml"
    path.write_bytes(b'[farm]\nname = "h\xe4ll"\n')
    with pytest.raises(ConfigErrors) as caught:
        load_config(path)
    (error,) = caught.value.errors
    assert (error.code.name, error.where) == ("config-syntax", f"{path}:2")


def test_the_environment_overrides_three_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARMD_API__LISTEN", "0.0.0.0:80")
    monkeypatch.setenv("FARMD_API__MAX_UPLOAD_MB", "7")
    monkeypatch.setenv("FARMD_DATABASE__URL", "postgresql+psycopg://db/farm")
    monkeypatch.setenv("FARMD_FARM__DATA_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("FARMD_PLANNER__HORIZON_H", "1")
    config = load_config(write(tmp_path, SMALLEST))
    assert (config.api.host, config.api.port, config.api.max_upload_mb) == ("0.0.0.0", 80, 7)
    assert config.database.url == "postgresql+psycopg://db/farm"
    assert config.api.token_file == tmp_path / "elsewhere" / "token"
    assert math.isclose(config.planner.horizon_h, 72)


def test_a_mistake_in_the_environment_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARMD_API__LISTN", "x")
    monkeypatch.setenv("FARMD_DATABASE__URL", "oracle:x")
    with pytest.raises(ConfigErrors) as caught:
        load_config(write(tmp_path, SMALLEST))
    places = {(error.code.name, error.where) for error in caught.value.errors}
    assert places == {
        ("config-unknown-key", "environment FARMD_API__LISTN"),
        ("config-bad-value", "environment FARMD_DATABASE__URL"),
    }


def test_materials_are_free_until_one_is_listed(tmp_path: Path) -> None:
    text = SMALLEST + PRINTER.replace("[machine.link]", 'material = "PETG blue"\n[machine.link]')
    assert load_config(write(tmp_path, text)).machine_specs()[0].material == "PETG blue"
    listed = text + '[[material]]\nname = "PETG"\ndensity_g_cm3 = 1.27\n'
    assert load_config(write(tmp_path, listed)).materials[0].density_g_cm3 == 1.27
    other = text + '[[material]]\nname = "PLA"\n'
    assert mistakes(tmp_path, other) == [("config-unknown-material", "farm.toml:8")]


def test_counted_machines_are_alike_but_for_their_names(tmp_path: Path) -> None:
    counted = PRINTER.replace('name = "m1"', 'name = "m"\ncount = 3')
    one, two, three = load_config(write(tmp_path, SMALLEST + counted)).machine_specs()
    assert [spec.name for spec in (one, two, three)] == ["m-01", "m-02", "m-03"]
    assert dataclasses.replace(three, name="m-01") == one
    taken = SMALLEST + counted + PRINTER.replace("m1", "m-02")
    assert ("config-duplicate", "farm.toml:12") in mistakes(tmp_path, taken)
    for count in ("0", "1001", '"2"', "true"):
        text = SMALLEST + counted.replace("count = 3", f"count = {count}")
        assert mistakes(tmp_path, text) == [("config-bad-value", "farm.toml:5")]


def test_tables_of_somebody_else_are_left_alone(tmp_path: Path) -> None:
    path = write(tmp_path, SMALLEST + "[simulation]\ndays = 3\n")
    assert load_config(path, apart=("simulation",)).farm.name == "hall"
    assert mistakes(tmp_path, path.read_text()) == [("config-unknown-key", "farm.toml:3")]
