"""docs/DRIVERS.md names every event, capability, promise and means of the kit as the code has them."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path

import pytest

from farmd.driver import Capabilities, Event
from farmd.driver.kit import Rig, promises
from farmd_drivers.simulated.driver import SimulatedSettings

TEXT = (Path(__file__).parents[2] / "docs" / "DRIVERS.md").read_text()

NAMES = [
    *(event.__name__ for event in typing.get_args(Event)),
    *(field.name for field in dataclasses.fields(Capabilities)),
    *(name for name in vars(Rig) if not name.startswith("_")),
    *SimulatedSettings.model_fields,
]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_in_the_reference(name: str) -> None:
    assert f"`{name}`" in TEXT


def test_promises_are_told_word_for_word() -> None:
    assert [row for row in promises().items() if f"| `{row[0]}` | {row[1]} |" not in TEXT] == []
