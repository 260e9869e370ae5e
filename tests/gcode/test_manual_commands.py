"""What a typed command would do, by the lists: questions, small adjustments, and what leaves the bed as it was."""

from __future__ import annotations

import pytest

from farmd.gcode import check_line, parse_line
from farmd.gcode.manual import ADJUSTMENTS, LEAVES_BED, QUESTIONS, is_harmless, is_question, leaves_bed


@pytest.mark.parametrize("code", [code for code, _ in QUESTIONS])
def test_questions_pass_the_gate_and_change_nothing(code: str) -> None:
    assert check_line(code) is None
    assert is_question(code)
    assert is_harmless(code.lower())
    assert leaves_bed(code)


@pytest.mark.parametrize("each", ADJUSTMENTS, ids=lambda each: each.code)
def test_adjustments_pass_the_gate_within_their_bounds(each) -> None:
    assert check_line(each.code) is None
    assert is_harmless(each.code)
    assert not is_question(each.code)
    assert leaves_bed(each.code)
    if each.letter:
        for value in (each.low, each.high):
            assert is_harmless(f"{each.code} {each.letter}{value:g}")
        for value in (each.low - 1, each.high + 1):
            assert not is_harmless(f"{each.code} {each.letter}{value:g}")


@pytest.mark.parametrize(
    "line",
    [
        "G28",
        "G1 X10",
        "G92 E0",
        "G91",
        "M83",
        "M104 S210",
        "M140 S60",
        "M400",
        "M108",
        "M18",
        "M155 S1",
        "M600",
        "M701",
        "T1",
        "PRINT_START",
        "M106.1 S3",
        "M105.2",
        "M105 G28",
        "M106 S255 G1 X10",
        "g1x5",
        "M 105 M 109 S200",
        "",
        "; nothing",
        "?",
    ],
)
def test_what_moves_heats_or_is_not_known_is_not_harmless(line: str) -> None:
    assert not is_harmless(line)
    assert not is_question(line)


def test_a_message_is_words_whatever_it_says() -> None:
    assert is_harmless("M117 G28 and then M104 S250")
    assert leaves_bed("M117 G1 E5")
    assert not is_question("M117 hello")


@pytest.mark.parametrize(
    "line",
    [
        "G28",
        "G1 X10 Y10 F3000",
        "g0z5",
        "G2 X1 Y1 I5 J5",
        "M104 S0",
        "M109 S0",
        "M140 S60",
        "M84",
        *sorted(LEAVES_BED),
    ],
)
def test_what_surely_leaves_the_bed_as_it_was(line: str) -> None:
    assert parse_line(line.encode())
    assert leaves_bed(line)


@pytest.mark.parametrize(
    "line",
    [
        "G1 E5",
        "G1 X10 E0.2",
        "g1e5",
        "G10",
        "G11",
        "M104 S210",
        "M104",
        "M109 R0",
        "M109 S0 R210",
        "M600",
        "M701",
        "M702",
        "T0",
        "M303 S200",
        "LOAD_FILAMENT",
        "G12",
        "G29 G1 E5",
        "G28.2",
        "G1 X1 U4",
    ],
)
def test_in_doubt_something_lies_there(line: str) -> None:
    assert not leaves_bed(line)
