"""docs/DRIVERS.md names every event, capability, promise and means of the kit as the code has them."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
import typing
from pathlib import Path

import pytest

from farmd.driver import Capabilities, Driver, Event, find_driver
from farmd.driver.kit import Rig, promises
from farmd_drivers.marlin.driver import ADDED_AFTER, ADDED_BEFORE
from farmd_drivers.marlin.wire.replies import heaters_off

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "DRIVERS.md").read_text()

NAMES = [
    *(event.__name__ for event in typing.get_args(Event)),
    *(field.name for field in dataclasses.fields(Capabilities)),
    *(name for name in vars(Rig) if not name.startswith("_")),
]
SHIPPED = ("marlin", "simulated")


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_in_the_reference(name: str) -> None:
    assert f"`{name}`" in TEXT


def test_every_shipped_driver_is_told_of() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert tuple(sorted(project["entry-points"]["farmd.drivers"])) == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_every_setting_of_a_shipped_driver_is_told_with_its_default(name: str) -> None:
    driver: type[Driver] = find_driver(name)
    section = TEXT.partition(f"\n## The {name} driver\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \| [^|]+ \|$", section, flags=re.MULTILINE))
    fields = driver.settings_type.model_fields
    assert rows.keys() == fields.keys()
    for key, field in fields.items():
        told = rows[key].split(" ")[0]
        if field.is_required():
            assert told == "needed", key
        elif field.default is None:
            assert told == "none", key
        else:
            assert json.loads(told) == field.default, key
    assert all(field.description for field in fields.values())


def test_every_command_around_a_file_is_told() -> None:
    section = TEXT.partition("\n### What is sent besides the file\n")[2].partition("\n### ")[0]
    told = [command.decode() for command in (*ADDED_BEFORE, *ADDED_AFTER, *heaters_off(1, True))]
    assert [command for command in told if f"`{command}`" not in section] == []


def test_promises_are_told_word_for_word() -> None:
    assert [row for row in promises().items() if f"| `{row[0]}` | {row[1]} |" not in TEXT] == []
