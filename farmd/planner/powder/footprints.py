"""Footprints on a board of cells: an outline in mm as the cells that it touches, for each of its turns.

A cell that an outline so much as enters is its own, so what lies apart on the board lies apart on the plate. Knows
outlines only, no batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Point = tuple[float, float]
Run = tuple[int, int, int]
"""Of cells in a row: the row, the first cell and how many."""
EDGE = 1e-7
"""Of a cell: what enters it by less only touches it."""


def turned(outline: Sequence[Point], quarters: int) -> list[Point]:
    """The outline turned counter-clockwise by quarters, moved so that it begins at x and y 0."""
    points = list(outline)
    for _ in range(quarters % 4):
        points = [(-y, x) for x, y in points]
    left, bottom = min(x for x, _ in points), min(y for _, y in points)
    return [(x - left, y - bottom) for x, y in points]


def runs_of(outline: Sequence[Point], cell_mm: float) -> tuple[Run, ...]:
    """The cells that an outline touches which begins at x and y 0, as runs by row."""
    points = [(x / cell_mm, y / cell_mm) for x, y in outline]
    edges = list(zip(points, [*points[1:], points[0]], strict=True))
    rows = max(1, math.ceil(max(y for _, y in points) - EDGE))
    runs: list[Run] = []
    for row in range(rows):
        spans = _inside(edges, row + 0.5)
        for (ax, ay), (bx, by) in edges:
            low, high = max(min(ay, by), row), min(max(ay, by), row + 1)
            if high - low > EDGE or (ay == by and row + EDGE < ay < row + 1 - EDGE):
                at_low, at_high = (_at(ax, ay, bx, by, y) for y in (low, high)) if ay != by else (ax, bx)
                spans.append((min(at_low, at_high), max(at_low, at_high)))
        runs += _merged(spans, row)
    return tuple(runs)


def _at(ax: float, ay: float, bx: float, by: float, y: float) -> float:
    return ax + (bx - ax) * (y - ay) / (by - ay)


def _inside(edges: Sequence[tuple[Point, Point]], y: float) -> list[tuple[float, float]]:
    """From where to where the line at this height is inside, by the even-odd rule."""
    cuts = sorted(_at(ax, ay, bx, by, y) for (ax, ay), (bx, by) in edges if (ay <= y) != (by <= y))
    return list(zip(cuts[::2], cuts[1::2], strict=True))


def _merged(spans: Sequence[tuple[float, float]], row: int) -> list[Run]:
    """Whole cells that the spans enter."""
    cells: list[tuple[int, int]] = []
    for left, right in sorted(spans):
        first, last = max(0, math.floor(left + EDGE)), math.ceil(right - EDGE)
        if last <= first:
            continue
        if cells and first <= cells[-1][1]:
            cells[-1] = (cells[-1][0], max(cells[-1][1], last))
        else:
            cells.append((first, last))
    return [(row, first, last - first) for first, last in cells]
