"""Binary G-code over serial: the machine gets what the text would have given it, and places are told."""

from __future__ import annotations

import io
import struct
import zlib

import pytest

from farmd.driver import RunFile
from farmd.model.errors import Refused
from farmd_drivers.marlin.job import JobFile

TEXT = b"M104 S210\nG28\n" + b"".join(
    b";LAYER_CHANGE\nG1 Z%d.2 F600\n" % layer + b"G1 X10 Y%d E1 ; a move\n" % layer * 300
    for layer in range(9)
)


def packed(text: bytes) -> bytes:
    """Three blocks, deflated: the commands are packed in every way by the tests of `farmd.gcode`."""
    whole = b"GCDE" + struct.pack("<IH", 1, 1)
    third = len(text) // 3
    for part in (text[:third], text[third:-third], text[-third:]):
        data = zlib.compress(part)
        body = struct.pack("<HHIIH", 1, 1, len(part), len(data), 0) + data
        whole += body + struct.pack("<I", zlib.crc32(body))
    return whole


def job_file(name: str, data: bytes) -> JobFile:
    return JobFile(RunFile(name, "", len(data), lambda: io.BytesIO(data)))


def rows(job: JobFile) -> list[tuple[bytes, int, int, float, int | None]]:
    """Every command with its line, its offset, and what is told when it is the last accepted."""
    batch = job.prepare()
    found = []
    while batch is not None:
        for index, command in enumerate(batch.commands):
            place = job.place(batch.first + index + 1)
            assert (place.line, place.byte) == (batch.lines[index], batch.offsets[index])
            found.append((command, place.line or 0, place.byte or 0, place.fraction or 0.0, place.layer))
        batch = job.next_batch()
    job.close()
    return found


def test_commands_and_places_are_those_of_the_text() -> None:
    binary = packed(TEXT)
    assert len(binary) < len(TEXT) / 10
    got = rows(job_file("part.bgcode", binary))
    assert got == rows(job_file("part.gcode", TEXT))
    assert len(got) == 2 + 9 * 301
    assert got[-1][3] == pytest.approx(1.0, abs=0.001)
    assert got[len(got) // 2][3] == pytest.approx(0.5, abs=0.01)
    assert got[-1][4] == 9


def test_damage_at_the_end_is_found_before_the_start() -> None:
    damaged = bytearray(packed(TEXT))
    damaged[-6] ^= 1
    with pytest.raises(Refused) as caught:
        job_file("part.bgcode", bytes(damaged)).prepare()
    assert caught.value.code.name == "file-damaged"
