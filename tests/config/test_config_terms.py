"""Maintenance and power groups: local times in UTC, names that are there, and every mistake with its line."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from farmd.config import load_config, maintenance
from farmd.model.errors import ConfigErrors

MACHINE = """
[[machine]]
name = "mk4"
driver = "simulated"
process = "MEX"
volume_mm = [250, 210, 220]
"""


def written(folder: Path, *tables: str) -> Path:
    path = folder / "farm.toml"
    path.write_text('[farm]\nname = "hall"\ntimezone = "Europe/Berlin"\n' + MACHINE + "\n".join(tables))
    return path


def errors(path: Path) -> list[tuple[str, str]]:
    with pytest.raises(ConfigErrors) as caught:
        load_config(path)
    return [(e.code.name, e.what) for e in caught.value.errors]


def local(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()


def test_maintenance_is_meant_in_the_farms_zone_unless_it_says_another(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "count = 2",
        "[[machine.maintenance]]\nfrom = 2026-03-29T01:00:00\nto = 2026-03-29T04:00:00",
        "[[machine.maintenance]]\nfrom = 2026-01-05T08:00:00Z\nto = 2026-01-05T09:00:00Z",
    )
    found = maintenance(load_config(path))
    assert found.keys() == {"mk4-01", "mk4-02"}
    # The clocks skip an hour on 2026-03-29; Berlin is an hour ahead of UTC in January.
    assert found["mk4-01"] == (
        (local("2026-01-05T09:00"), local("2026-01-05T10:00")),
        (local("2026-03-29T01:00"), local("2026-03-29T01:00") + 2 * 3600),
    )
    assert maintenance(load_config(written(tmp_path))) == {}


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ("from = 2026-01-05T09:00:00\nto = 2026-01-05T08:00:00", "`to` must be after `from`"),
        ("from = 2026-01-05T08:00:00Z\nto = 2026-01-05T09:00:00", "both name their time zone, or neither"),
        ("from = 2026-01-05T08:00:00", "machine[1].maintenance[1].to is missing"),
        ('from = "monday"\nto = 2026-01-05T09:00:00', "Input should be a valid datetime"),
    ],
)
def test_wrong_maintenance_is_one_error(tmp_path: Path, lines: str, what: str) -> None:
    ((_, said),) = errors(written(tmp_path, "[[machine.maintenance]]", lines))
    assert what in said


def group(machines: str, more: str = "at_once = 1\nwarm_up_minutes = 5") -> str:
    return f'[[power_group]]\nname = "fuse"\nmachines = {machines}\n{more}'


def test_a_group_has_all_machines_of_a_count(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, "count = 3", group('["mk4"]')))
    assert config.power_groups[0].machines == ("mk4-01", "mk4-02", "mk4-03")
    config = load_config(written(tmp_path, "count = 3", group('["mk4-03", "mk4-01"]')))
    assert config.power_groups[0].machines == ("mk4-03", "mk4-01")


@pytest.mark.parametrize(
    ("table", "code"),
    [
        (group('["mk5"]'), "config-unknown-machine"),
        (group('["mk4", "mk4"]'), "config-duplicate"),
        (group('["mk4"]') + "\n" + group('["mk4"]'), "config-duplicate"),
        (group("[]"), "config-bad-value"),
        (group('["mk4"]', "at_once = 0\nwarm_up_minutes = 5"), "config-bad-value"),
        (group('["mk4"]', "at_once = 1\nwarm_up_minutes = 0"), "config-bad-value"),
        (group('["mk4"]', "at_once = 1"), "config-missing-key"),
    ],
)
def test_a_wrong_group_is_one_error(tmp_path: Path, table: str, code: str) -> None:
    assert [said for said, _ in errors(written(tmp_path, table))] == [code]


def test_a_machine_by_its_own_name_and_its_tables_is_in_a_group_twice(tmp_path: Path) -> None:
    ((code, what),) = errors(written(tmp_path, "count = 2", group('["mk4", "mk4-02"]')))
    assert (code, what) == ("config-duplicate", "'mk4-02' is in the group already")
