"""Binary G-code and sliced 3MF, built here byte by byte."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from bgpack import (
    DEFLATE,
    FILE_META,
    MEAT_WITH_COMMENTS,
    PRINT,
    PRINTER,
    SHRUNK_11,
    SHRUNK_12,
    SLICER,
    THUMBNAIL,
    block,
    gcode_blocks,
    header,
)

from farmd.gcode import executable_lines, file_kind, holds_gcode, is_mesh, open_gcode, read_sliced
from farmd.model.errors import Refused

Write = Callable[[str, bytes | str], Path]
Zipped = Callable[[str, Mapping[str, bytes | str]], Path]

SETTINGS = (
    b"filament_type=PETG\nfilament_colour=#112233\nnozzle_diameter=0.4\nlayer_height=0.2\nfirst_layer_height=0.25\n"
    b"temperature=240\nfirst_layer_temperature=245\nbed_temperature=80\nfilament_density=1.27\n"
)
RESULTS = (
    b"filament used [mm]=1000.5\nfilament used [g]=3.1\nestimated printing time (normal mode)=1h 1m 1s\n"
)


BODY = b"G28\n" + b";TYPE:Perimeter\nG1 X10 Y20 Z0.2 F9000\nG1 X60 E.5\n" * 3000


def bgcode(picture: bytes, *, checked: bool = True, body: bytes = BODY) -> bytes:
    blocks = (
        block(FILE_META, b"Producer=PrusaSlicer 2.8.1\nProduced on=2026-01-01\n", checked=checked),
        block(PRINTER, b"printer_model=MK4S\nmax_layer_z=42.5\n", checked=checked),
        block(THUMBNAIL, b"qoif....", params=struct.pack("<HHH", 2, 200, 200), checked=checked),
        block(THUMBNAIL, picture, params=struct.pack("<HHH", 0, 32, 24), checked=checked),
        block(PRINT, RESULTS, compression=SHRUNK_11, checked=checked),
        block(SLICER, SETTINGS, compression=DEFLATE, checked=checked),
        gcode_blocks(body, SHRUNK_12, MEAT_WITH_COMMENTS, checked=checked),
    )
    return header(checked) + b"".join(blocks)


@pytest.mark.parametrize("checked", [True, False])
def test_binary_gcode(write: Write, png: Callable[[int, int], bytes], checked: bool) -> None:
    sliced = read_sliced(write("part.bgcode", bgcode(png(32, 24), checked=checked)))
    assert sliced.kind == "bgcode"
    assert (sliced.slicer, sliced.slicer_version) == ("PrusaSlicer", "2.8.1")
    assert (sliced.print_time_s, sliced.time_source) == (3661, "slicer")
    assert sliced.filament_mm == (1000.5,)
    assert (sliced.mass_g, sliced.mass_source) == (3.1, "slicer")
    assert sliced.filament_types == ("PETG",)
    assert sliced.printer_model == "MK4S"
    assert (sliced.commands, sliced.lines) == (6001, 9001)
    assert (sliced.max_nozzle_c, sliced.max_bed_c, sliced.temperature_source) == (245, 80, "slicer")
    assert (sliced.layer_height_mm, sliced.first_layer_height_mm, sliced.height_mm) == (0.2, 0.25, 0.2)
    assert sliced.moves_box is not None
    assert sliced.moves_box.max_mm == (60, 20, 0.2)
    assert sliced.thumbnail is not None
    assert (sliced.thumbnail.width, sliced.thumbnail.png) == (32, png(32, 24))


def test_a_flipped_bit_anywhere_breaks_a_checksum(write: Write, png: Callable[[int, int], bytes]) -> None:
    whole = bgcode(png(4, 4), body=b"G28\nG1 X1 Y1 F9\n")
    for place in range(0, len(whole), 7):
        flipped = bytearray(whole)
        flipped[place] ^= 4
        with pytest.raises(Refused) as caught:
            read_sliced(write("a.bgcode", bytes(flipped)))
        assert caught.value.code.name in {
            "file-damaged",
            "file-truncated",
            "gcode-no-commands",
            "archive-unsafe",
        }


def test_binary_gcode_cut_anywhere(write: Write, png: Callable[[int, int], bytes]) -> None:
    whole = bgcode(png(4, 4), body=b"G28\nG1 X1 Y1 F9\n")
    for length in range(1, len(whole), 9):
        with pytest.raises(Refused) as caught:
            read_sliced(write("a.bgcode", whole[:length]))
        # Cut between two blocks, nothing shows but that the commands are missing.
        assert caught.value.code.name in ("file-truncated", "gcode-no-commands")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"GCDE\x02\0\0\0\0\0", "file-damaged"),
        (b"G28\nG1 X1 Y1 Z1\n", "file-damaged"),
        (header() + block(SLICER, SETTINGS), "gcode-no-commands"),
        (header() + block(9, b"x"), "file-damaged"),
        (header(False) + struct.pack("<HHIIH", SLICER, 1, 10, 3, 0) + b"abc", "file-damaged"),
        (header(False) + struct.pack("<HHIH", SLICER, 0, 1 << 31, 0), "file-damaged"),
        (header(False) + struct.pack("<HHIH", SLICER, 0, 1 << 20, 0), "file-truncated"),
        (header(False) + struct.pack("<HHIIH", SLICER, 1, 1 << 30, 3, 0) + b"abc", "file-damaged"),
        (header() + block(SLICER, b"0" * (20 << 20), compression=DEFLATE), "file-damaged"),
    ],
)
def test_binary_gcode_that_is_none(write: Write, content: bytes, code: str) -> None:
    with pytest.raises(Refused) as caught:
        read_sliced(write("a.bgcode", content))
    assert caught.value.code.name == code


# --- sliced 3MF -------------------------------------------------------------------------------

MOVES = "G28\nG1 X10 Y10 Z0.2 F600\nG1 X60 E2\n"
INFO = """<?xml version="1.0" encoding="UTF-8"?>
<config>
  <header><header_item key="X-BBL-Client-Type" value="slicer"/></header>
  <plate>
    <metadata key="index" value="1"/><metadata key="prediction" value="99"/><metadata key="weight" value="1"/>
    <object identify_id="7" name="other.stl" skipped="false"/>
    <filament id="1" type="ABS" color="#000000" used_m="0.5" used_g="1"/>
  </plate>
  <plate>
    <metadata key="index" value="2"/><metadata key="printer_model_id" value="C12"/>
    <metadata key="nozzle_diameters" value="0.4"/><metadata key="prediction" value="4321"/>
    <metadata key="weight" value="12.5"/>
    <object identify_id="101" name="clip.stl" skipped="false"/>
    <object identify_id="102" name="clip.stl" skipped="false"/>
    <object identify_id="103" name="clip.stl" skipped="true"/>
    <filament id="1" tray_info_idx="GFL99" type="PLA" color="#FFFFFF" used_m="4.00" used_g="12.0"/>
    <filament id="2" type="PETG" color="#00AE42" used_m="0.17" used_g="0.5"/>
  </plate>
</config>
"""


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest().upper()


def test_a_plate_of_a_3mf(zipped: Zipped, png: Callable[[int, int], bytes]) -> None:
    path = zipped(
        "Clips.gcode.3mf",
        {
            "[Content_Types].xml": "<Types/>",
            "Metadata/plate_2.gcode": MOVES,
            "Metadata/plate_2.gcode.md5": md5(MOVES),
            "Metadata/plate_2.png": png(64, 64),
            "Metadata/plate_10.gcode": MOVES + "G1 X99\n",
            "Metadata/slice_info.config": INFO,
        },
    )
    seen: list[tuple[int, int]] = []
    sliced = read_sliced(path, progress=lambda done, total: seen.append((done, total)))
    assert (sliced.kind, sliced.plate, sliced.plates) == ("gcode.3mf", 2, (2, 10))
    assert (sliced.print_time_s, sliced.time_source) == (4321, "slicer")
    assert sliced.filament_mm == (4000, 170)
    assert (sliced.mass_g, sliced.mass_source) == (12.5, "slicer")
    assert sliced.filament_types == ("PLA", "PETG")
    assert sliced.filament_colours == ("#FFFFFF", "#00AE42")
    assert sliced.printer_model == "C12"
    assert sliced.object_count == 2
    assert sliced.thumbnail is not None
    assert sliced.thumbnail.width == 64
    assert seen[-1] == (len(MOVES), len(MOVES))
    assert sliced.moves_box is not None
    assert sliced.moves_box.max_mm[0] == 60
    other = read_sliced(path, plate=10)
    assert other.moves_box is not None
    assert other.moves_box.max_mm[0] == 99
    assert other.time_source == "moves"
    with pytest.raises(Refused):
        read_sliced(path, plate=3)
    with open_gcode(path, plate=10) as stream:
        assert list(executable_lines(stream))[-1] == b"G1 X99"


def test_denied_commands_in_a_plate(zipped: Zipped) -> None:
    sliced = read_sliced(zipped("a.gcode.3mf", {"Metadata/plate_1.gcode": MOVES + "M502\n"}))
    assert sliced.denied[0].line == 4


def test_a_wrong_md5_sum(zipped: Zipped) -> None:
    path = zipped("a.3mf", {"Metadata/plate_1.gcode": MOVES, "Metadata/plate_1.gcode.md5": md5("other")})
    with pytest.raises(Refused) as caught:
        read_sliced(path)
    assert caught.value.code.name == "file-damaged"


def test_a_3mf_without_a_plate_is_a_mesh(data: Path, zipped: Zipped) -> None:
    with pytest.raises(Refused) as caught:
        read_sliced(data / "clip.3mf")
    assert caught.value.code.name == "file-not-sliced"
    sliced = zipped("a.3mf", {"Metadata/plate_1.gcode": MOVES})
    assert file_kind("a.3mf") == "3mf"
    assert (holds_gcode(data / "clip.3mf"), holds_gcode(sliced)) == (False, True)
    assert (is_mesh("clip.3mf", data / "clip.3mf"), is_mesh("a.3mf", sliced)) == (True, False)
