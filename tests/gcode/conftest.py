"""What the tests of files share; the packers of `bgpack.py` are made importable here."""

from __future__ import annotations

import base64
import importlib.util
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

DATA = Path(__file__).parents[1] / "data"

if "bgpack" not in sys.modules:
    _spec = importlib.util.spec_from_file_location("bgpack", Path(__file__).with_name("bgpack.py"))
    assert _spec is not None
    assert _spec.loader is not None
    sys.modules["bgpack"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["bgpack"])


@pytest.fixture
def data() -> Path:
    return DATA


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes | str], Path]:
    """Writes a file of the given name and gives its path."""

    def write(name: str, content: bytes | str) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def zipped(tmp_path: Path) -> Callable[[str, Mapping[str, bytes | str]], Path]:
    """Writes a zip of the given entries and gives its path."""

    def zipped(name: str, entries: Mapping[str, bytes | str]) -> Path:
        path = tmp_path / name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for entry, content in entries.items():
                archive.writestr(entry, content)
        return path

    return zipped


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + bytes((x * 7 + y) % 256 for x in range(width)) for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    end = chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + end


@pytest.fixture
def png() -> Callable[[int, int], bytes]:
    """A grey picture of the given size."""
    return _png


@pytest.fixture
def thumbnail_lines() -> Callable[[int, int], str]:
    """The comment lines in which a slicer writes a thumbnail of the given size."""

    def lines(width: int, height: int) -> str:
        text = base64.b64encode(_png(width, height)).decode()
        rows = "".join(f"; {text[at : at + 78]}\n" for at in range(0, len(text), 78))
        return f";\n; thumbnail begin {width}x{height} {len(text)}\n{rows}; thumbnail end\n;\n"

    return lines
