"""Times, lengths of time and names as people read them, and the times that people type.

Takes ISO 8601 in UTC as the API gives it and shows it in the zone of this machine (TZ), by that
zone's rules on the day. Reads no clock but in `here`.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

import typer

NOTHING = "–"
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def here() -> datetime:
    """The wall clock in the local zone."""
    return datetime.now(UTC).astimezone()


def plain(value: object) -> str:
    """A value as one line without control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in str(value))


def clock(iso: str | None, now: datetime, *, seconds: bool = False) -> str:
    """`14:05` on the day of `now`, `Tue 14:05` within six days of it, else with the date."""
    if iso is None:
        return NOTHING
    at, now = datetime.fromisoformat(iso).astimezone(), now.astimezone()
    hours = f"{at:%H:%M:%S}" if seconds else f"{at:%H:%M}"
    days = (at.date() - now.date()).days
    if days == 0:
        return hours
    if abs(days) <= 6:
        return f"{at:%a} {hours}"
    if abs(days) < 300:
        return f"{at.day} {at:%b} {hours}"
    return f"{at:%Y-%m-%d} {hours}"


def span(seconds: float | None) -> str:
    """`45 s`, `12 min`, `2 h 05 min`, `3 d 4 h`."""
    if seconds is None:
        return NOTHING
    whole = round(seconds)
    if whole < 0:
        return f"-{span(-seconds)}"
    if whole < 60:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def due_time(text: str) -> str:
    """What `--due` means, as ISO 8601 in UTC. A day alone means its end, here."""
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            return _utc(datetime.combine(date.fromisoformat(text), time(23, 59, 59)))
        return _utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"{text!r} is not a time such as 2026-03-31, 2026-03-31T14:00 or 2026-03-31T14:00+02:00",
            param_hint="'--due'",
        ) from error


def since_time(text: str | None, now: datetime) -> str:
    """What `--since` means, as ISO 8601 in UTC: a length of time back, or a time; else today's midnight."""
    if text is None:
        return _utc(datetime.combine(now.astimezone().date(), time()))
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw]?)", text)
    try:
        if match:
            return _utc(now - float(match[1]) * _UNITS[match[2] or "d"])
        return _utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"{text!r} is neither a length of time such as 12h, 7d or 2w nor a time such as 2026-03-01",
            param_hint="'--since'",
        ) from error


def _utc(at: datetime) -> str:
    """A time without a zone is meant here."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
