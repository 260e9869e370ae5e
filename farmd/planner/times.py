"""Times on a problem's clock, and lengths of time, as people read them."""

from __future__ import annotations

HOUR_S = 3600.0
DAY_S = 86400.0


def day_clock(seconds: float) -> str:
    """`day 2 07:30`: the clock's zero is midnight of day 1."""
    minutes = round(seconds / 60)
    days, rest = divmod(minutes, 24 * 60)
    return f"day {days + 1} {rest // 60:02}:{rest % 60:02}"


def length(seconds: float) -> str:
    """`45 s`, `12 min`, `2 h 05 min`, `3 d 4 h`."""
    if abs(seconds) < 60:
        return f"{round(seconds)} s"
    minutes = round(abs(seconds) / 60)
    sign = "-" if seconds < 0 else ""
    if minutes < 60:
        return f"{sign}{minutes} min"
    if minutes < 48 * 60:
        return f"{sign}{minutes // 60} h {minutes % 60:02} min"
    hours = round(abs(seconds) / HOUR_S)
    return f"{sign}{hours // 24} d {hours % 24} h"
