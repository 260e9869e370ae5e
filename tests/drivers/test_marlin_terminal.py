"""The terminal's ring: lines of what went over a link, in order, numbered, bounded, made only when looked at."""

from __future__ import annotations

from farmd.driver import TerminalLine
from farmd_drivers.marlin.terminal import BYTES, CHUNKS, LINES, LONGEST, Terminal

EPOCH = 1000.0


def texts(lines: list[TerminalLine]) -> list[tuple[bool, str]]:
    return [(line.sent, line.text) for line in lines]


def test_lines_are_told_in_order_with_times_and_numbers() -> None:
    terminal = Terminal()
    terminal.note((1.0, True, b"N1 M105*37\n"))
    terminal.note((1.5, False, b"ok T:20.0 /0.0\r\necho:b"))
    terminal.note((1.6, True, b"N2 G28*18\nN3 G1*1\n"))
    terminal.note((1.7, False, b"usy: processing\n\nok\n"))
    found = terminal.lines(0, EPOCH)
    assert found == [
        TerminalLine(1, 1001.0, True, "N1 M105*37"),
        TerminalLine(2, 1001.5, False, "ok T:20.0 /0.0"),
        TerminalLine(3, 1001.6, True, "N2 G28*18"),
        TerminalLine(4, 1001.6, True, "N3 G1*1"),
        TerminalLine(5, 1001.7, False, "echo:busy: processing"),
        TerminalLine(6, 1001.7, False, ""),
        TerminalLine(7, 1001.7, False, "ok"),
    ]
    assert terminal.lines(5, EPOCH) == found[5:]
    assert terminal.lines(7, EPOCH) == []
    terminal.note((2.0, False, b"ok\n"))
    assert [line.number for line in terminal.lines(7, EPOCH)] == [8]


def test_bytes_are_shown_one_for_one_whatever_they_are() -> None:
    terminal = Terminal()
    terminal.note((0.0, False, bytes(range(256)).replace(b"\n", b"") + b"\n"))
    (line,) = terminal.lines(0, EPOCH)
    assert line.text.encode("latin-1") == bytes(range(256)).replace(b"\n", b"")


def test_a_number_of_before_a_restart_gets_everything() -> None:
    terminal = Terminal()
    terminal.note((0.0, False, b"start\n"))
    assert texts(terminal.lines(5000, EPOCH)) == [(False, "start")]


def test_what_nobody_looked_at_is_a_gap_in_the_numbers() -> None:
    terminal = Terminal()
    terminal.note((0.0, False, b"start\n"))
    (first,) = terminal.lines(0, EPOCH)
    for n in range(3 * CHUNKS):
        terminal.note((float(n), True, b"N%d G1*1\n" % n))
    found = terminal.lines(first.number, EPOCH)
    assert found[0].number > first.number + 1
    assert [line.number - found[0].number for line in found] == list(range(len(found)))
    assert found[-1].text == f"N{3 * CHUNKS - 1} G1*1"
    assert len(found) <= CHUNKS


def test_looking_often_loses_nothing() -> None:
    terminal, seen, after = Terminal(), [], 0
    for n in range(5 * CHUNKS):
        terminal.note((float(n), n % 2 == 0, b"%d\n" % n))
        if n % 700 == 0:
            page = terminal.lines(after, EPOCH)
            after = page[-1].number
            seen += page
    seen += terminal.lines(after, EPOCH)
    assert [line.text for line in seen] == [str(n) for n in range(5 * CHUNKS)]
    assert [line.number for line in seen] == list(range(1, 5 * CHUNKS + 1))


def test_it_is_bounded() -> None:
    terminal = Terminal()
    for _ in range(4):
        for _ in range(CHUNKS):
            terminal.note((0.0, False, b"x\n"))
        terminal.lines(0, EPOCH)
    assert len(terminal.lines(0, EPOCH)) == LINES


def test_a_babbling_link_is_bounded_by_bytes() -> None:
    terminal = Terminal()
    for n in range(300):
        terminal.note((float(n), False, b"%d " % n + b"U" * 4090))
    terminal.tidy()
    lines = terminal.lines(0, EPOCH)
    assert 0 < sum(len(line.text) for line in lines) <= BYTES
    assert max(len(line.text) for line in lines) <= 2 * LONGEST
    assert "298 UUU" in lines[-1].text, "the newest is kept"
    before = len(lines)
    terminal.tidy()
    assert len(terminal.lines(0, EPOCH)) == before


def test_a_new_link_begins_a_new_line() -> None:
    terminal = Terminal()
    terminal.note((1.0, False, b"echo:bus"))
    terminal.note((1.0, True, b"N1 M1"))
    terminal.cut()
    terminal.note((2.0, False, b"start\n"))
    assert sorted(texts(terminal.lines(0, EPOCH))) == [(False, "echo:bus"), (False, "start"), (True, "N1 M1")]
    terminal.cut()
    assert len(terminal.lines(0, EPOCH)) == 3
