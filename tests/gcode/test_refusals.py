"""Files that are none, are cut off, or are built to do harm."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farmd.gcode import executable_lines, file_kind, is_mesh, open_gcode, read_mesh, read_sliced
from farmd.model.errors import Refused

Write = Callable[[str, bytes | str], Path]
Zipped = Callable[[str, Mapping[str, bytes | str]], Path]

MOVES = "G28\nG1 X10 Y10 Z1 E1 F600\n"
PLATE = "Metadata/plate_1.gcode"


def refusal(path: Path, name: str = "") -> str:
    with pytest.raises(Refused) as caught:
        read_sliced(path, name=name)
    assert caught.value.where == (name or path.name)
    return caught.value.code.name


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "file-empty"),
        (b"\n \n\t\n", "gcode-no-commands"),
        (b"; only\n; comments\n", "gcode-no-commands"),
        (b"M104 S200\nM84\n", "file-truncated"),
        (b"G28\nG1 X1\n\0\0\0", "gcode-not-text"),
        (b"\x7fELF\x02\x01", "gcode-not-text"),
        ("G28\nG1 X1\n".encode("utf-16"), "gcode-not-text"),
        (b"GCDE\x01\0\0\0\0\0", "gcode-not-text"),
        (b"PK\x03\x04....", "gcode-not-text"),
        (b"<!DOCTYPE html><html>sign in</html>", "file-truncated"),
    ],
)
def test_no_gcode(write: Write, content: bytes, code: str) -> None:
    assert refusal(write("a.gcode", content)) == code


@pytest.mark.parametrize("name", ["a.exe", "a.txt", "a", "", "gcode", "a.gcode.zip", "a.stl"])
def test_names_of_other_kinds(write: Write, name: str) -> None:
    path = write("blob", MOVES)
    assert refusal(path, name or "blob") == "file-unsupported"


def test_kinds_by_name() -> None:
    assert [
        file_kind(name) for name in ("a.GCODE", "b.gco", "c.g", "d.bgcode", "e.gcode.3mf", "f.3mf", "g.STL")
    ] == [
        "gcode",
        "gcode",
        "gcode",
        "bgcode",
        "gcode.3mf",
        "3mf",
        "stl",
    ]
    assert [is_mesh(name) for name in ("a.stl", "b.3mf", "c.gcode.3mf", "d.gcode")] == [
        True,
        True,
        False,
        False,
    ]


def test_cut_off_files_of_a_slicer(data: Path, write: Write) -> None:
    whole = (data / "box20.gcode").read_bytes()
    for share in (0.1, 0.5, 0.97, 0.999):
        assert refusal(write("cut.gcode", whole[: int(len(whole) * share)])) == "file-truncated"


def test_cut_off_inside_a_thumbnail(write: Write, thumbnail_lines: Callable[[int, int], str]) -> None:
    picture = thumbnail_lines(40, 40)
    assert refusal(write("a.gcode", MOVES + picture[: len(picture) // 2])) == "file-truncated"


def test_cut_off_before_the_end_of_a_block(write: Write) -> None:
    assert refusal(write("a.gcode", "; EXECUTABLE_BLOCK_START\n" + MOVES)) == "file-truncated"


def test_a_thumbnail_without_end_hides_nothing(write: Write) -> None:
    text = (
        "; thumbnail begin 9x9 40\n; QUJD\nM112 ; x\n;TYPE:Custom\n; printing object a id:0 copy 0\n" + MOVES
    )
    sliced = read_sliced(write("a.gcode", text))
    assert sliced.thumbnail is None
    assert sliced.object_count == 1
    assert sliced.denied_count == 1


def test_a_line_without_end(write: Write) -> None:
    """Ten megabytes in one line are refused after the first half megabyte."""
    read: list[int] = []
    path = write("a.gcode", MOVES.encode() + b";" + b"x" * 10_000_000)
    with pytest.raises(Refused) as caught:
        read_sliced(path, progress=lambda done, _: read.append(done))
    assert caught.value.code.name == "gcode-line-too-long"
    assert read[-1] <= 1 << 20
    with pytest.raises(Refused):
        list(executable_lines(path))


def test_a_long_comment_is_none_of_it(write: Write) -> None:
    assert (
        read_sliced(write("a.gcode", "; machine_start_gcode = " + "x" * 60_000 + "\n" + MOVES)).denied == ()
    )


def test_values_are_bounded_and_fit_to_be_shown(write: Write) -> None:
    sliced = read_sliced(write("a.gcode", "; printer_model = a\xc2\x9b" + "b" * 50_000 + "\n" + MOVES))
    assert sliced.printer_model is not None
    assert len(sliced.printer_model) <= 2000
    assert sliced.printer_model.isprintable()


# --- archives ---------------------------------------------------------------------------------


def test_an_archive_bomb(zipped: Zipped) -> None:
    assert refusal(zipped("a.gcode.3mf", {PLATE: b";" * 50_000_000})) == "archive-unsafe"
    spread = {f"x/{i}.txt": b"0" * 1_000_000 for i in range(60)}
    assert refusal(zipped("b.3mf", {PLATE: MOVES, **spread})) == "archive-unsafe"


def test_too_many_entries(zipped: Zipped) -> None:
    entries: dict[str, bytes | str] = {f"x/{i}": "" for i in range(1001)}
    assert refusal(zipped("a.3mf", {PLATE: MOVES, **entries})) == "archive-unsafe"
    assert read_sliced(zipped("b.3mf", {PLATE: MOVES, "x/1": ""})).plate == 1


@pytest.mark.parametrize(
    "name",
    [
        "../evil.gcode",
        "/etc/evil",
        "a/../../evil",
        "..\\evil",
        "\\evil",
        "C:/evil",
        "inner.zip",
        "x/model.3mf",
    ],
)
def test_names_that_leave_the_archive_or_nest(zipped: Zipped, name: str) -> None:
    assert refusal(zipped("a.3mf", {PLATE: MOVES, name: "x"})) == "archive-unsafe"


def test_an_archive_in_the_archive_by_its_bytes(zipped: Zipped) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("a", "b")
    assert refusal(zipped("a.3mf", {PLATE: MOVES, "picture.png": inner.getvalue()})) == "archive-unsafe"


def test_two_entries_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "a.3mf"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(PLATE, MOVES)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr(PLATE, "M112\n" + MOVES)
    assert refusal(path) == "archive-unsafe"


def test_an_encrypted_entry(zipped: Zipped) -> None:
    raw = bytearray(zipped("a.3mf", {PLATE: MOVES}).read_bytes())
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.find(magic) + flags] |= 1
    path = zipped("b.3mf", {})
    path.write_bytes(bytes(raw))
    assert refusal(path) == "archive-unsafe"


def test_a_damaged_or_short_archive(zipped: Zipped, write: Write) -> None:
    raw = zipped("a.3mf", {PLATE: MOVES * 500}).read_bytes()
    assert refusal(write("cut.3mf", raw[:-30])) == "file-truncated"
    flipped = bytearray(raw)
    flipped[60] ^= 0xFF
    assert refusal(write("flipped.3mf", bytes(flipped))) == "file-damaged"
    assert refusal(write("text.3mf", MOVES)) == "file-damaged"


def test_xml_with_entities(zipped: Zipped) -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><config>&b;</config>'
    assert refusal(zipped("a.3mf", {PLATE: MOVES, "Metadata/slice_info.config": bomb})) == "archive-unsafe"
    external = '<!DOCTYPE x SYSTEM "file:///etc/passwd"><config/>'
    assert (
        refusal(zipped("b.3mf", {PLATE: MOVES, "Metadata/slice_info.config": external})) == "archive-unsafe"
    )
    unheard_of = '<?xml version="1.0" encoding="UTFnan-8"?><config/>'
    assert read_sliced(zipped("d.3mf", {PLATE: MOVES, "Metadata/slice_info.config": unheard_of})).plate == 1
    open_end = "<config><plate>"
    assert refusal(zipped("c.3mf", {PLATE: MOVES, "Metadata/slice_info.config": open_end})) == "file-damaged"


def test_an_endless_token(tmp_path: Path) -> None:
    path = tmp_path / "a.3mf"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(PLATE, MOVES)
        archive.writestr("Metadata/slice_info.config", "<config a='" + "x" * 4_000_000)
    assert refusal(path) == "archive-unsafe"


def test_a_mesh_has_no_commands(write: Write) -> None:
    with pytest.raises(Refused) as caught, open_gcode(write("a.stl", b"solid x\n")):
        pass
    assert caught.value.code.name == "file-unsupported"


# --- anything at all ----------------------------------------------------------------------------


def outcome(read: Callable[..., object], path: Path, name: str) -> str:
    """What became of it, and for a refusal what to do; any other exception comes through."""
    try:
        read(path, name=name)
    except Refused as error:
        return error.remedy
    return "read"


BEGINNINGS = st.sampled_from(
    [
        b"",
        b"G28\nG1 X1 Y1 E1\n",
        b"GCDE" + struct.pack("<IH", 1, 1),
        b"GCDE" + struct.pack("<IHHHIH", 1, 0, 2, 1, 9, 9),
        b"PK\x03\x04",
        b"solid x\nfacet normal 0 0 1\n",
        b"\0" * 80 + struct.pack("<I", 1),
        b"; thumbnail begin 9x9 9\n",
        b"; HEADER_BLOCK_START\n; total layer number: ",
    ]
)


@given(
    BEGINNINGS,
    st.binary(max_size=400)
    | st.text(alphabet='GMTXYZEFIJRP0123456789.-+ ;\n\r"(*)=', max_size=200).map(str.encode),
    st.sampled_from(["a.gcode", "a.bgcode", "a.3mf", "a.gcode.3mf", "a.stl"]),
)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_refused(tmp_path: Path, beginning: bytes, rest: bytes, name: str) -> None:
    path = tmp_path / "blob"
    path.write_bytes(beginning + rest)
    for read in (read_sliced, read_mesh):
        assert outcome(read, path, name)


@given(
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, 4000),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damaged_archive_is_read_or_refused(
    tmp_path: Path, flips: list[tuple[int, int]], length: int
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(PLATE, MOVES * 20)
        archive.writestr(
            "Metadata/slice_info.config", "<config><plate><metadata key='index' value='1'/></plate></config>"
        )
        archive.writestr("3D/3dmodel.model", "<model unit='millimeter'><resources/><build/></model>")
    raw = bytearray(buffer.getvalue())
    for place, value in flips:
        raw[place % len(raw)] = value
    path = tmp_path / "blob"
    path.write_bytes(bytes(raw[: length or len(raw)]))
    for read in (read_sliced, read_mesh):
        assert outcome(read, path, "a.3mf")
