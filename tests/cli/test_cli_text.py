"""Times as people read and type them, over the change to summer time too."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import typer

from farmd.cli.text import clock, due_time, plain, since_time, span

NOW = datetime(2026, 3, 27, 12, 0, tzinfo=UTC)  # A Friday, two days before summer time, 13:00 here.


@pytest.mark.parametrize(
    ("iso", "shown"),
    [
        ("2026-03-27T13:05:00.000Z", "14:05"),
        ("2026-03-26T23:00:00Z", "00:00"),
        ("2026-03-26T22:59:00Z", "Thu 23:59"),
        ("2026-03-31T12:05:00Z", "Tue 14:05"),
        ("2026-04-02T12:05:00Z", "Thu 14:05"),
        ("2026-04-03T12:05:00Z", "3 Apr 14:05"),
        ("2027-04-03T12:05:00Z", "2027-04-03 14:05"),
        (None, "–"),
    ],
)
def test_clock(iso: str | None, shown: str) -> None:
    assert clock(iso, NOW) == shown


def test_clock_with_seconds() -> None:
    assert clock("2026-03-27T12:00:07.900Z", NOW, seconds=True) == "13:00:07"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "–"),
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (7500, "2 h 05 min"),
        (3599, "1 h 00 min"),
        (47.99 * 3600, "47 h 59 min"),
        (76 * 3600, "3 d 4 h"),
        (-90, "-2 min"),
    ],
)
def test_span(seconds: float | None, shown: str) -> None:
    assert span(seconds) == shown


@pytest.mark.parametrize(
    ("typed", "utc"),
    [
        ("2026-03-28T14:00", "2026-03-28T13:00:00Z"),
        ("2026-03-30 14:00", "2026-03-30T12:00:00Z"),
        ("2026-03-30T14:00+05:00", "2026-03-30T09:00:00Z"),
        ("2026-03-30T14:00Z", "2026-03-30T14:00:00Z"),
        ("2026-03-30", "2026-03-30T21:59:59Z"),
    ],
)
def test_due(typed: str, utc: str) -> None:
    assert due_time(typed) == utc


@pytest.mark.parametrize("typed", ["", "monday", "2026-02-30", "2026-13-01T00:00", "0001-01-01T00:00"])
def test_what_is_no_time_is_refused(typed: str) -> None:
    with pytest.raises(typer.BadParameter):
        due_time(typed)


@pytest.mark.parametrize(
    ("typed", "utc"),
    [
        (None, "2026-03-26T23:00:00Z"),
        ("12h", "2026-03-27T00:00:00Z"),
        ("7d", "2026-03-20T12:00:00Z"),
        ("7", "2026-03-20T12:00:00Z"),
        ("1.5d", "2026-03-26T00:00:00Z"),
        ("2w", "2026-03-13T12:00:00Z"),
        ("2026-03-01", "2026-02-28T23:00:00Z"),
    ],
)
def test_since(typed: str | None, utc: str) -> None:
    assert since_time(typed, NOW) == utc


def test_plain_keeps_text_on_its_line_and_terminals_in_peace() -> None:
    assert plain("Gehäuse ×2 \x1b[31m\nred\t") == "Gehäuse ×2 ?[31m?red?"
