"""Shifts and maintenance as spans of UTC time, over changes of summer time. Knows these and the time zone only."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from farmd.config.models import WEEKDAYS, Config, ShiftTable


def shift_windows(config: Config, start: float, end: float) -> dict[str, list[tuple[float, float]]]:
    """Each shift's spans that overlap `start` to `end`, by the shift's name, sorted, not cut off.

    All times are seconds since the epoch, UTC. Spans of one shift that touch are one span. A time of day that
    occurs twice is its first occurrence; one that the clocks skip is as much later as they skip.
    """
    zone = ZoneInfo(config.farm.timezone)
    return {shift.name: _windows(shift, zone, start, end) for shift in config.shifts}


def maintenance(config: Config) -> dict[str, tuple[tuple[float, float], ...]]:
    """When each machine that is ever shut is so, by its name, in order; seconds since the epoch, UTC."""
    zone = ZoneInfo(config.farm.timezone)
    return {
        machine.name: tuple(sorted((_utc(m.begins, zone), _utc(m.ends, zone)) for m in machine.maintenance))
        for machine in config.machines
        if machine.maintenance
    }


def _utc(at: datetime, zone: ZoneInfo) -> float:
    return (at if at.tzinfo is not None else at.replace(tzinfo=zone)).timestamp()


def _windows(shift: ShiftTable, zone: ZoneInfo, start: float, end: float) -> list[tuple[float, float]]:
    spans: list[tuple[float, float]] = []
    day = datetime.fromtimestamp(start, UTC).astimezone(zone).date()
    last = datetime.fromtimestamp(end, UTC).astimezone(zone).date()
    overnight = _minutes(shift.ends) <= _minutes(shift.begins)
    # A span reaches at most two days beyond the day it is named by: "24:00" to "24:00".
    day -= timedelta(days=3)
    while day <= last:
        if WEEKDAYS[day.weekday()] in shift.days:
            begins = _moment(day, shift.begins, zone)
            ends = _moment(day + timedelta(days=overnight), shift.ends, zone)
            if begins < ends:
                if spans and begins <= spans[-1][1]:
                    begins, ends = spans[-1][0], max(spans.pop()[1], ends)
                spans.append((begins, ends))
        day += timedelta(days=1)
    return [(begins, ends) for begins, ends in spans if ends > start and begins < end]


def _minutes(time_of_day: str) -> int:
    hours, minutes = time_of_day.split(":")
    return int(hours) * 60 + int(minutes)


def _moment(day: date, time_of_day: str, zone: ZoneInfo) -> float:
    days, minutes = divmod(_minutes(time_of_day), 24 * 60)
    local = datetime(day.year, day.month, day.day, minutes // 60, minutes % 60, tzinfo=zone)
    if days:
        local += timedelta(days=days)
    return local.timestamp()
