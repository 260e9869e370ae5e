"""Where the moves of a file go, under every mode that G-code has."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farmd.gcode import Box, SlicedFile, read_sliced


def read(text: str) -> SlicedFile:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.gcode"
        path.write_text(text)
        return read_sliced(path)


def bounds(text: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    box = read(text).moves_box
    assert box is not None
    return box.min_mm, box.max_mm


def test_absolute_moves() -> None:
    assert bounds("G28\nG1 X10 Y20 Z3 F600\nG1 X-4") == ((-4, 20, 3), (10, 20, 3))


def test_inches() -> None:
    assert bounds("G28\nG20\nG1 X1 Y2 Z0.5 F60\nG21\nG1 X1") == ((1, 50.8, 12.7), (25.4, 50.8, 12.7))


def test_relative_moves() -> None:
    assert bounds("G28\nG1 X100 Y100 Z1\nG91\nG1 X5\nG1 X5 Z-2\nG90\nG1 X0") == ((0, 100, -1), (110, 100, 1))


def test_a_lift_before_homing_does_not_count() -> None:
    assert bounds("G91\nG1 Z-30\nG90\nG28\nG1 X1 Y1 Z5") == ((1, 1, 5), (1, 1, 5))


def test_relative_moves_after_homing_count_from_there() -> None:
    assert bounds("G28\nG91\nG1 Z-50")[0][2] == -50


def test_only_the_homed_axes_are_known() -> None:
    assert bounds("G28 X\nG91\nG1 X9 Z-9\nG90\nG1 Y5") == ((9, 5, 0), (9, 5, 0))


def test_g92_moves_no_limit() -> None:
    """The classic trick: call 200 mm to the right 0, and go on to the right."""
    assert bounds("G28\nG1 X200 Y1 Z1\nG92 X0\nG1 X100")[1][0] == 300
    assert bounds("G28\nG1 X200 Y1 Z1\nG92\nG1 Z-1")[0][2] == 0
    assert bounds("G28\nG1 X200 Y1 Z1\nG92 X0\nG92.1\nG1 X100")[1][0] == 200
    assert bounds("G28\nG1 X200 Y1 Z1\nG92 X0\nG53 G1 X100\n")[1][0] == 200


@pytest.mark.parametrize(
    "line", ["G1X150Y10", "g1 x150", "N7 G1 X150*33", "G01 X 150", "\tG1 X150.", "G1 F900 X150 ; c"]
)
def test_every_spelling_of_a_move(line: str) -> None:
    assert bounds(f"G28\nG1 X1 Y1 Z1 F600\n{line}\n")[1][0] == 150


def test_several_moves_in_one_line() -> None:
    assert bounds("G28\nG1 X1 Y1 Z1 G1 X150\n")[1][0] == 150


def test_an_arc_bulges_beyond_its_ends() -> None:
    clockwise = bounds("G28\nG1 X50 Y50 Z1\nG2 X70 Y50 I10 J0")
    assert (clockwise[0][1], clockwise[1][1]) == (50, 60)
    counter_clockwise = bounds("G28\nG1 X50 Y50 Z1\nG3 X70 Y50 I10 J0")
    assert (counter_clockwise[0][1], counter_clockwise[1][1]) == (40, 50)
    full_circle = bounds("G28\nG1 X50 Y50 Z1\nG2 X50 Y50 I10")
    assert full_circle == ((50, 40, 1), (70, 60, 1))
    with_turns = bounds("G28\nG1 X50 Y50 Z1\nG2 X60 Y60 Z3 I10 P2")
    assert with_turns == ((50, 40, 1), (70, 60, 3))


def test_arcs_by_radius() -> None:
    assert bounds("G28\nG1 X50 Y50 Z1\nG2 X70 Y50 R10")[1][1] == pytest.approx(60, abs=1e-3)
    short = bounds("G28\nG1 X50 Y50 Z1\nG2 X60 Y60 R10")
    assert short[1] == (60, 60, 1)
    long = bounds("G28\nG1 X50 Y50 Z1\nG2 X60 Y60 R-10")  # three quarters about 50, 60
    assert long[1][1] == pytest.approx(70, abs=1e-3)
    assert bounds("G28\nG1 X50 Y50 Z1\nG3 X60 Y60 R10")[1] == (60, 60, 1)


def test_arcs_in_other_planes_and_relative() -> None:
    assert bounds("G28\nG1 X50 Y50 Z20\nG18\nG2 X70 Z20 I10 K0")[0][2] == pytest.approx(10, abs=1e-3)
    assert bounds("G28\nG1 X50 Y50 Z20\nG19\nG3 Y70 Z20 J10 K0")[0][2] == pytest.approx(10, abs=1e-3)
    assert bounds("G28\nG1 X50 Y50 Z1\nG91\nG2 X20 Y0 I10 J0")[1][1] == pytest.approx(60, abs=1e-3)


def test_arc_length_and_filament() -> None:
    sliced = read("G28\nM83\nG1 X50 Y50 Z1\nG1 F600\nG2 X50 Y50 I10 E6")
    assert sliced.moves_time_s == pytest.approx(2 * math.pi * 10 / 10, rel=1e-3)
    assert sliced.filament_mm == (6,)
    assert sliced.extrusion_box == Box((50, 40, 1), (70, 60, 1))
    helix = read("G28\nG1 X50 Y50 Z1\nG1 F600\nG2 X50 Y50 Z5 I10 P1")
    assert helix.moves_time_s == pytest.approx(math.hypot(4 * math.pi * 10, 4) / 10)


def test_a_spline_is_bounded_by_its_control_points() -> None:
    assert bounds("G28\nG1 X50 Y50 Z1\nG5 X60 Y50 I0 J30 P0 Q-5")[1][1] == 80


def test_time_is_distance_over_feed_rate_and_dwell() -> None:
    sliced = read("G28\nG1 X30 Y40 F600\nG4 P500\nG4 S2\nG1 E5 F300\n")
    assert sliced.moves_time_s == pytest.approx(5 + 0.5 + 2 + 1)


def test_extrusion_modes() -> None:
    assert read("G28\nM82\nG1 X5 E5 F600\nG1 X9 E8\nG92 E0\nG1 X1 E2\nG1 E-1").filament_mm == (10,)
    assert read("G28\nM83\nG1 X5 E5 F600\nG1 E-2\nG1 E2\nG1 X9 E8").filament_mm == (13,)
    assert read("G28\nM82\nG1 X5 E5 F600\nG91\nG1 E-2\nG1 X1 E3").filament_mm == (6,)


def test_filament_by_tool() -> None:
    sliced = read("G28\nM83\nT1\nG1 X5 E5 F600\nT0\nG1 X9 E2\nT1\nG1 X1 E1\nT255\n")
    assert sliced.filament_mm == (2, 6)
    assert sliced.tools == (0, 1)


def test_only_travel_that_extrudes_is_printing() -> None:
    sliced = read("G28\nM83\nG1 X5 Y5 Z1 F600\nG1 E5\nG1 X90\nG1 X20 Y8 E1\n")
    assert sliced.extrusion_box == Box((20, 5, 1), (90, 8, 1))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["G0", "G1"]),
            st.dictionaries(
                st.sampled_from("XYZEF"), st.integers(1, 90_000).map(lambda n: n / 1000), max_size=5
            ),
        ),
        min_size=1,
        max_size=20,
    ),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_the_fast_path_equals_the_slow_one(
    moves: list[tuple[str, dict[str, float]]], relative_e: bool
) -> None:
    """A move written as slicers do, and the same move spelt in a way that only the full reading takes."""
    head = "G28\nM83\n" if relative_e else "G28\nM82\n"
    fast, slow = head, head
    for name, values in moves:
        words = [f"{letter}{values[letter]}" for letter in "XYZEF" if letter in values]
        fast += " ".join([name, *words]) + "\n"
        slow += (name + "".join(words)).lower() + "\n"
    a, b = read(fast), read(slow)
    assert a.moves_box == b.moves_box
    assert a.extrusion_box == b.extrusion_box
    assert a.filament_mm == b.filament_mm
    assert a.moves_time_s == pytest.approx(b.moves_time_s)
    assert a.layer_count == b.layer_count
