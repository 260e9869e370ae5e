"""The gate: what no job may contain, however it is spelt, and the limits of a machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farmd.gcode import (
    Limits,
    SlicedFile,
    check_line,
    check_safety,
    executable_lines,
    parse_line,
    read_sliced,
)
from farmd.gcode.deny import DENIED_CODES, DENIED_WHEN_ZERO, DENIED_WITH, DENIED_WORDS

Write = Callable[[str, bytes | str], Path]

CODES = [entry[0] + number for entry, _ in DENIED_CODES for number in entry.replace(entry[0], "").split("-")]

SPELLINGS: tuple[Callable[[str, str], str], ...] = (
    lambda letter, number: f"{letter}{number}",
    lambda letter, number: f"{letter.lower()}{number} S1",
    lambda letter, number: f"{letter}00{number}",
    lambda letter, number: f"  {letter} {number} ; harmless",
    lambda letter, number: f"N12 {letter}{number} S1*77",
    lambda letter, number: f"n5{letter}{number}",
    lambda letter, number: f"N-1 {letter}{number}",
    lambda letter, number: f"{letter}{number}.1 P0",
    lambda letter, number: f"G1 X1 {letter}{number}",
    lambda letter, number: f"G1X1{letter}{number}",
    lambda letter, number: f"M105{letter}{number}",
    lambda letter, number: f"T0 {letter}{number}",
    lambda letter, number: f"x{letter}{number}",
    lambda letter, number: f"(note) {letter}{number}",
    lambda letter, number: f"START_PRINT {letter}{number}",
    lambda letter, number: f"\t{letter}\t{number}",
)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("spell", SPELLINGS)
def test_a_denied_code_is_found_in_every_spelling(code: str, spell: Callable[[str, str], str]) -> None:
    assert check_line(spell(code[0], code[1:])) is not None


@pytest.mark.parametrize(
    "line",
    [
        "M211 S0",
        "m211 s0",
        "M564 H0 S0",
        "SET_HEATER_TEMPERATURE HEATER=extruder TARGET=400",
        "set_pin PIN=fan VALUE=1",
        "SAVE_CONFIG",
        "FIRMWARE_RESTART",
        "run_shell_command CMD=x",
        "M118 A1 hello",
        "//action:cancel",
        "M117 //action:cancel",
        "; fine\nM112",
        "G28\rM112",
        "Ｍ１１２",
        "G1 X１0",
        "G1 X1\x08\x08",
        "@pause",
        "%",
        "{if}",
        "G1 X" + "0" * 300,
        "G1 X99999999999",
        "G1 X" + "1" * 400,
        "SET_" + "A" * 20000,
    ],
)
def test_other_forbidden_lines(line: str) -> None:
    finding = check_line(line)
    assert finding is not None
    assert finding.reason
    assert finding.text.isascii()
    assert finding.text.isprintable()


@pytest.mark.parametrize(
    "line",
    [
        "",
        "; M112",
        "G1 X1 Y2 E3 F600 ; M500",
        "M0",
        "M1 S10",
        "M104 T0 S200",
        "M117 Printing M28 flange (gr\u00f6\u00dfer)",
        "M486 A Hülle M112",
        "M1006 A0 B10 L100 C37 D10 M80 E37 F10 N80",
        "M73 P0 R8",
        "M900 K0",
        "M220 B",
        "M300 S800 P500",
        "M201 X9000 Y9000",
        "M211",
        "M211 S1",
        "M84",
        "G4 S0",
        "T1",
        "Tx",
        "EXCLUDE_OBJECT_DEFINE NAME=Spacer_M500_id_0 CENTER=1,2 POLYGON=" + "[1.5,2.5]," * 400,
        "START_PRINT BED_TEMP=60",
        "G10",
        "G10 S1",
        "G10 P0 S200 R150",
        "M208 S0 F600",
        "M145 P0",
        "M20",
        "M27",
        "M0 Change filament",
        "G1 F600 X1 F900",
        'M862.3 P "MK4S"',
        'M862.6 P"Input shaper"',
        'PRINT_START NAME="a (b)" MATERIAL=PLA',
        "M117 Layer 3 (of 8) M11",
        "M104 T0 S215",
        "M1002 gcode_claim_action : 2",
    ],
)
def test_ordinary_lines_pass(line: str) -> None:
    assert check_line(line) is None
    assert check_line(line.encode()) is None


@pytest.mark.parametrize(
    "line",
    [
        "M\\500",
        "M\\112",
        "M104 S2\\50",
        "M\\29",
        "M117 a\\b",
        "EXCLUDE_OBJECT_START NAME=a\\b",
        "M117 layer M1101",
        "M117 M110 Now",
        "M486 A M110",
        "EXCLUDE_OBJECT_START NAME=BEAM110",
        "M104 S200 S500",
        "m104s200s500",
        "M104 S S500",
        "M104 (S500)",
        'M104 "S500"',
        "M104 S{500}",
        "M568 P0 S200:500",
        "M104 S5e2",
        "M140 S0x90",
        "M211 S1 S0",
        "M104 S200 M105 S500",
        "M104 M105 S500",
        "M105 S500 M104",
        "x M104 S200 S500",
        "x M104 (S500)",
        "G1 X1 (note)",
        "G1 X1 X900",
        'M862.3 P "M104 S500"',
        "G10 L2 P1 X5",
        "G10 L20 P1 X0",
        "G10 P0 X5",
        "M208 X400",
        "M145 S0 H400",
        "MANUAL_STEPPER STEPPER=a MOVE=9",
        "M1000",
        "M21",
        "M22",
        "M25",
        "M26 S0",
        "M808 L5",
        "M218 T1 X5",
        "M350 X16",
        "M665 L1",
        "M666 X1",
    ],
)
def test_what_firmware_reads_otherwise_is_refused(line: str) -> None:
    assert check_line(line) is not None


def test_every_entry_has_a_reason() -> None:
    reasons = [
        row[-1] for table in (DENIED_CODES, DENIED_WHEN_ZERO, DENIED_WITH, DENIED_WORDS) for row in table
    ]
    assert all(len(reason) > 10 for reason in reasons)


def test_canonical_reading() -> None:
    first, second = parse_line(b"n3 g01x1.5y-.5 m0104 s200*12")
    assert (first.name, first.values) == ("G1", {"X": 1.5, "Y": -0.5})
    assert (second.name, second.values) == ("M104", {"S": 200.0})
    (word,) = parse_line(b'print_start bed_temp=60 NAME="a b"')
    assert (word.name, word.named) == ("PRINT_START", {"BED_TEMP": "60", "NAME": '"A B"'})
    (homing,) = parse_line(b"G28 X Y ; all")
    assert homing.values == {"X": None, "Y": None}
    (reset,) = parse_line(b"G92.1")
    assert (reset.name, reset.sub) == ("G92", "1")
    assert parse_line(b"  ; nothing") == ()


def test_findings_name_the_line(write: Write) -> None:
    sliced = read_sliced(write("a.gcode", "G28\n; M112\nG1 X1\n\nm0502 ; reset\n" + "M112\n" * 40))
    assert (sliced.denied[0].line, sliced.denied[0].command) == (5, "M502")
    assert sliced.denied_count == 41
    assert len(sliced.denied) == 10
    violations = check_safety(sliced, Limits())
    assert {violation.code for violation in violations} == {"forbidden-command"}
    assert "line 5" in violations[0].what


@given(st.lists(st.text(alphabet='GMTN0129X .;*()"ms\t/', max_size=14), max_size=8))
@settings(max_examples=200, deadline=None)
def test_what_passes_the_file_passes_line_by_line(lines: list[str]) -> None:
    """The file's gate and the terminal's agree: nothing that one denies comes through the other."""
    import io

    from farmd.gcode.scan import Scanner

    text = ("G28\nG1 X1\n" + "\n".join(lines) + "\n").encode()
    scanner = Scanner()
    scanner.read(io.BytesIO(text))
    found = [line for line in executable_lines(io.BytesIO(text)) if check_line(line)]
    assert scanner.denied_count == len(found)


MK4 = Limits(volume_mm=(250, 210, 220), max_nozzle_c=290, max_bed_c=120)


def codes(sliced: SlicedFile, limits: Limits) -> list[str]:
    return [violation.code for violation in check_safety(sliced, limits)]


@pytest.mark.parametrize("name", ["box20.gcode", "clip3.gcode", "petg_box.gcode"])
def test_real_files_pass(data: Path, name: str) -> None:
    assert check_safety(read_sliced(data / name), MK4) == ()


def test_temperatures_of_machine_and_material(data: Path) -> None:
    petg = read_sliced(data / "petg_box.gcode")  # 245 and 85
    assert codes(petg, dataclasses.replace(MK4, max_nozzle_c=240)) == ["nozzle-too-hot"]
    assert codes(petg, dataclasses.replace(MK4, material_max_nozzle_c=230, material_max_bed_c=60)) == [
        "nozzle-too-hot",
        "bed-too-hot",
    ]
    assert (
        "material allows 230"
        in check_safety(petg, dataclasses.replace(MK4, material_max_nozzle_c=230))[0].what
    )
    assert codes(petg, dataclasses.replace(MK4, material_min_nozzle_c=250)) == ["nozzle-too-cold"]
    assert codes(petg, dataclasses.replace(MK4, max_nozzle_c=245, max_bed_c=85)) == []


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("m0104s400", "nozzle-too-hot"),
        ("M109 R400", "nozzle-too-hot"),
        ("G1 X1 M104 S400", "nozzle-too-hot"),
        ("G10 P0 R150 S400", "nozzle-too-hot"),
        ("PRINT_START EXTRUDER_TEMP=400", "nozzle-too-hot"),
        ("M140 S130", "bed-too-hot"),
        ("M190 R130", "bed-too-hot"),
        ("M191 S90", "chamber-too-hot"),
        ("G1 X-6", "outside-volume"),
        ("G1 Y216", "outside-volume"),
        ("G1 Z-1", "outside-volume"),
        ("G0 Z226", "outside-volume"),
        ("G20\nG1 X11", "outside-volume"),
        ("G92 Z100\nG1 Z1", "outside-volume"),
        ("G91\nG1 X300", "outside-volume"),
        ("G1 X240 Y50\nG3 X240 Y70 J10", "outside-volume"),
    ],
)
def test_one_line_beyond_the_limits(write: Write, line: str, code: str) -> None:
    sliced = read_sliced(write("a.gcode", f"G28\nG1 X10 Y10 Z5 F600\n{line}\n"))
    limits = dataclasses.replace(MK4, max_chamber_c=60)
    if line.startswith("G1 X240"):
        limits = dataclasses.replace(limits, volume_mm=(240, 210, 220))
    assert codes(sliced, limits) == [code]


def test_the_margin(write: Write) -> None:
    sliced = read_sliced(write("a.gcode", "G28\nG1 X-5 Y-4 Z-0.5 F600\nG1 X255 Y215 Z225\n"))
    assert codes(sliced, MK4) == []
    assert codes(sliced, dataclasses.replace(MK4, margin_mm=1)) == ["outside-volume"]
    assert codes(sliced, dataclasses.replace(MK4, below_bed_mm=0.1)) == ["outside-volume"]
    assert codes(sliced, dataclasses.replace(MK4, volume_mm=None)) == []


def test_an_origin_in_the_middle(write: Write) -> None:
    sliced = read_sliced(write("a.gcode", "G28\nG1 X-90 Y-90 Z1 F600\nG1 X90 Y90\n"))
    delta = Limits(volume_mm=(200, 200, 300), origin_mm=(-100, -100, 0))
    assert codes(sliced, delta) == []
    assert codes(sliced, dataclasses.replace(delta, origin_mm=(0, 0, 0))) == ["outside-volume"]


def test_a_height_that_only_the_slicer_tells() -> None:
    sliced = SlicedFile(kind="gcode", height_mm=250.0, max_nozzle_c=215.0)
    assert codes(sliced, MK4) == ["outside-volume"]
    assert codes(dataclasses.replace(sliced, height_mm=50.0), MK4) == []
