"""What `farmctl why` shows of a plan's reasons: one line a wait, with its end in local time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from farmd.cli.pages import why_page

NOW = datetime(2026, 3, 17, 12, 0, tzinfo=UTC)
PLATES: dict[str, Any] = {
    "work": "J-7",
    "operation": "print",
    "what": "planned on mk4-03",
    "machine": "mk4-03",
    "start_at": "2026-03-18T06:05:00Z",
    "end_at": "2026-03-18T09:05:00Z",
    "more": 2,
    "waits": [
        {"kind": "available", "what": "mk4-03 makes R-1", "until": "2026-03-17T13:20:00Z"},
        {"kind": "shift", "what": "it is nobody's working time", "until": "2026-03-18T06:00:00Z"},
        {"kind": "clear", "what": "the machine is cleared", "until": "2026-03-18T06:05:00Z"},
    ],
    "late_s": 4500.0,
    "alone_end_at": "2026-03-17T16:05:00Z",
    "passed": [
        {"work": "J-2", "priority": 5.0, "more_s": 7200.0},
        {"work": "J-3", "priority": 1.0, "more_s": -600.0},
        {"work": "J-4", "priority": 1.0, "more_s": None},
    ],
}
PARTS: dict[str, Any] = {
    **PLATES,
    "work": "B-2",
    "operation": "wash",
    "what": "no machine for wash is available",
    "machine": None,
    "start_at": None,
    "end_at": None,
    "waits": [],
    "late_s": 0.0,
    "alone_end_at": None,
    "passed": [],
}


def shown(*waiting: dict[str, Any]) -> str:
    answer = {
        "job_id": "J-7",
        "state": "open",
        "what": "planned on mk4-03: mk4-03 makes R-1",
        "remedy": "see `farmctl next` for what people must do",
        "start_at": "2026-03-18T06:05:00Z",
        "end_at": "2026-03-18T18:05:00Z",
        "machine": "mk4-03",
        "machines": [
            {
                "machine": "mk4-01",
                "rule": "busy",
                "what": "x",
                "remedy": "y",
                "end_at": "2026-03-18T12:05:00Z",
            },
            {"machine": "xl-01", "rule": "group", "what": "x", "remedy": "y", "end_at": None},
        ],
        "waiting": list(waiting),
    }
    console = Console(width=160, no_color=True)
    with console.capture() as captured:
        console.print(why_page(answer, NOW))
    return captured.get()


def test_each_wait_has_a_line_with_its_end() -> None:
    lines = [line.rstrip() for line in shown(PLATES).splitlines()]
    assert "  until 14:20  mk4-03 makes R-1" in lines
    assert "  until Wed 07:00  it is nobody's working time" in lines
    assert "next start Wed 07:05 on mk4-03, the last of it ends Wed 19:05" in lines
    assert "J-7 print: planned on mk4-03" not in "\n".join(lines), "no heading for one thing alone"


def test_what_is_late_tells_what_is_before_it() -> None:
    text = shown(PLATES)
    for words in (
        "1 h 15 min late; with nothing else to make it would end 17:05",
        "behind J-2 (priority 5): going before it would cost 2 h 00 min of weighted delay",
        "behind J-3 (priority 1): going before it would save 10 min of weighted delay",
        "behind J-4 (priority 1): before it there is nobody's working time",
    ):
        assert words in text


def test_several_things_are_told_apart() -> None:
    lines = [line.rstrip() for line in shown(PLATES, PARTS).splitlines()]
    assert "J-7 print: planned on mk4-03, Wed 07:05 to Wed 10:05" in lines
    assert "B-2 wash: no machine for wash is available" in lines


def test_machines_tell_when_it_would_end_there() -> None:
    rows = {line.split()[0]: line.split() for line in shown(PLATES).splitlines() if "-01" in line}
    assert rows["mk4-01"][1:4] == ["Wed", "13:05", "busy"]
    assert rows["xl-01"][1:3] == ["–", "group"]
