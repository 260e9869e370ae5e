"""Real files of a real slicer, and every slicer's words in small."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from farmd.gcode import SlicedFile, executable_lines, numbered_lines, read_sliced
from farmd.model.codec import decode, encode

Write = Callable[[str, bytes | str], Path]

MOVES = "G28\nM82\nG1 Z0.2 F600\nG1 X10 Y10 F6000\nG1 X60 Y10 E2.5 F1200\nG1 X60 Y40 E4\n"
"""Starts at 10, 10; two extruding moves of 50 and 30 mm."""


def test_a_file_of_prusaslicer(data: Path) -> None:
    sliced = read_sliced(data / "box20.gcode")
    assert (sliced.slicer, sliced.slicer_version) == ("PrusaSlicer", "2.5.0")
    assert sliced.print_time_s == 19 * 60 + 11
    assert sliced.time_source == "slicer"
    assert sliced.filament_mm == (1504.88,)
    assert sliced.mass_g == 4.49
    assert sliced.mass_source == "slicer"
    assert sliced.filament_types == ("PLA",)
    assert sliced.filament_colours == ("#29B2B2",)
    assert sliced.nozzle_mm == 0.4
    assert sliced.layer_count == 99
    assert (sliced.layer_height_mm, sliced.first_layer_height_mm) == (0.2, 0.35)
    assert sliced.height_mm == 19.95
    assert sliced.extrusion_box is not None
    assert sliced.extrusion_box.min_mm == (83.375, 83.375, 0.35)
    assert sliced.extrusion_box.max_mm == (116.625, 116.625, 19.95)
    assert sliced.max_nozzle_c == 200
    assert sliced.max_bed_c is None
    assert sliced.tools == (0,)
    assert sliced.denied == ()
    assert sliced.lines == 8003


def test_a_plate_of_labelled_copies(data: Path) -> None:
    sliced = read_sliced(data / "clip3.gcode")
    assert sliced.object_count == 3
    assert sliced.printer_model == "MK4S"
    assert (sliced.max_nozzle_c, sliced.max_bed_c) == (215, 60)
    assert sliced.moves_box is not None
    assert sliced.moves_box.min_mm[1] == -2  # the purge line before the plate
    assert sliced.mass_source == "type-density"  # this profile has no density
    assert sliced.mass_g == pytest.approx(422.06 * math.pi * 0.875**2 / 1000 * 1.24)


def test_petg_with_temperatures(data: Path) -> None:
    sliced = read_sliced(data / "petg_box.gcode")
    assert sliced.filament_types == ("PETG",)
    assert (sliced.max_nozzle_c, sliced.max_bed_c) == (245, 85)
    assert sliced.nozzle_mm == 0.6
    assert sliced.mass_g == 2.13
    assert sliced.object_count == 0


@pytest.mark.parametrize("name", ["box20.gcode", "clip3.gcode", "petg_box.gcode"])
def test_our_own_count_agrees_with_the_slicer(data: Path, write: Write, name: str) -> None:
    """Without a word of the slicer, the moves alone give the same filament, layers and box."""
    told = read_sliced(data / name)
    text = (data / name).read_text()
    bare = "".join(line + "\n" for line in text.splitlines() if not line.startswith(";"))
    counted = read_sliced(write("bare.gcode", bare))
    assert counted.slicer is None
    assert counted.time_source == "moves"
    assert counted.print_time_s == told.moves_time_s
    assert told.print_time_s is not None
    assert counted.print_time_s is not None
    assert 0.7 * told.print_time_s < counted.print_time_s <= told.print_time_s
    assert counted.filament_source == "moves"
    # A start script's purge line and the last retraction differ by some mm.
    assert sum(counted.filament_mm) == pytest.approx(sum(told.filament_mm), abs=10)
    assert counted.extrusion_box == told.extrusion_box
    assert counted.layer_height_mm == told.layer_height_mm
    assert told.layer_count is not None
    assert counted.layer_count in (told.layer_count, told.layer_count + 1)
    assert counted.commands == told.commands


def test_the_summary_is_plain_json(data: Path) -> None:
    sliced = read_sliced(data / "clip3.gcode")
    text = json.dumps(asdict(sliced), allow_nan=False)
    assert json.loads(text)["object_count"] == 3
    assert decode(SlicedFile, json.loads(json.dumps(encode(sliced)))) == sliced


def test_orca_and_bambu_header(write: Write, thumbnail_lines: Callable[[int, int], str]) -> None:
    sliced = read_sliced(
        write(
            "plate.gcode",
            "; HEADER_BLOCK_START\n; BambuStudio 01.09.07.52\n"
            "; model printing time: 1h 2m 3s; total estimated time: 1h 10m 5s\n"
            "; total layer number: 120\n; total filament length [mm] : 1000.00,500.00\n"
            "; total filament volume [cm^3] : 2405.28,1202.64\n; total filament weight [g] : 2.98,1.50\n"
            "; max_z_height: 24.00\n; HEADER_BLOCK_END\n" + thumbnail_lines(20, 10) + "; CONFIG_BLOCK_START\n"
            "; filament_type = PLA;PETG\n; filament_colour = #FF0000;#00FF00\n; filament_diameter = 1.75,1.75\n"
            "; nozzle_diameter = 0.4\n; printer_model = Bambu Lab P1S\n; layer_height = 0.2\n"
            "; initial_layer_print_height = 0.25\n; CONFIG_BLOCK_END\n"
            "; EXECUTABLE_BLOCK_START\nM73 P0 R70\nM1002 gcode_claim_action : 2\nM104 S220\nT1000\n"
            "M1006 A0 B10 L100 C37 D10 M80 E37 F10 N80\nM190 S65\nG28 X\nG91\nG1 Z5 F1200\nG90\n"
            "; start printing object, unique label id: 55\n"
            + MOVES
            + "; stop printing object, unique label id: 55\n"
            "; start printing object, unique label id: 91\nG1 X70 E6\n; EXECUTABLE_BLOCK_END\n",
        )
    )
    assert (sliced.slicer, sliced.slicer_version) == ("BambuStudio", "01.09.07.52")
    assert sliced.print_time_s == 4205
    assert sliced.filament_mm == (1000, 500)
    assert sliced.volume_mm3 == pytest.approx(1500 * math.pi * 0.875**2)
    assert sliced.mass_g == pytest.approx(4.48)
    assert sliced.filament_types == ("PLA", "PETG")
    assert sliced.printer_model == "Bambu Lab P1S"
    assert (sliced.layer_count, sliced.first_layer_height_mm) == (120, 0.25)
    assert sliced.object_count == 2
    assert sliced.denied == ()
    assert sliced.tools == (0,)
    assert sliced.thumbnail is not None
    assert (sliced.thumbnail.width, sliced.thumbnail.height) == (20, 10)


def test_orca(write: Write) -> None:
    sliced = read_sliced(
        write("o.gcode", "; generated by OrcaSlicer 2.1.1 on 2026-01-02 at 03:04:05\n" + MOVES + ORCA_TRAILER)
    )
    assert (sliced.slicer, sliced.slicer_version) == ("OrcaSlicer", "2.1.1")
    assert sliced.print_time_s == 93784
    assert sliced.filament_mm == (4.0,)


ORCA_TRAILER = "; filament used [mm] = 4.00\n; estimated printing time (normal mode) = 1d 2h 3m 4s\n"


def test_cura(write: Write) -> None:
    sliced = read_sliced(
        write(
            "c.gcode",
            ";FLAVOR:Marlin\n;TIME:5025\n;Filament used: 1.5m, 0.25m\n;Layer height: 0.16\n;MINX:1\n"
            ";TARGET_MACHINE.NAME:Ultimaker S5\n;Generated with Cura_SteamEngine 5.6.0\nM104 S205\nM190 S60\n"
            ";LAYER_COUNT:77\n;LAYER:0\n;MESH:clip.stl\n"
            + MOVES
            + ";MESH:NONMESH\n;MESH:clip(1).stl\nG1 X61 E5\n"
            ";TIME_ELAPSED:5000.5\n",
        )
    )
    assert (sliced.slicer, sliced.slicer_version) == ("Cura_SteamEngine", "5.6.0")
    assert (sliced.print_time_s, sliced.time_source) == (5025, "slicer")
    assert sliced.filament_mm == (1500, 250)
    assert sliced.layer_height_mm == 0.16
    assert sliced.layer_count == 77
    assert sliced.printer_model == "Ultimaker S5"
    assert sliced.object_count == 2


def test_curas_placeholders_are_not_believed(write: Write) -> None:
    header = ";FLAVOR:Marlin\n;TIME:6666\n;Filament used: 0m\n;Generated with Cura_SteamEngine 5.2.1\n"
    told = read_sliced(write("a.gcode", header + MOVES + ";TIME_ELAPSED:321.5\n"))
    assert (told.print_time_s, told.time_source) == (321.5, "slicer")
    counted = read_sliced(write("b.gcode", header + MOVES))
    assert counted.time_source == "moves"
    assert counted.print_time_s == counted.moves_time_s
    assert (counted.filament_mm, counted.filament_source) == ((4.0,), "moves")


def test_an_estimate_below_what_the_moves_take_is_not_believed(write: Write) -> None:
    sliced = read_sliced(write("a.gcode", MOVES + "G4 S1000\n; estimated printing time (normal mode) = 5s\n"))
    assert sliced.time_source == "moves"
    assert sliced.print_time_s is not None
    assert sliced.print_time_s > 1000


def test_density_from_the_file(write: Write) -> None:
    sliced = read_sliced(write("a.gcode", MOVES + "; filament_type = PETG\n; filament_density = 1.3\n"))
    assert sliced.mass_source == "file-density"
    assert sliced.mass_g == pytest.approx(4 * math.pi * 0.875**2 / 1000 * 1.3)


def test_an_unknown_material_has_no_invented_mass(write: Write) -> None:
    sliced = read_sliced(write("a.gcode", MOVES + "; filament_type = UNOBTAINIUM\n"))
    assert sliced.mass_g is None
    assert sliced.volume_mm3 == pytest.approx(4 * math.pi * 0.875**2)


@pytest.mark.parametrize(
    ("labels", "count"),
    [
        ("M486 T4\nM486 S0\nM486 AClip\nM486 S-1\n", 4),
        ("M486 S0\nM486 AS9\nM486 S1\nM486 S-1\nM486 S0\n", 2),
        (
            "EXCLUDE_OBJECT_DEFINE NAME=a_0 CENTER=1,2 POLYGON=[[1,2],[3,4]]\nEXCLUDE_OBJECT_DEFINE NAME=a_1\n",
            2,
        ),
        ("EXCLUDE_OBJECT_START NAME=a\nEXCLUDE_OBJECT_END NAME=a\nEXCLUDE_OBJECT_START NAME=b\n", 2),
        ("; printing object M28 x id:0 copy 0\n; printing object M28 x id:0 copy 1\n", 2),
        ("", 0),
    ],
)
def test_labelled_objects(write: Write, labels: str, count: int) -> None:
    sliced = read_sliced(write("a.gcode", labels + MOVES))
    assert sliced.object_count == count
    assert sliced.denied == ()


def test_the_largest_sound_thumbnail(
    write: Write, thumbnail_lines: Callable[[int, int], str], png: Callable[[int, int], bytes]
) -> None:
    small, large = thumbnail_lines(8, 8), thumbnail_lines(40, 30)
    lying = thumbnail_lines(50, 50).replace(" 50x50 ", " 50x50 9")
    qoi = "; thumbnail_QOI begin 90x90 4\n; cW9m\n; thumbnail_QOI end\n"
    sliced = read_sliced(write("a.gcode", small + large + qoi + lying + MOVES))
    assert sliced.thumbnail is not None
    assert (sliced.thumbnail.width, sliced.thumbnail.height) == (40, 30)
    assert sliced.thumbnail.png == png(40, 30)


def test_carriage_returns_and_a_byte_order_mark(data: Path, write: Write) -> None:
    plain = (data / "petg_box.gcode").read_bytes()
    whole = read_sliced(data / "petg_box.gcode")
    for variant in (
        plain.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + plain.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + plain,
        plain.replace(b"\n", b"\r"),
    ):
        path = write("variant.gcode", variant)
        assert read_sliced(path) == whole
        assert list(executable_lines(path)) == list(executable_lines(data / "petg_box.gcode"))


def test_what_a_host_sends(data: Path, write: Write) -> None:
    path = write(
        "a.gcode", b"\xef\xbb\xbf; c\r\n\r\n  G28 ; home\r\nN3 M104 S200*33\n\t;x\n ;y\nM117 (hi)\rG1 X1"
    )
    assert list(executable_lines(path)) == [b"G28", b"M104 S200", b"M117 (hi)", b"G1 X1"]
    assert list(numbered_lines(path)) == [
        (3, 10, b"G28"),
        (4, 24, b"M104 S200"),
        (7, 48, b"M117 (hi)"),
        (8, 58, b"G1 X1"),
    ]
    with (data / "clip3.gcode").open("rb") as stream:
        lines = [command for _, _, command in numbered_lines(stream)]
    assert lines == list(executable_lines(data / "clip3.gcode"))
    assert len(lines) == read_sliced(data / "clip3.gcode").commands


def test_line_numbers_and_offsets_lead_back_to_the_line(data: Path) -> None:
    raw = (data / "clip3.gcode").read_bytes()
    by_number = raw.splitlines()
    for number, offset, command in numbered_lines(data / "clip3.gcode"):
        assert by_number[number - 1].startswith(command)
        assert raw[offset : offset + len(command)] == command


def test_progress_ends_at_the_size(data: Path) -> None:
    seen: list[tuple[int, int]] = []
    read_sliced(data / "clip3.gcode", progress=lambda done, total: seen.append((done, total)))
    size = (data / "clip3.gcode").stat().st_size
    assert seen[-1] == (size, size)


def test_the_given_name_says_the_kind(data: Path, write: Write) -> None:
    blob = write("0a1b2c", (data / "petg_box.gcode").read_bytes())
    assert read_sliced(blob, name="Box.GCO").filament_types == ("PETG",)


def test_half_a_million_lines_in_constant_memory(tmp_path: Path) -> None:
    """The size of a day's print, with its layers, comments and retractions."""
    rng = random.Random(7)
    path = tmp_path / "big.gcode"
    lines = 0
    with path.open("w") as out:
        out.write("M104 S215\nG28\nG90\nM82\n")
        for layer in range(500):
            out.write(f";LAYER_CHANGE\n;Z:{0.2 * (layer + 1):g}\nG92 E0\nG1 Z{0.2 * (layer + 1):.2f} F7800\n")
            moves = [
                f"G1 X{rng.uniform(20, 200):.3f} Y{rng.uniform(20, 180):.3f} E{step * 0.0321:.5f}\n"
                for step in range(996)
            ]
            out.writelines(moves)
            lines += 4 + len(moves)
    sliced = read_sliced(path)
    assert sliced.lines == lines + 4 == 500_004
    assert sliced.layer_count == 500
    assert sliced.height_mm == 100
    assert sliced.filament_mm[0] == pytest.approx(500 * 995 * 0.0321)
    # A child's peak is its own; the tests' process has had higher ones.
    grown_kib = int(
        subprocess.run([sys.executable, "-c", GROWTH, path], capture_output=True, check=True).stdout
    )
    assert grown_kib < 60 * 1024


GROWTH = """
import pathlib, resource, sys
from farmd.gcode import read_sliced
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
read_sliced(pathlib.Path(sys.argv[1]))
print(peak() - before)
"""
