"""Heatshrink and MeatPack by themselves: vectors worked out by hand, and round trips."""

from __future__ import annotations

from itertools import pairwise

import pytest
from bgpack import heatshrink, meatpack, meatpack_line
from hypothesis import given, settings
from hypothesis import strategies as st

from farmd.gcode.heatshrink import HeatshrinkDecoder
from farmd.gcode.meatpack import MeatPackDecoder
from farmd.model.errors import Refused


def bits(text: str) -> bytes:
    text = text.replace(" ", "")
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def unshrunk(packed: bytes, window_bits: int, lookahead_bits: int, cuts: list[int] | None = None) -> bytes:
    decoder = HeatshrinkDecoder(window_bits, lookahead_bits)
    return b"".join(map(decoder.feed, pieces(packed, cuts or [])))


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(ends)]


def unpacked(packed: bytes, cuts: list[int] | None = None) -> bytes:
    decoder = MeatPackDecoder()
    return b"".join(map(decoder.feed, pieces(packed, cuts or []))) + decoder.finish()


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ("1 01000111", b"G"),
        ("1 01000111 1 00110001", b"G1"),
        ("1 01000111 1 00110001 0 00000000001 0001", b"G1G1"),
        ("1 01111000 0 00000000000 1111", b"x" * 17),
        ("1 01100001 1 01100010 0 00000000001 0100", b"abababa"),
        ("0 11111111111 0010", b"\0\0\0"),
        ("1 01111000 0 00000000001 0001", b"x\0x"),
        ("", b""),
    ],
)
def test_heatshrink_by_hand(stream: str, expected: bytes) -> None:
    assert unshrunk(bits(stream or "0")[: len(stream)], 11, 4) == expected


def test_heatshrink_window_of_twelve_bits() -> None:
    far = "".join(f"1{byte:08b}" for byte in range(256)) + "0 000011111111 0111"
    assert unshrunk(bits(far), 12, 4) == bytes(range(256)) + bytes(range(8))


@given(
    st.binary(max_size=300)
    | st.lists(
        st.sampled_from([b"G1 X1", b"0.2", b"\n", b"aaaaaaaaaaaaaaaaaaaaaaaa", b"E"]), max_size=400
    ).map(b"".join),
    st.sampled_from([(11, 4), (12, 4), (4, 3)]),
    st.lists(st.integers(0, 5000), max_size=9),
)
@settings(max_examples=200, deadline=None)
def test_heatshrink_round_trip(data: bytes, form: tuple[int, int], cuts: list[int]) -> None:
    assert unshrunk(heatshrink(data, *form), *form, cuts) == data


def test_heatshrink_beyond_the_window() -> None:
    data = b"".join(b"G1 X%d.%d Y%d E.0%d\n" % (n % 200, n % 7, n * 3 % 180, n % 9) for n in range(2000))
    packed = heatshrink(data, 11, 4)
    assert len(packed) < len(data) * 0.7
    assert unshrunk(packed, 11, 4) == data
    assert unshrunk(packed, 11, 4, list(range(len(packed)))) == data


@given(st.binary(max_size=200))
def test_heatshrink_takes_any_bytes(data: bytes) -> None:
    assert len(unshrunk(data, 12, 4)) <= len(data) * 8


@pytest.mark.parametrize(
    ("packed", "expected"),
    [
        (b"; as it is\n", b"; as it is\n"),
        (b"\xff\xff\xfb\x1d\xeb\x11\xcc", b"G1 X11\n"),
        (b"\xff\xff\xfb\x1d\xeb\xf1Y\xcc", b"G1 X1Y\n"),
        (b"\xff\xff\xfb\x1fM\xffab\xfc", b"M1ab\n"),
        (b"\xff\xff\xfb\xff\xff\xf7\x1d\x1e\x5b\xcc", b"G1 X1 E5\n"),
        (b"\xff\xff\xfb\xff\xff\xf7\x1d\xff\xff\xf6\xeb\xc1", b"G1 X1\n"),
        (b"\xff\xff\xfb\x1d\xcc\xff\xff\xfa;c\n\xff\xff\xfb\x2d\xcc", b"G1\n;c\nG2\n"),
        (b"\xff\xff\xfb\x1d\xcc\xff\xff\xf9;c\n", b"G1\n;c\n"),
        (b"\xff\xff\xf8\xff\xff\0G1\n", b"G1\n"),
        (b"G1 \xff\n", b"G1 \xff\n"),
        (b"\xff\xff\xfb\x1d", b"G1"),
        (b"", b""),
    ],
)
def test_meatpack_by_hand(packed: bytes, expected: bytes) -> None:
    for cuts in ([], list(range(len(packed)))):
        assert unpacked(packed, cuts) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"G1X10.5Y-2E.3F600", b"G1 X10.5 Y-2 E.3 F600"),
        (b"G28XYZ", b"G28 X Y Z"),
        (b"G92E0", b"G92 E0"),
        (b"G29G", b"G29 G"),
        (b"G1 X1Y1", b"G1 X1Y1"),
        (b'M862.3 P "MK3S"', b'M862.3 P "MK3S"'),
        (b"M117G1 done", b"M117G1 done"),
        (b"T1", b"T1"),
        (b"GX1", b"GX1"),
    ],
)
def test_blanks_come_back_into_g_commands_only(line: bytes, expected: bytes) -> None:
    packed = b"\xff\xff\xfb\xff\xff\xf7" + meatpack_line(line + b"\n", b"0123456789.E\nGX")
    assert unpacked(packed) == expected + b"\n"


LINES = st.lists(
    st.from_regex(rb"G[0-3]( [XYZEF]-?[0-9]{1,3}(\.[0-9]{1,3})?){0,4}", fullmatch=True)
    | st.from_regex(rb"M[0-9]{1,3} S[0-9]{1,3}|M117 [ -:<-F~]{1,9}!", fullmatch=True)
    | st.sampled_from([b";TYPE:Perimeter", b"; note"]),
    max_size=30,
)


@given(LINES, st.booleans(), st.booleans(), st.lists(st.integers(0, 5000), max_size=9))
@settings(max_examples=200, deadline=None)
def test_meatpack_round_trip(lines: list[bytes], comments: bool, blanks: bool, cuts: list[int]) -> None:
    kept = [line for line in lines if comments or not line.startswith(b";")]
    text = b"".join(line + b"\n" for line in kept)
    packed = meatpack(b"".join(line + b"\n" for line in lines), comments=comments, blanks=blanks)
    assert unpacked(packed, cuts) == text


@given(st.lists(st.binary(max_size=20) | st.just(b"\xff\xff\xfb") | st.just(b"\xff\xff\xf7"), max_size=12))
def test_meatpack_takes_any_bytes_however_they_are_cut(parts: list[bytes]) -> None:
    data = b"".join(parts)
    outcomes = set()
    for cuts in ([], list(range(len(data)))):
        try:
            outcomes.add(unpacked(data, cuts))
        except Refused:
            outcomes.add(b"refused")
    assert len(outcomes) == 1
