"""The strict emulator against what Marlin's source says: the oracle of all other tests has to be right itself."""

from __future__ import annotations

import hashlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import termios
import tty
from collections.abc import Callable
from pathlib import Path

import pytest

from farmd_drivers.marlin.emulator import Marlin
from farmd_drivers.marlin.emulator.body import ROOM_C, HeaterFault
from farmd_drivers.marlin.emulator.build import STOPPED, Build
from farmd_drivers.marlin.emulator.faults import Life, Quirk, Saboteur, Upset, befall
from farmd_drivers.marlin.emulator.noise import Fault, spoil
from farmd_drivers.marlin.wire.replies import encode

BIT_S = 1 / 115200
AVR = Build(baud=115200, rx_bytes=128, move_scale=1.0)


def machine(build: Build | None = None) -> Marlin:
    made = Marlin(build or Build())
    made.power_on(0.0)
    made.output.clear()
    return made


def said(of: Marlin, at: float | None = None) -> bytes:
    """What it has said since the last time, up to a moment."""
    if at is not None:
        of.step(at)
    data = bytes(of.output)
    of.output.clear()
    return data


def tell(to: Marlin, *commands: bytes, first: int = 1, at: float = 0.0) -> bytes:
    """Send numbered commands at once; what it says to them at once."""
    to.receive(b"".join(encode(number, command) for number, command in enumerate(commands, first)), at)
    return said(to)


# Lines.


@pytest.mark.parametrize(
    ("line", "answer", "executed"),
    [
        (encode(1, b"G1 X1"), b"ok\n", [b"G1 X1"]),
        (b"G1 X1\n", b"ok\n", [b"G1 X1"]),
        (b"\n\r\n; a comment\n", b"", []),
        (b"  \n", b'echo:Unknown command: ""\nok\n', []),
        (encode(1, b"G1 X1")[:-1] + b"\r\nG28\r", b"ok\nok\n", [b"G1 X1", b"G28"]),
        (b"G1X1Y2\nG01 X1\n", b"ok\nok\n", [b"G1X1Y2", b"G01 X1"]),
        (b"M117 50% * done\n", b"ok\n", [b"M117 50%"]),
        (b"g1 x1\n", b'echo:Unknown command: "g1 x1"\nok\n', []),
        (b"12 G1 X1*97\n", b'echo:Unknown command: "12 G1 X1"\nok\n', []),
        (b"\0G1 X1\n", b'echo:Unknown command: ""\nok\n', []),
        (b"G1 X1\x082\n", b"ok\n", [b"G1 X2"]),
        (b"M117 " + b"a" * 200 + b"\n", b"ok\n", [b"M117 " + b"a" * 90]),
    ],
)
def test_what_a_line_comes_to(line: bytes, answer: bytes, executed: list[bytes]) -> None:
    made = machine()
    made.receive(line, 0.0)
    assert said(made) == answer
    assert made.executed == executed


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"N2 G1 X1*98\n", b"Line Number is not Last Line Number+1"),
        (b"N G1 X1*98\n", b"Line Number is not Last Line Number+1"),
        (b"N1 G1 X1\n", b"No Checksum with line number"),
        (b"N1 G1 X1;*97\n", b"No Checksum with line number"),
        (b"N1 G1\0 X1*97\n", b"No Checksum with line number"),
        (b"N1 G1 X1*98\n", b"checksum mismatch"),
        (b"N1 G1 X1*9N2 G1 X2*97\n", b"checksum mismatch"),
    ],
)
def test_what_is_refused_and_why(line: bytes, why: bytes) -> None:
    made = machine()
    made.receive(line + b"G28\n", 0.0)
    assert said(made) == b"Error:" + why + b", Last Line: 0\nResend: 1\nok\n"
    assert made.executed == [], "what had arrived behind it was flushed"


def test_numbers_are_set_when_read_and_again_when_executed() -> None:
    made = machine(Build(move_scale=1.0))
    tell(made, b"G4 P500")
    made.receive(encode(0, b"M110 N0") + encode(1, b"G28"), 0.1)
    assert made.last_number == 1
    said(made, 1.0)
    assert made.last_number == 0, "M110 was executed behind the reading of line 1"
    assert machine(Build(knows_m110=False)) is not None
    old = machine(Build(knows_m110=False))
    old.last_number = 6
    assert b"Resend: 7\n" in tell(old, b"M110 N0", first=0)


def test_resend_comes_before_the_oks_of_earlier_lines() -> None:
    made = machine(Build(move_scale=1.0))
    data = encode(1, b"G4 P100") + encode(2, b"M106") + b"N3 M107*1\n" + encode(4, b"M107")
    made.receive(data, 0.0)
    assert said(made, 0.2).splitlines() == [
        b"Error:checksum mismatch, Last Line: 2",
        b"Resend: 3",
        b"ok",
        b"ok",
        b"ok",
    ]
    assert made.executed == [b"G4 P100", b"M106"]


def test_ways_to_answer_behind_a_resend() -> None:
    wrong = encode(9, b"G28")
    bare = machine(Build(advanced_ok=True))
    tell(bare, b"G28")
    bare.receive(wrong, 1.0)
    assert said(bare).endswith(b"Resend: 2\nok\n")
    silent = machine(Build(ok_after_resend=False))
    silent.receive(wrong, 1.0)
    assert said(silent).endswith(b"Resend: 1\n")
    early = machine(Build(advanced_ok=True, early_resend_ok=True, move_scale=1.0))
    tell(early, b"M106", b"M107", b"M106", b"M107", b"G4 S5")
    early.receive(wrong, 1.0)
    assert said(early).endswith(b"Resend: 6\nok N5 P15 B3\n"), "of the command in work"
    said(early, 9.0)
    early.receive(wrong, 10.0)
    assert said(early).endswith(b"Resend: 6\nok N2 P15 B4\n"), "of what is left where the next will be"


def test_advanced_ok_counts_its_own_slot_and_the_planner() -> None:
    made = machine(Build(advanced_ok=True, move_scale=1.0))
    assert tell(made, b"G91", b"G1 X10 F600") == b"ok N1 P15 B2\nok N2 P14 B3\n"
    assert tell(made, b"M105", first=3).startswith(b"ok T:21.00 /0.00"), "M105 has an ok of its own"
    made.receive(b"M106\n", 0.0)
    assert said(made) == b"ok P14 B3\n"
    tell(made, b"G4 S1", b"M106", b"M107", first=4)
    assert said(made, 3.0) == b"ok N4 P15 B1\nok N5 P15 B2\nok N6 P15 B3\n"


# Ring, receive buffer, pace.


def test_the_command_in_work_keeps_its_place_in_the_ring() -> None:
    made = machine(Build(move_scale=1.0))
    tell(made, b"G4 S1", *[b"M106 S%d" % n for n in range(5)])
    assert made.last_number == 4
    assert made.queued == 4
    said(made, 2.0)
    assert made.last_number == 6


def test_bytes_come_at_the_pace_of_the_wire() -> None:
    made = machine(AVR)
    line = encode(1, b"G90")
    made.receive(line, 0.0)
    assert made.next_time() == pytest.approx(len(line) * 10 * BIT_S)
    assert said(made, made.next_time() - 1e-6) == b""
    assert said(made, made.next_time()) == b"ok\n"


def test_a_full_receive_buffer_loses_bytes_without_a_word() -> None:
    made = machine(AVR)
    lines = [encode(n, b"G1 X%d Y%d E0.5 F1200" % (n, n)) for n in range(2, 12)]
    made.receive(encode(1, b"G4 P300") + b"".join(lines), 0.0)
    heard = said(made, 0.2)
    assert heard == b""
    assert made.queued == 4
    assert made.intake.most_bytes == 127
    sizes = [len(line) for line in lines]
    assert made.lost_bytes == sum(sizes) - sum(sizes[:3]) - 127
    whole = max(n for n in range(10) if sum(sizes[3:n]) <= 127)
    assert said(made, 20.0) == b"ok\n" * (1 + whole)
    assert b"Error:" in tell(made, b"M106", first=12, at=20.0) + said(made, 21.0)
    assert made.unknown == []


def test_an_error_flushes_what_has_arrived_when_it_has_been_said() -> None:
    """And what is on the wire then comes without its head: if it is a command, it is believed."""
    wrong = b"N5 G28*1\n"
    error = b"Error:Line Number is not Last Line Number+1, Last Line: 0\n"
    for cut, executed in ((3, b"G1 X5"), (2, b"G1 X5"), (4, None), (-1, b"G1 X5")):
        made = machine(AVR)
        flushed = b";" * (len(error) - cut - 1) + b"\n"
        made.receive(wrong + flushed + encode(1, b"G1 X5"), 0.0)
        assert said(made, 1.0).startswith(error + b"Resend: 1\nok\n")
        assert made.executed == ([executed] if executed else [])
        assert made.unchecked == ([0] if cut in (2, 3) else [])
        assert made.last_number == (1 if cut == -1 else 0)
    burst = machine()
    burst.receive(wrong + encode(1, b"M106"), 0.0)
    assert burst.executed == []


# Emergencies.


def test_emergency_parser_hears_through_a_full_ring_and_a_wrong_checksum() -> None:
    made = machine(Build(move_scale=1.0, rx_bytes=128))
    tell(made, b"G4 S60", *[b"M106 S%d" % n for n in range(20)])
    made.receive(b"N99 M112*1\n", 1.0)
    assert not made.alive
    assert said(made) == b"echo:M112 Shutdown\nError:Printer halted. kill() called!\n//action:poweroff\n"
    made.receive(encode(1, b"G28"), 2.0)
    assert said(made, 100.0) == b""


def test_without_it_only_an_unnumbered_line_that_is_read_is_heard() -> None:
    plain = Build(move_scale=1.0, emergency_parser=False)
    made = machine(plain)
    tell(made, b"G4 S60")
    tell(made, b"M112", first=2, at=1.0)
    assert made.alive
    made.receive(b"M112\n", 2.0)
    assert not made.alive
    full = machine(plain)
    tell(full, b"G4 S60", b"M106", b"M106", b"M106")
    full.receive(b"M112\n", 1.0)
    assert full.alive, "the ring is full, so it is not read"


def test_m108_ends_a_wait_and_not_the_next_one() -> None:
    made = machine(Build(heat_c_per_s=0.1))
    tell(made, b"M109 S200")
    made.receive(b"M108\n", 1.0)
    assert said(made, 1.0).endswith(b"ok\nok\n")
    tell(made, b"M109 S210", first=2, at=2.0)
    assert made.queued == 1


# Time.


def test_keepalive_in_a_handler_and_while_a_move_waits_for_room() -> None:
    made = machine(Build(move_scale=1.0, says_wait=True))
    tell(made, b"G91", b"M113 S1")
    heard = tell(made, *[b"G1 X100 F600"] * 17, first=3)
    assert heard == b"ok\n" * 15
    heard = said(made, 9.99)
    assert heard == b"echo:busy: processing\n" * 9
    assert said(made, 10.01) == b"ok\n"
    assert said(made, 11.5) == b"echo:busy: processing\n"
    tell(made, b"M113 S0", b"G4 S5", first=20, at=400.0)
    assert b"busy" not in said(made, 500.0)


def test_wait_only_while_nothing_is_to_do() -> None:
    made = machine(Build(move_scale=1.0, says_wait=True))
    assert said(made, 2.5) == b"wait\nwait\n"
    tell(made, b"G4 S3", at=2.5)
    assert said(made, 6.6).splitlines() == [b"echo:busy: processing", b"ok", b"wait"]


def test_planner_tells_under_runs_from_wanted_stops() -> None:
    made = machine(Build(move_scale=1.0))
    planner = made.body.planner
    tell(made, b"G91", b"G1 X1 F600")
    tell(made, b"G1 X1", first=3, at=0.35)
    assert planner.under_runs == 1
    assert planner.stopped_s == pytest.approx(0.25)
    tell(made, b"M400", first=4, at=0.36)
    said(made, 0.6)
    tell(made, b"G1 X1", first=5, at=0.8)
    assert planner.under_runs == 1, "M400 wanted that stop"
    tell(made, b"G1 X1", first=6, at=30.0)
    assert planner.under_runs == 1, "nobody was in a hurry"
    short = machine(Build(move_scale=1.0, min_move_s=0.02))
    tell(short, b"G91", b"G1 X0.01 F6000")
    assert not short.body.is_still(0.019)
    assert short.body.is_still(0.02)


def test_position_follows_all_modes() -> None:
    made = machine()
    tell(made, b"G28", b"G1 X10 Y5 Z2 E3 F1200", b"G91", b"G1 X-1 E2", b"M82", b"G1 Y1 E4", b"G92 E0 X100")
    assert made.body.position == {"X": 100.0, "Y": 6.0, "Z": 2.0, "E": 0.0}
    heard = tell(made, b"G90", b"M83", b"G1 X1 E1.5", b"G1E1.5", b"G28 Z", b"M114", first=8)
    assert heard.endswith(b"X:1.00 Y:6.00 Z:0.00 E:3.00 Count X:80 Y:480 Z:0\nok\n")
    assert made.body.feed_mm_s == 20.0


# Heat, people, life.


@pytest.mark.parametrize(
    ("fault", "shows"),
    [
        (HeaterFault.NONE, lambda before, after: before < after == 200.0),
        (HeaterFault.STUCK, lambda before, after: ROOM_C == after < before),
        (HeaterFault.FROZEN, lambda before, after: before == after),
        (HeaterFault.RUNAWAY, lambda before, after: after > 300.0),
    ],
)
def test_what_a_heater_can_suffer(fault: HeaterFault, shows: Callable[[float, float], bool]) -> None:
    made = machine(Build(heat_c_per_s=10.0, ripple_c=0.5))
    tell(made, b"M104 S200")
    made.body.warm(9.0)
    before = made.body.nozzle.actual_c
    assert before == pytest.approx(111.0)
    made.body.nozzle.fault = fault
    made.body.warm(60.0)
    assert shows(before, made.body.nozzle.actual_c)
    shown = {made.body.temperatures(60.0 + second) for second in range(5)}
    assert (len(shown) == 1) is (fault is HeaterFault.FROZEN)


def test_a_wait_for_heat_reports_and_ends() -> None:
    made = machine(Build(heat_c_per_s=10.0, busy_while_heating=False))
    assert tell(made, b"M109 S61") == b""
    heard = said(made, 10.0).splitlines()
    assert heard[0] == b" T:31.00 /61.00 B:21.00 /0.00 @:0 B@:0 W:?"
    assert heard[-1] == b"ok"
    assert len(heard) == 4


def test_people_at_the_machine() -> None:
    made = machine(Build(prompts=True, says_twice=True))
    heard = tell(made, b"M600")
    assert heard.startswith(b"//action:paused\n//action:paused\n//action:prompt_end\n")
    assert said(made, 7200.0).count(b"echo:busy: paused for user\n") == 3600
    made.receive(b"M876 S0\n", 7200.0)
    assert said(made) == b"//action:resumed\nok\nok\n"
    tell(made, b"M0", first=2, at=8000.0)
    made.press()
    assert said(made, 8000.0) == b"ok\n"
    tell(made, b"M0 S5", first=3, at=8001.0)
    assert made.queued == 0, "moves take no time here, and neither do timed waits"


def test_stopped_firmware_answers_and_prints_air() -> None:
    made = machine()
    made.stop_moving()
    assert said(made) == STOPPED
    assert tell(made, b"G1 X5", b"M104 S200") == STOPPED + b"ok\nok\n"
    assert made.executed == [b"M104 S200"]
    assert tell(made, b"M999", first=3) == b"Resend: 4\nok\n"
    assert tell(made, b"G1 X5", first=4) == b"ok\n"


@pytest.mark.parametrize(
    ("what", "heard"),
    [
        (Life.RESET, b"start\nMarlin"),
        (Life.ECHO_START, b"echo:start\n"),
        (Life.SILENT_RESET, b""),
        (Life.KILL, b"Error:Thermal Runaway, system stopped! Heater_ID: 0\nError:Printer halted."),
        (Life.LCD_KILL, b"echo:PRINTER HALTED\nError:Printer halted. kill() called!\n//action:poweroff\n"),
        (Life.STOP, STOPPED),
        (Life.OVERHEAT, b"Error:0\n: Extruder switched off. MAXTEMP triggered !\n" + STOPPED),
        (Life.HANG, b""),
        (Life.ACTION_PAUSED, b"//action:paused\n//action:paused\n"),
    ],
)
def test_what_befalls_a_machine(what: Life, heard: bytes) -> None:
    made = machine(Build(move_scale=1.0))
    tell(made, b"M104 S200", b"G4 S5", b"M106")
    befall(made, what, 1.0)
    assert said(made)[: len(heard)] == heard
    goes_on = what is Life.ACTION_PAUSED
    assert (made.body.nozzle.target_c == 0) is not (goes_on or what is Life.HANG)
    assert (b"ok" in said(made, 10.0)) is (goes_on or what in (Life.STOP, Life.OVERHEAT))


# Faults.


@pytest.mark.parametrize("fault", list(Fault))
def test_every_fault_of_bytes_spoils_a_line(fault: Fault) -> None:
    source = random.Random(3)
    line = b"ok\n" if fault is Fault.DOUBLE else encode(7, b"G1 X10 Y10")
    results = {spoil(line, fault, source) for _ in range(200)}
    assert line not in results
    for result in results:
        made = machine()
        made.last_number = 6
        made.receive(result + b"\n", 0.0)
        assert made.executed in ([], [b"G1 X10 Y10"]), result


def link_of(*upsets: Upset) -> tuple[Marlin, Saboteur]:
    made = machine()
    saboteur = Saboteur(upsets, made, lambda what: befall(made, what, made.now))
    saboteur.armed = True
    return made, saboteur


@pytest.mark.parametrize("quirk", [quirk for quirk in Quirk if quirk is not Quirk.BUSY_LONG])
def test_every_quirk_changes_what_passes(quirk: Quirk) -> None:
    to_host = quirk is not Quirk.STALL
    made, saboteur = link_of(Upset(1, quirk, to_host, 5))
    passed = saboteur.toward_host if to_host else saboteur.toward_machine
    assert passed(b"ok\n") == [(0.0, b"ok\n")]
    second = passed(b"ok\n")
    if quirk in (Quirk.MANY_RESENDS, Quirk.DAMAGED_RESEND):
        second = passed(said(made).partition(b"\n")[2])
        assert b"".join(data for _, data in second) != b"Resend: 1\nok\n"
    elif quirk is Quirk.LOST_OK:
        second = passed(b"ok\n")
    assert second != [(0.0, b"ok\n")]
    assert [upset.what for upset in saboteur.done] == [quirk]


def test_busy_for_long() -> None:
    made, saboteur = link_of(Upset(0, Quirk.BUSY_LONG, True, 5))
    saboteur.toward_host(b"ok\n")
    tell(made, b"M106")
    assert said(made, 2.5) == b"echo:busy: processing\n"


# Many machines on ptys.


def test_many_machines_in_one_process_tell_what_they_did(tmp_path: Path) -> None:
    count, moves = 5, 40
    report = tmp_path / "report.json"
    arguments = ["--count", str(count), "--report", str(report), "--record", str(tmp_path / "record")]
    process = subprocess.Popen(
        [sys.executable, "-m", "farmd_drivers.marlin.peer", *arguments, "--move-scale", "1", "--advanced-ok"],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    ports = [os.open(process.stdout.readline().strip(), os.O_RDWR | os.O_NOCTTY) for _ in range(count)]
    commands = [b"G91", b"G1 F6000", *[b"G1 X%d E0.01" % (1 - 2 * (n % 2)) for n in range(moves)], b"M400"]
    try:
        for port in ports:
            tty.setraw(port)
            termios.tcflush(port, termios.TCIFLUSH)
        at = dict.fromkeys(ports, 0)
        for port in ports:
            os.write(port, encode(1, commands[0]))
        while any(place < len(commands) for place in at.values()):
            ready = select.select(ports, [], [], 5)[0]
            assert ready, f"nobody answers any more: {at}"
            for port in ready:
                for _ in range(os.read(port, 4096).count(b"ok N")):
                    at[port] += 1
                    if at[port] < len(commands):
                        os.write(port, encode(at[port] + 1, commands[at[port]]))
    finally:
        for port in ports:
            os.close(port)
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        process.stdout.close()
    digest = hashlib.sha256(b"".join(line + b"\n" for line in commands[:-1])).hexdigest()
    found = json.loads(report.read_text())
    assert [one["sha256"] for one in found] == [digest] * count
    assert [one["executed"] for one in found] == [len(commands)] * count
    assert all(one["under_runs"] == one["resends"] == one["lost_bytes"] == 0 for one in found)
    assert (tmp_path / "record-3").read_bytes().splitlines() == commands
