"""Whatever is handed in as a file is read or refused, and nothing else happens: no other error, no hang.

Real files of every kind are cut, mixed and bent, also inside their archives; `bench/fuzz.py` does the same for
hours, guided by what the readers' code covers.
"""

from __future__ import annotations

import io
import random
import time
import zipfile
from pathlib import Path

import pytest
from bgpack import MEAT_WITH_COMMENTS, SHRUNK_12, gcode_blocks, header
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farmd.gcode import MeshFile, SlicedFile, is_mesh, read_mesh, read_sliced
from farmd.model.errors import FarmdError

DATA = Path(__file__).parents[1] / "data"
LONGEST_S = 10.0
MOST_BYTES = 60_000
SETTINGS = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def sliced_3mf(text: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("Metadata/plate_1.gcode", text)
        archive.writestr(
            "Metadata/slice_info.config", '<config><plate><metadata key="index" value="1"/></plate></config>'
        )
    return packed.getvalue()


GCODE = (DATA / "box20.gcode").read_bytes()
# Head and tail, where a slicer says what it did.
_LINES = GCODE.splitlines(keepends=True)
SHORT = b"".join(_LINES[:400] + _LINES[-400:])
SAMPLES: dict[str, bytes] = {
    "a.gcode": SHORT,
    "a.bgcode": header() + gcode_blocks(SHORT, SHRUNK_12, MEAT_WITH_COMMENTS),
    "a.3mf": (DATA / "clip.3mf").read_bytes(),
    "a.stl": (DATA / "box20.stl").read_bytes(),
    "a.gcode.3mf": sliced_3mf(SHORT),
}


def read_upload(path: Path) -> SlicedFile | MeshFile | FarmdError:
    """As the desk does it."""
    try:
        return (
            read_mesh(path, name=path.name) if is_mesh(path.name, path) else read_sliced(path, name=path.name)
        )
    except FarmdError as refused:
        return refused


def bent(content: bytes, rng: random.Random) -> bytes:
    """The content with a few things done to it that a disk, a network or a villain does."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data) + 1)
        length = rng.choice((1, 2, 4, 8, 64, 1000))
        match rng.randrange(7):
            case 0:
                del data[at:]
            case 1:
                del data[at : at + length]
            case 2:
                data[at:at] = bytes(data[at : at + length]) * rng.choice((1, 2, 50))
            case 3:
                data[at:at] = rng.choice(NASTY)
            case 4:
                for place in range(at, min(len(data), at + length)):
                    data[place] ^= 1 << rng.randrange(8)
            case 5:
                data[at : at + length] = rng.choice((b"\0", b"\xff", b"9", b"-", b"\n")) * length
            case 6:
                other = rng.randrange(len(data) + 1)
                data[at : at + length] = data[other : other + length]
    return bytes(data[: 4 * MOST_BYTES])


NASTY = (
    b"\xff\xfe", b"\0", b"\r", b"\n\n\n", b";" * 3000, b"1e999", b"nan", b"-0x1p-3", b"9" * 400, b"\xf0\x9f\x96\xa8",
    b"<!DOCTYPE a [<!ENTITY b 'c'>]>&b;", b"../../etc/passwd", b"%s%n", b"G1 X1e309\n",
    b"; thumbnail begin 9999x9999 9\n",
    b"GCDE", b"PK\x03\x04", b"solid\n", b"\x00\x00\x00\x80\xff\xff\xff\x7f", b"(", b"M486 S-1\n", b"<" * 2000,
)  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
@SETTINGS
@given(seed=st.integers(0, 2**32))
def test_a_bent_file_is_read_or_refused(name: str, seed: int, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(bent(SAMPLES[name], random.Random(seed)))
    began = time.monotonic()
    found = read_upload(path)
    assert not isinstance(found, FarmdError) or (found.what and found.remedy)
    assert time.monotonic() - began < LONGEST_S


@pytest.mark.parametrize("name", ["a.3mf", "a.gcode.3mf"])
@SETTINGS
@given(seed=st.integers(0, 2**32))
def test_bent_inside_a_whole_archive(name: str, seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(SAMPLES[name])) as good, zipfile.ZipFile(packed, "w") as archive:
        for entry in good.namelist():
            content = good.read(entry)
            archive.writestr(entry, bent(content, rng) if rng.random() < 0.7 else content)
    path = tmp_path / name
    path.write_bytes(packed.getvalue())
    read_upload(path)


@SETTINGS
@given(content=st.binary(max_size=3000), name=st.sampled_from(sorted(SAMPLES)))
def test_any_bytes_under_any_name(content: bytes, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    read_upload(path)


def test_the_samples_are_good(tmp_path: Path) -> None:
    for name, content in SAMPLES.items():
        path = tmp_path / name
        path.write_bytes(content)
        found = read_upload(path)
        assert isinstance(found, MeshFile if name in ("a.3mf", "a.stl") else SlicedFile), (name, found)
