"""Every setting is in docs/CONFIGURATION.md and in the example farm, and neither names one that is not there."""

from __future__ import annotations

import re
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from farmd.config import Config, load_config
from farmd.config.checks import (
    BAD_VALUE,
    DUPLICATE,
    MISSING_KEY,
    UNKNOWN_KEY,
    UNKNOWN_MACHINE,
    UNKNOWN_MATERIAL,
)
from farmd.config.load import SYNTAX, UNREADABLE
from farmd.config.models import ChamberTable, MachineTable

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "CONFIGURATION.md").read_text()
EXAMPLE = ROOT / "config" / "farm.example.toml"


def _tables() -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in Config.model_fields.items():
        key = field.alias or name
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield f"[{key}]", annotation
        else:
            yield f"[[{key}]]", typing.get_args(annotation)[0]
    yield "[machine.chamber]", ChamberTable


TABLES = dict(_tables())


def _keys(table: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in table.model_fields.items()}


def _documented() -> dict[str, dict[str, list[str]]]:
    """The rows of the page's tables, by section and key."""
    sections: dict[str, dict[str, list[str]]] = {}
    for part in re.split(r"^#{2,3} ", PAGE, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", body, flags=re.MULTILINE)
        sections[title.strip("`")] = {key: rest.split(" | ") for key, rest in rows}
    return sections


DOCUMENTED = _documented()


@pytest.mark.parametrize("title", TABLES)
def test_the_page_names_exactly_the_settings_there_are(title: str) -> None:
    assert DOCUMENTED[title].keys() == _keys(TABLES[title])


@pytest.mark.parametrize("title", TABLES)
def test_every_row_has_type_default_and_meaning(title: str) -> None:
    for key, cells in DOCUMENTED[title].items():
        assert len(cells) == 3, key
        assert all(cells), key


@pytest.mark.parametrize("title", TABLES)
def test_the_page_gives_the_defaults_there_are(title: str) -> None:
    for name, field in TABLES[title].model_fields.items():
        kind, default, _ = DOCUMENTED[title][field.alias or name]
        if field.is_required():
            assert default.startswith("needed"), name
        elif type(field.default) in (int, float, bool) or (isinstance(field.default, str) and field.default):
            shown = tomllib.loads("x = " + re.findall(r"`([^`]+)`", default)[0])["x"]
            assert shown == field.default, name
        else:
            assert not default.startswith("needed"), name
        assert kind


@pytest.mark.parametrize("title", TABLES)
def test_the_example_has_every_setting(title: str) -> None:
    raw = tomllib.loads(EXAMPLE.read_text())
    if title == "[machine.chamber]":
        present = {key for machine in raw["machine"] for key in machine.get("chamber", {})}
    elif title.startswith("[["):
        present = {key for table in raw[title.strip("[]")] for key in table}
    else:
        present = set(raw[title.strip("[]")])
    assert present == _keys(TABLES[title])


@pytest.mark.parametrize(
    "code",
    [BAD_VALUE, DUPLICATE, MISSING_KEY, SYNTAX, UNKNOWN_KEY, UNKNOWN_MACHINE, UNKNOWN_MATERIAL, UNREADABLE],
)
def test_every_error_of_the_configuration_is_explained(code: typing.Any) -> None:
    assert f"`{code.name}`" in PAGE


def test_every_field_says_what_it_means() -> None:
    for table in TABLES.values():
        assert all(field.description for field in table.model_fields.values()), table.__name__


def test_the_example_farms_load() -> None:
    config = load_config(EXAMPLE)
    specs = config.machine_specs()
    assert [spec.name for spec in specs] == ["mk4-01", "sls-1", "wash-01", "wash-02"]
    assert specs[2].operation_s == 1200
    small = load_config(ROOT / "config" / "small.toml")
    assert small.farm.data_dir == ROOT / "config" / "small-data"
    assert isinstance(small.machines[0], MachineTable)


def test_the_serial_machine_in_the_comments_of_the_small_farm_loads(tmp_path: Path) -> None:
    text = (ROOT / "config" / "small.toml").read_text()
    begin = text.index("# [[machine]]")
    path = tmp_path / "farm.toml"
    path.write_text(text[:begin] + re.sub(r"^# ", "", text[begin:], flags=re.MULTILINE))
    assert [machine.driver for machine in load_config(path).machines] == ["simulated", "marlin"]
