"""Whether two outlines on a plate overlap: exact on the floats of a plan, up to a tolerance for what touches.

Part of the checker: knows outlines as points in mm, and must never know how anything was laid out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from farmd.planner.plans import Placement
from farmd.planner.problem import Chamber, Part

Point = tuple[float, float]
TOUCHING_MM = 1e-6
ROOM_TOLERANCE = 1e-9
"""Outlines that are in each other by no more than this only touch."""


def footprint(part: Part) -> tuple[Point, ...] | None:
    """The outline of a part, or of its box; None where the problem states neither."""
    if part.outline_mm is not None:
        return part.outline_mm
    if part.size_mm is None:
        return None
    width, length = part.size_mm
    return ((0.0, 0.0), (width, 0.0), (width, length), (0.0, length))


def build_height_mm(chamber: Chamber, parts: Sequence[Part]) -> float:
    """The highest part; where parts lie above each other, so high at least that they are as dense as they may be."""
    highest = max((part.height_mm for part in parts), default=0.0)
    if chamber.packing_density is None:
        return highest
    filled_mm3 = sum(part.volume_mm3 for part in parts) / chamber.packing_density
    return max(highest, filled_mm3 / chamber.area_mm2)


def overfull(name: str, machine: str, chamber: Chamber, parts: Sequence[Part]) -> Iterator[str]:
    """Side by side the areas together are within the chamber's; above each other the volumes within their share."""
    if chamber.packing_density is None:
        area = sum(part.area_mm2 for part in parts)
        if area > chamber.area_mm2 * (1 + ROOM_TOLERANCE):
            yield f"{name}: {area:g} mm2 on {chamber.area_mm2:g} mm2 of {machine}"
        return
    volume = sum(part.volume_mm3 for part in parts)
    most = chamber.packing_density * chamber.area_mm2 * chamber.height_mm
    if volume > most * (1 + ROOM_TOLERANCE):
        yield f"{name}: {volume:g} mm3, and {machine} takes {most:g} mm3"
    for part in parts:
        if part.area_mm2 > chamber.area_mm2 * (1 + ROOM_TOLERANCE):
            yield f"part {part.id}: {part.area_mm2:g} mm2 on {chamber.area_mm2:g} mm2 of {machine}"


def too_large(machine: str, plate_mm: tuple[float, float], parts: Sequence[Part]) -> Iterator[str]:
    """Parts that lie above each other have no places in the plan, but each alone lies on the plate."""
    for part in parts:
        outline = footprint(part)
        if outline is not None:
            sides = [max(axis) - min(axis) for axis in zip(*outline, strict=True)]
            if any(
                side > most + TOUCHING_MM for side, most in zip(sorted(sides), sorted(plate_mm), strict=True)
            ):
                yield f"part {part.id} is larger than the plate of {machine}"


def laid(outline: Sequence[Point], place: Placement) -> list[Point]:
    """The outline turned, and moved so that its bounding box begins where the placement says."""
    angle = math.radians(place.turn_deg + (90.0 if place.rotated else 0.0))
    cos, sin = _clean(math.cos(angle)), _clean(math.sin(angle))
    points = [(x * cos - y * sin, x * sin + y * cos) for x, y in outline]
    left, bottom = min(x for x, _ in points), min(y for _, y in points)
    return [(x - left + place.x_mm, y - bottom + place.y_mm) for x, y in points]


def _clean(value: float) -> float:
    """Whole where it should be: a quarter turn moves no point by a rounding error."""
    return float(round(value)) if abs(value - round(value)) < 1e-12 else value


def overlap(first: Sequence[Point], second: Sequence[Point]) -> bool:
    """Whether the insides of two simple outlines have points in common."""
    common = _common(_bounds(first), _bounds(second))
    if common is None:
        return False
    return (
        any(_inside(second, point) for point in _witnesses(first, second, common))
        or any(_inside(first, point) for point in _witnesses(second, first, common))
        or _same(first, second)
    )


def _bounds(outline: Sequence[Point]) -> tuple[float, float, float, float]:
    xs, ys = [x for x, _ in outline], [y for _, y in outline]
    return min(xs), min(ys), max(xs), max(ys)


def _common(
    a: tuple[float, float, float, float], b: tuple[float, float, float, float]
) -> tuple[float, float, float, float] | None:
    """What two bounding boxes have in common, None for no more than an edge."""
    left, bottom, right, top = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    if right - left <= TOUCHING_MM or top - bottom <= TOUCHING_MM:
        return None
    return left, bottom, right, top


def _edges(outline: Sequence[Point]) -> Iterator[tuple[Point, Point]]:
    return zip(outline, [*outline[1:], outline[0]], strict=True)


def _witnesses(
    outline: Sequence[Point], other: Sequence[Point], common: tuple[float, float, float, float]
) -> Iterator[Point]:
    """Of each piece into which the other outline cuts an edge, the middle: if insides overlap, one lies inside."""
    left, bottom, right, top = common
    near = [
        (a, b)
        for a, b in _edges(other)
        if max(a[0], b[0]) >= left
        and min(a[0], b[0]) <= right
        and max(a[1], b[1]) >= bottom
        and min(a[1], b[1]) <= top
    ]
    for (ax, ay), (bx, by) in _edges(outline):
        if max(ax, bx) < left or min(ax, bx) > right or max(ay, by) < bottom or min(ay, by) > top:
            continue
        cuts = [0.0, 1.0]
        for (px, py), (qx, qy) in near:
            across = (bx - ax) * (qy - py) - (by - ay) * (qx - px)
            if across != 0.0:
                along = ((px - ax) * (qy - py) - (py - ay) * (qx - px)) / across
                if 0.0 < along < 1.0:
                    cuts.append(along)
        cuts.sort()
        for low, high in pairwise(cuts):
            middle = (low + high) / 2
            yield ax + (bx - ax) * middle, ay + (by - ay) * middle


def _inside(outline: Sequence[Point], point: Point) -> bool:
    """Whether a point lies inside by the even-odd rule, and further from the edge than what only touches."""
    x, y = point
    within = False
    for (ax, ay), (bx, by) in _edges(outline):
        if (ay > y) != (by > y) and x < ax + (bx - ax) * (y - ay) / (by - ay):
            within = not within
    return within and all(_distance(point, a, b) > TOUCHING_MM for a, b in _edges(outline))


def _distance(point: Point, a: Point, b: Point) -> float:
    dx, dy = b[0] - a[0], b[1] - a[1]
    length = dx * dx + dy * dy
    along = ((point[0] - a[0]) * dx + (point[1] - a[1]) * dy) / length if length else 0.0
    along = min(1.0, max(0.0, along))
    return math.hypot(point[0] - a[0] - along * dx, point[1] - a[1] - along * dy)


def _same(first: Sequence[Point], second: Sequence[Point]) -> bool:
    """Whether all corners of each lie on the other: then no edge goes inside, and the insides are the same."""
    return all(
        any(_distance(point, a, b) <= TOUCHING_MM for a, b in _edges(other))
        for outline, other in ((first, second), (second, first))
        for point in outline
    )
