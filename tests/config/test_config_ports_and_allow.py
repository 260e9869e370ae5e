"""What no two machines may share, and what a machine's `allow` may hold."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from farmd.config import checks, load_config
from farmd.driver import DriverSettings
from farmd.model.errors import ConfigErrors


class PortSettings(DriverSettings):
    sole: ClassVar[tuple[str, ...]] = ("port",)
    port: str = ""


class PortDriver:
    settings_type = PortSettings


@pytest.fixture(autouse=True)
def _one_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_driver", lambda name: PortDriver)


def farm(folder: Path, *machines: str) -> Path:
    """A configuration of these machines, each given as its lines."""
    path = folder / "farm.toml"
    head = 'process = "MEX"\nvolume_mm = [250, 210, 220]\n'
    tables = "".join(
        f'[[machine]]\nname = "m{n}"\n{head}' + (lines if "driver" in lines else f'driver = "a"\n{lines}')
        for n, lines in enumerate(machines)
    )
    path.write_text('[farm]\nname = "hall"\n' + tables)
    return path


def errors(path: Path) -> list[tuple[str, str, str]]:
    with pytest.raises(ConfigErrors) as caught:
        load_config(path)
    return [(e.code.name, e.where.rpartition(":")[2], str(e)) for e in caught.value.errors]


def test_two_machines_on_one_port(tmp_path: Path) -> None:
    path = farm(tmp_path, 'link.port = "/dev/a"\n', 'link.port = "/dev/b"\n', 'link.port = "/dev/a"\n')
    ((code, line, text),) = errors(path)
    assert (code, line) == ("config-duplicate", "20")
    assert "farm.toml:8" in text
    assert "'/dev/a'" in text


def test_machines_made_by_a_count_on_one_port(tmp_path: Path) -> None:
    ((code, line, text),) = errors(farm(tmp_path, 'count = 3\nlink.port = "/dev/a"\n'))
    assert (code, line) == ("config-duplicate", "9")
    assert "3 machines cannot share it" in text
    assert len(load_config(farm(tmp_path, 'count = 1\nlink.port = "/dev/a"\n')).machines) == 1
    assert len(load_config(farm(tmp_path, "count = 3\n")).machines) == 3


def test_the_same_name_for_another_driver_is_something_else(tmp_path: Path) -> None:
    path = farm(tmp_path, 'link.port = "x"\n', 'driver = "b"\nlink.port = "x"\n')
    assert len(load_config(path).machines) == 2


def test_allow_reaches_the_machine(tmp_path: Path) -> None:
    one, two = load_config(farm(tmp_path, 'allow = ["prusa", "SET_PIN"]\n', "")).machine_specs()
    assert one.allow == ("prusa", "SET_PIN")
    assert two.allow == ()


@pytest.mark.parametrize("name", ["M112", "SAVE_CONFIG", "Prusa", ""])
def test_only_what_is_listed_can_be_allowed(tmp_path: Path, name: str) -> None:
    ((code, line, text),) = errors(farm(tmp_path, f'allow = ["{name}"]\n'))
    assert (code, line) == ("config-bad-value", "8")
    assert "prusa, klipper, M302" in text
