"""The commands in binary G-code: every way of packing them, positions, limits, damage."""

from __future__ import annotations

import dataclasses
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from bgpack import (
    DEFLATE,
    ENCODE,
    GCODE,
    MEAT,
    MEAT_WITH_COMMENTS,
    PLAIN,
    PRINT,
    PRINTER,
    SHRUNK_11,
    SHRUNK_12,
    SLICER,
    STORED,
    block,
    gcode_blocks,
    header,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farmd.gcode import (
    Limits,
    check_safety,
    executable_lines,
    gcode_text,
    numbered_lines,
    open_gcode,
    read_sliced,
)
from farmd.model.errors import Refused

Write = Callable[[str, bytes | str], Path]

COMPRESSIONS = (STORED, DEFLATE, SHRUNK_11, SHRUNK_12)
ENCODINGS = (PLAIN, MEAT, MEAT_WITH_COMMENTS)
REFUSALS = {
    "file-damaged",
    "file-truncated",
    "gcode-no-commands",
    "gcode-not-text",
    "gcode-line-too-long",
    "archive-unsafe",
}


class Drip:
    """A file that gives what it is asked for, and counts what was read."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)
        self.largest = 0

    def read(self, size: int = -1, /) -> bytes:
        self.largest = max(self.largest, size)
        return self._stream.read(size)


def commands(data: bytes) -> list[bytes]:
    return list(executable_lines(gcode_text(io.BytesIO(data), "a.bgcode")))


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", ["box20", "clip3", "petg_box"])
def test_real_files_come_back(data: Path, write: Write, name: str, compression: int, encoding: int) -> None:
    source = data / f"{name}.gcode"
    text = source.read_bytes()
    path = write(f"{name}.bgcode", header() + gcode_blocks(text, compression, encoding))
    with open_gcode(path) as stream:
        assert list(executable_lines(stream)) == list(executable_lines(source))
    if encoding == PLAIN:
        with open_gcode(path) as stream:
            assert stream.read() == text
    expected, got = read_sliced(source), read_sliced(path)
    told = {"kind": "bgcode", "lines": got.lines}
    if encoding == MEAT:  # comments are gone, and with them all that the slicer says
        assert (got.slicer, got.time_source, got.moves_box) == (None, "moves", expected.moves_box)
        assert (got.commands, got.max_nozzle_c) == (expected.commands, expected.max_nozzle_c)
        assert got.moves_time_s == expected.moves_time_s
    else:
        assert got == dataclasses.replace(expected, **told)


def test_read_in_any_portions(data: Path) -> None:
    text = (data / "petg_box.gcode").read_bytes()
    for encoding in ENCODINGS:
        whole = header() + gcode_blocks(text, SHRUNK_12, encoding)
        expected = gcode_text(io.BytesIO(whole), "a.bgcode").read()
        for size in (1, 7, 1000, 1 << 20):
            stream = gcode_text(io.BytesIO(whole), "a.bgcode")
            parts = list(iter(lambda stream=stream, size=size: stream.read(size), b""))
            assert b"".join(parts) == expected
            assert max(map(len, parts)) <= size


def test_lines_and_offsets_are_those_of_the_decoded_text() -> None:
    text = b"; start\nG28 ; home\n\nG1 X1.5 Y-2 E.3 F600\nM117 G is 1\nG92 E0\n"
    packed = header() + gcode_blocks(text, SHRUNK_11, MEAT_WITH_COMMENTS, size=10)
    decoded = gcode_text(io.BytesIO(packed), "a.bgcode").read()
    assert decoded == b"; start\nG28\nG1 X1.5 Y-2 E.3 F600\nM117 G is 1\nG92 E0\n"
    rows = list(numbered_lines(gcode_text(io.BytesIO(packed), "a.BGCODE")))
    assert [line for line, _, _ in rows] == [2, 3, 4, 5]
    assert all(decoded[at:].startswith(command) for _, at, command in rows)


SETTINGS = b"printer_model=MK4S\nfilament_type=PETG\ntemperature=240\nlayer_height=0.3\n"
RESULTS = (
    b"filament used [mm]=1000.5\nfilament used [g]=3.1\nestimated printing time (normal mode)=1h 1m 1s\n"
)
BODY = (
    b"; filament_type = PLA\n; estimated printing time (normal mode) = 9s\nM104 S215\nG28\n"
    b"G1 X10 Y10 Z0.2 F600\nG1 X60 Y20 E2\nM104 S220\n"
)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_metadata_win_and_commands_count(write: Write, compression: int) -> None:
    blocks = (
        block(PRINTER, SETTINGS, compression=compression),
        block(PRINT, RESULTS * 20, compression=compression),
        gcode_blocks(BODY, SHRUNK_11, MEAT_WITH_COMMENTS),
    )
    sliced = read_sliced(write("a.bgcode", header() + b"".join(blocks)))
    assert (sliced.print_time_s, sliced.time_source) == (3661, "slicer")
    assert (sliced.filament_mm, sliced.mass_g, sliced.mass_source) == ((1000.5,), 3.1, "slicer")
    assert (sliced.filament_types, sliced.printer_model, sliced.layer_height_mm) == (("PETG",), "MK4S", 0.3)
    assert (sliced.max_nozzle_c, sliced.temperature_source) == (220, "commands")
    assert (sliced.lines, sliced.commands) == (7, 5)
    assert sliced.moves_box is not None
    assert sliced.moves_box.max_mm == (60, 20, 0.2)
    assert sliced.extrusion_box is not None


def test_forbidden_and_hot_commands_are_found(write: Write) -> None:
    text = b"G28\nG1 X10 Y10 Z1 E1 F600\nM104 S400\nM502\nG1 X900\n"
    sliced = read_sliced(write("a.bgcode", header() + gcode_blocks(text, SHRUNK_12, MEAT)))
    assert [(found.line, found.command) for found in sliced.denied] == [(4, "M502")]
    limits = Limits(volume_mm=(250, 210, 220), max_nozzle_c=290)
    found = {violation.code for violation in check_safety(sliced, limits)}
    assert found == {"nozzle-too-hot", "forbidden-command", "outside-volume"}


# --- sizes --------------------------------------------------------------------------------------


def refusal(data: bytes) -> str:
    with pytest.raises(Refused) as caught:
        commands(data)
    return caught.value.code.name


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("off_by", [-1, 1, 500])
def test_the_size_told_must_be_the_size(compression: int, off_by: int) -> None:
    body = ENCODE[MEAT](b"G28\nG1 X1 Y1 E1\n" * 50)
    wrong = block(
        GCODE, body, compression=compression, params=b"\1\0", checked=False, length=len(body) + off_by
    )
    assert refusal(header(False) + wrong) in ("file-damaged", "file-truncated")
    right = block(GCODE, body, compression=compression, params=b"\1\0", checked=False)
    assert len(commands(header(False) + right)) == 100


def test_a_bomb_is_refused_before_it_unpacks() -> None:
    bomb = block(GCODE, b"G1 X1\n" * 4_000_000, compression=DEFLATE)
    assert len(bomb) < 60_000
    stream = Drip(header() + bomb)
    with pytest.raises(Refused) as caught:
        gcode_text(stream, "a.bgcode").read(1)
    assert caught.value.code.name == "archive-unsafe"
    assert stream.largest <= 10


def test_many_small_bombs_are_one() -> None:
    small = block(GCODE, b"G1 X1\n" * 10_000, compression=DEFLATE)
    assert len(small) < 300
    assert refusal(header() + small * 3) == "archive-unsafe"


def test_a_size_that_hides_what_comes_out() -> None:
    """The block says little and unpacks to much: reading stops at once."""
    liar = block(GCODE, b"G1 X1\n" * 4_000_000, compression=DEFLATE, length=100)
    assert refusal(header() + liar) == "file-damaged"


def test_the_text_in_all_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farmd.gcode.bgcode.TOTAL_LIMIT", 1000)
    assert refusal(header() + gcode_blocks(b"G1 X1\n" * 200, SHRUNK_12, MEAT)) == "archive-unsafe"


def test_memory_does_not_grow_with_the_file(data: Path) -> None:
    import tracemalloc

    blocks = gcode_blocks((data / "petg_box.gcode").read_bytes(), SHRUNK_12, MEAT_WITH_COMMENTS)
    peaks = []
    for times in (1, 2, 12):
        stream = io.BytesIO(header() + blocks * times)
        tracemalloc.start()
        count = sum(1 for _ in executable_lines(gcode_text(stream, "a.bgcode")))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count > 1000 * times
    assert peaks[2] < peaks[1] + 1_500_000  # a chunk of lines, whole


# --- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_flipped_bit_in_the_body(compression: int) -> None:
    whole = header() + gcode_blocks(b"G28\nG1 X10 Y10 Z1 E1 F600\n" * 9, compression, MEAT)
    for place in range(10, len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        assert refusal(bytes(flipped)) in REFUSALS


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_cut_anywhere_in_the_body(compression: int) -> None:
    whole = header() + gcode_blocks(b"G28\nG1 X10 Y10 Z1 E1 F600\n" * 9, compression, MEAT)
    for length in range(len(whole)):
        expected = {0: "file-empty", 10: "gcode-no-commands"}.get(length, "file-truncated")
        assert refusal(whole[:length]) == expected


@pytest.mark.parametrize(
    ("encoding", "data", "code"),
    [
        (3, b"G28\n", "file-damaged"),
        (MEAT, b"\xff\xff\x05", "file-damaged"),
        (MEAT, b"\xff\xff\xff", "file-damaged"),
        (MEAT, b"\xff\xff\xfb\xff\xff", "file-truncated"),
        (MEAT, b"\xff\xff\xfb\x1f", "file-truncated"),
        (MEAT, b"\xff\xff\xfb\xffa", "file-truncated"),
        (MEAT, b"\xff\xff\xfb\x1f\xff\xff\xfa", "file-damaged"),
        (MEAT, b"\xff\xff\xfb\xffa\xff\xff\xfa", "file-damaged"),
        (MEAT, b"\xff\xff\xfb\x1f\xff\x11", "file-damaged"),
        (MEAT, b"G28\n\0", "gcode-not-text"),
        (PLAIN, b"\xff" * 300_000, "gcode-line-too-long"),
        (MEAT, b"\xff\xff\xfb" + b"\x11" * 150_000, "gcode-line-too-long"),
    ],
)
def test_bodies_that_nobody_packs(encoding: int, data: bytes, code: str) -> None:
    assert refusal(header() + block(GCODE, data, params=struct.pack("<H", encoding))) == code


def test_deflate_that_is_none() -> None:
    data = b"no such thing"
    body = struct.pack("<HHIIH", GCODE, DEFLATE, 100, len(data), 0) + data
    assert refusal(header() + body + struct.pack("<I", zlib.crc32(body))) == "file-damaged"


WHOLE = tuple(
    header(False)
    + block(SLICER, SETTINGS, compression=compression, checked=False)
    + gcode_blocks(BODY * 9, compression, encoding, size=200, checked=False)
    for compression in COMPRESSIONS
    for encoding in ENCODINGS
)


def outcome(path: Path) -> str:
    """What became of it; any exception but a refusal comes through."""
    try:
        read_sliced(path, name="a.bgcode")
    except Refused as error:
        return error.code.name
    return "read"


@given(
    st.sampled_from(WHOLE),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=5),
    st.integers(0, 4000),
)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_anything_damaged_is_read_or_refused(
    tmp_path: Path, whole: bytes, flips: list[tuple[int, int]], length: int
) -> None:
    """Without checksums: whatever stands in the blocks comes to the decoders."""
    raw = bytearray(whole)
    for place, value in flips:
        raw[10 + place % (len(raw) - 10)] = value
    path = tmp_path / "blob"
    path.write_bytes(bytes(raw[: length or len(raw)]))
    assert outcome(path) in {"read", *REFUSALS}
