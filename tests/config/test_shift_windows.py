"""Shifts as spans of UTC time: days, midnight, summer time."""

from __future__ import annotations

import itertools
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from farmd.config import Config, FarmTable, ShiftTable, load_config, shift_windows
from farmd.config.models import WEEKDAYS

BERLIN = ZoneInfo("Europe/Berlin")
H = 3600.0


def farm(begins: str, ends: str, days: tuple[str, ...] = WEEKDAYS, zone: str = "Europe/Berlin") -> Config:
    shift = ShiftTable.model_validate({"name": "day", "from": begins, "to": ends, "days": days, "people": 2})
    return Config.model_construct(farm=FarmTable(name="hall", timezone=zone), shifts=(shift,))


def local(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


def spans(config: Config, start: str, end: str) -> list[tuple[float, float]]:
    return shift_windows(config, local(start), local(end))["day"]


def test_from_a_file_with_people(tmp_path: Path) -> None:
    path = tmp_path / "farm.toml"
    path.write_text(
        '[farm]\nname = "hall"\ntimezone = "Europe/Berlin"\n'
        '[[shift]]\nname = "day"\ndays = ["mon", "tue"]\nfrom = "07:00"\nto = "22:00"\npeople = 2\n'
        '[[shift]]\nname = "lights-out"\nfrom = "22:00"\nto = "06:00"\n'
    )
    config = load_config(path)
    assert config.shift_people() == {"day": 2, "lights-out": None}
    # 2026-11-16 is a Monday; Berlin is an hour ahead of UTC.
    found = shift_windows(config, local("2026-11-16T00:00"), local("2026-11-19T00:00"))
    assert found["day"] == [
        (local("2026-11-16T07:00"), local("2026-11-16T22:00")),
        (local("2026-11-17T07:00"), local("2026-11-17T22:00")),
    ]
    assert len(found["lights-out"]) == 4
    assert found["lights-out"][0] == (local("2026-11-15T22:00"), local("2026-11-16T06:00"))


def test_no_shifts_no_windows() -> None:
    config = Config.model_construct(farm=FarmTable(name="hall"), shifts=())
    assert shift_windows(config, 0.0, 1e6) == {}


def test_wall_times_hold_over_the_change_to_summer_time() -> None:
    """Clocks go from 02:00 to 03:00 on 2026-03-29."""
    day, night = farm("07:00", "15:00"), farm("22:00", "06:00")
    found = spans(day, "2026-03-28T00:00", "2026-03-30T00:00")
    assert [end - start for start, end in found] == [8 * H, 8 * H]
    assert found[1][0] - found[0][0] == 23 * H
    assert datetime.fromtimestamp(found[1][0], BERLIN).hour == 7
    over = spans(night, "2026-03-28T20:00", "2026-03-29T12:00")
    assert over == [(local("2026-03-28T22:00"), local("2026-03-28T22:00") + 7 * H)]


def test_wall_times_hold_over_the_change_back() -> None:
    """Clocks go from 03:00 back to 02:00 on 2026-10-25."""
    found = spans(farm("07:00", "15:00"), "2026-10-24T00:00", "2026-10-26T00:00")
    assert found[1][0] - found[0][0] == 25 * H
    (over,) = spans(farm("22:00", "06:00"), "2026-10-24T20:00", "2026-10-25T12:00")
    assert over[1] - over[0] == 9 * H


def test_times_that_clocks_skip_or_repeat() -> None:
    (skipped,) = spans(farm("02:30", "06:00"), "2026-03-29T00:00", "2026-03-29T12:00")
    assert datetime.fromtimestamp(skipped[0], BERLIN).strftime("%H:%M") == "03:30"
    assert spans(farm("02:15", "03:00"), "2026-03-29T00:00", "2026-03-29T12:00") == []
    (repeated,) = spans(farm("01:00", "02:30"), "2026-10-25T00:00", "2026-10-25T12:00")
    assert repeated[1] - repeated[0] == 1.5 * H


def test_spans_that_touch_are_one() -> None:
    for ends in ("24:00", "00:00"):
        (always,) = spans(farm("00:00", ends), "2026-03-28T12:00", "2026-04-03T12:00")
        assert always[0] <= local("2026-03-28T00:00")
        assert always[1] == local("2026-04-04T00:00")
    (around,) = spans(farm("07:00", "07:00"), "2026-06-01T00:00", "2026-06-03T00:00")
    assert around[1] == local("2026-06-04T07:00")


def test_only_the_named_days_and_only_what_overlaps() -> None:
    weekend = farm("22:00", "02:00", days=("sat",))
    monday, sunday = "2026-11-16T00:00", "2026-11-22T00:00"
    assert spans(weekend, monday, sunday) == [(local("2026-11-21T22:00"), local("2026-11-22T02:00"))]
    assert spans(weekend, "2026-11-22T02:00", "2026-11-23T00:00") == []
    assert len(spans(weekend, "2026-11-22T01:59", "2026-11-23T00:00")) == 1


@given(
    begin_min=st.integers(0, 24 * 60 - 1),
    end_min=st.integers(0, 24 * 60),
    day=st.integers(0, 3000),
    hours=st.integers(0, 9 * 24),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"]),
)
def test_spans_are_sorted_apart_and_begin_at_the_wall_time(
    begin_min: int, end_min: int, day: int, hours: int, zone: str
) -> None:
    begins, ends = (f"{m // 60:02}:{m % 60:02}" for m in (begin_min, end_min))
    start = 1_700_000_000 + day * 24 * H
    end = start + hours * H
    found = shift_windows(farm(begins, ends, zone=zone), start, end)["day"]
    assert all(a < b and b > start and a < end for a, b in found)
    assert all(first[1] < second[0] for first, second in itertools.pairwise(found))
    tz = ZoneInfo(zone)
    for a, _ in found:
        moment = datetime.fromtimestamp(a, tz)
        changed = datetime.fromtimestamp(a - 3 * H, tz).utcoffset() != moment.utcoffset()
        assert changed or moment.strftime("%H:%M") == begins
    if found:
        # Another asking from inside gives the same spans: they are not cut off.
        middle = (found[0][0] + found[0][1]) / 2
        if begin_min != end_min % (24 * 60):
            assert shift_windows(farm(begins, ends, zone=zone), middle, end + 1)["day"][0] == found[0]
